"""ComfyUIs of several versions; the set-up keeps the older ones beside the one that people use."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def pytest_addoption(parser):
    parser.addoption("--sources", default=str(ROOT / ".comfy"), help="the folder that holds ComfyUI-0.18.2 and so on")
