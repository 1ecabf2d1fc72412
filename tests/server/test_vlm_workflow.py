"""The whole path with a vision-language model, over HTTP: a server that answers as a good model would about Town."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from csg.evaluation.runner import prompts

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW, SDXL = prompts.read("vlm_counterfactual"), prompts.read("sdxl_qwen3_vl")
NODES = prompts.ids(WORKFLOW)
RAIN = {"values": [{"concept": "ground", "value": "wet", "reason": "rain wets the ground"},
                   {"concept": "person", "value": "umbrella", "reason": "nobody likes to get wet"},
                   {"concept": "snowman", "value": "none", "reason": "there is no snow"}],
        "prompt": "house painted yellow, rainy weather, wet ground with puddles, person under an umbrella"}  # fmt: skip


def load_chat_server():
    spec = importlib.util.spec_from_file_location("vlm_chat_server", ROOT / "tests" / "unit" / "vlm" / "chat_server.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def good_model(chat_server):
    """Knows the factual scene of the workflow."""
    from csg.town import world

    document = world.graph_document(world.evaluate(world.exogenous(WORKFLOW["2"]["inputs"]["seed"]), {}))
    graph = {key: document[key] for key in ("base_prompt", "concepts", "edges")}

    def reply_to(request):
        prompt = chat_server.prompt_of(request)
        if "An artist intervenes" in prompt:
            return json.dumps(RAIN)
        if "with yes or no" in prompt:
            return '{"answer": "no"}' if "umbrella" in prompt else '{"answer": "yes"}'
        return f"I see a small town.\n```json\n{json.dumps(graph)}\n```"

    return reply_to


@pytest.fixture(scope="module")
def chat():
    chat_server = load_chat_server()
    with chat_server.ChatServer(good_model(chat_server)) as running:
        yield running


def workflow(chat, behaviour="good"):
    asked = {"base_url": chat.url(behaviour), "model": "good", "timeout_s": 5.0}
    return prompts.filled(WORKFLOW, {"Your VLM server": asked, "Invert": {"steps": 10}, "Encode the edits": {"warmup": 1}})


def test_the_workflow_runs_from_picture_to_judgement(server, chat):
    run = server.client.run(workflow(chat))
    report = run.outputs[NODES["What follows, in words"]]["text"][0]
    assert "descendant: ground: dry -> wet, vlm (rain wets the ground)" in report
    assert "descendant: snowman: stays none" in report
    judged = run.outputs[NODES["Does the VLM see it?"]]["csg_effectiveness"]
    assert {entry["concept"]: entry["answer"] for entry in judged} == {"weather": True, "ground": True, "person": False}
    assert "Effectiveness 0.67: 2 of 3" in run.outputs[NODES["Each answer"]]["text"][0]
    assert server.client.images(run, NODES["counterfactual"])[0].startswith(b"\x89PNG")
    graph = json.loads(run.outputs[NODES["Ask for the causal graph"]]["graph"][0])
    assert len(graph["concepts"]) == 12 and len(graph["edges"]) == 10 and "incomplete" not in graph
    assert len(chat.requests) == 5


def test_a_second_run_asks_nothing_again(server, chat):
    server.client.run(workflow(chat))
    before = len(chat.requests)
    server.client.run(workflow(chat))
    assert len(chat.requests) == before


@pytest.mark.parametrize(("behaviour", "message"), [("broken", r"busy or failing \(500\)"), ("page", "not a chat completion")])
def test_a_failing_server_is_told_on_the_node_that_asked(server, chat, behaviour, message):
    from csg.evaluation.runner.comfy_client import ComfyError

    with pytest.raises(ComfyError, match=rf"CSG_ExtractConcepts.*{message}"):
        server.client.run(workflow(chat, behaviour))


def misfits(prompt, infos):
    """Everything in a prompt that the live nodes would not take, files that the user brings aside."""
    for entry in prompt.values():
        known = infos[entry["class_type"]]["input"]
        specs = {**known.get("required", {}), **known.get("optional", {})}
        wrong = set(entry["inputs"]) - set(specs) | set(known.get("required", {})) - set(entry["inputs"])
        yield from (f"{entry['class_type']}.{name}: unknown or missing" for name in wrong)
        for name in set(entry["inputs"]) & set(specs):
            kind, *options = specs[name]
            if not fits(entry["inputs"][name], kind, options[0] if options else {}, prompt, infos):
                yield f"{entry['class_type']}.{name}: {entry['inputs'][name]!r}"


def fits(value, kind, options, prompt, infos):
    if isinstance(value, list):
        source, output = value
        return kind in (infos[prompt[source]["class_type"]]["output"][output], "*")
    if isinstance(kind, list) or kind == "COMBO":
        offered = kind if isinstance(kind, list) else options["options"]
        return value in offered or Path(value).suffix in (".safetensors", ".png")
    return not isinstance(value, (int, float)) or options.get("min", value) <= value <= options.get("max", value)


@pytest.mark.parametrize("prompt", [WORKFLOW, SDXL], ids=["vlm_counterfactual", "sdxl_qwen3_vl"])
def test_the_workflows_fit_the_live_nodes(server, prompt):
    assert list(misfits(prompt, server.client.nodes())) == []


@pytest.mark.parametrize(
    ("node", "name", "value"),
    [("CLIPLoader", "type", "qwen9"), ("CSG_ExtractConcepts", "max_concepts", 9999), ("CSG_ExtractConcepts", "colour", "red"),
     ("CSG_VLMFromTextEncoder", "clip", ["1", 0]), ("CSG_Sampler", "base", "nothing")],
)  # fmt: skip
def test_a_workflow_that_does_not_fit_would_be_seen(server, node, name, value):
    prompt = json.loads(json.dumps(SDXL))
    next(entry for entry in prompt.values() if entry["class_type"] == node)["inputs"][name] = value
    (wrong,) = misfits(prompt, server.client.nodes())
    assert wrong.startswith(f"{node}.{name}: ")


def test_the_sdxl_workflow_names_its_models_on_the_canvas():
    document = json.loads((ROOT / "workflows" / "14 A model reads your photo (SDXL, Qwen3-VL).json").read_text(encoding="utf-8"))
    notes = " ".join(node["widgets_values"][0] for node in document["nodes"] if node["type"] == "MarkdownNote")
    for name in ("sd_xl_base_1.0.safetensors", "qwen3vl_4b_fp8_scaled.safetensors", "models/text_encoders"):
        assert name in notes
    asked = {model["name"]: model for node in document["nodes"] for model in node["properties"].get("models", [])}
    chosen = {entry["inputs"].get("ckpt_name") or entry["inputs"].get("clip_name") for entry in SDXL.values()} - {None}
    assert asked.keys() == chosen and {model["directory"] for model in asked.values()} == {"checkpoints", "text_encoders"}
