"""Inputs that several nodes share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io

from . import host_vlm

MAX_SEED = 0xFFFFFFFFFFFFFFFF


def readable(read: Callable[[str], object], text: str | None) -> bool | str:
    """For `validate_inputs`: True where `read` takes the text or the text comes by a link (None), else why it does not."""
    try:
        if text is not None:
            read(text)
    except ValueError as error:
        return str(error)
    return True


class WithPrompts:
    """Of a node with the input `prompts`: it runs again when a prompt that it asks has changed in the chosen folder."""

    ASKS: tuple[str, ...] = ()

    @classmethod
    def fingerprint_inputs(cls, prompts: str = host_vlm.BUILT_IN_PROMPTS, **_: Any) -> str:
        """Return what ComfyUI compares with the run before."""
        return host_vlm.prompt_book(prompts).fingerprint(*cls.ASKS)


def prompts() -> io.Combo.Input:
    """Whose prompts a question to a vision-language model is made from."""
    return io.Combo.Input(
        "prompts", options=host_vlm.prompt_folders(), default=host_vlm.BUILT_IN_PROMPTS, optional=True, advanced=True,
        tooltip="Whose prompts to use: the built-in ones, or a folder of your own in csg_prompts in ComfyUI's user folder.",
    )  # fmt: skip


def seed(tooltip: str, optional: bool = False) -> io.Int.Input:
    """The random seed of a vision-language model."""
    return io.Int.Input(
        "seed", default=0, min=0, max=MAX_SEED, optional=optional, advanced=optional or None,
        control_after_generate=io.ControlAfterGenerate.fixed, tooltip=tooltip,
    )  # fmt: skip


def temperature(default: float, tooltip: str, optional: bool = False) -> io.Float.Input:
    """How freely a vision-language model answers."""
    return io.Float.Input(
        "temperature", default=default, min=0.0, max=2.0, step=0.05, optional=optional, advanced=True, tooltip=tooltip,
    )  # fmt: skip


def max_tokens(default: int, tooltip: str, optional: bool = False, least: int = 64) -> io.Int.Input:
    """The longest answer of a vision-language model."""
    return io.Int.Input(
        "max_tokens", default=default, min=least, max=32768, optional=optional, advanced=True, tooltip=tooltip,
    )  # fmt: skip
