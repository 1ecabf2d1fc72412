"""Nodes that ask a vision-language model: which concepts a picture shows, and what would be worth changing."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..csg.causal.formats import write_json
from ..csg.causal.graph import MAX_CONCEPTS, CausalGraph
from ..csg.vlm.extract import Extraction, concepts_from_text, extract_concepts
from ..csg.vlm.local import ATTENTIONS, DTYPES
from ..csg.vlm.protocol import VisionLanguageModel
from ..csg.vlm.suggest import suggest_interventions
from . import host_vlm, inputs, sockets

CATEGORY = "CSG/vision-language model"

VLM_OUTPUT = sockets.VLM.Output("vlm", tooltip="The model, ready to be asked. It is loaded at the first question.")
VLM_INPUT = sockets.VLM.Input("vlm", tooltip="The vision-language model to ask, from one of the three VLM nodes.")
IMAGE = io.Image.Input(
    "image", tooltip="The picture. Only the first of a batch is looked at, at most 1024 pixels wide or high."
)
SEED = inputs.seed("The model's random seed: the same seed gives the same answer, where the backend keeps that promise.")


def _temperature(default: float) -> io.Float.Input:
    return inputs.temperature(
        default, f"How freely the model answers. The paper uses {default}; above 1 the JSON it writes falls apart."
    )


def _max_tokens(default: int) -> io.Int.Input:
    return inputs.max_tokens(default, f"The longest answer, in tokens. The paper uses {default}; too few cut the answer short.")


class VLMFromTextEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_VLMFromTextEncoder",
            display_name="VLM from Text Encoder",
            category=CATEGORY,
            description="Uses one of ComfyUI's own text-generation models as the vision-language model: one file, loaded with "
            "Load CLIP, and it leaves the GPU when the sampler needs the room.",
            search_aliases=["qwen3-vl", "gemma", "llm", "vision language model", "csg"],
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="A model that sees and writes, from Load CLIP with type stable_diffusion: Qwen3-VL 4B (7 GB) or 8B "
                    "(12 GB), or Gemma. CLIP and T5 encoders cannot write.",
                )
            ],
            outputs=[VLM_OUTPUT],
        )

    @classmethod
    def execute(cls, clip: Any) -> io.NodeOutput:  # noqa: ANN401
        return io.NodeOutput(host_vlm.TextEncoderVLM(clip))


class LoadVLM(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_LoadVLM",
            display_name="Load VLM (Transformers)",
            category=CATEGORY,
            description="Uses a Hugging Face model from models/LLM, such as the paper's Qwen3-VL-30B-A3B-Instruct. Nothing is "
            "downloaded, and no code from the folder runs.",
            search_aliases=["qwen3-vl", "hugging face", "llm", "vision language model", "csg"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=host_vlm.model_folders(),
                    tooltip="A folder in models/LLM with config.json and *.safetensors files. town-vlm comes with this pack and "
                    "knows nothing but Town, its toy world.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=list(DTYPES),
                    default="auto",
                    tooltip="Precision of the weights. auto: as the folder says. bfloat16 needs 2 bytes a parameter, 8-bit "
                    "about 1.1 and 4-bit 0.7; both need the packages bitsandbytes and accelerate, and do not shrink the 30B-A3B model.",
                ),
                io.Combo.Input(
                    "attention",
                    options=list(ATTENTIONS),
                    default=ATTENTIONS[0],
                    advanced=True,
                    tooltip="How attention is computed. sdpa suits everyone; flash_attention_2 needs the package flash-attn.",
                ),
            ],
            outputs=[VLM_OUTPUT],
        )

    @classmethod
    def execute(cls, model: str, dtype: str, attention: str = ATTENTIONS[0]) -> io.NodeOutput:
        return io.NodeOutput(host_vlm.local(model, dtype, attention))


class VLMServer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_VLMServer",
            display_name="VLM Server (OpenAI-compatible)",
            category=CATEGORY,
            description="Asks a server that speaks OpenAI's chat interface: Ollama, LM Studio, llama.cpp, vLLM or a cloud. "
            "Pictures leave this machine only for hosts that you have allowed yourself.",
            search_aliases=[
                "ollama",
                "vllm",
                "llama.cpp",
                "lm studio",
                "openai",
                "api",
                "vision language model",
                "csg",
            ],
            inputs=[
                io.String.Input(
                    "base_url",
                    default="http://127.0.0.1:11434/v1",
                    tooltip="The server's address up to /v1. Other hosts than this machine must be listed in the environment variable "
                    "CSG_VLM_HOSTS or in csg_vlm_hosts.txt in ComfyUI's user folder.",
                ),
                io.String.Input(
                    "model",
                    default="qwen3-vl:8b",
                    tooltip="The model's name, as the server knows it. It must be able to see.",
                ),
                io.String.Input(
                    "api_key_env",
                    default="",
                    advanced=True,
                    tooltip="Name of the environment variable that holds the key; it must begin with CSG_VLM_KEY. Never the key itself.",
                ),
                io.Float.Input(
                    "timeout_s",
                    default=120.0,
                    min=1.0,
                    max=3600.0,
                    step=1.0,
                    advanced=True,
                    tooltip="The longest silence of the server, in seconds. Raise it for a model that is still being loaded.",
                ),
            ],
            outputs=[VLM_OUTPUT],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> list[str]:
        """Look again when the user has taken a host off the list."""
        return sorted(host_vlm.allowed_hosts())

    @classmethod
    def execute(cls, base_url: str, model: str, api_key_env: str = "", timeout_s: float = 120.0) -> io.NodeOutput:
        return io.NodeOutput(host_vlm.server(base_url, model, api_key_env, timeout_s))


class ExtractConcepts(inputs.WithPrompts, io.ComfyNode):
    ASKS = ("extract", "describe", "concepts", "edges")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_ExtractConcepts",
            display_name="Extract Concepts",
            category=CATEGORY,
            description="Asks a vision-language model for the concepts of a picture, what each could be otherwise, and which causes "
            "which. A reply that cannot be read whole still gives a graph, marked incomplete.",
            search_aliases=["caption", "causal graph", "describe", "vision language model", "csg"],
            **sockets.SHOWN_AGAIN,
            inputs=[
                VLM_INPUT,
                IMAGE,
                io.String.Input(
                    "description",
                    multiline=True,
                    default="",
                    tooltip="What you know about the picture or want to change in it; it steers which concepts are found.",
                ),
                io.Int.Input(
                    "max_concepts",
                    default=8,
                    min=1,
                    max=MAX_CONCEPTS,
                    tooltip="The most concepts to name. Six to ten make a graph that one can still oversee.",
                ),
                _temperature(0.1),
                _max_tokens(2048),
                SEED,
                io.Boolean.Input(
                    "staged",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Ask in three steps: description, concepts, edges. Slower, and better with models under 8B.",
                ),
                inputs.prompts(),
                io.Int.Input(
                    "readings",
                    default=1,
                    min=1,
                    max=16,
                    optional=True,
                    advanced=True,
                    tooltip="Read the picture so many times, with temperature, and vote: edges that fewer than half of the readings "
                    "draw become proposals. Every reading takes as long as the first.",
                ),
            ],
            outputs=[
                sockets.Graph.Output("graph", tooltip="The causal graph of the picture, for the Causal Graph Editor."),
                io.String.Output("reply", tooltip="What the model wrote, untouched."),
            ],
        )

    @classmethod
    def execute(
        cls,
        vlm: VisionLanguageModel,
        image: torch.Tensor,
        description: str = "",
        prompts: str = host_vlm.BUILT_IN_PROMPTS,
        **settings: Any,
    ) -> io.NodeOutput:
        extraction = extract_concepts(vlm, image, description, book=host_vlm.prompt_book(prompts), **settings)
        return _graph_output(extraction, extraction.reply)


class ConceptsFromText(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_ConceptsFromText",
            display_name="Concepts from Text",
            category=CATEGORY,
            description="Reads a causal graph from any text: the reply of a model in another node or program, JSON, DAGitty or DOT.",
            search_aliases=["parse json", "llm reply", "causal graph", "csg"],
            **sockets.SHOWN_AGAIN,
            inputs=[
                io.String.Input(
                    "text",
                    multiline=True,
                    default="",
                    tooltip="The text. JSON may stand among prose, in fences, or be slightly broken.",
                )
            ],
            outputs=[
                sockets.Graph.Output("graph", tooltip="The causal graph in the text, as much of it as can be read.")
            ],
        )

    @classmethod
    def execute(cls, text: str) -> io.NodeOutput:
        return _graph_output(concepts_from_text(text))


def _graph_output(extraction: Extraction, *more: str) -> io.NodeOutput:
    """Return the graph, shown on the node together with what could not be read."""
    host_vlm.tell(extraction.report(), extraction.problems)
    return io.NodeOutput(extraction.graph, *more, ui={"graph": [write_json(extraction.graph)], "text": [extraction.report()]})


class SuggestInterventions(inputs.WithPrompts, io.ComfyNode):
    ASKS = ("suggest",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_SuggestInterventions",
            display_name="Suggest Interventions",
            category=CATEGORY,
            description="Asks a vision-language model for diverse interventions, each on another concept and carried through the "
            "graph. What follows in the workflow runs once for each.",
            search_aliases=["ideas", "do operator", "questions", "vision language model", "csg"],
            **sockets.SHOWN_AGAIN,
            inputs=[
                VLM_INPUT,
                IMAGE,
                sockets.Graph.Input(
                    "graph", tooltip="The causal graph. Interventions it already carries stay in every suggestion."
                ),
                io.Int.Input("count", default=3, min=1, max=16, tooltip="How many to suggest. The paper uses 3."),
                _temperature(0.2),
                _max_tokens(3072),
                SEED,
                inputs.prompts(),
            ],
            outputs=[
                sockets.Counterfactual.Output(
                    "counterfactual",
                    is_output_list=True,
                    tooltip="A list: what is connected here runs once for each suggestion.",
                ),
                io.String.Output("report", tooltip="All suggestions, what each changes, and why."),
            ],
        )

    @classmethod
    def execute(
        cls, vlm: VisionLanguageModel, image: torch.Tensor, graph: CausalGraph, count: int, prompts: str = host_vlm.BUILT_IN_PROMPTS,
        **settings: Any,
    ) -> io.NodeOutput:  # fmt: skip
        suggestions = suggest_interventions(vlm, image, graph, count, book=host_vlm.prompt_book(prompts), **settings)
        host_vlm.tell(suggestions.report())
        return io.NodeOutput(list(suggestions.counterfactuals), suggestions.report(), ui={"text": [suggestions.report()]})
