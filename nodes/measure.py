"""Nodes that compare pictures: LPIPS, multi-scale SSIM, composition and reversibility; and counterfactuals as text."""

from __future__ import annotations

import json
from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ..csg.causal.counterfactual import Counterfactual
from ..csg.causal.formats import write_json
from ..csg.causal.instruction import instruction
from ..csg.evaluation import perceptual
from ..csg.evaluation.similarity import ms_ssim
from ..csg.evaluation.soundness import distances
from . import sockets
from .doors import choice

CATEGORY = "CSG/evaluation"
FOLDER = "lpips"

IMAGE_A = io.Image.Input("image_a", tooltip="One picture, usually the factual one.")
IMAGE_B = io.Image.Input("image_b", tooltip="The other, of the same size: an edit, or a reconstruction.")

folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))


class LPIPS(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_LPIPS",
            display_name="LPIPS",
            category=CATEGORY,
            description="How different two pictures look to a trained network. Its weights are read from models/lpips and never downloaded.",
            search_aliases=["perceptual distance", "similarity", "metric", "evaluation", "csg"],
            is_output_node=True,
            inputs=[
                IMAGE_A, IMAGE_B,
                io.Combo.Input("net", options=list(perceptual.NETS), default="vgg",
                               tooltip="vgg (paper): vgg16-397923af.pth. alex is faster: alexnet-owt-7be5be79.pth. Put the file into models/lpips."),
            ],
            outputs=[io.Float.Output("distance", tooltip="0 for the same picture; small edits stay below 0.2. For a batch the mean.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, image_a: torch.Tensor, image_b: torch.Tensor, net: str) -> io.NodeOutput:
        backbone = perceptual.find_backbone(folder_paths.get_folder_paths(FOLDER), choice("net", net, perceptual.NETS))
        return figure_output(perceptual.lpips(image_a, image_b, backbone, net))


class MultiScaleSSIM(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_MSSSIM",
            display_name="Multi-Scale SSIM",
            category=CATEGORY,
            description="How alike two pictures are in structure, from fine to coarse. Needs no weights, and knows less than LPIPS.",
            search_aliases=["ms-ssim", "structural similarity", "metric", "evaluation", "csg"],
            is_output_node=True,
            inputs=[IMAGE_A, IMAGE_B],
            outputs=[
                io.Float.Output(
                    "similarity", tooltip="1 for the same picture, 0 for nothing in common. For a batch the mean."
                )
            ],
        )

    @classmethod
    def execute(cls, image_a: torch.Tensor, image_b: torch.Tensor) -> io.NodeOutput:
        return figure_output(ms_ssim(image_a, image_b))


class Soundness(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_Soundness",
            display_name="Composition and Reversibility",
            category=CATEGORY,
            description="Two axioms of counterfactuals, measured: an edit by nothing changes nothing, and there and back again leads to the start.",
            search_aliases=["axioms", "composition", "reversibility", "cycle consistency", "evaluation", "csg"],
            is_output_node=True,
            inputs=[
                io.Image.Input("factual", tooltip="The picture before any edit."),
                io.Image.Input("unedited", optional=True, tooltip="The picture edited by nothing, such as the reconstruction of an inversion: for composition."),
                io.Image.Input("returned", optional=True, tooltip="The picture edited, inverted again and edited back: for reversibility."),
            ],
            outputs=[
                io.Float.Output("composition", tooltip="Mean error between factual and unedited, in per cent of the range; nan when not connected. 0 is best."),
                io.Float.Output("reversibility", tooltip="Mean error between factual and returned, in per cent of the range; nan when not connected. 0 is best."),
                io.String.Output("report", tooltip="Mean error, PSNR and multi-scale SSIM of both."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, factual: torch.Tensor, unedited: torch.Tensor | None = None, returned: torch.Tensor | None = None
    ) -> io.NodeOutput:
        pairs = {"composition": unedited, "reversibility": returned}
        measured = {name: distances(factual, image) for name, image in pairs.items() if image is not None}
        if not measured:
            raise ValueError("There is nothing to compare: connect `unedited`, `returned`, or both.")
        report = "\n".join(f"{name}: {one.text()}" for name, one in measured.items())
        errors = [measured[name].mean_error if name in measured else float("nan") for name in pairs]
        return io.NodeOutput(*errors, report, ui={"text": [report]})


class CounterfactualText(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_CounterfactualText",
            display_name="Counterfactual as Text",
            category=CATEGORY,
            description="Writes a counterfactual as JSON: the graph with its interventions, the values that follow, the interventional prompt. "
            "For records, and for doing exactly the same again. And in plain words, as an instruction for any edit model.",
            search_aliases=["json", "export", "record", "instruction", "qwen edit", "kontext", "csg"],
            is_output_node=True,
            inputs=[sockets.Counterfactual.Input("counterfactual", tooltip="A counterfactual, or a list of them.")],
            outputs=[
                io.String.Output("text", tooltip="JSON with graph, values and prompt."),
                io.String.Output("instruction", tooltip="What to change, in the order of causes, and what to keep: the prompt for an edit model."),
            ],
        )

    @classmethod
    def execute(cls, counterfactual: Counterfactual) -> io.NodeOutput:
        followed = [change for change in counterfactual.changed if change.role == "descendant"]
        document = {
            "graph": json.loads(write_json(counterfactual.graph)),
            "values": {change.concept: change.counterfactual for change in followed},
            "prompt": counterfactual.prompt,
        }
        text = json.dumps(document, indent=1, ensure_ascii=False)
        return io.NodeOutput(text, instruction(counterfactual), ui={"text": [text]})


def figure_output(value: float) -> io.NodeOutput:
    """A figure, shown on its node too."""
    return io.NodeOutput(value, ui={"text": [f"{value:.4f}"]})
