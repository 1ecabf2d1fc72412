"""Inputs that several nodes share."""

from __future__ import annotations

from comfy_api.latest import io

from . import host_vlm


def prompts() -> io.Combo.Input:
    """Whose prompts a question to a vision-language model is made from."""
    return io.Combo.Input(
        "prompts", options=host_vlm.prompt_folders(), default=host_vlm.BUILT_IN_PROMPTS, optional=True, advanced=True,
        tooltip="Whose prompts to use: the built-in ones, or a folder of your own in csg_prompts in ComfyUI's user folder.",
    )  # fmt: skip
