"""Training of the attribute readers on renders and on what the autoencoder makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from csg.town.autoencoder import Autoencoder
from csg.town.readers import Readers, as_input
from csg.town.world import NAMES

from .runs import Meter, Run, cosine_tail, step_generator
from .vae import planes


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters; a third of each batch is decoded latents with some noise, so that drawn pictures read well."""

    steps: int = 700
    batch: int = 48
    decoded: int = 2000
    latent_noise: float = 0.15
    rate: float = 2e-3
    seed: int = 2


@torch.no_grad()
def decoded_pictures(model: Autoencoder, pictures: np.ndarray, settings: Settings) -> np.ndarray:
    """The first `decoded` pictures through the autoencoder, their latents slightly noisy; uint8."""
    out = []
    generator = torch.Generator().manual_seed(settings.seed)
    for i in range(0, settings.decoded, 16):
        with torch.autocast("cpu", torch.bfloat16):
            z = model.encode(planes(pictures[i : i + 16]))
            strength = settings.latent_noise * torch.rand(len(z), 1, 1, 1, generator=generator)
            y = model.decode(z + strength * torch.randn(z.shape, generator=generator))
        out.append((y.float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(out)


def augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Slight shifts of brightness and grain, so that nothing hangs on exact colours."""
    shift = torch.randn(len(x), 3, 1, 1, generator=generator) * 0.05
    grain = torch.randn(x.shape, generator=generator) * 0.05 * torch.rand(len(x), 1, 1, 1, generator=generator)
    return x + shift + grain


def train(pictures: np.ndarray, values: np.ndarray, decoded: np.ndarray, checkpoint: Path, settings: Settings) -> Readers:
    """Train (or go on training); returns the model in evaluation mode."""
    torch.manual_seed(settings.seed)
    model = Readers()
    optimiser = torch.optim.AdamW(model.parameters(), settings.rate, weight_decay=1e-3, fused=True)
    run = Run(model, optimiser, checkpoint, settings.steps,
              lambda step: cosine_tail(step, settings.steps, settings.rate, 50, 0.2), 250)  # fmt: skip
    meter = Meter(run)
    while run.running():
        rng = np.random.default_rng((settings.seed, run.step))
        own = rng.integers(0, len(pictures), settings.batch - settings.batch // 3)
        again = rng.integers(0, len(decoded), settings.batch // 3)
        x = torch.cat([as_input(pictures[np.sort(own)]), as_input(decoded[again])])
        target = torch.from_numpy(np.concatenate([values[np.sort(own)], values[again]]).astype(np.int64))
        logits = model(augmented(x, step_generator(settings.seed, run.step)))
        loss = sum(F.cross_entropy(logits[name], target[:, k]) for k, name in enumerate(NAMES))
        run.update(loss)
        meter.add(loss=loss.item())
    return model.eval()


@torch.no_grad()
def accuracy(model: Readers, pictures: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Share read right per concept."""
    hits = {name: [] for name in NAMES}
    for i in range(0, len(pictures), 32):
        logits = model(as_input(pictures[i : i + 32]))
        for k, name in enumerate(NAMES):
            hits[name] += (logits[name].argmax(1).numpy() == values[i : i + 32, k]).tolist()
    return {name: float(np.mean(found)) for name, found in hits.items()}
