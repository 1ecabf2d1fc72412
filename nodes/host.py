"""Abduction inside ComfyUI: the guider that predicts for every sampler of this pack, and the inversion as a sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ..csg.diffusion.edits import SOURCE, Base, Conditioning, Edits
from ..csg.diffusion.guidance import GuidanceSettings
from ..csg.diffusion.inversion import DDIM, FLOWEDIT, Inversion, invert_ddim, invert_flowedit, invert_sde, replay
from ..csg.diffusion.plan import Plan, Prompt, plan
from ..csg.diffusion.run import Run
from ..csg.diffusion.space import squeezed
from .host_lookback import patch_print, takes_part
from .host_looker import readable
from .host_model import (
    check_encoded,
    check_finite,
    check_latent,
    latent_like,
    model_identity,
    under,
    zeros_conditioning,
)
from .host_space import space_of
from .host_step import KEY, GuidedModel

CPU_ROWS_AT_ONCE = 4 * 32 * 32  # latent pixels per call: more takes memory and is hardly faster
GPU_ROWS_AT_ONCE = 16


class CSGGuider(comfy.samplers.CFGGuider):
    """Predicts with Causal Semantic Guidance; without terms it is the plain base prediction.

    It holds the conditionings of its plan. What belongs to one run travels in `model_options`.
    """

    def __init__(
        self, patcher: comfy.model_patcher.ModelPatcher, base: Base, edits: Edits | None = None, settings: GuidanceSettings | None = None
    ) -> None:
        super().__init__(patcher)
        edits, settings = edits or Edits(), settings or GuidanceSettings()
        self.plan = plan(edits, base, readable(settings, patcher.model) if edits.terms else settings)
        self.inner_set_conds(conditionings(self.plan, patcher))

    @property
    def guided(self) -> GuidedModel:
        """The loaded model with this guider's conditionings, while a run lasts."""
        return GuidedModel(self.inner_model, self.conds)

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None) -> Tensor:
        """The guided denoised latent (B, C, h, w)."""
        options = model_options or {}
        return self.guided.guide(x, timestep, options, options.get(KEY) or Run(self.plan))


def conditionings(plan: Plan, patcher: comfy.model_patcher.ModelPatcher) -> dict[str, Conditioning]:
    """CONDITIONING by row name of everything that a plan asks for; ValueError for what this model cannot use."""
    rows = {Prompt.NEGATIVE: zeros_conditioning(patcher)} if plan.base.negative is None else {}
    rows |= plan.conditionings
    for conditioning in rows.values():
        check_encoded(conditioning, patcher)
    for term in plan.terms:
        if term.mask is not None:
            check_finite(term.mask, f"The mask of {term.phrase[:60]!r}")
    base, given = rows[plan.base_rows[0]], (Prompt.POSITIVE, Prompt.NEGATIVE)
    return {str(row): under(c, base, None if row in given else rows[Prompt.NEGATIVE]) for row, c in rows.items()}


class InvertSampler(comfy.samplers.Sampler):
    """Abduction as a ComfyUI sampler: leaves the inversion in `result` and returns the replay without edits."""

    def __init__(self, method: str, patcher: comfy.model_patcher.ModelPatcher, levels: Tensor, **options: Any) -> None:  # noqa: ANN401
        self.method, self.patcher, self.levels, self.options = method, patcher, levels, options
        self.result: Inversion | None = None

    def sample(self, model_wrap: CSGGuider, sigmas: Tensor, extra_args: dict, callback: Callable | None, noise: Tensor,
               latent_image: Tensor, denoise_mask: Tensor | None = None, disable_pbar: bool = False) -> Tensor:  # fmt: skip
        """Invert `latent_image`, model space, at this sampler's own levels; `sigmas` are the network's names for them."""
        space, latent = space_of(self.patcher), squeezed(latent_image)

        def denoise(x: Tensor, sigma: Tensor, step: int | None = None) -> Tensor:
            comfy.model_management.throw_exception_if_processing_interrupted()
            return squeezed(model_wrap(*space.to_network(x, sigma), **extra_args))

        def progress(done: int, total: int, denoised: Tensor | None) -> None:
            if callback and denoised is not None:
                callback(done - 1, space.restore(denoised[None] if denoised.ndim == 3 else denoised), latent_image, total)

        device = latent_image.device
        common = {"space": space, "device": device, "progress": progress}
        if self.method == DDIM:
            result = invert_ddim(denoise, latent, self.levels, **common)
        else:
            invert = invert_flowedit if self.method == FLOWEDIT else invert_sde
            at_once = levels_at_once(self.patcher, latent.shape, model_wrap)
            result = invert(denoise, latent, self.levels, at_once=at_once, **common, **self.options)
        self.result = result
        start = len(result.denoised) if result.method != DDIM else 0
        *_, last = replay(denoise, result, start=start, device=device)
        return space.restore(last.x)


def levels_at_once(patcher: comfy.model_patcher.ModelPatcher, shape: Sequence[int], guider: CSGGuider) -> int:
    """How many noise levels of an inversion one call may hold: by free memory; one where a patch may look at sigma."""
    timed = any(set(c) & {"control", "hooks", "timestep_start", "timestep_end", "area"} for cs in guider.conds.values() for c in cs)
    if timed or takes_part(patcher):
        return 1
    rows = shape[0] * (2 if guider.plan.base.guided else 1)
    if comfy.model_management.is_device_cpu(patcher.load_device):
        return max(1, CPU_ROWS_AT_ONCE // (rows * shape[-1] * shape[-2]))
    needed = patcher.model.memory_required([rows, *shape[1:]]) * 1.5
    return int(max(1, min(GPU_ROWS_AT_ONCE // rows, patcher.get_free_memory(patcher.load_device) // needed)))


def run_inversion(
    patcher: comfy.model_patcher.ModelPatcher, latent: Mapping[str, Any], sigmas: Tensor, method: str,
    base: Base, settings: Mapping[str, Any], **options: Any,  # noqa: ANN401
) -> tuple[Inversion, dict[str, Any]]:  # fmt: skip
    """Invert LATENT `latent` at the levels `sigmas`, S; returns the inversion and the reconstruction as LATENT.

    `settings` tell how it is made; `seed` and `schedule` among them become fields of the inversion.
    """
    samples, space = check_latent(latent, patcher), space_of(patcher)
    guider = CSGGuider(patcher, base)
    sampler = InvertSampler(method, patcher, sigmas.cpu(), **options)
    described = {name: settings[name] for name in ("seed", "schedule") if name in settings}
    steps = len(sigmas) - 1
    rebuilt = guider.sample(
        torch.zeros_like(samples), samples, sampler, space.shown(sigmas), callback=latent_preview.prepare_callback(patcher, steps),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=int(settings.get("seed", 0)),
    )  # fmt: skip
    result = replace(
        sampler.result, source=base.positive if base.kind == SOURCE else None, negative=base.negative, source_guidance=base.scale,
        samples=samples, noise_mask=latent.get("noise_mask"), model=model_identity(patcher), patched=patch_print(patcher),
        settings={name: value for name, value in settings.items() if name not in described}, **described,
    )  # fmt: skip
    check_finite(result.noises, "The inversion")
    return result, latent_like(latent, rebuilt)
