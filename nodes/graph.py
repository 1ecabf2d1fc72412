"""Nodes that make, change, keep and show causal graphs."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io, ui

from ..csg.causal import files
from ..csg.causal.assignments import parse_assignments
from ..csg.causal.counterfactual import Counterfactual, propagate
from ..csg.causal.drawing import draw
from ..csg.causal.editor_text import edited, remembered, sample_text
from ..csg.causal.formats import FORMATS, read_graph, write_graph, write_json
from ..csg.causal.graph import CausalGraph, GraphError
from ..csg.causal.questions import parse_questions
from ..csg.causal.questions import questions as asked_of
from ..csg.images import to_tensor
from . import host_vlm, inputs, sockets

CATEGORY = "CSG/graph"


class GraphEditor(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_GraphEditor",
            display_name="Causal Graph Editor",
            category=CATEGORY,
            description="Holds a causal graph: the concepts of a picture, what each can be, and which causes which.",
            search_aliases=["counterfactual", "what if", "dag", "causal graph", "concepts", "intervention", "scm", "structural causal model", "csg"],
            **sockets.SHOWN_AGAIN,
            inputs=[
                io.String.Input(
                    "graph_json",
                    multiline=True,
                    default=sample_text(),
                    tooltip="The graph as JSON; DAGitty and DOT texts are read too. "
                    "It is the one place where this node keeps what you edit.",
                ),
                sockets.Graph.Input(
                    "graph",
                    optional=True,
                    tooltip="A graph to start from, such as an extracted one. The text's edits are kept over it, "
                    "also when it is made again; where both changed the same thing, the text's word stands and the "
                    "conflict is shown. An empty or untouched text leaves it as it is.",
                ),
            ],
            outputs=[
                sockets.Graph.Output(
                    "graph", tooltip="The causal graph, checked: no cycles, every value in its domain."
                ),
                io.String.Output(
                    "json", tooltip="The same graph as JSON text, after the connected graph was merged in."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, graph_json: str | None = None) -> bool | str:
        try:
            if graph_json is not None and graph_json.strip():
                remembered(read_graph(graph_json))
        except GraphError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, graph_json: str, graph: CausalGraph | None = None) -> io.NodeOutput:
        result, conflicts = edited(graph_json, graph)
        text = write_json(result)
        shown = {"graph": [text], "conflicts": [str(conflict) for conflict in conflicts]}
        if graph is not None:
            shown["extracted"] = [write_json(graph)]
        for conflict in conflicts:
            logging.warning("Causal Graph Editor: %s.", conflict)
        return io.NodeOutput(result, text, ui=shown)


class Intervene(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_Intervene",
            display_name="Intervene: do(X = x)",
            category=CATEGORY,
            description="Sets a concept to a value, whatever its causes say. Chain several to intervene on several.",
            search_aliases=["do operator", "intervention", "hold", "csg"],
            inputs=[
                sockets.Graph.Input("graph", tooltip="The causal graph of the factual picture."),
                io.String.Input(
                    "concept",
                    default="weather",
                    tooltip="X, the concept to set, by its name in the graph. A click lists the concepts of the editor before "
                    "this node, or else of the last run.",
                ),
                io.String.Input(
                    "value",
                    default="rainy",
                    tooltip="x, one of the concept's values. Empty holds the concept at its factual value, which "
                    "stops effects that would pass through it.",
                ),
            ],
            outputs=[
                sockets.Graph.Output("graph", tooltip="The graph with this intervention pending; propagate it next.")
            ],
        )

    @classmethod
    def validate_inputs(cls, concept: str | None = None) -> bool | str:
        return "Name the concept to set, as the graph calls it." if concept is not None and not concept.strip() else True

    @classmethod
    def execute(cls, graph: CausalGraph, concept: str, value: str) -> io.NodeOutput:
        concept, value = concept.strip(), value.strip()
        return io.NodeOutput(graph.do({concept: value}) if value else graph.hold(concept))


class Questions(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_Questions",
            display_name="Several Questions",
            category=CATEGORY,
            description="Asks several questions about one picture: what follows in the workflow runs once for each, on one inversion.",
            search_aliases=["batch", "side by side", "variations", "list", "intervention", "csg"],
            inputs=[
                sockets.Graph.Input("graph", tooltip="The causal graph of the factual picture. Its own pending do()s give way to the questions."),
                io.String.Input(
                    "questions",
                    multiline=True,
                    default="",
                    placeholder="weather = rainy => ground = wet; person = umbrella",
                    tooltip="One question to a line: what is done, then `=>` and what follows from it, as far as you know. "
                    "`;` stands between several; `@ 0.5` at the end edits all of it at half the strength.",
                ),
            ],
            outputs=[
                sockets.Graph.Output(
                    "graph", is_output_list=True, tooltip="A list: the graph once for each question. Connect Propagate Intervention."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, questions: str | None = None) -> bool | str:
        return inputs.readable(parse_questions, questions)

    @classmethod
    def execute(cls, graph: CausalGraph, questions: str) -> io.NodeOutput:
        return io.NodeOutput(list(asked_of(graph, questions)))


def _vlm_inputs() -> list[io.Input]:
    """What a VLM that proposes values needs; all of it is optional."""
    return [
        sockets.VLM.Input(
            "vlm",
            optional=True,
            tooltip="Proposes values for the descendants that nobody sets by hand.",
        ),
        io.Image.Input(
            "image",
            optional=True,
            tooltip="The factual picture, for the VLM to look at. Without it the VLM reasons from the graph alone.",
        ),
        inputs.temperature(
            0.2,
            "How freely the VLM answers. The paper uses 0.2; above 1 answers contradict each other. Unused without a VLM.",
            optional=True,
        ),
        inputs.max_tokens(
            3072,
            "The longest answer of the VLM, in tokens. The paper uses 3072; too few cut the answer short. Unused without a VLM.",
            optional=True,
        ),
        inputs.seed("The VLM's random seed: the same seed gives the same answer. Unused without a VLM.", optional=True),
        inputs.prompts(),
    ]


class Propagate(inputs.WithPrompts, io.ComfyNode):
    ASKS = ("propagate",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_Propagate",
            display_name="Propagate Intervention",
            category=CATEGORY,
            description="Works out what the pending interventions change downstream, by hand or with a VLM. "
            "Whatever is no descendant of an intervention keeps its factual value.",
            search_aliases=["descendants", "effects", "consequences", "csg"],
            **sockets.SHOWN_AGAIN,
            inputs=[
                sockets.Graph.Input("graph", tooltip="A causal graph with at least one pending intervention."),
                io.String.Input(
                    "values",
                    multiline=True,
                    default="",
                    placeholder="ground = wet",
                    tooltip="Values of descendants by hand, one `concept = value` per line. What was clicked in the editor comes "
                    "first, then these, then the VLM's. A descendant that nobody sets keeps its factual value.",
                ),
                *_vlm_inputs(),
            ],
            outputs=[
                sockets.Counterfactual.Output(
                    "counterfactual", tooltip="The value of every concept before and after, and why it changes."
                ),
                io.String.Output("report", tooltip="The same in words, with everything that was set aside and why."),
            ],
        )

    @classmethod
    def validate_inputs(cls, values: str | None = None) -> bool | str:
        return inputs.readable(parse_assignments, values)

    @classmethod
    def execute(
        cls,
        graph: CausalGraph,
        values: str,
        vlm: Any = None,
        image: torch.Tensor | None = None,
        temperature: float = 0.2,
        max_tokens: int = 3072,
        seed: int = 0,
        prompts: str = host_vlm.BUILT_IN_PROMPTS,
    ) -> io.NodeOutput:
        by_hand = {**parse_assignments(values), **graph.effects}
        question = (vlm, image, graph, by_hand, temperature, max_tokens, seed)
        result = propagate(graph, by_hand) if vlm is None else _asked(*question, prompts=prompts)
        report = result.report()
        shown = {"text": (report,), "csg_counterfactual": [json.dumps(result.table())]}
        return io.NodeOutput(result, report, ui=shown)


def _asked(*question: Any, prompts: str) -> Counterfactual:
    """Let a VLM propose what was not set by hand; its modules load only when one is connected."""
    from ..csg.vlm.manipulate import vlm_propagate

    return vlm_propagate(*question, book=host_vlm.prompt_book(prompts))


class LoadGraph(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_LoadGraph",
            display_name="Load Causal Graph",
            category=CATEGORY,
            description="Reads a causal graph from a file in ComfyUI's input folder: native JSON, DAGitty or DOT.",
            search_aliases=["open graph", "import dagitty", "graphviz", "dot", "json", "csg"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=files.readable_files(folder_paths.get_input_directory()),
                    tooltip="A .json, .dagitty, .dot or .txt file in ComfyUI's input folder.",
                ),
                io.Combo.Input(
                    "format",
                    options=["auto", *FORMATS],
                    default="auto",
                    tooltip="How the file is written. auto looks at its first word.",
                ),
            ],
            outputs=[sockets.Graph.Output("graph", tooltip="The causal graph in the file, checked.")],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str, format: str) -> str:
        return files.content_hash(folder_paths.get_input_directory(), file)

    @classmethod
    def execute(cls, file: str, format: str) -> io.NodeOutput:
        graph = files.load_graph(folder_paths.get_input_directory(), file, format)
        return io.NodeOutput(graph, ui={"graph": [write_json(graph)]})


class SaveGraph(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_SaveGraph",
            display_name="Save Causal Graph",
            category=CATEGORY,
            description="Writes a causal graph to ComfyUI's output folder. It never overwrites a file: names are numbered.",
            search_aliases=["write graph", "export dagitty", "graphviz", "dot", "json", "csg"],
            is_output_node=True,
            inputs=[
                sockets.Graph.Input("graph", tooltip="The causal graph to save."),
                io.String.Input(
                    "filename_prefix",
                    default="graphs/causal",
                    tooltip="How the file's name begins, within the output folder; a slash makes a subfolder.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default="json",
                    tooltip="json is native. dagitty opens at dagitty.net, dot in Graphviz. Each can be loaded back whole.",
                ),
            ],
            outputs=[io.String.Output("text", tooltip="What was written to the file.")],
        )

    @classmethod
    def execute(cls, graph: CausalGraph, filename_prefix: str, format: str) -> io.NodeOutput:
        output = folder_paths.get_output_directory()
        folder, stem, number, *_ = folder_paths.get_save_image_path(filename_prefix, output)
        text = write_graph(graph, format)
        path = files.save_text(text, folder, stem, number, format)
        return io.NodeOutput(text, ui={"text": [text], "files": [os.path.relpath(path, output)]})


class GraphPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_GraphPreview",
            display_name="Draw Causal Graph",
            category=CATEGORY,
            description="Draws a causal graph, or what an intervention changes in it, as a picture.",
            search_aliases=["preview graph", "show graph", "visualize", "picture of graph", "csg"],
            is_output_node=True,
            inputs=[
                sockets.Graph.Input(
                    "graph", optional=True, tooltip="The graph to draw. Unused if a counterfactual is connected."
                ),
                sockets.Counterfactual.Input(
                    "counterfactual",
                    optional=True,
                    tooltip="The counterfactual to draw: values before and after, cut edges, and what changed.",
                ),
            ],
            outputs=[io.Image.Output("image", tooltip="The drawing, ready to save.")],
        )

    @classmethod
    def execute(cls, graph: CausalGraph | None = None, counterfactual: Counterfactual | None = None) -> io.NodeOutput:
        shown = graph if counterfactual is None else counterfactual
        if shown is None:
            raise ValueError("Nothing to draw: connect a graph or a counterfactual.")
        image = to_tensor(draw(shown))
        return io.NodeOutput(image, ui=ui.PreviewImage(image, cls=cls))
