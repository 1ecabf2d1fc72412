"""diffusers' LEDITS++ and this pack's engine side by side, in one process, on the same random weights."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).resolve().parent
torch.set_num_threads(1)
sys.path.append(str(HERE))


def _host_fixtures():
    spec = importlib.util.spec_from_file_location("host_conftest", HERE.parent / "host" / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


comfy = _host_fixtures().comfy


@pytest.fixture(scope="session")
def reference():
    """The reference on a small UNet with SDXL's three levels."""
    pytest.importorskip("diffusers", reason="the reference is diffusers==0.42.1")
    from parity_reference import Reference

    return Reference()


@pytest.fixture(scope="session")
def engine(comfy, reference):
    """This pack's nodes in ComfyUI, on the reference's weights."""
    from parity_engine import Engine

    return Engine(comfy, reference.unet.state_dict())
