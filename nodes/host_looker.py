"""Reading word attention inside ComfyUI: what reads a model, which layout it has, and whose words a call holds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_base
import torch
from torch import Tensor

from ..csg.diffusion.attention import AttentionCapture, Words, cells_of, quarter_layers
from ..csg.diffusion.guidance import EDIT, NOISE, GuidanceSettings
from ..csg.diffusion.joint_attention import JointAttentionCapture, TextLayout
from ..csg.diffusion.layouts import LAYOUTS
from .host_rows import Rows, announce

log = logging.getLogger(__name__)

OVERRIDE = "optimized_attention_override"
SECOND_TEXT = "encoder_hidden_states_llama3"  # HiDream's


@dataclass(frozen=True)
class Network:
    """A transformer's layout, and how many blocks each of its lists holds."""

    layout: TextLayout
    counts: tuple[int, ...]


def network_of(model: comfy.model_base.BaseModel) -> Network | None:
    """The layout and the numbers of blocks of a known family's network; None for any other."""
    network = model.diffusion_model
    layout = LAYOUTS.get(type(model).__name__)
    if layout is None or not all(hasattr(network, name) for name in layout.blocks):
        return None
    patch = getattr(network, "patch_size", layout.patch)
    layout = replace(
        layout, patch=patch if isinstance(patch, int) else patch[-1],
        multiple=getattr(network, "pad_tokens_multiple", None) or 1,  # Z-Image, which is a Lumina 2 otherwise
        registers=getattr(network, "register_length", 0) or layout.registers,
    )  # fmt: skip
    return Network(layout, tuple(len(getattr(network, name)) for name in layout.blocks))


def can_look(model: comfy.model_base.BaseModel) -> bool:
    """Whether the attention of this model's words can be read: UNets', and that of transformers with a known layout."""
    return hasattr(model.diffusion_model, "input_blocks") or network_of(model) is not None


def readable(settings: GuidanceSettings, model: comfy.model_base.BaseModel) -> GuidanceSettings:
    """The settings; where attention cannot be read, with mask = noise instead, which the log says."""
    if not settings.uses_attention or can_look(model):
        return settings
    log.warning(
        f"Where {type(model).__name__} keeps its words is not known to this pack, so mask = {settings.mask} acts like mask = noise. "
        "Inversion and preserve = blend are exact all the same."
    )
    return replace(settings, mask=NOISE, mask_source=EDIT)


def cell_of(model: comfy.model_base.BaseModel) -> float:
    """Pixels of the picture per cell and side of the maps that are read from this model."""
    network = network_of(model)
    return float((network.layout.patch if network else 4) * model.latent_format.spacial_downscale_ratio)


def looker_of(model: comfy.model_base.BaseModel, size: Sequence[int], words: Mapping[Any, Words]) -> UNetLooker | JointLooker:
    """What reads these words' attention at a latent of this size (h, w)."""
    network = network_of(model) if words else None
    return UNetLooker(model, size, words) if network is None else JointLooker(model, network, size, words)


class UNetLooker:
    """Reads the cross-attention of a UNet at a quarter of the latent's size."""

    def __init__(self, model: comfy.model_base.BaseModel, size: Sequence[int], words: Mapping[Any, Words]) -> None:
        self.model, self.capture = model, AttentionCapture(cells_of(*size), words)

    def announce(self, rows: Rows, shape: Sequence[int]) -> Callable:
        """Wrapper around each model call."""
        return announce(rows, self.capture, shape)

    def reading(self, networks: Sequence[torch.nn.Module]) -> AbstractContextManager:
        """While this lasts, these networks are read."""
        return self.capture.hooked(networks) if self.capture.words else nullcontext()

    @property
    def expected(self) -> int:
        """In how many layers words must be seen."""
        return max(1, quarter_layers(self.model.diffusion_model))

    mismatch = ""
    hint = " A model without cross-attention at a quarter of the latent's size has none."


class JointLooker:
    """Reads the joint attention of a transformer."""

    def __init__(self, model: comfy.model_base.BaseModel, network: Network, size: Sequence[int], words: Mapping[Any, Words]) -> None:
        self.capture = JointAttentionCapture(network.layout, network.counts, network.layout.grid(*size), words)

    def announce(self, rows: Rows, shape: Sequence[int]) -> Callable:
        """Wrapper around each model call."""
        return announce_joint(rows, self.capture, shape)

    def reading(self, networks: Sequence[torch.nn.Module]) -> AbstractContextManager:
        """Nothing is put into the networks: the attention is routed through the reader call by call."""
        return nullcontext()

    @property
    def expected(self) -> int:
        """In how many layers words must be seen."""
        return len(self.capture.chosen)

    @property
    def mismatch(self) -> str:
        """How the calls differ from the layout; empty where they do not."""
        return self.capture.mismatch

    hint = ""


def announce_joint(rows: Rows, capture: JointAttentionCapture, shape: Sequence[int]) -> Callable:
    """Wrapper around each model call that tells the capture whose rows these are and routes its attention there.

    Calls on a crop of the latent (area conditionings) or on a part of the batch are not captured.
    """

    def wrapper(executor: Callable, x: Tensor, t: Tensor, concat: Any, crossattn: Any, control: Any, options: dict, **kwargs: Any) -> Tensor:  # noqa: ANN401
        keys = [row.key for row in rows.shown(options)]
        if x.shape != (len(keys) * shape[0], *shape[1:]) or crossattn is None:
            return executor(x, t, concat, crossattn, control, options, **kwargs)
        second = kwargs.get(SECOND_TEXT)
        lengths = (crossattn.shape[1],) if second is None else (crossattn.shape[1], second.shape[2])
        others = sum(capture.layout.picture_tokens(capture.layout.grid(*one.shape[-2:])) for one in kwargs.get("ref_latents") or ())
        options = options | {OVERRIDE: capture.override(options.get(OVERRIDE))}
        with capture.rows(keys, lengths, others):
            return executor(x, t, concat, crossattn, control, options, **kwargs)

    return wrapper
