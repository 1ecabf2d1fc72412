"""Causal Semantic Guidance as a patch of a MODEL, so that every stock sampler follows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
from torch import Tensor

from ..csg.diffusion import guidance as csg
from .host import KEY, Base, CSGGuider, Edits

Wrappers = comfy.patcher_extension.WrappersMP


class SemanticPatch:
    """Rides along in another guider: brings its conditionings, then adds the concepts to each of its predictions."""

    def __init__(self, patcher: comfy.model_patcher.ModelPatcher, edits: Edits, settings: csg.GuidanceSettings) -> None:
        self.companion = CSGGuider(patcher, Base(), edits, settings)

    def outer_sample(self, executor: Callable, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        """Lend the concept conditionings to the guider that samples, before it processes its own."""
        guider = executor.class_obj
        own = {k: [dict(c) for c in conds] for k, conds in self.companion.original_conds.items()}
        guider.conds |= {f"{KEY} {k}": conds for k, conds in own.items()}
        self.companion.mean = csg.MaskMean(len(self.companion.terms))
        try:
            return executor(*args, **kwargs)
        finally:
            self.companion.conds, self.companion.inner_model = {}, None

    def predict_noise(self, executor: Callable, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None) -> Tensor:
        """The guider's own prediction, guided."""
        guider, options = executor.class_obj, model_options or {}
        base = executor(x, timestep, options, seed)
        self.companion.inner_model = guider.inner_model
        self.companion.conds = {k.removeprefix(f"{KEY} "): c for k, c in guider.conds.items() if k.startswith(f"{KEY} ")}
        return self.companion.guide(x, timestep, options, base)


def patched(patcher: comfy.model_patcher.ModelPatcher, edits: Edits, settings: csg.GuidanceSettings) -> comfy.model_patcher.ModelPatcher:
    """A clone of the model with the guidance in it."""
    clone = patcher.clone()
    patch = SemanticPatch(clone, edits, settings)
    clone.add_wrapper_with_key(Wrappers.OUTER_SAMPLE, KEY, patch.outer_sample)
    clone.add_wrapper_with_key(Wrappers.PREDICT_NOISE, KEY, patch.predict_noise)
    return clone
