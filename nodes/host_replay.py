"""Prediction inside ComfyUI: an inversion replayed as a sampler, guided by whatever guider drives it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ..csg.diffusion import guidance as csg
from ..csg.diffusion.edits import GLOBAL, INTERVENTIONAL, UNCONDITIONAL, Base, same_conditioning
from ..csg.diffusion.inversion import DDIM, Inversion, replay
from ..csg.diffusion.plan import placed
from ..csg.diffusion.preservation import Preservation
from ..csg.diffusion.release import change_let_through, low_frequencies, share_released
from ..csg.diffusion.run import Acted, Run
from ..csg.diffusion.schedule import AUTHORS
from ..csg.diffusion.space import squeezed
from .host import CSGGuider, levels_at_once
from .host_lookback import PathMemory, look_ahead, patch_print
from .host_looker import can_look
from .host_model import check_finite, check_levels, check_model, check_size
from .host_step import KEY

log = logging.getLogger(__name__)

OFF, BLEND, CONCEPTS = "off", "blend", "concepts"
PRESERVES = (OFF, BLEND, CONCEPTS)


@dataclass(frozen=True)
class Release:
    """How much of the picture's low frequencies is taken out of the start, and when.

    `share` in [0, 1]. `below` 0: always. Else only if a global concept acts and, at the inversion's noisiest level, the
    picture lets through less than `below` of what its change of captions does to the noise alone; then whatever the
    captions tell acts from the first step, too.
    """

    share: float = 0.0
    below: float = 0.0

    def offset(self, inversion: Inversion, guider: CSGGuider | None, run: Run | None, options: dict) -> Tensor | None:
        """What is subtracted from the start, (B, C, h, w) in model space; None for nothing."""
        if not self.share:
            return None
        low = low_frequencies(inversion.latent)
        if not self.below:
            return self.share * low
        if guider is None:
            raise ValueError(f"release_below = {self.below} measures the captions of a CSG Guider, and this guider has none. Connect one, or set release_below to 0.")
        if not any(term.scope == GLOBAL and term.scale for term in run.plan.terms):
            return None
        x = inversion.path[0].to(guider.model_patcher.load_device)
        sigma = inversion.sigmas[:1].to(x).expand(len(x))
        starts = (inversion.space.to_network(start, sigma) for start in (x, x - inversion.latent.to(x)))
        with_picture, without = (guider.guided.caption_difference(*start, dict(options), run.plan) for start in starts)
        shares = share_released(self.share, change_let_through(with_picture, without), self.below)
        return shares.to(low) * low if shares.any() else None


class ReplaySampler(comfy.samplers.Sampler):
    """Prediction as a ComfyUI sampler: samples with an inversion's noises; guided by whatever guider drives it.

    `acted`, if given, counts in where the concepts act.
    """

    def __init__(self, inversion: Inversion, preserve: str = OFF, release: Release | None = None, acted: Acted | None = None) -> None:
        self.inversion, self.preserve, self.release, self.acted = inversion, preserve, release or Release(), acted

    def sample(self, model_wrap: Any, sigmas: Tensor, extra_args: dict, callback: Callable | None, noise: Tensor,  # noqa: ANN401
               latent_image: Tensor, denoise_mask: Tensor | None = None, disable_pbar: bool = False) -> Tensor:  # fmt: skip
        """Replay; returns a latent in model space, of the shape of `latent_image`."""
        inversion, device, options = self.inversion, latent_image.device, extra_args.get("model_options", {})
        check_model(inversion, model_wrap.model_patcher)
        check_levels(inversion, sigmas)
        check_size(inversion, squeezed(latent_image))
        space, denoise_mask = inversion.space, None if denoise_mask is None else squeezed(denoise_mask)
        guider = model_wrap if isinstance(model_wrap, CSGGuider) else None
        run = self._run(guider, latent_image)
        offset = self.release.offset(inversion, guider, run, options)
        if offset is not None and self.release.below:
            run = replace(run, plan=run.plan.at_once())
        start = first_step(inversion, guider, run) if offset is None else 0
        there = inversion.on(device, path=self.preserve != OFF or denoise_mask is not None or (run is not None and run.looks_back))
        if run and run.looks_back:
            memory = PathMemory.of(inversion, guider.model_patcher, guider.original_conds)
            if memory is not None:
                run = replace(run, memory=memory)
                look_ahead(guider.guided, run, there, start, levels_at_once(guider.model_patcher, there.path.shape[1:], guider), options)

        def denoise(x: Tensor, sigma: Tensor, step: int) -> Tensor:
            comfy.model_management.throw_exception_if_processing_interrupted()
            at = run and {KEY: run.at(step, space.to_network(there.path[step], sigma)[0] if run.looks_back else None)}
            return squeezed(model_wrap(*space.to_network(x, sigma), **{**extra_args, "model_options": {**options, **(at or {})}}))

        blend = partial(self._may_change, run.acted if run and self.preserve != OFF else None, denoise_mask)
        for last in replay(denoise, there, start=start, offset=offset, blend=blend, device=device):
            if callback and last.i < there.steps:
                callback(last.i, space.restore(last.denoised), space.restore(last.x), there.steps)
        return space.restore(last.x)

    def _run(self, guider: CSGGuider | None, latent: Tensor) -> Run | None:
        """The run of a guider of this pack; None for another guider, and ValueError where an option needs one of this pack."""
        if guider is None:
            if self.preserve != OFF:
                raise ValueError(
                    f"preserve = {self.preserve} needs the concepts' masks, and this guider makes none. Connect CSG Guider, or set preserve to off."
                )
            return None
        # the authors' repository lets concepts act only once all have passed their warm-up
        plan = guider.plan.jointly(self.inversion.schedule == AUTHORS)
        plan = plan.with_terms(placed(plan.terms, latent))
        preserves = self.preserve == CONCEPTS and bool(plan.edits.preserved)
        if preserves and not can_look(guider.model_patcher.model):
            log.warning("preserve = concepts looks for words in the attention, which cannot be read in this model, so it acts like blend.")
            preserves = False
        elif self.preserve == CONCEPTS and not preserves:
            log.warning(
                "preserve = concepts found no phrase of a preserved concept in the base prompt, so it acts like blend. "
                "Write the phrases into the base prompt as they stand in the graph."
            )
        return Run(plan, preservation=Preservation() if preserves else None, acted=self.acted or Acted(len(plan.terms)))

    @staticmethod
    def _may_change(acted: Acted | None, denoise_mask: Tensor | None, _: int) -> Tensor | None:
        """Where the replay may leave the reference path: wherever a concept has acted so far, inside the user's mask."""
        mask = denoise_mask[:, :1] if denoise_mask is not None else None
        if acted is None or acted.union is None:
            return mask
        soft = csg.soft_edge(acted.union)
        return soft if mask is None else soft * mask


def first_step(inversion: Inversion, guider: CSGGuider | None, run: Run | None) -> int:
    """Up to the first guided step an edit on the inversion's own base would only follow the path: start there."""
    if run is None or inversion.method == DDIM or not same_base(run.plan.base, inversion):
        return 0
    if inversion.patched != patch_print(guider.model_patcher):
        return 0  # a LoRA or a patch of the edit alone acts from the first step on
    return min(run.plan.first_guided_step(inversion.steps), len(inversion.denoised))


def same_base(base: Base, inversion: Inversion) -> bool:
    """Whether an edit's base is the one that the inversion was made with, so that no edit means no change."""
    if base.kind == INTERVENTIONAL:
        return False
    negative = same_conditioning(base.negative, inversion.negative)
    if base.kind == UNCONDITIONAL:
        return inversion.source is None and negative
    return same_conditioning(base.positive, inversion.source) and base.scale == inversion.source_guidance and (negative or not base.guided)


def run_replay(
    guider: CSGGuider, inversion: Inversion, preserve: str = OFF, release: Release | None = None, acted: Acted | None = None
) -> dict[str, Any]:
    """Edit: drive `guider` along the inversion's noises; returns LATENT, and counts into `acted` where concepts acted."""
    patcher, samples = guider.model_patcher, inversion.samples
    edited = guider.sample(
        torch.zeros_like(samples), samples, ReplaySampler(inversion, preserve, release, acted), inversion.space.shown(inversion.sigmas),
        denoise_mask=inversion.noise_mask, callback=latent_preview.prepare_callback(patcher, inversion.steps),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=inversion.seed,
    )  # fmt: skip
    check_finite(edited, "The edit")
    return {"samples": edited.to(comfy.model_management.intermediate_device())}
