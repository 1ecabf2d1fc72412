"""Nodes that turn a counterfactual into guidance, and guidance masks into pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import io, ui

from ..csg.causal.assignments import parse_assignments, parse_strengths
from ..csg.causal.counterfactual import ALL_CHANGES, SELECTIONS, Counterfactual, unspoken
from ..csg.causal.graph import closest, quoted
from ..csg.causal.instruction import as_it_is, instruction, row
from ..csg.causal.palette import concept_hex
from ..csg.diffusion.edits import GLOBAL, LOCAL, ConceptTerm, Edits, encode_change, preserved_words, with_conditionings
from ..csg.evaluation.sheets import overlay_grid
from . import inputs, sockets
from .host_words import ClipText

CATEGORY = "CSG/edit"
CAPTIONS, INSTRUCTIONS = "captions", "instructions"

CLIP = io.Clip.Input("clip", tooltip="The text encoder of the model that edits the picture.")
SCALE = io.Float.Input(
    "scale", default=8.0, min=0.0, max=50.0, step=0.1,
    tooltip="Edit guidance scale of every concept. Paper: 8. Lower is subtler; too high saturates colours.",
)  # fmt: skip
THRESHOLD = io.Float.Input(
    "threshold", default=0.7, min=0.0, max=0.99, step=0.01,
    tooltip="Share of the picture that a concept leaves alone. Paper: 0.7. For small objects 0.8 to 0.9, for skies 0.4; 0 acts everywhere.",
)  # fmt: skip
WARMUP = io.Int.Input(
    "warmup", default=10, min=0, max=500,
    tooltip="Steps before a concept begins to act. Paper: 10 of 100. More keeps the layout, less allows larger changes.",
)  # fmt: skip


class EncodeEdits(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_EncodeEdits",
            display_name="Encode Concept Edits",
            category=CATEGORY,
            description="Encodes every change of a counterfactual as one concept edit, and the whole captions before and after.",
            search_aliases=["concept edits", "ledits", "editing prompt", "encode", "csg"],
            inputs=[
                CLIP,
                sockets.Counterfactual.Input("counterfactual", tooltip="What changes and why, from Propagate Intervention."),
                SCALE, THRESHOLD, WARMUP,
                io.Combo.Input("concepts", options=list(SELECTIONS), default=ALL_CHANGES,
                               tooltip="Which changes become edits. The paper edits descendants alone, and the intervened concept only when nothing depends on it; "
                               "intervened only is LEDITS++ without a graph, to compare with."),
                io.Float.Input("global_scale", default=2.0, min=0.0, max=20.0, step=0.1, optional=True, advanced=True,
                               tooltip="Guidance of global concepts (time of day, season, style): the scale of the whole captions' difference, without a mask."),
                io.String.Input("strengths", default="", optional=True, advanced=True,
                                tooltip="Factors on the scale of single concepts: `snowman = 2; car = 0.5`. They come before the strengths in the graph. A thing that appears where nothing was often needs more."),
                io.Combo.Input("wording", options=[CAPTIONS, INSTRUCTIONS], default=CAPTIONS, optional=True,
                               tooltip="captions: every concept is its phrase, for models that draw what a caption shows. "
                               "instructions: every concept is told as a change, for edit models (Qwen-Image-Edit, Flux Kontext, Flux.2 with a reference)."),
                io.Image.Input("image", optional=True,
                               tooltip="The picture as the text encoder of Qwen-Image-Edit (2509, 2511) sees it beside every instruction. Leave it open for all others."),
            ],
            outputs=[
                sockets.Edits.Output("edits", tooltip="One edit per changed concept, for CSG Sampler."),
                io.Conditioning.Output("positive", tooltip="The interventional prompt: the whole caption after the intervention."),
                io.Conditioning.Output("source", tooltip="The base prompt: the whole caption of the picture as it is."),
                io.String.Output("prompt", tooltip="The interventional prompt as text."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, strengths: str | None = None) -> bool | str:
        return inputs.readable(parse_assignments, strengths)

    @classmethod
    def execute(cls, clip: Any, counterfactual: Counterfactual, scale: float, threshold: float, warmup: int, concepts: str,  # noqa: ANN401
                global_scale: float = 2.0, strengths: str = "", wording: str = CAPTIONS, image: torch.Tensor | None = None) -> io.NodeOutput:  # fmt: skip
        graph, tells = counterfactual.graph, wording == INSTRUCTIONS
        factors = {each.name: each.strength for each in graph.concepts} | parse_strengths(strengths, graph.names)
        text, common = ClipText(clip, image), ConceptTerm("", "", scale, threshold, warmup)
        captions = (as_it_is(counterfactual), instruction(counterfactual)) if tells else (graph.base_prompt, counterfactual.prompt)
        terms = tuple(encode_change(text, change, common, global_scale, captions, row(change) if tells else "")
                      for change in counterfactual.edits(concepts))  # fmt: skip
        terms = tuple(replace(term, scale=term.scale * factors[term.concept]) for term in terms)
        source, target = (text.encode(caption) for caption in captions)
        colours = {name: concept_hex(i) for i, name in enumerate(graph.names)}
        preserved = preserved_words(text, captions[0], ((p.concept, p.factual_phrase) for p in counterfactual.preserved()))
        missing = () if tells else tuple(name for name in unspoken(graph) if graph[name].scope == LOCAL)
        edits = Edits(terms, target, source, captions[1], colours, preserved, missing)
        return io.NodeOutput(edits, target, source, captions[1])


class ConceptEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_ConceptEdit",
            display_name="Concept Edit (by hand)",
            category=CATEGORY,
            description="Adds one concept edit with its own settings, without any graph. Chain several.",
            search_aliases=["concept", "ledits", "sega", "editing prompt", "semantic guidance", "csg"],
            inputs=[
                CLIP,
                io.String.Input("phrase", default="wet ground with puddles",
                                tooltip="A short noun phrase that shows the concept. All its words make the mask: no negations, at most eight words."),
                SCALE, THRESHOLD, WARMUP,
                io.Int.Input("cooldown", default=0, min=0, max=500, advanced=True, tooltip="Step after which the concept stops acting; 0 = never."),
                io.Boolean.Input("remove", default=False, tooltip="Guide away from the phrase: removes what it names."),
                io.Combo.Input("scope", options=[LOCAL, GLOBAL], default=LOCAL, advanced=True,
                               tooltip="local: masked. global: the whole picture (light, season, style), without a mask."),
                io.Mask.Input("mask", optional=True, tooltip="Confine the concept to this region, at any size; it is scaled to the latent."),
                sockets.Edits.Input("edits", optional=True, tooltip="Edits that this one is added to."),
            ],
            outputs=[sockets.Edits.Output("edits", tooltip="All edits so far, for CSG Sampler or another Concept Edit.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, clip: Any, phrase: str, scale: float, threshold: float, warmup: int, cooldown: int = 0, remove: bool = False,  # noqa: ANN401
                scope: str = "local", mask: torch.Tensor | None = None, edits: Edits | None = None) -> io.NodeOutput:  # fmt: skip
        before = edits or Edits()
        term = ConceptTerm(phrase.strip(), phrase.strip(), scale, threshold, warmup, cooldown, remove, LOCAL, mask)
        if scope == GLOBAL:  # by hand a global concept is its own phrase, everywhere
            term = replace(term, threshold=0.0)
        terms = (*before.terms, with_conditionings(ClipText(clip), term))
        colours = dict(before.colours)
        colours.setdefault(term.concept, concept_hex(len(colours)))
        return io.NodeOutput(replace(before, terms=terms, colours=colours))


class MaskConcept(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_MaskConcept",
            display_name="Confine Concept to Mask",
            category=CATEGORY,
            description="Lets one concept act nowhere but in a mask: painted, or from any node that makes masks. Chain several.",
            search_aliases=["mask", "region", "inpaint", "paint", "area", "concept mask", "csg"],
            inputs=[
                sockets.Edits.Input("edits", tooltip="The edits, from Encode Concept Edits or another node of this kind."),
                io.String.Input("concept", default="weather",
                                tooltip="The concept to confine, by its name in the graph (made by hand: its phrase). "
                                "One that does not change this time is passed over."),
                io.Mask.Input("mask", tooltip="Where the concept may act, at any size; it is scaled to the latent. White acts, grey acts less, black not at all. "
                              "Inside, its own mask still counts."),
            ],
            outputs=[sockets.Edits.Output("edits", tooltip="The edits with this concept confined, for CSG Sampler.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, edits: Edits, concept: str, mask: torch.Tensor) -> io.NodeOutput:
        name, names = concept.strip(), list(dict.fromkeys([*edits.colours, *(term.concept for term in edits.terms)]))
        if name not in names:
            raise ValueError(f"The edits have no concept {quoted(name)}. {closest(name, names)}")
        if not mask.any():
            raise ValueError(f"The mask for {quoted(name)} is black everywhere, so that the concept could act nowhere. Paint on it "
                             "(right-click the picture's node, Open in MaskEditor), or take this node out.")  # fmt: skip
        return io.NodeOutput(replace(edits, terms=tuple(
            replace(term, mask=mask) if term.concept == name else term for term in edits.terms)))  # fmt: skip


class MaskOverlay(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_MaskOverlay",
            display_name="Concept Masks",
            category=CATEGORY,
            description="Shows where each concept acted, in the concept's own colour, as a labelled grid.",
            search_aliases=["mask", "attention map", "heatmap", "daam", "overlay", "csg"],
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The picture under the masks: the factual or the counterfactual one."),
                io.Mask.Input("masks", tooltip="The masks of CSG Sampler, one per concept."),
                sockets.Edits.Input("edits", tooltip="The edits that the sampler got; they name and colour the masks."),
            ],
            outputs=[io.Image.Output("image", tooltip="One tile per concept, labelled, in its colour.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, image: torch.Tensor, masks: torch.Tensor, edits: Edits) -> io.NodeOutput:
        names = [term.concept for term in edits.terms]
        grid = overlay_grid(image, masks, names, [edits.colours.get(n, concept_hex(i)) for i, n in enumerate(names)])
        shown = ui.PreviewImage(grid, cls=cls).as_dict()
        return io.NodeOutput(grid, ui=shown | {"csg_masks": mask_files(names, masks, cls)})


def mask_files(names: list[str], masks: torch.Tensor, cls: type) -> list[dict]:
    """One preview file per concept, for the editor's thumbnails."""
    batch = max(1, len(masks) // max(1, len(names)))
    firsts = masks[::batch][: len(names)]
    saved = ui.PreviewMask(firsts, cls=cls).as_dict()["images"] if names else []
    return [{"concept": name, "image": file} for name, file in zip(names, saved, strict=False)]
