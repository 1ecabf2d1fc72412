"""Nodes that lay pictures out side by side, and over each other."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..csg.causal.counterfactual import Counterfactual
from ..csg.causal.palette import concept_hex
from ..csg.diffusion.edits import Edits
from ..csg.evaluation.sheets import compare_sheet
from . import sockets
from .edit import mask_files


class CompareSheet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        more = [
            io.Image.Input(f"images_{i}", optional=True, tooltip="More pictures, after those before. Any size, any batch.")
            for i in (2, 3, 4, 5, 6)
        ]
        return io.Schema(
            node_id="CSG_CompareSheet",
            display_name="Compare Sheet",
            category="CSG/evaluation",
            description="Lays pictures out in one labelled grid: factual, counterfactual, other methods, with their scores.",
            search_aliases=["contact sheet", "grid", "compare", "xy plot", "csg"],
            is_output_node=True,
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="Pictures to compare; lists and batches are laid out in order."),
                io.String.Input("titles", multiline=True, default="factual\ncounterfactual", tooltip="One title per picture, one per line; with several counterfactuals one per row."),
                io.MultiType.Input(
                    io.String.Input("scores", multiline=True, default="", optional=True,
                                    tooltip="One note per picture, one per line, written below it; or numbers, such as LPIPS of a list of pictures."),
                    types=[io.Float, io.Int],
                ),
                io.Int.Input("columns", default=0, min=0, max=64, optional=True, advanced=True, tooltip="Pictures per row; 0 = at most four."),
                sockets.Counterfactual.Input("counterfactual", optional=True, tooltip="Its changes are written under the sheet; with several, interventions stand across and methods down."),
                *more,
            ],
            outputs=[io.Image.Output("image", tooltip="The labelled sheet.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, images: list[torch.Tensor], titles: list[str], scores: list[str | float] | None = None, columns: list[int] | None = None,
                counterfactual: list[Counterfactual] | None = None, **more: list[torch.Tensor]) -> io.NodeOutput:  # fmt: skip
        pictures = [*images, *(image for key in sorted(more) for image in more[key] or [])]
        sheet = compare_sheet(
            pictures, lines_of(titles), counterfactual or [], lines_of(scores or []), (columns or [0])[0]
        )
        return io.NodeOutput(sheet, ui=ui.PreviewImage(sheet, cls=cls))


class BeforeAfter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_BeforeAfter",
            display_name="Before and After",
            category="CSG/evaluation",
            description="Lays the edited picture over the original: drag the slider to see what changed, point at a concept to see where it acted.",
            search_aliases=["compare", "slider", "image comparer", "difference", "csg"],
            is_output_node=True,
            inputs=[
                io.Image.Input("before", tooltip="The original picture. Only the first of a batch is shown."),
                io.Image.Input("after", tooltip="The edited picture. Only the first of a batch is shown."),
                io.Mask.Input("masks", optional=True, tooltip="The masks of CSG Sampler, one per concept; they need `edits` too."),
                sockets.Edits.Input("edits", optional=True, tooltip="The edits that the sampler got; they name and colour the masks."),
            ],
            outputs=[],
        )  # fmt: skip

    @classmethod
    def execute(cls, before: torch.Tensor, after: torch.Tensor, masks: torch.Tensor | None = None, edits: Edits | None = None) -> io.NodeOutput:
        shown = {f"csg_{name}": ui.PreviewImage(image[:1], cls=cls).as_dict()["images"] for name, image in (("before", before), ("after", after))}
        if masks is not None and edits is not None:
            names = [term.concept for term in edits.terms]
            colours = [edits.colours.get(name, concept_hex(i)) for i, name in enumerate(names)]
            files = mask_files(names, masks, cls)
            shown["csg_masks"] = [file | {"colour": colour} for file, colour in zip(files, colours, strict=False)]
        return io.NodeOutput(ui=shown)


def lines_of(texts: list[str | float]) -> list[str]:
    """All lines of all texts; a number is a line of its own."""
    lines = [text.splitlines() if isinstance(text, str) else [f"{text:.4g}"] for text in texts]
    return [line.strip() for part in lines for line in part]
