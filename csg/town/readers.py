"""Attribute readers: a small network that reads every concept's value from Town's pixels."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .weights import READERS, read
from .world import VARIABLES, Values


def _stage(inputs: int, outputs: int, stride: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Readers(nn.Module):
    """One head per concept over shared features; each head pools the picture with a map of its own."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.PixelUnshuffle(2), _stage(12, 32), _stage(32, 64), _stage(64, width, 1), _stage(width, width), _stage(width, width, 1)
        )
        self.where = nn.Conv2d(width, len(VARIABLES), 1)
        self.heads = nn.ModuleDict({v.name: nn.Linear(3 * width, len(v.domain)) for v in VARIABLES})

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """(B, 3, 256, 256) in [-1, 1] -> logits (B, values) per concept."""
        f = self.features(F.avg_pool2d(pictures, 2))
        weights = self.where(f).flatten(2).softmax(-1)
        attended = torch.einsum("bkn,bcn->bkc", weights, f.flatten(2))
        pooled = torch.cat([f.mean((2, 3)), f.amax((2, 3))], 1)
        return {v.name: self.heads[v.name](torch.cat([pooled, attended[:, k]], 1)) for k, v in enumerate(VARIABLES)}


@cache
def readers() -> Readers:
    """The shipped readers."""
    model = Readers()
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in read(READERS).items()})
    return model.eval().requires_grad_(False)


def as_input(pictures: np.ndarray) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def probabilities(pictures: np.ndarray) -> list[dict[str, dict[str, float]]]:
    """How probable every value of every concept is in (B, 256, 256, 3) uint8 pictures."""
    shares = {name: logits.softmax(-1).tolist() for name, logits in readers()(as_input(pictures)).items()}
    return [{v.name: dict(zip(v.domain, shares[v.name][b], strict=True)) for v in VARIABLES} for b in range(len(pictures))]


@torch.no_grad()
def read_values(pictures: np.ndarray) -> list[Values]:
    """The values that (B, 256, 256, 3) uint8 pictures show."""
    logits = readers()(as_input(pictures))
    return [{v.name: v.domain[int(logits[v.name][b].argmax())] for v in VARIABLES} for b in range(len(pictures))]
