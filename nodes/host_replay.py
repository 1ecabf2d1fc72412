"""Prediction inside ComfyUI: an inversion replayed as a sampler, guided by whatever guider drives it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ..csg.diffusion import guidance as csg
from ..csg.diffusion.inversion import Inversion, replay
from ..csg.diffusion.preservation import Preservation
from ..csg.diffusion.release import effect_left, low_frequencies, share_released
from .host import INTERVENTIONAL, UNCONDITIONAL, Base, CSGGuider, levels_at_once
from .host_lookback import PathMemory, patch_print
from .host_model import check_finite, check_levels, check_model, check_size, same_conditioning

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

    def offset(self, inversion: Inversion, guider: CSGGuider | None, sigmas: Tensor, options: Mapping[str, Any]) -> Tensor | None:
        """What is to be subtracted from the start, (B, C, h, w) in model space; None for nothing."""
        if not self.share:
            return None
        low = low_frequencies(inversion.latent)
        if not self.below:
            return self.share * low
        if guider is None:
            raise ValueError(f"release_below = {self.below} measures the captions of a CSG Guider, and this guider has none. Connect one, or set release_below to 0.")
        if not any(term.scope == csg.GLOBAL and term.scale for term in guider.terms):
            return None
        x, sigma = inversion.path[0].to(sigmas.device), sigmas[:1].expand(len(inversion.latent))
        seen, free = (guider.caption_difference(start, sigma, dict(options)) for start in (x, x - inversion.latent.to(x)))
        shares = share_released(self.share, effect_left(seen, free), self.below)
        if not shares.any():
            return None
        guider.begin_at_once()
        return shares.to(low) * low


class ReplaySampler(comfy.samplers.Sampler):
    """Prediction as a ComfyUI sampler: samples with an inversion's noises; guided by whatever guider drives it."""

    def __init__(self, inversion: Inversion, preserve: str = OFF, release: Release | None = None) -> None:
        self.inversion, self.preserve, self.release = inversion, preserve, release or Release()

    def sample(self, model_wrap: Any, sigmas: Tensor, extra_args: dict, callback: Callable | None, noise: Tensor,  # noqa: ANN401
               latent_image: Tensor, denoise_mask: Tensor | None = None, disable_pbar: bool = False) -> Tensor:  # fmt: skip
        """Replay; returns (B, C, h, w) in model space."""
        inversion, device = self.inversion, latent_image.device
        check_levels(inversion, sigmas)
        check_size(inversion, latent_image)
        check_model(inversion, model_wrap.model_patcher)
        guider = model_wrap if isinstance(model_wrap, CSGGuider) else None
        if guider is None and self.preserve != OFF:
            raise ValueError(
                f"preserve = {self.preserve} needs the concepts' masks, and this guider makes none. Connect CSG Guider, or set preserve to off."
            )
        if guider:
            guider.preservation = self._preservation(guider)
            # the authors' repository lets concepts act only once all have passed their warm-up
            joint = inversion.settings.get("schedule") == "authors"
            guider.settings = replace(guider.settings, joint_warmup=joint)
        offset = self.release.offset(inversion, guider, sigmas, extra_args.get("model_options", {}))
        start = self._start(guider) if offset is None else 0
        blends = self.preserve != OFF or denoise_mask is not None
        inversion = inversion.on(device, path=blends or (guider is not None and guider.looks_back))
        if guider and guider.looks_back:
            self._look_ahead(guider, inversion, start, extra_args.get("model_options", {}))
        union = _RunningUnion(guider if self.preserve != OFF else None, denoise_mask)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            comfy.model_management.throw_exception_if_processing_interrupted()
            return model_wrap(x, sigma, **extra_args)

        steps = replay(_counted(denoise, guider, inversion, start), inversion, start=start, offset=offset,
                       blend=union, device=device)  # fmt: skip
        for last in steps:
            if callback and last.i < inversion.steps:
                callback(last.i, last.denoised, last.x, inversion.steps)
        return last.x

    @staticmethod
    def _look_ahead(guider: CSGGuider, inversion: Inversion, start: int, options: Mapping[str, Any]) -> None:
        patcher = guider.model_patcher
        guider.memory = PathMemory.of(inversion.seen, patcher, guider.original_conds)
        if guider.memory is not None:
            guider.look_ahead(inversion, start, levels_at_once(patcher, inversion.path.shape[1:], guider), dict(options))

    def _preservation(self, guider: CSGGuider) -> Preservation | None:
        if self.preserve == CONCEPTS and not guider.edits.preserved:
            log.warning(
                "preserve = concepts found no phrase of a preserved concept in the base prompt, so it acts like blend. "
                "Write the phrases into the base prompt as they stand in the graph."
            )
        return Preservation() if self.preserve == CONCEPTS and guider.edits.preserved else None

    def _start(self, guider: CSGGuider | None) -> int:
        """Up to the first guided step an edit on the inversion's own base would only follow the path: start there."""
        approximate = self.inversion.method == "ddim"
        if guider is None or approximate or not same_base(guider.base, self.inversion):
            return 0
        if self.inversion.settings.get("patched", "") != patch_print(guider.model_patcher):
            return 0  # a LoRA or a patch of the edit alone acts from the first step on
        return min(guider.first_guided_step(self.inversion.steps), len(self.inversion.denoised))


def _counted(denoise: Callable, guider: CSGGuider | None, inversion: Inversion, start: int) -> Callable:
    """`denoise` that tells the guider, before every step, which one it is and where the reference path is there."""
    i = start - 1

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal i
        i += 1
        if guider:
            guider.step = i
            if guider.looks_back:
                guider.reference = inversion.path[i]
        return denoise(x, sigma)

    return counted


class _RunningUnion:
    """Where the replay may leave the reference path: wherever a concept has acted so far, inside the user's mask."""

    def __init__(self, guider: CSGGuider | None, denoise_mask: Tensor | None) -> None:
        self.guider, self.denoise_mask = guider, denoise_mask
        self.union: Tensor | None = None

    def __call__(self, i: int) -> Tensor | None:
        mask = self.denoise_mask[:, :1] if self.denoise_mask is not None else None
        if self.guider is None:
            return mask
        acted = self.guider.guided.union() if self.guider.guided else None
        if acted is not None:
            self.union = acted if self.union is None else torch.maximum(self.union, acted)
        if self.union is None:
            return mask
        soft = csg.soft_edge(self.union)
        return soft if mask is None else soft * mask


def same_base(base: Base, inversion: Inversion) -> bool:
    """Whether an edit's base is the one that the inversion was made with, so that no edit means no change."""
    if base.kind == INTERVENTIONAL:
        return False
    negative = same_conditioning(base.negative, inversion.negative)
    if base.kind == UNCONDITIONAL:
        return inversion.source is None and negative
    told = same_conditioning(base.positive, inversion.source) and base.scale == inversion.source_guidance
    return told and (negative or not base.guided)


def run_replay(
    guider: CSGGuider, inversion: Inversion, preserve: str = OFF, release: Release | None = None, noise_mask: Tensor | None = None
) -> dict[str, Any]:
    """Edit: drive `guider` along the inversion's noises; returns LATENT."""
    patcher = guider.model_patcher
    samples = inversion.settings["samples"]
    edited = guider.sample(
        torch.zeros_like(samples), samples, ReplaySampler(inversion, preserve, release), inversion.sigmas,
        denoise_mask=noise_mask if noise_mask is not None else inversion.settings.get("noise_mask"),
        callback=latent_preview.prepare_callback(patcher, inversion.steps),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=int(inversion.settings.get("seed", 0)),
    )  # fmt: skip
    check_finite(edited, "The edit")
    return {"samples": edited.to(comfy.model_management.intermediate_device())}
