"""Abduction: the noises that reproduce a picture under a sampler (LEDITS++ 3.1; DDPM inversion; DDIM inversion).

Symbols as in DPM-Solver++ and LEDITS++: `sigma` levels, `denoised` m = D(x, sigma), `mu` and `std` of one stochastic
step, `z` the recorded noise. With eta = 1 the second-order step is ComfyUI's `dpmpp_2m_sde` (midpoint), and the
first-order one is ancestral DDPM sampling, so one engine serves both inversions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .space import PRESERVING, Space

DPM, DDPM, DDIM, FLOWEDIT = "dpm++", "ddpm", "ddim", "flowedit"
Denoise = Callable[[Tensor, Tensor], Tensor]
DenoiseStep = Callable[[Tensor, Tensor, int], Tensor]
Progress = Callable[[int, int, Tensor | None], None]


@dataclass(frozen=True, eq=False)
class Inversion:
    """Everything an edit needs to replay an image.

    sigmas (N + 1,); path (N + 1, B, C, h, w) the reference trajectory in model space; denoised (M, B, C, h, w) its
    predictions for the first M <= N steps; noises (N, B, C, h, w) the recorded z. All float32 on the CPU.
    `source`, `negative` and `source_guidance` are the base of the inversion, in the host's conditionings. `samples` is the
    latent as the host gave it, `noise_mask` where it may change; `space` is the kind of network; `model` and
    `patched` identify the model and its patches; `settings` describes for people how it was made, and nothing depends on it.
    """

    method: str
    order: int
    sigmas: Tensor
    path: Tensor
    denoised: Tensor
    noises: Tensor
    source: Any = None
    negative: Any = None
    source_guidance: float = 1.0
    samples: Tensor | None = None
    noise_mask: Tensor | None = None
    space: Space = Space()
    schedule: str = ""
    seed: int = 0
    model: str | None = None
    patched: str = ""
    settings: Mapping[str, str | int | float] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """N."""
        return len(self.sigmas) - 1

    @property
    def latent(self) -> Tensor:
        """The inverted latent x0 (B, C, h, w), model space."""
        return self.path[-1] / self.space.scale(float(self.sigmas[-1]))

    def on(self, device: torch.device | str, path: bool = False) -> Inversion:
        """A copy with the noises, and the `path` if wanted, on the device; a transfer in every step would wait for the device."""
        return replace(self, noises=self.noises.to(device), path=self.path.to(device) if path else self.path)


def solver_step(
    x: Tensor, denoised: Tensor, previous: Tensor | None, sigmas: Tensor, i: int, order: int
) -> tuple[Tensor, float]:
    """Mean and standard deviation of x_{i+1} given x_i: SDE-DPM-Solver++ (eta = 1), first or second order, midpoint.

    With r = sigma_{i+1} / sigma_i:  mu = r^2 x + (1 - r^2) D,  std = sigma_{i+1} sqrt(1 - r^2). The step to sigma = 0
    is the denoised latent itself.
    """
    now, after = float(sigmas[i]), float(sigmas[i + 1])
    if after == 0.0:
        return denoised, 0.0
    square = (after / now) ** 2
    direction = denoised
    if order == 2 and previous is not None:
        lambdas = torch.log(sigmas[i - 1 : i + 2].double())
        ratio = float((lambdas[1] - lambdas[2]) / (lambdas[0] - lambdas[1]))
        direction = denoised + 0.5 * ratio * (denoised - previous)
    return square * x + (1 - square) * direction, after * (1 - square) ** 0.5


def reference_path(latent: Tensor, sigmas: Tensor, seed: int, space: Space = Space()) -> Tensor:
    """The edit-friendly path (N + 1, B, C, h, w): independent noise at every level, drawn lowest level first.

    The draws come from a CPU generator, one (B, C, h, w) tensor per level, so that a seed means the same everywhere.
    A path that ends above sigma = 0 ends in the clean latent, declared to be at that level (authors' convention).
    """
    generator = torch.Generator().manual_seed(seed)
    levels = [latent * space.scale(float(sigmas[-1]))]
    for sigma in sigmas[:-1].flip(0):
        levels.append(latent + sigma * torch.randn(latent.shape, generator=generator))
    return torch.stack(levels[::-1])


def denoise_path(
    denoise: Denoise, path: Tensor, sigmas: Tensor, count: int, at_once: int, device: torch.device, progress: Progress
) -> Tensor:
    """Predictions (count, B, C, h, w) for the first `count` levels; they are independent, so `at_once` run together."""
    batch = path.shape[1]
    predictions = []
    for start in range(0, count, at_once):
        stop = min(start + at_once, count)
        x = path[start:stop].flatten(0, 1).to(device)
        predicted = denoise(x, sigmas[start:stop].repeat_interleave(batch).to(device))
        predictions.append(predicted.float().cpu().unflatten(0, (stop - start, batch)))
        progress(stop, count, predictions[-1][-1])
    return torch.cat(predictions) if predictions else path[:0]


def extract_noises(path: Tensor, denoised: Tensor, sigmas: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """z with which the solver's steps walk along the path, and the path as those steps re-synthesise it."""
    path, noises = path.clone(), torch.zeros_like(path[:-1])
    for i in range(len(denoised)):
        mu, std = solver_step(path[i], denoised[i], denoised[i - 1] if i else None, sigmas, i, order)
        scale = std or 1.0  # the step to zero has no noise: what is recorded there is what the prediction lacks
        noises[i] = (path[i + 1] - mu) / scale
        path[i + 1] = mu + scale * noises[i]
    return noises, path


def invert_sde(
    denoise: Denoise,
    latent: Tensor,
    sigmas: Tensor,
    *,
    seed: int,
    space: Space = Space(),
    order: int = 2,
    zero_noise_steps: int = 3,
    exact: bool = False,
    at_once: int = 1,
    device: torch.device | str = "cpu",
    progress: Progress = lambda *_: None,
) -> Inversion:
    """DPM-Solver++ inversion (order 2) or DDPM inversion (order 1) of `latent` (B, C, h, w), model space.

    The last `zero_noise_steps` noises are zero, so their predictions are never evaluated. The step to sigma = 0 has no
    noise; what its prediction lacks of the picture is recorded in its place only if the path is to be `exact`.
    """
    steps = len(sigmas) - 1
    needless = max(zero_noise_steps, int(float(sigmas[-1]) == 0.0 and not exact))
    path = reference_path(latent.float().cpu(), sigmas, seed, space)
    count = max(0, steps - needless)
    denoised = denoise_path(denoise, path, sigmas, count, at_once, torch.device(device), progress)
    noises, path = extract_noises(path, denoised, sigmas, order)
    return Inversion(DPM if order == 2 else DDPM, order, sigmas, path, denoised, noises, space=space)


def invert_ddim(
    denoise: Denoise,
    latent: Tensor,
    sigmas: Tensor,
    *,
    space: Space = Space(),
    device: torch.device | str = "cpu",
    progress: Progress = lambda *_: None,
) -> Inversion:
    """Deterministic DDIM inversion (prompt-to-prompt's convention): climb from the lowest level to the highest.

    The network is asked at the level that is climbed to, with the latent of the level below brought to its scale.
    """
    steps = len(sigmas) - 1
    x = latent.float().cpu() * space.scale(float(sigmas[-1]))
    path, predictions = [x], []
    for i in range(steps - 1, -1, -1):
        upper, lower = float(sigmas[i]), float(sigmas[i + 1])
        asked = x * (space.scale(upper) / space.scale(lower))
        level = torch.full((len(x),), upper, device=device)
        denoised = denoise(asked.to(device), level).float().cpu()
        x = x + (upper - lower) * (asked - denoised) / upper
        path.append(x)
        predictions.append(denoised)
        progress(steps - i, steps, denoised)
    ordered = torch.stack(path[::-1])
    return Inversion(DDIM, 1, sigmas, ordered, torch.stack(predictions[::-1]), torch.zeros_like(ordered[:-1]), space=space)


def invert_flowedit(
    denoise: Denoise,
    latent: Tensor,
    sigmas: Tensor,
    *,
    seed: int,
    space: Space = Space(),
    at_once: int = 1,
    device: torch.device | str = "cpu",
    progress: Progress = lambda *_: None,
) -> Inversion:
    """What FlowEdit (Kulikov et al. 2024) needs of a picture; it extracts no noises.

    The picture under independent noise at every level, and the model's predictions there under the source prompt; an edit
    then predicts under the target prompt alone.
    """
    path = reference_path(latent.float().cpu(), sigmas, seed, space)
    denoised = denoise_path(denoise, path, sigmas, len(sigmas) - 1, at_once, torch.device(device), progress)
    return Inversion(FLOWEDIT, 1, sigmas, path, denoised, torch.zeros_like(path[:-1]), space=space)


@dataclass(frozen=True)
class Step:
    """State before each step of a replay: `x` (B, C, h, w) is about to be denoised at level `i`."""

    i: int
    x: Tensor
    denoised: Tensor


Blend = Callable[[int], Tensor | None]


def advance(inversion: Inversion, x: Tensor, denoised: Tensor, previous: Tensor | None, i: int) -> Tensor:
    """x_{i+1} from x_i: the stochastic solver with the recorded noise, or DDIM's or FlowEdit's deterministic step."""
    sigmas = inversion.sigmas
    if inversion.method == FLOWEDIT:
        return flowedit_step(inversion, x, denoised, i)
    if inversion.method == DDIM:
        now, after = float(sigmas[i]), float(sigmas[i + 1])
        return x + (after - now) * (x - denoised) / now
    mu, std = solver_step(x, denoised, previous, sigmas, i, inversion.order)
    recorded = std > 0 or i < len(inversion.denoised)
    return mu + (std or 1.0) * inversion.noises[i].to(x) if recorded else mu


def flowedit_step(inversion: Inversion, x: Tensor, denoised: Tensor, i: int) -> Tensor:
    """FlowEdit's step for the edited path's way off the reference one: e' = (s' / s) e + (1 - s' / s) (D - D_source).

    Its velocities are differences of latents as a flow is shown them, x = X / (1 + S) and s = S / (1 + S). For a
    variance-preserving model the same is written in X and S.
    """
    now, after = float(inversion.sigmas[i]), float(inversion.sigmas[i + 1])
    flow = inversion.space.kind != PRESERVING
    scale, next_scale = (inversion.space.scale(level) if flow else 1.0 for level in (now, after))
    ratio = (after / next_scale) / (now / scale)
    way = ratio * (x - inversion.path[i].to(x)) / scale + (1 - ratio) * (denoised - inversion.denoised[i].to(x))
    return inversion.path[i + 1].to(x) + next_scale * way


def replay(
    denoise: DenoiseStep,
    inversion: Inversion,
    *,
    start: int = 0,
    offset: Tensor | None = None,
    blend: Blend = lambda _: None,
    device: torch.device | str = "cpu",
) -> Iterator[Step]:
    """Sample again with the recorded noises, yielding every step; the last one holds the final latent, i = N.

    `denoise(x, sigma, i)` predicts at step i. Starts at level `start` on the recorded path, with the solver's history
    there: a run up to that level would only have followed the path. `offset` (B, C, h, w) is subtracted from the start.
    After step i, `blend(i)` may give a soft mask (B, 1, h, w) outside which the latent returns to the reference path.
    """
    x = inversion.path[start].to(device)
    x = x if offset is None else x - offset.to(x)
    previous = inversion.denoised[start - 1].to(device) if start else None
    levels = inversion.sigmas.to(x)  # at once: in every step it would wait for the device
    for i in range(start, inversion.steps):
        denoised = denoise(x, levels[i].expand(len(x)), i)
        yield Step(i, x, denoised)
        x, previous = advance(inversion, x, denoised, previous, i), denoised
        if (kept := blend(i)) is not None:
            x = kept * x + (1 - kept) * inversion.path[i + 1].to(x)
    final = x / inversion.space.scale(float(inversion.sigmas[-1]))
    yield Step(inversion.steps, final, final)
