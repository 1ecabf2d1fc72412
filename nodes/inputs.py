"""Inputs that several nodes share."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from . import host_vlm


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
