"""Nodes that give an edited picture the original's own pixels back: outside of masks, or wherever an editor only drifted."""

from __future__ import annotations

import logging

import torch
from comfy_api.latest import io

from ..csg.pictures.drift import undo_drift
from ..csg.pictures.keep import FEATHER, keep_preserved

CATEGORY = "CSG/edit"


def feather(tooltip: str) -> io.Float.Input:
    """The width of the soft edge."""
    return io.Float.Input("feather", default=FEATHER, min=0.0, max=256.0, step=0.5, tooltip=tooltip)


class KeepPreserved(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_KeepPreserved",
            display_name="Keep Preserved Pixels",
            category=CATEGORY,
            description="Gives an edited picture the original's own pixels, bit by bit, wherever no mask reaches: "
            "the VAE's round trip no longer touches what nobody edited.",
            search_aliases=["paste back", "composite", "stitch", "preserve", "inpaint", "face", "csg"],
            inputs=[
                io.Image.Input("original", tooltip="The picture before the edit: one for all edited pictures, or one for each."),
                io.Image.Input("edited", tooltip="The edited picture, decoded; of the original's size."),
                io.Mask.Input("masks", tooltip="Where the edit is, anything above 0: the masks of CSG Sampler, or any others. "
                              "The masks of a global change cover the picture, and then nothing is kept."),
                feather("Width of the soft edge in pixels, inside the masks. 0 cuts hard. 4 hides the seam; wider takes the edit back from its rim."),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The edited picture within the masks, the original outside."),
                io.Mask.Output("mask", tooltip="How much of the edit shows: 0 where a pixel is the original's own."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, original: torch.Tensor, edited: torch.Tensor, masks: torch.Tensor, feather: float = FEATHER) -> io.NodeOutput:
        image, mask = keep_preserved(original, edited, masks, feather)
        if not mask.any():
            logging.warning("Keep Preserved Pixels: the masks are empty, so the picture is the original; connect the masks of the edit.")
        return io.NodeOutput(image, mask)


class UndoDrift(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_UndoDrift",
            display_name="Undo Drift",
            category=CATEGORY,
            description="Lays the picture of any editor back on its original: undoes shift, zoom, turn and colour drift, finds what "
            "really changed, and keeps the original's own pixels everywhere else.",
            search_aliases=["align", "pixel shift", "zoom", "color match", "qwen edit", "kontext", "api", "composite", "csg"],
            is_output_node=True,
            inputs=[
                io.Image.Input("original", tooltip="The picture that the editor was given: one for all edited pictures, or one for each."),
                io.Image.Input("edited", tooltip="What came back from any editor, API nodes included. Another size is fitted to the original's; the aspect must be the same."),
                io.Mask.Input("masks", optional=True, tooltip="Where the edit is, anything above 0. Not connected: it is found."),
                io.Boolean.Input("align", default=True, tooltip="Undo shift, zoom and small turns, to a fraction of a pixel."),
                io.Boolean.Input("match_colour", default=True, tooltip="Undo drift of the colours, measured where nothing changed. Switch it off where the light was to change."),
                feather("Width of the soft edge around the change in pixels. 0 cuts hard. Given masks are softened inside their edge."),
            ],
            outputs=[
                io.Image.Output("image", tooltip="What really changed, on the original's own pixels. A picture that changed everywhere is returned as it is."),
                io.Mask.Output("mask", tooltip="How much of the edit shows: 0 where a pixel is the original's own."),
                io.String.Output("report", tooltip="The drift: pixels, per cent, degrees, colours, and how much really changed."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, original: torch.Tensor, edited: torch.Tensor, masks: torch.Tensor | None = None, align: bool = True,
                match_colour: bool = True, feather: float = FEATHER) -> io.NodeOutput:  # fmt: skip
        image, mask, report = undo_drift(original, edited, masks, align, match_colour, feather)
        return io.NodeOutput(image, mask, report, ui={"text": [report]})
