"""Nodes of Town, the built-in toy world whose exact counterfactuals are known."""

from __future__ import annotations

import json

import torch
from comfy_api.latest import io

from ..csg.causal.assignments import parse_assignments
from ..csg.causal.counterfactual import Counterfactual
from ..csg.causal.formats import read_json, write_json
from ..csg.images import to_array, to_tensor
from ..csg.town import score, world
from ..csg.town.render import render
from . import host_town, inputs, sockets
from .doors import choice

CATEGORY = "CSG/town"
SEED = io.Int.Input("seed", default=7, min=0, max=2**63 - 1, tooltip="Number of the scene; it decides everything that no concept does.")
DO = io.String.Input(
    "do", default="", multiline=False,
    tooltip="Interventions, as `weather = rainy; time = night`. Empty: the scene as it is.",
)  # fmt: skip
QUESTION = sockets.Counterfactual.Input(
    "counterfactual", optional=True,
    tooltip="The question from the graph: its interventions are asked of the scene too, so that nothing has to be written twice.",
)  # fmt: skip
NETWORKS = {
    "UNet": lambda: (host_town.load_model(), host_town.load_clip()),
    "transformer": lambda: (host_town.load_transformer(), host_town.load_clip(host_town.TownClip)),
}


class LoadTown(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_LoadTown",
            display_name="Load Town Demo Model",
            category=CATEGORY,
            description="Loads the toy world's own model: a tiny relative of SDXL, or of SD3, that knows twelve concepts of one street "
            "and nothing else. For pictures of your own use a real checkpoint.",
            search_aliases=["demo", "toy", "town", "checkpoint", "transformer", "csg"],
            inputs=[
                io.Combo.Input(
                    "network", options=list(NETWORKS), default="UNet", optional=True,
                    tooltip="UNet: a tiny SDXL. transformer: a tiny SD3, a rectified-flow transformer; it draws the same world less well.",
                ),
            ],
            outputs=[
                io.Model.Output("model", tooltip="Town's denoiser; works with every stock sampler."),
                io.Clip.Output("clip", tooltip="Town's text encoders; they know Town's words only."),
                io.Vae.Output("vae", tooltip="Town's autoencoder, for pictures of 256 x 256."),
            ],
        )

    @classmethod
    def execute(cls, network: str = "UNet") -> io.NodeOutput:
        return io.NodeOutput(*NETWORKS[choice("network", network, NETWORKS)](), host_town.load_vae())


class TownScene(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_TownScene",
            display_name="Town Scene",
            category=CATEGORY,
            description="Renders a scene of the toy world, factual or under interventions, with its true causal graph.",
            search_aliases=["demo", "toy", "town", "ground truth", "csg"],
            inputs=[SEED, DO, QUESTION],
            outputs=[
                io.Image.Output("image", tooltip="The picture, 256 x 256. With interventions: the exact counterfactual."),
                sockets.Graph.Output("graph", tooltip="The world's true concepts, values and edges."),
                io.String.Output("caption", tooltip="The caption that Town's model was trained on for these values."),
            ],
        )

    @classmethod
    def validate_inputs(cls, do: str | None = None) -> bool | str:
        return inputs.readable(checked_do, do)

    @classmethod
    def execute(cls, seed: int, do: str = "", counterfactual: Counterfactual | None = None) -> io.NodeOutput:
        noise = world.exogenous(seed)
        values = world.evaluate(noise, asked(do, counterfactual))
        graph = read_json(json.dumps(world.graph_document(values)))
        picture = to_tensor(render(noise, values)[0])
        return io.NodeOutput(picture, graph, world.caption(values), ui={"graph": [write_json(graph)]})


class TownScore(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_TownScore",
            display_name="Score against the Exact Answer",
            category=CATEGORY,
            description="Scores an edited Town scene against the picture that the intervention really causes, which only a toy world knows.",
            search_aliases=["score", "evaluation", "benchmark", "ground truth", "town", "csg"],
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The edited picture, 256 x 256."),
                SEED, DO,
                io.Image.Input("reconstruction", optional=True, tooltip="The replay without edits: adds its error to the report."),
                QUESTION,
            ],
            outputs=[
                io.Float.Output("effectiveness", tooltip="Share of the changed concepts that read as the intervention demands, 0 to 1."),
                io.Float.Output("excess_error", tooltip="Error on pixels that must not change, above the autoencoder's own, in points of per cent; nan where every pixel changes."),
                io.String.Output("report", tooltip="All figures and the reading of every concept, as JSON."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, do: str | None = None) -> bool | str:
        return inputs.readable(checked_do, do)

    @classmethod
    def execute(cls, image: torch.Tensor, seed: int, do: str, reconstruction: torch.Tensor | None = None,
                counterfactual: Counterfactual | None = None) -> io.NodeOutput:  # fmt: skip
        again = None if reconstruction is None else to_array(reconstruction)[0]
        result = score.score(to_array(image)[0], seed, asked(do, counterfactual), again)
        excess = float("nan") if result.excess_error is None else result.excess_error
        return io.NodeOutput(result.effectiveness, excess, result.to_json(), ui={"text": [result.to_json()]})


def checked_do(text: str) -> dict[str, str]:
    """The interventions of a text; ValueError for what Town does not have."""
    do = parse_assignments(text)
    world.check_do(do)
    return do


def asked(do: str, counterfactual: Counterfactual | None) -> dict[str, str]:
    """The interventions of a text and of a counterfactual's graph; the graph's word stands."""
    return {**parse_assignments(do), **(counterfactual.graph.interventions if counterfactual else {})}
