"""Nodes that measure counterfactual pictures."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..csg.causal.counterfactual import Counterfactual
from ..csg.causal.drawing import draw
from ..csg.evaluation.audit import audit, slips
from ..csg.evaluation.effectiveness import MAX_TOKENS, effectiveness
from ..csg.evaluation.sheets import audit_sheet
from ..csg.pictures.pairs import checked
from ..csg.vlm.protocol import VisionLanguageModel
from . import host_vlm, inputs, sockets

CATEGORY = "CSG/evaluation"
ASKING = (
    inputs.max_tokens(
        MAX_TOKENS, "The longest answer, in tokens. A yes needs few; models that think aloud need more.", optional=True, least=16
    ),
    inputs.seed(
        "The model's random seed. Answers are taken greedily, so it matters only to servers that sample all the same.", optional=True
    ),
)
JUDGE = sockets.VLM.Input("vlm", tooltip="The vision-language model that judges. Better not the one that made the counterfactual.")


class Effectiveness(inputs.WithPrompts, io.ComfyNode):
    ASKS = ("effectiveness",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_Effectiveness",
            display_name="Effectiveness (VLM-Eff)",
            category=CATEGORY,
            description="Asks a vision-language model one yes/no question for each concept that should have changed. The score is the "
            "share of concepts that it sees changed.",
            search_aliases=["vlm-eff", "score", "evaluation", "metric", "csg"],
            **sockets.SHOWN_AGAIN,
            inputs=[
                JUDGE,
                io.Image.Input("image", tooltip="The generated picture. Only the first of a batch is judged."),
                sockets.Counterfactual.Input("counterfactual", tooltip="What the picture should show."),
                *ASKING,
                inputs.prompts(),
            ],
            outputs=[
                io.Float.Output("score", tooltip="Share of changed concepts that are seen, from 0 to 1; 1 when nothing had to change."),
                io.String.Output("report", tooltip="Each question and answer."),
            ],
        )

    @classmethod
    def execute(
        cls,
        vlm: VisionLanguageModel,
        image: torch.Tensor,
        counterfactual: Counterfactual,
        max_tokens: int = MAX_TOKENS,
        seed: int = 0,
        prompts: str = host_vlm.BUILT_IN_PROMPTS,
    ) -> io.NodeOutput:
        book = host_vlm.prompt_book(prompts)
        result = effectiveness(vlm, image, counterfactual, max_tokens=max_tokens, seed=seed, book=book)
        verdicts = [{"concept": verdict.concept, "answer": verdict.answer} for verdict in result.verdicts]
        return io.NodeOutput(result.score, result.report(), ui={"csg_effectiveness": verdicts, "text": [result.report()]})


class Audit(inputs.WithPrompts, io.ComfyNode):
    ASKS = ("effectiveness",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_Audit",
            display_name="Audit against the Graph",
            category=CATEGORY,
            description="Holds an edited picture, from any editor, to the causal graph: a vision-language model says whether each concept "
            "that had to change has changed, and whether each one that had to stay is still what it was.",
            search_aliases=["check", "verify", "vlm-eff", "preserved", "side effects", "evaluation", "csg"],
            is_output_node=True,
            inputs=[
                JUDGE,
                io.Image.Input("original", tooltip="The picture before the edit. Only the first of a batch is looked at."),
                io.Image.Input("edited", tooltip="The edited picture. Only the first of a batch is looked at."),
                sockets.Counterfactual.Input("counterfactual", tooltip="What had to change, and what had to stay."),
                *ASKING,
                inputs.prompts(),
            ],
            outputs=[
                io.String.Output("report", tooltip="Both scores, and a line for each concept: what was asked and what the model wrote."),
                io.Image.Output("sheet", tooltip="Both pictures beside the graph: a tick on each concept that did what the graph says, a cross on what slipped."),
                io.Float.Output("effectiveness", tooltip="Share of the concepts that had to change and are seen changed, 0 to 1; 1 when none had to."),
                io.Float.Output("preserved", tooltip="Share of the concepts that had to stay and are still seen, 0 to 1. Those not seen in the original are left out."),
            ],
        )

    @classmethod
    def execute(
        cls,
        vlm: VisionLanguageModel,
        original: torch.Tensor,
        edited: torch.Tensor,
        counterfactual: Counterfactual,
        max_tokens: int = MAX_TOKENS,
        seed: int = 0,
        prompts: str = host_vlm.BUILT_IN_PROMPTS,
    ) -> io.NodeOutput:
        book = host_vlm.prompt_book(prompts)
        original, edited = checked(original, "original"), checked(edited, "edited")
        result = audit(vlm, original, edited, counterfactual, max_tokens=max_tokens, seed=seed, book=book)
        by_concept, report = result.verdicts(), result.report()
        head = report.partition("\n")[0]
        sheet = audit_sheet(original, edited, draw(counterfactual, by_concept), [head, *slips(result.slipped)])
        verdicts = [{"concept": concept, "answer": answer} for concept, answer in by_concept.items()]
        shown = {"csg_effectiveness": verdicts, "text": [report], **ui.PreviewImage(sheet, cls=cls).as_dict()}
        return io.NodeOutput(report, sheet, result.effectiveness, result.preserved, ui=shown)
