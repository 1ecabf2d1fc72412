"""Causal Semantic Guidance as a patch of a MODEL, so that every stock sampler follows it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import comfy.model_patcher
import comfy.patcher_extension
import comfy.sampler_helpers
from torch import Tensor

from ..csg.diffusion.edits import Base, Edits
from ..csg.diffusion.guidance import GuidanceSettings
from ..csg.diffusion.plan import plan
from ..csg.diffusion.run import Run
from .host import conditionings
from .host_looker import readable
from .host_step import KEY, GuidedModel

Wrappers = comfy.patcher_extension.WrappersMP


class SemanticPatch:
    """Rides along in another guider: brings its conditionings, then adds the concepts to each of its predictions.

    Concepts are measured from that guider's own negative conditioning, as CSG Guider's are.
    """

    def __init__(self, edits: Edits, settings: GuidanceSettings) -> None:
        self.edits, self.settings = edits, settings
        self.key = f"{KEY} {uuid.uuid4()}"  # a model may carry several of these

    def outer_sample(self, executor: Callable, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        """Lend the concept conditionings to the guider that samples, before it processes its own.

        `conds` and `model_options` of a guider are those of one run here: ComfyUI makes them anew for each.
        """
        guider = executor.class_obj
        negative = [unconverted(cond) for cond in guider.conds.get("negative") or []]
        settings = readable(self.settings, guider.model_patcher.model)
        planned = plan(self.edits, Base(negative=negative or None), settings)
        rows = conditionings(planned, guider.model_patcher)
        guider.conds |= {f"{self.key} {name}": comfy.sampler_helpers.convert_cond(row) for name, row in rows.items()}
        guider.model_options[self.key] = Run(planned)
        return executor(*args, **kwargs)

    def predict_noise(self, executor: Callable, x: Tensor, timestep: Tensor, model_options: dict | None = None, seed: int | None = None) -> Tensor:
        """The guider's own prediction, guided."""
        guider, options = executor.class_obj, model_options or {}
        base = executor(x, timestep, options, seed)
        conds = {k.removeprefix(f"{self.key} "): c for k, c in guider.conds.items() if k.startswith(f"{self.key} ")}
        return GuidedModel(guider.inner_model, conds).guide(x, timestep, options, options[self.key], base)


def unconverted(cond: dict[str, Any]) -> list[Any]:
    """One entry of a CONDITIONING from what a guider made of it."""
    return [cond.get("cross_attn"), {k: v for k, v in cond.items() if k not in ("cross_attn", "model_conds", "uuid")}]


def patched(patcher: comfy.model_patcher.ModelPatcher, edits: Edits, settings: GuidanceSettings) -> comfy.model_patcher.ModelPatcher:
    """A clone of the model with the guidance in it."""
    clone = patcher.clone()
    patch = SemanticPatch(edits, settings)
    clone.add_wrapper_with_key(Wrappers.OUTER_SAMPLE, KEY, patch.outer_sample)
    clone.add_wrapper_with_key(Wrappers.PREDICT_NOISE, KEY, patch.predict_noise)
    return clone
