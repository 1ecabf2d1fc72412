"""Training of the autoencoder on random crops, and the encoding of the training set."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from csg.images import psnr
from csg.town.autoencoder import Autoencoder
from csg.town.render import SIZE

from .runs import Meter, Run, cosine_tail, step_generator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters; the last `whole` share of the steps sees larger crops, which keeps flat colours true."""

    steps: int = 4800
    batch: int = 16
    crop: int = 64
    whole: float = 0.15
    rate: float = 1.5e-3
    latent_noise: float = 0.07
    seed: int = 0


def planes(pictures: np.ndarray) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float in [0, 1], channels last in memory."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    return x.contiguous(memory_format=torch.channels_last)


def crops(pictures: np.ndarray, settings: Settings, step: int) -> Tensor:
    """A batch of random crops on the latent's grid."""
    late = step >= settings.steps * (1 - settings.whole)
    side = settings.crop * 2 if late else settings.crop
    count = settings.batch // 4 if late else settings.batch
    rng = np.random.default_rng((settings.seed, step))
    rows = rng.integers(0, len(pictures), count)
    corners = rng.integers(0, (SIZE - side) // 8 + 1, (count, 2)) * 8
    return planes(np.stack([pictures[i, y : y + side, x : x + side] for i, (y, x) in zip(rows, corners, strict=True)]))


def edges(x: Tensor) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical differences."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def reconstruction_loss(got: Tensor, wanted: Tensor) -> Tensor:
    """L1 + 2 MSE + half the L1 of the edges."""
    rims = sum((a - b).abs().mean() for a, b in zip(edges(got), edges(wanted), strict=True))
    return (got - wanted).abs().mean() + 2 * (got - wanted).pow(2).mean() + 0.5 * rims


def train(pictures: np.ndarray, checkpoint: Path, settings: Settings) -> Autoencoder:
    """Train (or go on training) and return the averaged model in evaluation mode, its latents normalised."""
    torch.manual_seed(settings.seed)
    model = Autoencoder().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), settings.rate, (0.9, 0.98), weight_decay=1e-4, fused=True)
    run = Run(model, optimiser, checkpoint, settings.steps,
              lambda step: cosine_tail(step, settings.steps, settings.rate, 100, 0.4))  # fmt: skip
    meter = Meter(run, 250)
    while run.running():
        x = crops(pictures, settings, run.step)
        with torch.autocast("cpu", torch.bfloat16):
            z = model.encode(x)
            noise = torch.randn(z.shape, generator=step_generator(settings.seed, run.step))
            y = model.decode(z + settings.latent_noise * noise)
        loss = reconstruction_loss(y.float(), x)
        run.update(loss)
        meter.add(loss=loss.item(), psnr=psnr(y.detach().float().clamp(0, 1), x))
    run.use_average()
    return normalise(model.eval(), pictures)


@torch.no_grad()
def normalise(model: Autoencoder, pictures: np.ndarray, count: int = 256) -> Autoencoder:
    """Set the latents' statistics to those of whole pictures under the final weights."""
    z = torch.cat([model.encoder(planes(pictures[i : i + 8])).float() for i in range(0, count, 8)])
    model.norm.running_mean.copy_(z.mean((0, 2, 3)))
    model.norm.running_var.copy_(z.var((0, 2, 3)))
    return model


@dataclass(frozen=True)
class DecoderSettings:
    """Hyper-parameters of the decoder's own training, on whole pictures: their borders are learnt only there."""

    steps: int = 600
    batch: int = 3
    rate: float = 6e-4
    latent_noise: float = 0.03
    seed: int = 3


def refine_decoder(
    model: Autoencoder, latents: Tensor, pictures: np.ndarray, checkpoint: Path, settings: DecoderSettings
) -> Autoencoder:
    """Train the decoder alone against the fixed encoder, so that the denoiser's latents stay what they are."""
    decoder = model.decoder.train()
    optimiser = torch.optim.AdamW(decoder.parameters(), settings.rate, (0.9, 0.98), weight_decay=1e-4, fused=True)
    run = Run(decoder, optimiser, checkpoint, settings.steps,
              lambda step: cosine_tail(step, settings.steps, settings.rate, 100, 0.3))  # fmt: skip
    meter = Meter(run, 100)
    while run.running():
        rows = np.sort(np.random.default_rng((settings.seed, run.step)).integers(0, len(latents), settings.batch))
        z, wanted = latents[torch.from_numpy(rows)].float(), planes(pictures[rows])
        noise = torch.randn(z.shape, generator=step_generator(settings.seed, run.step))
        with torch.autocast("cpu", torch.bfloat16):
            got = decoder(z + settings.latent_noise * noise).float()
        loss = reconstruction_loss(got, wanted)
        run.update(loss)
        meter.add(loss=loss.item(), psnr=psnr(got.detach().clamp(0, 1), wanted))
    run.use_average()
    return model.eval()


@torch.no_grad()
def encode_all(model: Autoencoder, pictures: np.ndarray, path: Path, kind: torch.dtype = torch.bfloat16) -> Tensor:
    """Latents (N, 4, h, w) float16 of the training set, computed in `kind`, kept in `path`."""
    if path.exists():
        return torch.load(path, weights_only=True)
    batches = []
    with torch.autocast("cpu", kind, enabled=kind != torch.float32):
        for i in range(0, len(pictures), 16):
            batches.append(model.encode(planes(pictures[i : i + 16])).half().contiguous())
            if i % 1600 == 0:
                log.info("encoded %d of %d", i, len(pictures))
    latents = torch.cat(batches)
    torch.save(latents, path)
    return latents


@torch.no_grad()
def evaluate(model: Autoencoder, pictures: np.ndarray) -> float:
    """PSNR in dB over whole held-out pictures, in single precision."""
    values = [psnr(model.decode(model.encode(x)).clamp(0, 1), x) for x in (planes(pictures[i : i + 8]) for i in range(0, len(pictures), 8))]
    return float(np.mean(values))
