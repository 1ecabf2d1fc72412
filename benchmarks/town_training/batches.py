"""What the training of both painters shares: batches of latents with fresh captions and regions, parts of the loss, the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from csg.town.canvas import THING_ID
from csg.town.regions import LOCAL, region

from .captions import LENGTH, Captioner, Mix
from .data import decode
from .runs import Masters, Meter, Run, cosine_tail, step_generator

WEIGHT_OF_THING = {
    "window": 1.5, "lamp": 1.5, "car": 3.0, "beam": 1.5, "person": 2.5, "snowman": 1.5, "house": 4.0, "crown": 0.7,
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters that both painters have; `hold`: the share of the steps before the rate falls."""

    steps: int = 2000
    batch: int = 16
    rate: float = 1e-3
    hold: float = 0.5
    captions: Mix = Mix()
    seed: int = 1


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

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(**{name: tensor.to(device) for name, tensor in vars(self).items()})


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


def attention_of_words(maps: Tensor, tokens: Tensor, regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How far each concept's attention is from its region, by the maps of its words and of its last word; their shares inside.

    `maps` (B, cells, 77); `tokens` (B, K, 77) 0/1; `regions` (B, K, cells) -> three times (B, K), the first a KL divergence.
    """
    last = tokens * (tokens.cumsum(-1) == tokens.sum(-1, keepdim=True))
    wanted = regions / (regions.sum(-1, keepdim=True) + 1e-6)
    words, knowing = (torch.einsum("bnk,bvk->bvn", maps, chosen) for chosen in (tokens, last))
    far = divergence(wanted, words) + divergence(wanted, knowing)
    return far, (wanted * words).sum(-1), (wanted * knowing).sum(-1)


def train(
    trained: nn.Module, masters: Masters, optimiser: torch.optim.Optimizer, checkpoint: Path,
    objective: Callable[[Batch, torch.Generator], tuple[Tensor, dict[str, float]]], data: Dataset, settings: Settings, log_every: int,
) -> None:  # fmt: skip
    """Train (or go on training) `trained`, which holds the `masters`; at the end its weights are the averaged ones."""
    run = Run(trained, optimiser, checkpoint, settings.steps,
              lambda step: cosine_tail(step, settings.steps, settings.rate, 150, settings.hold), 100,
              after_backward=masters.collect)  # fmt: skip
    meter = Meter(run, log_every)
    while run.running():
        masters.lend()
        rng = np.random.default_rng((settings.seed, run.step))
        loss, figures = objective(data.batch(settings.batch, rng), step_generator(settings.seed, run.step))
        run.update(loss)
        meter.add(**figures)
    run.use_average()
