"""The nodes around vision-language models, run by ComfyUI's own executor."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

UNIT = Path(__file__).resolve().parents[1] / "unit" / "vlm"
STREET = (UNIT / "replies" / "street.json").read_text(encoding="utf-8")
PICTURE = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": 0x3366CC}}
RAIN = {"values": [{"concept": "ground", "value": "wet", "reason": "rain wets it"}, {"concept": "umbrellas", "value": "open"}],
        "prompt": "a quiet town street in the rain, wet asphalt, open umbrellas"}
SUGGESTIONS = {"interventions": [
    {"concept": "weather", "value": "rainy", **RAIN},
    {"concept": "time of day", "value": "night", "values": [{"concept": "street lamp", "value": "on"}], "prompt": "a street at night"},
    {"concept": "car", "value": "absent", "values": [], "prompt": "a quiet town street"}]}  # fmt: skip


def load(name):
    spec = importlib.util.spec_from_file_location(f"vlm_{name}", UNIT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


chat_server = load("chat_server")


def reply_to(request):
    """What a good model would say to each of our prompts."""
    prompt = chat_server.prompt_of(request)
    if "Suggest" in prompt:
        return json.dumps(SUGGESTIONS)
    if "An artist intervenes" in prompt:
        return json.dumps(RAIN)
    if "with yes or no" in prompt:
        return json.dumps({"answer": "no" if "umbrellas" in prompt else "yes"})
    return f"```json\n{STREET}\n```"


@pytest.fixture
def chat(comfy):
    pytest.importorskip("openai")
    comfy.forget()
    with chat_server.ChatServer(reply_to) as running:
        yield running


def server_node(chat, behaviour="good", **inputs):
    return {"class_type": "CSG_VLMServer",
            "inputs": {"base_url": chat.url(behaviour), "model": "tiny", "api_key_env": "", "timeout_s": 5.0, **inputs}}


def extract(**inputs):
    settings = {"description": "my street", "max_concepts": 8, "temperature": 0.1, "max_tokens": 2048, "seed": 0}
    return {"class_type": "CSG_ExtractConcepts", "inputs": {"vlm": ["1", 0], "image": ["2", 0], **settings, **inputs}}


def intervened(concept="weather", value="rainy"):
    return {"class_type": "CSG_Intervene", "inputs": {"graph": ["3", 0], "concept": concept, "value": value}}


def test_extraction_over_http(comfy, chat):
    outcome = comfy.run({"1": server_node(chat), "2": PICTURE, "3": extract()}, outputs=[3])
    graph = outcome.value(3)
    assert graph.names[:2] == ("weather", "ground") and len(graph.edges) == 3
    assert outcome.value(3, 1).startswith("```json")
    assert json.loads(outcome.ui["3"]["graph"][0])["concepts"][0]["name"] == "weather"
    assert outcome.ui["3"]["text"] == ["Graph with 6 concepts, 3 edges."]
    assert "my street" in chat_server.prompt_of(chat.bodies[0]) and chat.bodies[0]["max_tokens"] == 2048


def test_noise_gives_an_incomplete_graph_that_the_editor_opens(comfy, chat):
    chat.reply_to = lambda request: "\u2581\u2581 no idea {"
    editor = {"class_type": "CSG_GraphEditor", "inputs": {"graph_json": "", "graph": ["3", 0]}}
    outcome = comfy.run({"1": server_node(chat), "2": PICTURE, "3": extract(), "4": editor}, outputs=[3, 4])
    assert outcome.value(3).extra["incomplete"] and outcome.value(3, 1).strip() == "\u2581\u2581 no idea {"
    assert "Incomplete graph" in outcome.ui["3"]["text"][0]
    assert outcome.value(4).names == () and len(chat.requests) == 2


def test_propagation_asks_the_connected_model(comfy, chat):
    settings = {"temperature": 0.2, "max_tokens": 3072, "seed": 0}
    propagate = {"class_type": "CSG_Propagate",
                 "inputs": {"graph": ["4", 0], "values": "", "vlm": ["1", 0], "image": ["2", 0], **settings}}
    prompt = {"1": server_node(chat), "2": PICTURE, "3": extract(), "4": intervened(), "5": propagate}
    result = comfy.run(prompt, outputs=[5]).value(5)
    assert result["ground"].counterfactual == "wet" and result["ground"].source == "vlm"
    assert result.prompt == RAIN["prompt"] and result["car"].role == "preserved"


def test_suggestions_are_a_list_and_what_follows_runs_once_for_each(comfy, chat):
    settings = {"count": 3, "temperature": 0.2, "max_tokens": 3072, "seed": 0}
    suggest = {"class_type": "CSG_SuggestInterventions",
               "inputs": {"vlm": ["1", 0], "image": ["2", 0], "graph": ["3", 0], **settings}}
    judge = {"class_type": "CSG_Effectiveness", "inputs": {"vlm": ["1", 0], "image": ["2", 0], "counterfactual": ["4", 0]}}
    outcome = comfy.run({"1": server_node(chat), "2": PICTURE, "3": extract(), "4": suggest, "5": judge}, outputs=[4, 5])
    assert not outcome.errors
    found = outcome.values["4"][0]
    assert [dict(one.graph.interventions) for one in found] == [{"weather": "rainy"}, {"time of day": "night"}, {"car": "absent"}]
    assert outcome.values["5"][0] == [pytest.approx(2 / 3), 1.0, 0.0]
    assert outcome.ui["5"]["csg_effectiveness"][:3] == [
        {"concept": "weather", "answer": True}, {"concept": "ground", "answer": True}, {"concept": "umbrellas", "answer": False}]


def test_concepts_from_text(comfy):
    node = {"class_type": "CSG_ConceptsFromText", "inputs": {"text": f"Here you are:\n{STREET}"}}
    assert len(comfy.run({"1": node}, outputs=[1]).value(1).concepts) == 6
    node["inputs"]["text"] = "dag { rain -> puddles }"
    assert comfy.run({"1": node}, outputs=[1]).value(1).names == ("rain", "puddles")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [({"base_url": "http://evil.example/v1"}, "not this machine.*CSG_VLM_HOSTS"),
     ({"base_url": "http://localhost@evil.example/v1"}, "cannot be used as base_url"),
     ({"api_key_env": "HOME"}, "begins with CSG_VLM_KEY")],
)  # fmt: skip
def test_a_strangers_workflow_reaches_neither_hosts_nor_secrets(comfy, chat, inputs, message):
    outcome = comfy.run({"1": server_node(chat, **inputs), "2": PICTURE, "3": extract()}, outputs=[3])
    assert outcome.errors.keys() == {"1"} and not chat.requests
    pytest.raises(ValueError, _raise, outcome.errors["1"]).match(message)


def _raise(message):
    raise ValueError(message)


def test_hosts_are_allowed_by_variable_and_by_the_users_own_file(comfy, monkeypatch):
    import folder_paths

    host_vlm = comfy.module("nodes.host_vlm")
    monkeypatch.setenv("CSG_VLM_HOSTS", "one.example")
    path = Path(folder_paths.get_user_directory()) / host_vlm.HOSTS_FILE
    path.write_text("two.example # mine\n")
    assert host_vlm.allowed_hosts() == {"one.example", "two.example"}
    assert "two.example" in repr(host_vlm.server("https://two.example/v1", "m", "", 5))
    path.unlink()


def test_own_prompts_come_from_the_users_folder_alone(comfy, chat):
    import folder_paths

    mine = Path(folder_paths.get_user_directory()) / "csg_prompts" / "mine"
    mine.mkdir(parents=True)
    (mine / "extract.txt").write_text("MY PROMPT $description $max_concepts")
    comfy.run({"1": server_node(chat), "2": PICTURE, "3": extract(prompts="mine")}, outputs=[3])
    assert chat_server.prompt_of(chat.bodies[0]).startswith("MY PROMPT")
    refused = comfy.run({"1": server_node(chat), "2": PICTURE, "3": extract(prompts="../../models")}, outputs=[3])
    assert "not in list" in refused.errors["3"]
    with pytest.raises(RuntimeError, match="no prompt folder"):
        comfy.module("nodes.host_vlm").prompt_book("../mine")


# ------------------------------------------------------------------------------------ transformers


@pytest.fixture(scope="module")
def model(comfy, tmp_path_factory):
    import folder_paths

    root = tmp_path_factory.mktemp("LLM")
    load("tiny_qwen").save(root / "Tiny-VL")
    folder_paths.add_model_folder_path("LLM", str(root))
    return "Tiny-VL"


def test_a_folder_of_models_is_offered_and_nothing_else(comfy, model):
    host_vlm = comfy.module("nodes.host_vlm")
    assert host_vlm.model_folders() == [model]
    for name in ("../Tiny-VL", "/etc", "Tiny-VL/..", ""):
        with pytest.raises(RuntimeError, match="no model folder"):
            host_vlm.model_folder(name)
    load_vlm = {"class_type": "CSG_LoadVLM", "inputs": {"model": "../x", "dtype": "auto", "attention": "sdpa"}}
    assert "not in list" in comfy.run({"1": load_vlm, "2": PICTURE, "3": extract()}, outputs=[3]).errors["1"]


def test_a_local_model_lives_under_comfyuis_memory_management(comfy, model):
    import comfy.model_management as management

    comfy.forget()
    load_vlm = {"class_type": "CSG_LoadVLM", "inputs": {"model": model, "dtype": "auto", "attention": "sdpa"}}
    outcome = comfy.run({"1": load_vlm, "2": PICTURE, "3": extract(max_tokens=64)}, outputs=[1, 3])
    assert outcome.value(3).extra["incomplete"]
    vlm = outcome.value(1)
    patcher = vlm._place._patcher
    assert patcher in [loaded.model for loaded in management.current_loaded_models]
    assert patcher.model_size() == sum(p.numel() * p.element_size() for p in vlm._loaded.model.parameters())
    management.unload_all_models()
    assert patcher not in [loaded.model for loaded in management.current_loaded_models]
    assert isinstance(vlm.ask("again?", [], max_tokens=4), str)


def test_an_interrupt_reaches_a_local_model(comfy, model):
    import comfy.model_management as management

    vlm = comfy.module("nodes.host_vlm").local(model, "float32", "eager")
    management.interrupt_current_processing()
    with pytest.raises(management.InterruptProcessingException):
        vlm.ask("?", [], max_tokens=1000)
    assert not management.processing_interrupted()
    assert isinstance(vlm.ask("?", [], max_tokens=2), str)


# ----------------------------------------------------------------------------- ComfyUI's own models


@pytest.fixture(scope="module")
def qwen(comfy):
    """ComfyUI's native Qwen3-VL text encoder, tiny and random, with its real tokenizer."""
    import comfy.sd as sd
    import comfy.text_encoders.qwen3vl as native
    from comfy.text_encoders.llama import Qwen3VL_4BConfig

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    patch = pytest.MonkeyPatch()
    patch.setitem(native.QWEN3VL_CONFIGS, "qwen3vl_4b", lambda **settings: Qwen3VL_4BConfig(**{**settings, **small}))
    vision = {"hidden_size": 32, "intermediate_size": 64, "depth": 2, "deepstack_visual_indexes": [0]}
    patch.setitem(native.QWEN3VL_VISION, "qwen3vl_4b", vision)
    patch.setitem(native.QWEN3VL_VISION_COMMON, "num_heads", 2)

    class Target:
        clip = staticmethod(native.te(model_type="qwen3vl_4b"))
        tokenizer = staticmethod(native.tokenizer(model_type="qwen3vl_4b"))
        params = {}

    torch.manual_seed(0)
    clip = sd.CLIP(Target(), parameters=10_000_000)
    for weight in clip.cond_stage_model.parameters():
        weight.data.normal_(0, 0.1)
    yield clip
    patch.undo()


def provide(comfy, name, kind, value):
    """Offer a value as a node without inputs."""
    parts = {"RETURN_TYPES": (kind,), "FUNCTION": "get", "CATEGORY": "tests", "get": lambda self: (value,),
             "INPUT_TYPES": classmethod(lambda cls: {"required": {}})}  # fmt: skip
    comfy.nodes.NODE_CLASS_MAPPINGS[name] = type(name, (), parts)


def test_a_native_text_encoder_answers_under_comfyuis_memory_management(comfy, qwen):
    import comfy.model_management as management

    comfy.forget()
    provide(comfy, "TinyQwen", "CLIP", qwen)
    wrap = {"class_type": "CSG_VLMFromTextEncoder", "inputs": {"clip": ["9", 0]}}
    nine = {"class_type": "TinyQwen", "inputs": {}}
    outcome = comfy.run({"9": nine, "1": wrap, "2": PICTURE, "3": extract(max_tokens=64)}, outputs=[1, 3])
    assert outcome.value(3).extra["incomplete"] and isinstance(outcome.value(3, 1), str)
    assert any(loaded.model is qwen.patcher or loaded.model.is_clone(qwen.patcher) for loaded in management.current_loaded_models)
    vlm = outcome.value(1)
    assert vlm.ask("?", [], temperature=0, max_tokens=8) == vlm.ask("?", [], temperature=0, max_tokens=8, seed=3)
    assert vlm.ask("?", [], temperature=1.0, max_tokens=8, seed=1) != vlm.ask("?", [], temperature=1.0, max_tokens=8, seed=2)


def test_the_picture_reaches_a_native_text_encoder(comfy, qwen):
    from PIL import Image

    vlm = comfy.module("nodes.host_vlm").TextEncoderVLM(qwen)
    told = {vlm.ask("?", [Image.new("RGB", (64, 64), colour)], temperature=0, max_tokens=8) for colour in ("black", "white")}
    assert len(told) == 2


def test_an_interrupt_reaches_a_native_text_encoder(comfy, qwen):
    import comfy.model_management as management

    vlm = comfy.module("nodes.host_vlm").TextEncoderVLM(qwen)
    management.interrupt_current_processing()
    with pytest.raises(management.InterruptProcessingException):
        vlm.ask("?", [], max_tokens=1000)


def test_an_encoder_that_only_encodes_is_refused(comfy):
    import comfy.sd as sd
    import comfy.sd1_clip as sd1_clip

    class Target:
        clip, tokenizer, params = sd1_clip.SD1ClipModel, sd1_clip.SD1Tokenizer, {}

    provide(comfy, "PlainClip", "CLIP", sd.CLIP(Target(), parameters=1))
    wrap = {"class_type": "CSG_VLMFromTextEncoder", "inputs": {"clip": ["9", 0]}}
    outcome = comfy.run({"9": {"class_type": "PlainClip", "inputs": {}}, "1": wrap}, outputs=[1])
    assert "cannot write" in outcome.errors["1"] and "qwen3vl_4b" in outcome.errors["1"]
