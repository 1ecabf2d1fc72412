"""Causal Semantic Guidance as a patch of a MODEL, so that every stock sampler follows it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
from torch import Tensor

from ..csg.diffusion import guidance as csg
from .host import KEY, Base, CSGGuider, Edits

Wrappers = comfy.patcher_extension.WrappersMP


class SemanticPatch:
    """Rides along in another guider: brings its conditionings, then adds the concepts to each of its predictions.

    Concepts are measured from that guider's own negative conditioning, as CSG Guider's are.
    """

    def __init__(self, edits: Edits, settings: csg.GuidanceSettings) -> None:
        self.edits, self.settings = edits, settings
        self.key = f"{KEY} {uuid.uuid4()}"  # a model may carry several of these
        self.companion: CSGGuider | None = None

    def outer_sample(self, executor: Callable, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        """Lend the concept conditionings to the guider that samples, before it processes its own."""
        guider = executor.class_obj
        negative = [unconverted(cond) for cond in guider.conds.get("negative") or []]
        self.companion = CSGGuider(guider.model_patcher, Base(negative=negative or None), self.edits, self.settings)
        guider.conds |= {f"{self.key} {k}": [dict(c) for c in conds] for k, conds in self.companion.original_conds.items()}
        try:
            return executor(*args, **kwargs)
        finally:
            self.companion = None

    def predict_noise(self, executor: Callable, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None) -> Tensor:
        """The guider's own prediction, guided."""
        guider, options = executor.class_obj, model_options or {}
        base = executor(x, timestep, options, seed)
        self.companion.inner_model = guider.inner_model
        self.companion.conds = {k.removeprefix(f"{self.key} "): c for k, c in guider.conds.items() if k.startswith(f"{self.key} ")}
        return self.companion.guide(x, timestep, options, base)


def unconverted(cond: dict[str, Any]) -> list[Any]:
    """One entry of a CONDITIONING from what a guider made of it."""
    return [cond.get("cross_attn"), {k: v for k, v in cond.items() if k not in ("cross_attn", "model_conds", "uuid")}]


def patched(patcher: comfy.model_patcher.ModelPatcher, edits: Edits, settings: csg.GuidanceSettings) -> comfy.model_patcher.ModelPatcher:
    """A clone of the model with the guidance in it."""
    clone = patcher.clone()
    patch = SemanticPatch(edits, settings)
    clone.add_wrapper_with_key(Wrappers.OUTER_SAMPLE, KEY, patch.outer_sample)
    clone.add_wrapper_with_key(Wrappers.PREDICT_NOISE, KEY, patch.predict_noise)
    return clone
