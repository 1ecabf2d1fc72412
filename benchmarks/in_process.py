"""ComfyUI and this pack inside one process, for programs that measure or train: no server, no node registry."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import re
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # whoever imports this first may import csg after it
PACK = "causal_semantic_guidance_pack"


def start_comfyui(path: Path) -> None:
    """Make ComfyUI's modules importable, on the CPU, ahead of this repository (both have a `nodes`)."""
    sys.path[:0] = [str(path)]
    import comfy.options

    comfy.options.enable_args_parsing(False)
    from comfy.cli_args import args

    args.cpu = True
    args.use_pytorch_cross_attention = True  # ComfyUI's own choice on a CPU is a quarter slower on models as small as Town


def processor() -> str:
    """What this machine computes with, as it calls itself."""
    with suppress(OSError, TypeError):
        return re.search(r"model name.*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    return platform.processor() or platform.machine()


def versions() -> str:
    """What the figures depend on besides the pack; ComfyUI must have been started."""
    import torch
    from comfyui_version import __version__ as comfyui

    return f"ComfyUI {comfyui}, torch {torch.__version__}, Python {platform.python_version()}"


def pack_module(name: str) -> ModuleType:
    """A module of the pack, such as "nodes.host", under a name that does not clash with ComfyUI's."""
    if PACK not in sys.modules:
        spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
        sys.modules[PACK] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PACK])
    return importlib.import_module(f"{PACK}.{name}")
