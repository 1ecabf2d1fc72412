"""Training batches of both denoisers: latents with fresh captions and the renderer's regions, and what loss they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from csg.town.canvas import THING_ID
from csg.town.regions import LOCAL, region

from .captions import LENGTH, Captioner
from .data import decode

WEIGHT_OF_THING = {
    "window": 1.5, "lamp": 1.5, "car": 3.0, "beam": 1.5, "person": 2.5, "snowman": 1.5, "house": 4.0, "crown": 0.7,
}  # fmt: skip


@dataclass
class Batch:
    """Tensors of one training step: `tokens` (B, K, 77) are the words of each local concept, `regions` (B, K, cells) its place."""

    latents: Tensor
    ids_l: Tensor
    ids_g: Tensor
    words: Tensor
    tokens: Tensor
    regions: Tensor
    cover: Tensor


class Dataset:
    """Latents, values and occupancy in memory, captions drawn per step."""

    def __init__(self, latents: Tensor, values: np.ndarray, occupancy: np.ndarray, captioner: Captioner) -> None:
        self.latents, self.values, self.occupancy, self.captioner = latents, values, occupancy, captioner

    def batch(self, size: int, rng: np.random.Generator) -> Batch:
        """`size` scenes with fresh captions."""
        rows = rng.integers(0, len(self.latents), size)
        scenes = [decode(self.values[i]) for i in rows]
        captions = [self.captioner.draw(values, rng) for values in scenes]
        cover = torch.from_numpy(self.occupancy[rows]).float() / 255
        tokens = torch.zeros(size, len(LOCAL), LENGTH)
        regions = torch.zeros(size, len(LOCAL), cover.shape[-1] ** 2)
        for b, (values, caption) in enumerate(zip(scenes, captions, strict=True)):
            for k, name in enumerate(LOCAL):
                if name in caption.spans:
                    tokens[b, k, slice(*caption.spans[name])] = 1
                    regions[b, k] = torch.as_tensor(region(cover[b].numpy(), name, values[name])).flatten()
        return Batch(
            self.latents[torch.from_numpy(rows)].float(),
            torch.tensor([c.ids_l for c in captions]), torch.tensor([c.ids_g for c in captions]),
            torch.tensor([c.words for c in captions]), tokens, regions, cover,
        )  # fmt: skip


def loss_weights(cover: Tensor, size: int, things: Mapping[str, float] = WEIGHT_OF_THING) -> Tensor:
    """Occupancy (B, things, c, c) -> weight per latent pixel (B, 1, size, size), mean 1; `things`: what counts how much more."""
    weights = 1 + sum(w * cover[:, THING_ID[name]] for name, w in things.items())
    weights = F.interpolate(weights[:, None], (size, size))
    return weights / weights.mean((2, 3), keepdim=True)


def divergence(wanted: Tensor, got: Tensor) -> Tensor:
    """KL divergence from a distribution over cells to a map that is normalised first, (..., cells) -> (...)."""
    got = got / (got.sum(-1, keepdim=True) + 1e-6)
    return (wanted * ((wanted + 1e-4).log() - (got + 1e-4).log())).sum(-1)
