"""LPIPS (Zhang et al., CVPR 2018): how different two pictures look to a trained network.

The network is torchvision's VGG16 or AlexNet, in files that are never downloaded; the linear heads come with
torchmetrics.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .similarity import check_pair

NETS = ("vgg", "alex")
FILES = {"vgg": "vgg16-397923af.pth", "alex": "alexnet-owt-7be5be79.pth"}
STEMS = {"vgg": "vgg16", "alex": "alexnet"}
SUFFIXES = (".safetensors", ".pth", ".pt")
FIRST_LAYER = {"vgg": (64, 3, 3, 3), "alex": (64, 3, 11, 11)}
FEATURES = "features."
SMALLEST = 32


class LPIPSUnavailable(RuntimeError):
    """A package or a file that LPIPS needs is not there."""


def find_backbone(folders: Iterable[str | Path], net: str) -> Path:
    """The backbone's file in one of `folders`; raises LPIPSUnavailable, saying which file belongs where."""
    folders = [Path(folder) for folder in folders]
    for folder in folders:
        files = sorted(p for p in folder.glob(f"{STEMS[net]}*") if p.suffix in SUFFIXES)
        if files:
            return files[0]
    places = " or ".join(map(str, folders)) or "a models folder"
    raise LPIPSUnavailable(
        f"LPIPS ({net}) needs torchvision's {STEMS[net]} weights, which are not there: put {FILES[net]} (or the same as "
        f".safetensors) into {places}. Nothing is downloaded by itself. Multi-Scale SSIM needs no file."
    )


def read_backbone(path: str | Path, net: str) -> dict[str, Tensor]:
    """The convolutions of a torchvision state dict, by their torchvision names; raises LPIPSUnavailable for another file."""
    try:
        state = _read(Path(path))
    except Exception as error:
        raise LPIPSUnavailable(f"{path} cannot be read as weights ({error}). Put {FILES[net]} there again.") from error
    features = (
        {name: value for name, value in state.items() if name.startswith(FEATURES)} if isinstance(state, dict) else {}
    )
    first = features.get(f"{FEATURES}0.weight")
    if first is None or tuple(first.shape) != FIRST_LAYER[net]:
        raise LPIPSUnavailable(f"{path} does not hold torchvision's {STEMS[net]}. Put {FILES[net]} there instead.")
    return features


def _read(path: Path) -> Any:  # noqa: ANN401
    """Tensors and nothing else: neither way can run code that a file brings along."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


@lru_cache(maxsize=2)
def load(path: str | Path, net: str, changed: float = 0.0) -> torch.nn.Module:
    """The LPIPS network with this backbone, for evaluation. `changed` is the file's time, so that a new file is read."""
    try:
        from torchmetrics.functional.image.lpips import _LPIPS
    except ImportError as error:
        raise LPIPSUnavailable(
            f"LPIPS needs the package torchmetrics ({error}): run `pip install torchmetrics` with ComfyUI's Python."
        ) from error
    network = _LPIPS(net=net, pnet_rand=True)
    backbone = read_backbone(path, net)
    expected = network.net.state_dict()  # slice2.5.weight is features.5.weight
    network.net.load_state_dict({name: backbone[FEATURES + name.split(".", 1)[1]] for name in expected})
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def lpips(a: Tensor, b: Tensor, backbone: str | Path, net: str = "vgg") -> float:
    """Mean LPIPS of two IMAGEs (B, H, W, 3) of the same size: 0 for the same picture.

    Raises ValueError for different sizes or an unknown net, LPIPSUnavailable without its package or its weights.
    """
    if net not in NETS:
        raise ValueError(f"net is {net[:60]!r}; it is one of {', '.join(NETS)}.")
    a, b = check_pair(a, b)
    if min(a.shape[-2:]) < SMALLEST:
        size = f"{a.shape[-1]} x {a.shape[-2]}"
        raise ValueError(f"The pictures are {size}; LPIPS needs at least {SMALLEST} pixels a side. Enlarge both.")
    network = load(backbone, net, Path(backbone).stat().st_mtime)
    pairs = zip(a.cpu().split(1), b.cpu().split(1), strict=True)  # one at a time: large pictures need much memory
    return float(torch.stack([network(x, y, normalize=True).flatten() for x, y in pairs]).mean())
