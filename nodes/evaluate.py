"""Nodes that measure counterfactual pictures."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..csg.causal.counterfactual import Counterfactual
from ..csg.evaluation.effectiveness import MAX_TOKENS, effectiveness
from ..csg.vlm.protocol import VisionLanguageModel
from . import host_vlm, inputs, sockets

CATEGORY = "CSG/evaluation"
MAX_SEED = 0xFFFFFFFFFFFFFFFF


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
            has_intermediate_output=True,
            inputs=[
                sockets.VLM.Input("vlm", tooltip="The vision-language model that judges. Better not the one that made the counterfactual."),
                io.Image.Input("image", tooltip="The generated picture. Only the first of a batch is judged."),
                sockets.Counterfactual.Input("counterfactual", tooltip="What the picture should show."),
                io.Int.Input(
                    "max_tokens",
                    default=MAX_TOKENS,
                    min=16,
                    max=32768,
                    optional=True,
                    advanced=True,
                    tooltip="The longest answer, in tokens. A yes needs few; models that think aloud need more.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    optional=True,
                    advanced=True,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="The model's random seed. Answers are taken greedily, so it matters only to servers that sample all the same.",
                ),
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
