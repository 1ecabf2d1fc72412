"""Training of the denoiser and its two text encoders on latents, captions and regions.

The networks are ComfyUI's own classes, handed in by the caller; this module knows only torch. Three choices matter:
noise with a random offset per channel (without it the model never learns night), a loss that counts small things more,
and supervision of the cross-attention maps with the renderer's own regions (without it they do not localise).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from csg.town.canvas import THING_ID
from csg.town.regions import CELLS, LOCAL, region
from csg.town.world import CAPTION_ORDER, VARIABLES

from .data import decode
from .runs import Meter, Run, cosine_tail, step_generator

log = logging.getLogger(__name__)

BOS, EOS, LENGTH = 49406, 49407, 77
SUPERVISED_LAYERS = (0, 1, 3, 4, 5)  # input 7, input 8, (middle 0), output 0, 1, 2: the layers that M1 averages
WEIGHT_OF_THING = {
    "window": 1.5, "lamp": 1.5, "car": 3.0, "beam": 1.5, "person": 2.5, "snowman": 1.5, "house": 4.0, "crown": 0.7,
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of the denoiser's training."""

    steps: int = 4200
    batch: int = 16
    rate: float = 7e-4
    hold: float = 0.55
    offset: float = 0.15
    snr_cap: float = 5.0
    snr_floor: float = 0.15
    no_caption: float = 0.10
    no_pooled: float = 0.20
    article: float = 0.25
    attention_weight: float = 0.03
    attention_below: int = 900
    velocity: bool = False
    velocity_cap: float = 60.0
    coarse_weight: float = 0.0
    seed: int = 1


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


@dataclass(frozen=True)
class Caption:
    """Token ids of both encoders and, per supervised concept, which positions are its words."""

    ids_l: list[int]
    ids_g: list[int]
    words: int
    spans: Mapping[str, tuple[int, int]]


class Captioner:
    """Draws captions of a scene: all concepts, some, one, or none, in varying order."""

    def __init__(self, tokenise: Callable[[str], list[int]], settings: Settings) -> None:
        self.settings = settings
        self.comma = tokenise(",")
        self.articles = [tokenise(word) for word in ("a", "the")]
        self.phrases = {(v.name, value): tokenise(phrase) for v in VARIABLES for value, phrase in v.phrases.items()}

    def vocabulary(self) -> list[int]:
        """Every id that a caption can hold."""
        words = [*self.phrases.values(), self.comma, *self.articles]
        return sorted({i for ids in words for i in ids} | {0, BOS, EOS})

    def names(self, rng: np.random.Generator) -> list[str]:
        """Which concepts the caption names, in which order; empty = unconditional."""
        if rng.random() < self.settings.no_caption:
            return []
        kind, names = rng.random(), list(CAPTION_ORDER)
        if kind > 0.8:
            return [names[rng.integers(len(names))]]
        if kind > 0.5:
            names = [n for n in names if rng.random() < 0.5] or ["weather"]
        if rng.random() < 0.6:
            rng.shuffle(names)
        return names

    def draw(self, values: Mapping[str, str], rng: np.random.Generator) -> Caption:
        """One caption of a scene with these values."""
        body: list[int] = []
        spans = {}
        for name in self.names(rng):
            words = self.phrases[name, values[name]]
            if rng.random() < self.settings.article:
                words = [*self.articles[rng.integers(2)], *words]
            if len(body) + len(words) + 1 > LENGTH - 2:
                break
            body += self.comma if body else []
            spans[name] = (1 + len(body), 1 + len(body) + len(words))
            body += words
        ids = [BOS, *body, EOS]
        pad = LENGTH - len(ids)
        return Caption(ids + [EOS] * pad, ids + [0] * pad, len(body), spans)


class TextPair(nn.Module):
    """The two text encoders with tables of the used ids only (the rest of CLIP's vocabulary never gets a gradient)."""

    def __init__(self, encoder_l: nn.Module, encoder_g: nn.Module, vocabulary: Sequence[int]) -> None:
        super().__init__()
        self.l, self.g = encoder_l, encoder_g
        self.register_buffer("remap", torch.zeros(49408, dtype=torch.long), persistent=False)
        self.remap[torch.tensor(vocabulary)] = torch.arange(len(vocabulary))
        for encoder in (self.l, self.g):
            table = encoder.text_model.embeddings.token_embedding
            table.weight = nn.Parameter(table.weight.data[: len(vocabulary)].clone())

    def forward(self, ids_l: Tensor, ids_g: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 77) ids -> context (B, 77, cl + cg) from the layers before the last, pooled (B, cg)."""
        ends = ((ids_l == EOS).int().argmax(-1) + 1).tolist()
        options = {"num_tokens": ends, "intermediate_output": -2, "final_layer_norm_intermediate": False}
        states_l = self.l(self.remap[ids_l], **options)
        states_g = self.g(self.remap[ids_g], **options)
        return torch.cat([states_l[1], states_g[1]], -1), states_g[2]


def alphas_cumprod() -> Tensor:
    """SDXL's schedule: signal share per timestep, (1000,)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def size_features(height: int, width: int) -> Tensor:
    """SDXL's size conditioning: Fourier features of (h, w, 0, 0, h, w), (1, 1536)."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(128).float() / 128)
    angles = torch.tensor([height, width, 0, 0, height, width]).float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1).reshape(1, -1)


def loss_weights(cover: Tensor, size: int) -> Tensor:
    """Occupancy (B, things, 8, 8) -> weight per latent pixel (B, 1, size, size), mean 1."""
    weights = 1 + sum(w * cover[:, THING_ID[name]] for name, w in WEIGHT_OF_THING.items())
    weights = F.interpolate(weights[:, None], (size, size))
    return weights / weights.mean((2, 3), keepdim=True)


def attention_loss(maps: Sequence[Tensor], tokens: Tensor, regions: Tensor, counted: Tensor) -> Tensor:
    """How far each concept's attention is from its region: mean KL divergence of its words' map and its last word's map.

    The last word alone knows the whole phrase, CLIP being causal, so its share of the attention inside the region counts
    too: without that the colour of a house is never heard, since "house" finds the house and says nothing of colours.
    `maps`: per layer (B, heads, cells, 77); `tokens` (B, K, 77) 0/1; `regions` (B, K, cells); `counted` (B, K) 0/1.
    """
    mean = sum(maps[j].float().mean(1) for j in SUPERVISED_LAYERS) / len(SUPERVISED_LAYERS)
    last = tokens * (tokens.cumsum(-1) == tokens.sum(-1, keepdim=True))
    wanted = regions / (regions.sum(-1, keepdim=True) + 1e-6)
    words, knowing = (torch.einsum("bnk,bvk->bvn", mean, chosen) for chosen in (tokens, last))
    share = (wanted * knowing).sum(-1)
    each = divergence(wanted, words) + divergence(wanted, knowing) - 0.25 * (share + 1e-3).log()
    return (each * counted).sum() / counted.sum().clamp(min=1)


def divergence(wanted: Tensor, got: Tensor) -> Tensor:
    """KL divergence from a distribution over cells to a map that is normalised first, (..., cells) -> (...)."""
    got = got / (got.sum(-1, keepdim=True) + 1e-6)
    return (wanted * ((wanted + 1e-4).log() - (got + 1e-4).log())).sum(-1)


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


class Masters(nn.Module):
    """Single-precision weights of a network that computes in bfloat16 (1.6 times as fast as autocast on a CPU)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.weights = nn.ParameterList([p.detach().float().clone() for p in network.parameters()])
        self.used = list(network.bfloat16().parameters())

    @torch.no_grad()
    def lend(self) -> None:
        """Round the weights into the network."""
        for used, weight in zip(self.used, self.weights, strict=True):
            used.copy_(weight)
            used.grad = None

    def collect(self) -> None:
        """Take the network's gradients over."""
        for used, weight in zip(self.used, self.weights, strict=True):
            weight.grad = None if used.grad is None else used.grad.float()

    def state_of(self, network: nn.Module) -> dict[str, Tensor]:
        """State dict of the network in single precision."""
        return {name: w.detach() for (name, _), w in zip(network.named_parameters(), self.weights, strict=True)}


@dataclass
class Batch:
    """Tensors of one training step."""

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
        regions = torch.zeros(size, len(LOCAL), CELLS * CELLS)
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


class Objective:
    """The loss of one batch."""

    def __init__(self, unet: nn.Module, text: TextPair, attention: RecordingAttention, heads: CoarseHeads, settings: Settings) -> None:
        self.heads = heads
        self.unet, self.text, self.attention, self.settings = unet, text, attention, settings
        self.alphas = alphas_cumprod()
        snr = self.alphas / (1 - self.alphas)
        self.weights = (snr.clamp(max=settings.snr_cap) / snr).clamp(min=settings.snr_floor)
        if settings.velocity:
            self.weights = (1 + 1 / snr).clamp(max=settings.velocity_cap)
        self.sizes = size_features(256, 256)

    def conditions(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Context (B, 77, c) with padding zeroed, and the vector (B, pooled + 1536); both zero without a caption."""
        context, pooled = self.text(batch.ids_l, batch.ids_g)
        ends = torch.where(batch.words > 0, batch.words + 2, 0)[:, None]
        context = context * (torch.arange(LENGTH)[None] < ends)[..., None]
        keep = (batch.words > 0) & (torch.rand(len(ends), generator=generator) > self.settings.no_pooled)
        return context, torch.cat([pooled.float() * keep[:, None], self.sizes.expand(len(ends), -1)], 1)

    def __call__(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The weighted noise error plus the attention term, and the figures to log."""
        z, s = batch.latents, self.settings
        size = len(z)
        strata = (torch.arange(size) + torch.rand(size, generator=generator)) / size * 1000
        if s.velocity:  # a quarter below 500, a quarter up to 800, half above
            strata = torch.where(strata < 250, strata * 2, torch.where(strata < 500, 200 + strata * 1.2, 600 + strata * 0.4))
        t = strata.long().clamp(0, 999)[torch.randperm(size, generator=generator)]
        noise = torch.randn(z.shape, generator=generator) + s.offset * torch.randn(size, 4, 1, 1, generator=generator)
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
    heads = CoarseHeads(unet)
    both = nn.ModuleDict({"unet": masters, "text": text, "heads": heads})
    decayed = [p for n, p in both.named_parameters() if "embedding" not in n]
    tables = [p for n, p in both.named_parameters() if "embedding" in n]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": tables, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, settings.rate, (0.9, 0.99), fused=True)
    run = Run(both, optimiser, checkpoint, settings.steps,
              lambda step: cosine_tail(step, settings.steps, settings.rate, 150, settings.hold), 100,
              after_backward=masters.collect)  # fmt: skip
    meter, objective = Meter(run), Objective(unet, text, attention, heads, settings)
    while run.running():
        masters.lend()
        rng = np.random.default_rng((settings.seed, run.step))
        loss, figures = objective(data.batch(settings.batch, rng), step_generator(settings.seed, run.step))
        run.update(loss)
        meter.add(**figures)
    run.use_average()
    return masters.state_of(unet)
