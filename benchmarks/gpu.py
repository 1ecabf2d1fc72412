"""Every measure that wants a GPU, on a machine without network: `python benchmarks/gpu.py pack`, and there `... gpu.py run`.

`pack` writes one archive: the pack without its weights, ComfyUI's sources and the wheels that the machine lacks. It needs torch,
torchvision and torchaudio there, as ComfyUI does; with the list of what else it has (`pip list --format=freeze` there,
`--installed FILE` here) less is packed. Of comfy-kitchen the wheel without CUDA kernels is taken, of ComfyUI no tokenizers but
CLIP's. Unpack the archive in an empty folder and run

    python benchmarks/gpu.py run

It installs nothing: wheels are laid out in a folder of their own. Every measure has a process and a time limit of its own, less than
20 minutes in all, and one that fails loses no other. gpu.json tells the machine, the versions, and of every measure its figures, or
why it was not run. `--tiny` does the same with tiny networks, on a CPU too. **The full sizes have never been run**: no machine
with a GPU was at hand.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HERE = Path(__file__).resolve().parent
WHEELS, SITE, COMFYUI = ROOT / "wheels", ROOT / "site", Path(".comfy") / "ComfyUI"
GOAL_MB = 60
TINY_LIMIT = 300  # seconds of any measure with tiny networks: a CPU may be busy
BROUGHT_BY_TORCH = frozenset({
    "torch", "torchvision", "torchaudio", "numpy", "filelock", "fsspec", "jinja2", "markupsafe", "mpmath", "networkx", "sympy",
    "typing-extensions", "pillow",
})  # fmt: skip
FROM_THE_TESTS = ("diffusers", "pytest", "pluggy", "iniconfig")
UNUSED = ("comfyui-", "kornia", "hf-xet", "comfy-angle", "pyopengl", "spandrel")  # the page, and nodes that no measure runs
OUR_PARTS = ("csg/", "nodes/", "benchmarks/", "tests/host/tiny_", "tests/parity/parity_", "__init__.py", "pyproject.toml", "LICENSE")
NOT_OURS = (".safetensors", ".jpg", ".png", ".webp", ".xz", ".jsonl", "tokenizer.json", "benchmarks/results/")
NOT_COMFYUIS = re.compile(
    r"(models|custom_nodes|input|output|user|temp|tests[^/]*|blueprints|comfy_api_nodes|comfy_extras|\.[^/]+)/"
    r"|openapi\.yaml$|(.*/)?__pycache__/|comfy/text_encoders/[^/]+/|.*\.(md|so|log)$"
)


@dataclass(frozen=True)
class Measure:
    """What is measured, in how many seconds at most, and how many GiB the GPU must have for it."""

    title: str
    limit: int
    needs_gib: int


MEASURES = {
    "sdxl": Measure("SDXL in its full size beside diffusers, 1, 3 and 8 concepts", 360, 14),
    "memory": Measure("eight concepts of SDXL in 12 GB", 90, 10),
    "training": Measure("the training of Town's UNet", 120, 4),
    "SD3": Measure("SD3.5 medium against its bare rows", 60, 8),
    "ZImage": Measure("Z-Image against its bare rows", 110, 18),
    "Flux": Measure("Flux.1 dev against its bare rows", 150, 32),
    "QwenImage": Measure("Qwen-Image against its bare rows", 240, 50),
}


def plain(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(lines: Iterable[str], python: str, installed: Iterable[str] = ()) -> list[str]:
    """The pins, `name==version`, of the packages that a machine with torch and `installed` lacks; `python`: its version, as 3.12."""
    from packaging.requirements import Requirement

    there, pins = {plain(name) for name in installed} | BROUGHT_BY_TORCH, []
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        pin = Requirement(line)
        name = plain(pin.name)
        if name in there or name.startswith(UNUSED) or (pin.marker and not pin.marker.evaluate({"python_version": python})):
            continue
        pins.append(f"{pin.name}{pin.specifier}")
    return pins


def pinned() -> list[str]:
    """The lines of the project's pins that any measure needs."""
    run, tests = ((ROOT / ".ci" / name).read_text(encoding="utf-8").splitlines() for name in ("requirements.txt", "requirements-test.txt"))
    return [*run, *(line for line in tests if plain(line.partition("==")[0]) in FROM_THE_TESTS)]


def download(pins: Sequence[str], python: str, folder: Path) -> None:
    """The wheels of the pins for that Python on 64-bit Linux, through pip."""
    linux = [*(f"manylinux_2_{minor}_x86_64" for minor in range(39, 4, -1)), *(f"manylinux{year}_x86_64" for year in (2014, 2010, 1))]
    kitchen = [pin for pin in pins if plain(pin).startswith("comfy-kitchen")]
    for some, platforms in (([pin for pin in pins if pin not in kitchen], linux), (kitchen, ["any"])):
        if some:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder),
                       "--python-version", python, *(word for one in platforms for word in ("--platform", one)), *some]  # fmt: skip
            subprocess.run(command, check=True)


def our_files() -> Iterator[str]:
    """The files of this repository that the measures need."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name.startswith(OUR_PARTS) and not any(part in name for part in NOT_OURS) and (ROOT / name).is_file():
            yield name


def comfyui_files(comfyui: Path) -> Iterator[str]:
    """The files of ComfyUI that the measures need."""
    for path in sorted(comfyui.rglob("*")):
        name = path.relative_to(comfyui).as_posix()
        if path.is_file() and not NOT_COMFYUIS.match(name):
            yield name


def pack(options: argparse.Namespace) -> None:
    """Write the archive, and say how large it is and of what."""
    installed = [re.split(r"[=@ ]", line)[0] for line in options.installed.read_text().splitlines()] if options.installed else []
    with tempfile.TemporaryDirectory() as folder:
        if not options.no_wheels:
            download(wanted(pinned(), options.python, installed), options.python, Path(folder))
        wheels = sorted(Path(folder).iterdir())
        with tarfile.open(options.output, "w:gz") as tar:
            for name in our_files():
                tar.add(ROOT / name, name)
            for name in comfyui_files(options.comfyui.resolve()):
                tar.add(options.comfyui.resolve() / name, (COMFYUI / name).as_posix())
            for wheel in wheels:
                tar.add(wheel, f"{WHEELS.name}/{wheel.name}")
        largest = sorted(wheels, key=lambda wheel: -wheel.stat().st_size)[:6]
        told = ", ".join(f"{wheel.name.partition('-')[0]} {wheel.stat().st_size / 1e6:.1f}" for wheel in largest)
    megabytes = options.output.stat().st_size / 1e6
    print(f"{options.output}: {megabytes:.1f} MB, {len(wheels)} wheels{f' (largest, in MB: {told})' if wheels else ''}")
    if megabytes > GOAL_MB:
        print(f"That is more than {GOAL_MB} MB. Name what the machine has with --installed, and less is packed.")


def lay_out_wheels() -> list[str]:
    """Unpack the wheels of packages that are not installed here into a folder of their own; their names."""
    laid = []
    for wheel in sorted(WHEELS.glob("*.whl")):
        name = wheel.name.partition("-")[0]
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(SITE)
            laid.append(wheel.name)
    return laid


def machine() -> dict[str, Any]:
    """What it runs on."""
    import torch
    from in_process import processor

    found: dict[str, Any] = {"processor": processor(), "cores": os.cpu_count(), "gpu": None}
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        found |= {"gpu": gpu.name, "memory_gib": gpu.total_memory / 2**30, "capability": f"{gpu.major}.{gpu.minor}",
                  "bfloat16": torch.cuda.is_bf16_supported()}  # fmt: skip
    return found


def versions(laid: Sequence[str]) -> dict[str, Any]:
    """What it computes with."""
    import torch

    text = (ROOT / COMFYUI / "comfyui_version.py").read_text(encoding="utf-8") if (ROOT / COMFYUI).is_dir() else ""
    comfyui = re.search(r'__version__ = "([^"]+)"', text)
    return {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda,
            "comfyui": comfyui and comfyui[1], "from_wheels": list(laid)}  # fmt: skip


def measured(name: str, one: Measure, tiny: bool, memory_gib: float) -> dict[str, Any]:
    """One measure in a process of its own: its figures, or why there are none."""
    if not tiny and memory_gib < one.needs_gib:
        return {"state": "not run", "why": f"it wants a GPU of {one.needs_gib} GiB, this one has {memory_gib:.0f}"}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(SITE))))}
    begin, limit = time.monotonic(), TINY_LIMIT if tiny else one.limit
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "figures.json"
        command = [sys.executable, str(HERE / "gpu_measures.py"), name, "--output", str(output), *(["--tiny"] if tiny else [])]
        try:
            done = subprocess.run(command, env=environment, timeout=limit, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"state": "failed", "why": f"it took more than its {limit} s"}
        seconds = {"wall_seconds": time.monotonic() - begin}
        if done.returncode or not output.is_file():
            return {"state": "failed", "why": f"exit status {done.returncode}: {done.stdout.strip()[-2000:]}", **seconds}
        return {"state": "done", **seconds, "figures": json.loads(output.read_text(encoding="utf-8"))}


def run(options: argparse.Namespace) -> None:
    """Every measure, each written down as soon as it is known."""
    laid = lay_out_wheels()
    sys.path.append(str(SITE))
    here = machine()
    if here["gpu"] is None and not options.tiny:
        sys.exit("torch sees no GPU here. The full sizes are measured on a GPU alone; --tiny runs everything with tiny networks.")
    result = {"machine": here, "versions": versions(laid), "tiny": options.tiny, "measures": {}}
    for name in options.only or MEASURES:
        print(f"{name}: {MEASURES[name].title} ...", flush=True)
        found = measured(name, MEASURES[name], options.tiny, here.get("memory_gib", 0))
        result["measures"][name] = {"title": MEASURES[name].title, **found}
        save(options.output, result, set(MEASURES) - set(result["measures"]))
        print(f"{name}: {found['state']}{': ' + found['why'] if 'why' in found else ''}", flush=True)


def save(output: Path, result: Mapping[str, Any], left: Iterable[str]) -> None:
    """The JSON so far; whatever has not had its turn says so."""
    from csg.writing import write_over

    waiting = {name: {"title": MEASURES[name].title, "state": "not run", "why": "it was not its turn yet, or it was not asked for"}
               for name in sorted(left)}  # fmt: skip
    text = json.dumps({**result, "measures": {**result["measures"], **waiting}}, indent=1) + "\n"
    write_over(output, lambda part: part.write_text(text, encoding="utf-8"))


def main(words: Sequence[str] | None = None) -> None:
    """Pack, or run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack", help="write the archive for the machine")
    packing.add_argument("--output", type=Path, default=Path("csg-gpu.tar.gz"))
    packing.add_argument("--python", default="{}.{}".format(*sys.version_info), help="the machine's Python, such as 3.12")
    packing.add_argument("--installed", type=Path, metavar="FILE", help="what the machine has: `pip list --format=freeze` there")
    packing.add_argument("--no-wheels", action="store_true", help="for a machine on which ComfyUI runs already")
    packing.add_argument("--comfyui", type=Path, default=ROOT / COMFYUI)
    packing.set_defaults(command=pack)
    running = commands.add_parser("run", help="measure, on the machine with the GPU (the full sizes have never been run)")
    running.add_argument("--output", type=Path, default=Path("gpu.json"))
    running.add_argument("--only", nargs="+", choices=list(MEASURES), help="only these measures")
    running.add_argument("--tiny", action="store_true", help="tiny networks, to see that everything is there; on a CPU too")
    running.set_defaults(command=run)
    options = parser.parse_args(words)
    options.command(options)


if __name__ == "__main__":
    main()
