"""Training of Town's second painter: a rectified-flow transformer on the UNet's latents, captions and regions.

The network is ComfyUI's own class and the text encoders are the shipped ones, frozen; both are handed in by the caller.
What is drawn towards noise is a straight line, x = (1 - s) z + s n, and what is learnt is its velocity n - z. As in the
UNet, small things count more and the attention to words is supervised, here in the middle joint blocks, but only up to
a share: image tokens that attend to words alone cannot agree with each other, and houses are doubled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from csg.town.canvas import THINGS

from . import batches
from .batches import WEIGHT_OF_THING, Batch, Dataset, attention_of_words, loss_weights
from .captions import LENGTH, Mix, TextPair
from .runs import Masters

GRID = 16  # image tokens per side
SUPERVISED_BLOCKS = (1, 2)
READ_BLOCK = 1  # the block whose image tokens must know which thing they show
RARE = 0.35  # share of scenes with a small thing that the world seldom has


@dataclass(frozen=True)
class Settings(batches.Settings):
    """Hyper-parameters. `level_*`: how the noise levels s are drawn; `attention_enough` and `_most`: see `attention_loss`."""

    level_mean: float = 0.6
    level_spread: float = 1.2
    level_uniform: float = 0.15
    attention_weight: float = 0.025
    attention_below: float = 0.9
    attention_enough: float = 0.12
    attention_most: float = 0.4
    things_weight: float = 0.05
    captions: Mix = Mix(nothing=0.12, one=0.15, half=0.15, shuffled=0.4)
    weights: Mapping[str, float] = field(default_factory=lambda: WEIGHT_OF_THING | {"person": 4.0, "snowman": 4.0})


class RecordingAttention:
    """Plain softmax attention, fast to differentiate on a CPU; keeps the image tokens' attention to the text."""

    def __init__(self) -> None:
        self.maps: list[Tensor] = []

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, heads: int, **_: object) -> Tensor:
        """q, k and v (B, 77 + cells, c), text first -> the same shape; a map is (B, cells, 77), averaged over the heads."""
        b, n, c = q.shape
        q, k, v = (x.reshape(b, n, heads, c // heads).transpose(1, 2) for x in (q, k, v))
        weights = ((q * (c // heads) ** -0.5) @ k.transpose(-1, -2)).softmax(-1)
        self.maps.append(weights[:, :, LENGTH:, :LENGTH].float().mean(1))
        return (weights @ v.contiguous()).transpose(1, 2).reshape(b, n, c)

    def take(self) -> list[Tensor]:
        """The maps of all blocks since the last time."""
        maps, self.maps = self.maps, []
        return maps


def attention_loss(maps: Sequence[Tensor], tokens: Tensor, regions: Tensor, counted: Tensor, settings: Settings) -> Tensor:
    """How far each concept's attention is from its region: KL divergence of its words' map and of its last word's.

    Inside the region the last word is to have the share `attention_enough` of the attention, and nothing for more; all
    the words together are to have no more than `attention_most`. `maps`: per supervised block (B, cells, 77); `tokens`
    (B, K, 77) 0/1; `regions` (B, K, cells); `counted` (B, K) 0/1.
    """
    far, share, share_of_last = attention_of_words(sum(maps) / len(maps), tokens, regions)
    wanting = (settings.attention_enough / (share_of_last + 1e-3)).log().clamp(min=0)
    excess = (share / settings.attention_most + 1e-6).log().clamp(min=0)
    each = far + 0.25 * wanting + excess
    return (each * counted).sum() / counted.sum().clamp(min=1)


def draw_levels(settings: Settings, generator: torch.Generator) -> Tensor:
    """Noise levels s (batch,) in (0, 1]: logit-normal and stratified, a share of them uniform."""
    size = settings.batch
    u = (torch.arange(size) + torch.rand(size, generator=generator)) / size
    u = u[torch.randperm(size, generator=generator)].clamp(1e-4, 1 - 1e-4)
    normal = torch.sigmoid(settings.level_mean + settings.level_spread * torch.special.ndtri(u))
    flat = torch.rand(size, generator=generator) < settings.level_uniform
    return torch.where(flat, u, normal).clamp(min=1e-3)


class FrozenText:
    """The shipped text encoders as the transformer hears them: padding zeroed, begin and end kept, no rule for nothing."""

    def __init__(self, pair: TextPair) -> None:
        self.pair = pair.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Context (B, 77, c) and pooled vector (B, p)."""
        context, pooled = self.pair(batch.ids_l, batch.ids_g)
        return context * (torch.arange(LENGTH) < batch.words[:, None] + 2)[..., None], pooled


class Things(nn.Module):
    """Training only: which things cover each cell, guessed from the image tokens of one block."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        width = network.final_layer.linear.in_features
        self.guess = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(THINGS)))
        self.seen = torch.empty(0)
        network.joint_blocks[READ_BLOCK].register_forward_hook(self._keep)

    def _keep(self, _: nn.Module, __: tuple, output: tuple[Tensor, Tensor]) -> None:
        self.seen = output[1]

    def forward(self, cover: Tensor) -> Tensor:
        """Cross-entropy against the occupancy (B, things, 16, 16) of what the last call of the network showed."""
        guessed = self.guess(self.seen.float()).log_softmax(-1)
        return -(cover.flatten(2).transpose(1, 2) * guessed).sum(-1).mean()


class Objective:
    """The loss of one batch."""

    def __init__(self, network: nn.Module, text: FrozenText, attention: RecordingAttention, things: Things, settings: Settings) -> None:
        self.network, self.text, self.attention, self.things, self.settings = network, text, attention, things, settings

    def __call__(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The weighted error of the velocity plus what supervises attention and image tokens, and the figures to log."""
        o, z = self.settings, batch.latents
        s = draw_levels(o, generator)
        noise, level = torch.randn(z.shape, generator=generator), s[:, None, None, None]
        context, pooled = self.text(batch)
        guess = self.velocity((1 - level) * z + level * noise, s, context, pooled)
        square = (guess - (noise - z)).pow(2)
        error = (square * loss_weights(batch.cover, z.shape[-1], o.weights)).mean()
        counted = (batch.tokens.sum(-1) > 0) & (batch.regions.amax(-1) > 0.12) & (s < o.attention_below)[:, None]
        maps = self.attention.take()
        astray = attention_loss([maps[i] for i in SUPERVISED_BLOCKS], batch.tokens, batch.regions, counted.float(), o)
        blind = self.things(batch.cover)
        each, quarter = square.detach().mean((1, 2, 3)), (s * 4).long().clamp(max=3)
        figures = {f"v{q}": float(each[quarter == q].mean()) for q in range(4) if (quarter == q).any()}
        figures |= {"v": float(each.mean()), "attention": float(astray.detach()), "things": float(blind.detach())}
        return error + o.attention_weight * astray + o.things_weight * blind, figures

    def velocity(self, x: Tensor, s: Tensor, context: Tensor, pooled: Tensor) -> Tensor:
        """The network's velocity at x (B, 4, h, w) and levels s (B,), float32."""
        kind = self.network.dtype
        return self.network(x.to(kind), s * 1000, context=context.to(kind), y=pooled.to(kind)).float()


@torch.no_grad()
def hear_from_the_start(network: nn.Module, context: Tensor, pooled: Tensor) -> None:
    """Fold mean and deviation of the text's features into the layers that read them, so that words count from step 0."""
    tokens = context.flatten(0, 1)
    tokens = tokens[tokens.abs().sum(-1) > 0]
    for layer, features in ((network.context_embedder, tokens), (network.y_embedder.mlp[0], pooled)):
        layer.weight /= features.std(0).clamp(min=0.05)
        layer.bias -= layer.weight @ features.mean(0)


def train(
    network: nn.Module, text: FrozenText, attention: RecordingAttention, data: Dataset, checkpoint: Path, settings: Settings,
    kind: torch.dtype,
) -> dict[str, Tensor]:  # fmt: skip
    """Train (or go on training), computing in `kind`; the averaged weights."""
    torch.manual_seed(settings.seed)
    if not checkpoint.exists():
        hear_from_the_start(network, *text(data.batch(128, np.random.default_rng(settings.seed))))
    things, masters = Things(network), Masters(network, kind)
    network.dtype = kind
    both = nn.ModuleDict({"network": masters, "things": things})
    optimiser = torch.optim.AdamW(both.parameters(), settings.rate, (0.9, 0.99), weight_decay=0.01, fused=True)
    objective = Objective(network, text, attention, things, settings)
    batches.train(both, masters, optimiser, checkpoint, objective, data, settings, 50)
    return masters.state_of(network)
