"""Training of the denoiser and its two text encoders on latents, captions and regions.

The networks are ComfyUI's own classes, handed in by the caller; this module knows only torch. Three choices matter:
noise with a random offset per channel (without it the model never learns night), a loss that counts small things more,
and supervision of the cross-attention maps with the renderer's own regions (without it they do not localise).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from csg.town.regions import CELLS

from . import batches
from .batches import Batch, Dataset, attention_of_words, loss_weights
from .captions import LENGTH, TextPair
from .runs import Masters

log = logging.getLogger(__name__)

SUPERVISED_LAYERS = (0, 1, 3, 4, 5)  # input 7, input 8, (middle 0), output 0, 1, 2: the layers that M1 averages


@dataclass(frozen=True)
class Settings(batches.Settings):
    """Hyper-parameters of the denoiser's training."""

    steps: int = 4200
    rate: float = 7e-4
    hold: float = 0.55
    offset: float = 0.15
    snr_cap: float = 5.0
    snr_floor: float = 0.15
    no_pooled: float = 0.20
    attention_weight: float = 0.03
    attention_below: int = 900
    velocity: bool = False
    velocity_cap: float = 60.0
    coarse_weight: float = 0.0


# The second phase: noisy levels count as the velocity's error would, since there alone the caption says more than the
# latent shows. With the first phase's weights captions are hardly heard.
LISTENING = Settings(steps=3300, rate=5e-4, hold=0.7, velocity=True, attention_weight=0.02, coarse_weight=0.5, no_pooled=0.15, seed=5)


class RecordingAttention:
    """Plain softmax attention, fast to differentiate on a CPU; keeps the cross-attention maps of the 8x8 level."""

    def __init__(self) -> None:
        self.maps: list[Tensor] = []

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, *_: object, **__: object) -> Tensor:
        """q (B, n, c), k and v (B, m, c) -> (B, n, c)."""
        b, n, c = q.shape
        q, k, v = (x.view(b, -1, heads, c // heads).transpose(1, 2) for x in (q, k, v))
        scores = (q * (c // heads) ** -0.5) @ k.transpose(-1, -2)
        weights = (scores if mask is None else scores + mask).softmax(-1)
        if n == CELLS * CELLS and k.shape[2] == LENGTH:
            self.maps.append(weights)
        return (weights @ v.contiguous()).transpose(1, 2).reshape(b, n, c)


def alphas_cumprod() -> Tensor:
    """SDXL's schedule: signal share per timestep, (1000,)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def size_features(height: int, width: int) -> Tensor:
    """SDXL's size conditioning: Fourier features of (h, w, 0, 0, h, w), (1, 1536)."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(128).float() / 128)
    angles = torch.tensor([height, width, 0, 0, height, width]).float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1).reshape(1, -1)


def attention_loss(maps: Sequence[Tensor], tokens: Tensor, regions: Tensor, counted: Tensor) -> Tensor:
    """How far each concept's attention is from its region: mean KL divergence of its words' map and its last word's map.

    The last word alone knows the whole phrase, CLIP being causal, so its share of the attention inside the region counts
    too: without that the colour of a house is never heard, since "house" finds the house and says nothing of colours.
    `maps`: per layer (B, heads, cells, 77); `tokens` (B, K, 77) 0/1; `regions` (B, K, cells); `counted` (B, K) 0/1.
    """
    mean = sum(maps[j].float().mean(1) for j in SUPERVISED_LAYERS) / len(SUPERVISED_LAYERS)
    far, _, share_of_last = attention_of_words(mean, tokens, regions)
    each = far - 0.25 * (share_of_last + 1e-3).log()
    return (each * counted).sum() / counted.sum().clamp(min=1)


class CoarseHeads(nn.Module):
    """Training only: what the picture will be, guessed at 8x8 and 16x16 inside the UNet's decoder.

    A network that predicts noise must copy its input to three digits before a caption's share of a very noisy latent
    shows in the loss. These heads ask for that share directly, so words are learnt from the first steps on.
    """

    PLACES = ((2, 4), (5, 2))  # (output block whose transformer is read, how many latent pixels a cell spans)

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        blocks = [unet.output_blocks[i][1] for i, _ in self.PLACES]
        widths = [block.proj_out.out_features for block in blocks]
        self.heads = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(32, w), nn.SiLU(), nn.Conv2d(w, 4, 3, padding=1)) for w in widths
        )
        for block in blocks:
            block.register_forward_hook(lambda _module, _inputs, output: self.seen.append(output))

    def forward(self, latents: Tensor, weights: Tensor) -> Tensor:
        """Squared error (B,) against the clean latents (B, 4, h, w), from what the last UNet call showed.

        `weights` (B, 1, h, w), mean 1: how much each place counts.
        """
        seen, self.seen = self.seen, []
        errors = 0
        for (_, span), head, features in zip(self.PLACES, self.heads, seen, strict=True):
            square = (head(features.float()) - F.avg_pool2d(latents, span)).pow(2)
            errors = errors + (square * F.avg_pool2d(weights, span)).mean((1, 2, 3))
        return errors / len(seen)


class Objective:
    """The loss of one batch."""

    def __init__(self, unet: nn.Module, text: TextPair, attention: RecordingAttention, heads: CoarseHeads, settings: Settings) -> None:
        self.heads = heads
        self.unet, self.text, self.attention, self.settings = unet, text, attention, settings
        self.device = next(unet.parameters()).device
        self.alphas = alphas_cumprod().to(self.device)
        snr = self.alphas / (1 - self.alphas)
        self.weights = (snr.clamp(max=settings.snr_cap) / snr).clamp(min=settings.snr_floor)
        if settings.velocity:
            self.weights = (1 + 1 / snr).clamp(max=settings.velocity_cap)
        self.sizes = size_features(256, 256).to(self.device)

    def conditions(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Context (B, 77, c) with padding zeroed, and the vector (B, pooled + 1536); both zero without a caption."""
        context, pooled = self.text(batch.ids_l, batch.ids_g)
        ends = torch.where(batch.words > 0, batch.words + 2, 0)[:, None]
        context = context * (torch.arange(LENGTH, device=self.device)[None] < ends)[..., None]
        keep = (batch.words > 0) & (torch.rand(len(ends), generator=generator).to(self.device) > self.settings.no_pooled)
        return context, torch.cat([pooled.float() * keep[:, None], self.sizes.expand(len(ends), -1)], 1)

    def __call__(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The weighted noise error plus the attention term, and the figures to log. Random numbers are the CPU's on any device."""
        batch = batch.to(self.device)
        z, s = batch.latents, self.settings
        size = len(z)
        strata = (torch.arange(size) + torch.rand(size, generator=generator)) / size * 1000
        if s.velocity:  # a quarter below 500, a quarter up to 800, half above
            strata = torch.where(strata < 250, strata * 2, torch.where(strata < 500, 200 + strata * 1.2, 600 + strata * 0.4))
        t = strata.long().clamp(0, 999)[torch.randperm(size, generator=generator)].to(self.device)
        noise = torch.randn(z.shape, generator=generator) + s.offset * torch.randn(size, 4, 1, 1, generator=generator)
        noise = noise.to(self.device)
        signal = self.alphas[t][:, None, None, None]
        context, vector = self.conditions(batch, generator)
        noisy = signal.sqrt() * z + (1 - signal).sqrt() * noise
        self.attention.maps = []
        guess = self.unet(noisy.bfloat16(), t, context.bfloat16(), vector.bfloat16())
        maps, self.attention.maps = self.attention.maps, []
        square = (guess.float() - noise).pow(2)
        places = loss_weights(batch.cover, z.shape[-1])
        error = (square * places).mean((1, 2, 3))
        counted = (batch.tokens.sum(-1) > 0) & (batch.regions.amax(-1) > 0.12) & (t < s.attention_below)[:, None]
        astray = attention_loss(maps, batch.tokens, batch.regions, counted.float())
        loss = (error * self.weights[t]).mean() + s.attention_weight * astray
        coarse = self.heads(z, places)
        loss = loss + s.coarse_weight * coarse.mean()
        each = square.detach().mean((1, 2, 3))
        figures = {f"mse{q}": float(each[t // 250 == q].mean()) for q in range(4)}
        figures["coarse"] = float(coarse.detach()[t >= 750].mean())
        return loss, figures | {"mse": float(each.mean()), "attention": float(astray.detach())}


def spare_the_size(unet: nn.Module) -> None:
    """Never train what reads the size: it is the same in all of training, so under Adam its 1536 inputs move as one.

    Left alone they drive every hidden unit of the vector's embedding below zero within a few steps, for good.
    """
    weight = unet.label_emb[0][0].weight
    pooled = weight.shape[1] - 6 * 256
    weight.register_hook(lambda gradient: torch.cat([gradient[:, :pooled], torch.zeros_like(gradient[:, pooled:])], 1))


def train(
    unet: nn.Module, text: TextPair, attention: RecordingAttention, data: Dataset, checkpoint: Path, settings: Settings
) -> dict[str, Tensor]:
    """Train (or go on training); at the end `text` holds averaged weights, and the UNet's are returned."""
    spare_the_size(unet)
    masters = Masters(unet)
    unet.dtype = torch.bfloat16
    heads = CoarseHeads(unet).to(next(unet.parameters()).device)
    both = nn.ModuleDict({"unet": masters, "text": text, "heads": heads})
    decayed = [p for n, p in both.named_parameters() if "embedding" not in n]
    tables = [p for n, p in both.named_parameters() if "embedding" in n]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": tables, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, settings.rate, (0.9, 0.99), fused=True)
    objective = Objective(unet, text, attention, heads, settings)
    batches.train(both, masters, optimiser, checkpoint, objective, data, settings, 100)
    return masters.state_of(unet)
