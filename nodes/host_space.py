"""Which kind of diffusion a model is, asked of its sampling object, patches included; and its levels."""

from __future__ import annotations

import comfy.model_patcher
import comfy.model_sampling
from torch import Tensor

from ..csg.diffusion.schedule import check_sigmas
from ..csg.diffusion.space import EXPLODING_FLOW, FLOW, PRESERVING, Space, flow_table

Patcher = comfy.model_patcher.ModelPatcher


def space_of(patcher: Patcher) -> Space:
    """The space of this model's latents; ValueError, in words, for a model without a path from noise to a picture."""
    sampling, name = patcher.get_model_object("model_sampling"), type(patcher.model).__name__
    kinds = comfy.model_sampling
    axes = patcher.model.latent_format.latent_dimensions - 2
    if isinstance(sampling, (kinds.IMG_TO_IMG, kinds.IMG_TO_IMG_FLOW)):
        raise ValueError(f"{name} turns one picture into another, without noise between them, so there is nothing to invert. Connect a model that draws from noise.")
    if axes < 0:
        raise ValueError(f"{name} does not draw pictures: its latents have {axes + 2} dimension(s). Connect an image model.")
    if isinstance(sampling, kinds.CONST):
        return Space(FLOW, float(getattr(sampling, "noise_scale", 1.0)), axes)
    if isinstance(sampling, kinds.COSMOS_RFLOW):
        return Space(EXPLODING_FLOW, axes=axes)
    if isinstance(sampling, kinds.EPS):  # v prediction and its kin are derived from it
        return Space(PRESERVING, axes=axes)
    kind = type(sampling).__bases__[-1].__name__
    raise ValueError(f"{name} predicts in a way that is not known here ({kind}). Models that predict noise, v or a flow work.")


def level_table(patcher: Patcher) -> Tensor:
    """The model's noise level S per training step (1000,), its object patches included."""
    space, sampling = space_of(patcher), patcher.get_model_object("model_sampling")
    if space.kind != PRESERVING:
        top = float(sampling.sigma_max) if space.kind == EXPLODING_FLOW else None
        return flow_table(sampling.percent_to_sigma, space, top)
    if getattr(sampling, "sigmas", None) is None or len(sampling.sigmas) != 1000:
        raise ValueError(
            "This model has no table of 1000 noise levels (distilled models have none). Connect the SIGMAS of a scheduler to `sigmas` of the inversion."
        )
    return sampling.sigmas.float().cpu()


def given_levels(patcher: Patcher, sigmas: Tensor) -> Tensor:
    """Levels S (N + 1,) of SIGMAS as ComfyUI's schedulers make them for this model; ValueError for what is no schedule of it."""
    space, shown = space_of(patcher), sigmas.detach().float().cpu()
    check_sigmas(shown)
    if space.kind == FLOW and float(shown[0]) > 1:
        raise ValueError(f"`sigmas` begins at {float(shown[0]):.4g}, but a flow model's levels lie between 1 and 0. Connect this model to the scheduler.")
    levels = space.level(shown)
    check_sigmas(levels)
    return levels
