"""Reading word attention inside ComfyUI's transformers: which layout a model has, and whose words a call holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_patcher
from torch import Tensor

from ..csg.diffusion.joint_attention import JointAttentionCapture, TextLayout
from ..csg.diffusion.layouts import LAYOUTS
from .host_rows import Rows

OVERRIDE = "optimized_attention_override"
SECOND_TEXT = "encoder_hidden_states_llama3"  # HiDream's


@dataclass(frozen=True)
class Network:
    """A transformer's layout, and how many blocks each of its lists holds."""

    layout: TextLayout
    counts: tuple[int, ...]


def network_of(patcher: comfy.model_patcher.ModelPatcher) -> Network | None:
    """The network of a known family, with what it tells of itself; None for any other."""
    model = patcher.model
    network = patcher.get_model_object("diffusion_model")
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
