"""The nodes around vision-language models, run by ComfyUI's own executor."""

import importlib.util
import json
import sys
import threading
import time
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


def ask(comfy, vlm, *pictures, progress=None, **settings):
    return vlm.ask(comfy.module("csg.vlm.protocol").Question("?", pictures, **settings), progress)


def test_extraction_over_http(comfy, chat):
    outcome = comfy.run({"1": server_node(chat), "2": PICTURE, "3": extract()}, outputs=[3])
    graph = outcome.value(3)
    assert graph.names[:2] == ("weather", "ground") and len(graph.edges) == 3
    assert outcome.value(3, 1).startswith("```json")
    assert json.loads(outcome.ui["3"]["graph"][0])["concepts"][0]["name"] == "weather"
    assert outcome.ui["3"]["text"] == ["Graph with 6 concepts, 3 edges."]
    assert "my street" in chat_server.prompt_of(chat.bodies[0]) and chat.bodies[0]["max_tokens"] == 2048


def test_several_readings_vote_and_the_editor_keeps_the_shares(comfy, chat):
    """The server draws the last edge in one reading of four, and once answers with noise to both questions."""
    whole = json.loads(STREET)
    fewer = json.dumps(whole | {"edges": whole["edges"][:-1]})
    replies = [fewer, "no idea", "none at all", STREET, fewer, fewer]
    chat.reply_to = lambda request: replies[len(chat.requests) - 1]
    editor = {"class_type": "CSG_GraphEditor", "inputs": {"graph_json": "", "graph": ["3", 0]}}
    asked = extract(readings=5, temperature=0.7, seed=11)
    outcome = comfy.run({"1": server_node(chat), "2": PICTURE, "3": asked, "4": editor}, outputs=[3, 4])
    for node in (3, 4):
        edges = outcome.value(node).edges
        assert [(edge.extra["share"], edge.status) for edge in edges] == [(1.0, "confirmed"), (1.0, "confirmed"), (0.25, "proposed")]
    assert [body["seed"] for body in chat.bodies] == [11, 12, 12, 13, 14, 15]
    assert json.loads(outcome.ui["3"]["graph"][0])["edges"][2]["share"] == 0.25
    (told,) = outcome.ui["3"]["text"]
    assert "4 readings draw these edges" in told and "1 more could not be read whole." in told and "0.25" in told


def test_noise_gives_an_incomplete_graph_that_the_editor_opens(comfy, chat):
    chat.reply_to = lambda request: "\u2581\u2581 no idea {"
    editor = {"class_type": "CSG_GraphEditor", "inputs": {"graph_json": "", "graph": ["3", 0]}}
    outcome = comfy.run({"1": server_node(chat), "2": PICTURE, "3": extract(), "4": editor}, outputs=[3, 4])
    assert outcome.value(3).extra["incomplete"] and outcome.value(3, 1).strip() == "\u2581\u2581 no idea {"
    assert "Incomplete graph" in outcome.ui["3"]["text"][0]
    assert outcome.value(4).names == () and len(chat.requests) == 2


def test_a_half_readable_reply_names_the_field_on_the_node_and_in_the_log(comfy, chat, page, caplog):
    broken = json.loads(STREET)
    broken["concepts"][3]["value"] = ["?"]
    chat.reply_to = lambda request: json.dumps(broken)
    editor = {"class_type": "CSG_GraphEditor", "inputs": {"graph_json": "", "graph": ["3", 0]}}
    with caplog.at_level("WARNING"):
        outcome = comfy.run({"1": server_node(chat), "2": PICTURE, "3": extract(), "4": editor}, outputs=[3, 4])
    assert len(outcome.value(4).names) == 5 and outcome.value(4).extra["incomplete"] == outcome.value(3).extra["incomplete"]
    field = "concepts[3].value: Input should be a valid string"
    assert json.loads(outcome.ui["3"]["graph"][0])["incomplete"][0].startswith(field) and field in caplog.text
    ((node, text),) = page.texts
    assert node == "3" and "Incomplete graph: 5 concepts" in text and field in text


@pytest.fixture
def page(monkeypatch):
    """Stands for the server's connection to the page, and keeps the texts that are shown on nodes."""
    from server import PromptServer

    class Page:
        def __init__(self):
            self.texts = []

        def send_progress_text(self, text, node_id):
            self.texts.append((node_id, text))

    shown = Page()
    monkeypatch.setattr(PromptServer, "instance", shown, raising=False)
    return shown


@pytest.mark.parametrize("behaviour", ["good", "forbidden", "tattles", "tattles-in-an-event"])
def test_a_key_stays_in_its_variable(comfy, chat, monkeypatch, caplog, behaviour):
    monkeypatch.setenv("CSG_VLM_KEY_TESTS", "open-sesame")
    node = server_node(chat, behaviour, api_key_env="CSG_VLM_KEY_TESTS")
    with caplog.at_level("DEBUG"):
        outcome = comfy.run({"1": node, "2": PICTURE, "3": extract()}, outputs=[1, 3])
    assert chat.requests[0][1]["authorization"] == "Bearer open-sesame" and bool(outcome.errors) == (behaviour != "good")
    seen = [outcome, comfy.executor.status_messages, comfy.executor.history_result, caplog.text]
    assert "open-s" not in repr(seen)


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


def test_an_audit_judges_what_changed_and_what_stayed(comfy, chat):
    """The model sees everything but umbrellas: the new ones are missing, everything else is as the graph says."""
    propagate = {"class_type": "CSG_Propagate", "inputs": {"graph": ["4", 0], "values": "ground = wet\numbrellas = open"}}
    judge = {"class_type": "CSG_Audit", "inputs": {"vlm": ["1", 0], "original": ["2", 0], "edited": ["2", 0], "counterfactual": ["5", 0]}}
    prompt = {"1": server_node(chat), "2": PICTURE, "3": extract(), "4": intervened(), "5": propagate, "6": judge}
    outcome = comfy.run(prompt)
    report, sheet, effectiveness, preserved = (outcome.value(6, i) for i in range(4))
    assert (effectiveness, preserved) == (pytest.approx(2 / 3), 1.0) and "NO: umbrellas must change" in report
    assert sheet.shape[0] == 1 and sheet.shape[3] == 3 and outcome.ui["6"]["images"][0]["type"] == "temp"
    verdicts = {each["concept"]: each["answer"] for each in outcome.ui["6"]["csg_effectiveness"]}
    assert not verdicts.pop("umbrellas") and all(verdicts.values()) and "car" in verdicts, "preserved concepts are judged, too"


@pytest.mark.parametrize("broken", ["original", "edited"])
def test_an_audit_of_no_picture_is_refused_by_its_name(comfy, broken):
    pictures = dict.fromkeys(("original", "edited"), torch.zeros(1, 64, 64, 3)) | {broken: torch.full((1, 64, 64, 3), float("nan"))}
    node = comfy.nodes.NODE_CLASS_MAPPINGS["CSG_Audit"]
    with pytest.raises(ValueError, match=f"The {broken} picture has 12288 values that are not numbers"):
        node.execute(None, counterfactual=None, **pictures)


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
    path.write_text("two.example # mine\n", encoding="utf-8-sig")  # as Windows' own editor writes it
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


def test_a_host_taken_off_the_list_is_asked_no_more(comfy, chat, monkeypatch):
    def outcome():
        return comfy.run({"1": server_node(chat, base_url="http://two.example/v1")}, outputs=[1])

    monkeypatch.setenv("CSG_VLM_HOSTS", "two.example")
    assert not outcome().errors and "1" in outcome().cached
    monkeypatch.setenv("CSG_VLM_HOSTS", "")
    assert "not this machine" in outcome().errors["1"]


def test_a_changed_prompt_file_is_used_at_the_next_run(comfy, chat):
    import folder_paths

    mine = Path(folder_paths.get_user_directory()) / "csg_prompts" / "drafts"
    mine.mkdir(parents=True)
    asked = {"vlm": ["1", 0], "image": ["2", 0], "prompts": "drafts"}
    judge = {"class_type": "CSG_Effectiveness", "inputs": {"counterfactual": ["5", 0], **asked}}
    propagate = {"class_type": "CSG_Propagate", "inputs": {"graph": ["4", 0], "values": "", **asked}}
    settings = {"count": 3, "temperature": 0.2, "max_tokens": 3072, "seed": 0}
    suggest = {"class_type": "CSG_SuggestInterventions", "inputs": {"graph": ["3", 0], **settings, **asked}}
    prompt = {"1": server_node(chat), "2": PICTURE, "3": extract(prompts="drafts"), "4": intervened(), "5": propagate, "6": judge,
              "7": suggest}  # fmt: skip

    def asked_anew():
        chat.requests.clear()
        assert not comfy.run(prompt, outputs=[6, 7]).errors
        return [chat_server.prompt_of(body).split()[0] for body in chat.bodies]

    assert len(asked_anew()) == 6 and asked_anew() == []
    for name, questions in {"suggest": 1, "effectiveness": 3, "propagate": 4, "extract": 6}.items():
        words = (Path(__file__).parents[2] / "csg" / "vlm" / "prompts" / f"{name}.txt").read_text().partition("\n")[2]
        (mine / f"{name}.txt").write_text(f"NEW {words}")
        assert asked_anew() == ["NEW"] * questions, "what is asked with it, and what follows from that"
        assert asked_anew() == []


def test_own_prompts_reach_every_question(comfy, chat):
    import folder_paths

    mine = Path(folder_paths.get_user_directory()) / "csg_prompts" / "ours"
    mine.mkdir(parents=True)
    for name in ("propagate", "effectiveness"):
        words = (Path(__file__).parents[2] / "csg" / "vlm" / "prompts" / f"{name}.txt").read_text()
        (mine / f"{name}.txt").write_text(f"OUR {name} {words}")
    asked = {"vlm": ["1", 0], "image": ["2", 0], "prompts": "ours"}
    propagate = {"class_type": "CSG_Propagate", "inputs": {"graph": ["4", 0], "values": "", **asked}}
    judge = {"class_type": "CSG_Effectiveness", "inputs": {"counterfactual": ["5", 0], **asked}}
    prompt = {"1": server_node(chat), "2": PICTURE, "3": extract(), "4": intervened(), "5": propagate, "6": judge}
    assert not comfy.run(prompt, outputs=[6]).errors
    questions = [chat_server.prompt_of(body) for body in chat.bodies]
    assert sum(q.startswith("OUR propagate") for q in questions) == 1
    assert sum(q.startswith("OUR effectiveness") for q in questions) >= 2


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
    assert host_vlm.model_folders() == [model, "town-vlm"]
    for name in ("../Tiny-VL", "/etc", "Tiny-VL/..", ""):
        with pytest.raises(RuntimeError, match="no model folder"):
            host_vlm.model_folder(name)
    load_vlm = {"class_type": "CSG_LoadVLM", "inputs": {"model": "../x", "dtype": "auto", "attention": "sdpa"}}
    assert "not in list" in comfy.run({"1": load_vlm, "2": PICTURE, "3": extract()}, outputs=[3]).errors["1"]


def test_a_local_model_lives_under_comfyuis_memory_management(comfy, model):
    import comfy.model_management as management

    comfy.forget()
    management.unload_all_models()
    load_vlm = {"class_type": "CSG_LoadVLM", "inputs": {"model": model, "dtype": "auto", "attention": "sdpa"}}
    outcome = comfy.run({"1": load_vlm, "2": PICTURE, "3": extract(max_tokens=64)}, outputs=[1, 3])
    assert outcome.value(3).extra["incomplete"]
    vlm = outcome.value(1)
    [patcher] = [loaded.model for loaded in management.current_loaded_models]
    assert patcher.model_size() == sum(p.numel() * p.element_size() for p in patcher.model.parameters())
    management.unload_all_models()
    assert patcher not in [loaded.model for loaded in management.current_loaded_models]
    assert isinstance(ask(comfy, vlm, max_tokens=4), str)


def test_a_local_model_makes_room_for_others_and_comes_back(comfy, model, monkeypatch):
    import comfy.model_management as management

    vlm = comfy.module("nodes.host_vlm").local(model, "float32", "sdpa")
    management.unload_all_models()
    reply, cpu = ask(comfy, vlm, temperature=0, max_tokens=8), torch.device("cpu")
    [patcher] = [loaded.model for loaded in management.current_loaded_models]
    assert patcher.loaded_size() == patcher.model_size()
    monkeypatch.setattr(management, "get_free_memory", lambda device=None, torch_free_too=False: (0, 0) if torch_free_too else 0)
    management.free_memory(1000, cpu)
    assert 0 < patcher.loaded_size() < patcher.model_size(), "a part of it is enough"
    assert ask(comfy, vlm, temperature=0, max_tokens=8) == reply and patcher.loaded_size() == patcher.model_size()
    management.free_memory(1e12, cpu)
    assert patcher.loaded_size() == 0 and patcher not in [loaded.model for loaded in management.current_loaded_models]
    assert ask(comfy, vlm, temperature=0, max_tokens=8) == reply


def test_a_model_that_nobody_holds_leaves_memory(comfy, model):
    import gc
    import weakref

    import comfy.model_management as management

    management.unload_all_models()
    vlm = comfy.module("nodes.host_vlm").local(model, "float32", "sdpa")
    ask(comfy, vlm, max_tokens=2)
    [weights] = [weakref.ref(loaded.model.model) for loaded in management.current_loaded_models]
    del vlm
    gc.collect()
    assert weights() is None


def test_each_layer_is_moved_by_its_own_hand(comfy):
    """As layers quantised to 8 bit need it: they keep state that is no parameter."""

    class Layer(torch.nn.Linear):
        state = torch.zeros(1)

        def to(self, *args, **kwargs):
            self.state = self.state.to(*args, **kwargs)
            return super().to(*args, **kwargs)

    layer = Layer(2, 2)
    comfy.module("nodes.host_vlm").Holder(torch.nn.Sequential(torch.nn.Sequential(layer))).to("meta")
    assert layer.state.device.type == layer.weight.device.type == "meta"


@pytest.fixture
def shown(comfy):
    """What ComfyUI's progress bar is told; like the server, it interrupts, at the token `stop_at`."""
    import comfy.model_management as management
    import comfy.utils as utils

    class Shown(list):
        stop_at = None

        def __call__(self, value, total, preview=None, **where):
            self.append((value, total))
            if value == self.stop_at:
                management.interrupt_current_processing()
            management.throw_exception_if_processing_interrupted()

    heard, before = Shown(), utils.PROGRESS_BAR_HOOK
    utils.set_progress_bar_global_hook(heard)
    yield heard
    utils.set_progress_bar_global_hook(before)
    management.interrupt_current_processing(False)


def backend(comfy, request, kind):
    host_vlm = comfy.module("nodes.host_vlm")
    if kind == "transformers":
        return host_vlm.local(request.getfixturevalue("model"), "auto", "sdpa")
    return host_vlm.TextEncoderVLM(request.getfixturevalue("qwen"))


@pytest.mark.parametrize("kind", ["transformers", "text encoder"])
def test_every_token_is_shown_and_an_interrupt_ends_the_writing_there(comfy, shown, request, monkeypatch, kind):
    import comfy.model_management as management
    import comfy.utils as utils

    monkeypatch.setattr(utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0)
    monkeypatch.setattr(utils, "PROGRESS_THROTTLE_MIN_PERCENT", 0)
    vlm = backend(comfy, request, kind)
    ask(comfy, vlm, temperature=0, max_tokens=6)
    written = [value for value, _ in shown if value]
    assert written == list(range(1, len(written) + 1)) and written and shown[-1][1] == 6
    shown.clear()
    shown.stop_at = 3
    with pytest.raises(management.InterruptProcessingException):
        ask(comfy, vlm, temperature=1.0, max_tokens=5000)
    assert shown[-1] == (3, 5000)


@pytest.mark.parametrize("behaviour", ["slow", "hangs"])
def test_an_interrupt_reaches_a_server_that_writes_or_is_silent(comfy, chat, behaviour):
    import comfy.model_management as management

    vlm = comfy.module("nodes.host_vlm").server(chat.url(behaviour), "tiny", "", 60)
    timer, start = threading.Timer(0.5, management.interrupt_current_processing), time.monotonic()
    timer.start()
    with pytest.raises(management.InterruptProcessingException):
        ask(comfy, vlm, max_tokens=5000)
    assert 0.5 <= time.monotonic() - start < 4 and len(chat.requests) == 1


def test_an_interrupt_reaches_a_local_model(comfy, model):
    import comfy.model_management as management

    vlm = comfy.module("nodes.host_vlm").local(model, "float32", "eager")
    management.interrupt_current_processing()
    with pytest.raises(management.InterruptProcessingException):
        ask(comfy, vlm, max_tokens=1000)
    assert not management.processing_interrupted()
    assert isinstance(ask(comfy, vlm, max_tokens=2), str)


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


@pytest.fixture(params=["float32", "bfloat16"])
def qwen_file(qwen, request, tmp_path):
    """The tiny model as a file among ComfyUI's text encoders, in one precision or the other."""
    import comfy.text_encoders.qwen3vl as native
    import folder_paths
    from safetensors.torch import save_file

    patch = pytest.MonkeyPatch()
    for sizes in (native.QWEN3VL_CONFIGS, native.QWEN3VL_VISION):  # what ComfyUI takes a file of unknown width for
        patch.setitem(sizes, "qwen3vl_8b", sizes["qwen3vl_4b"])
    prefix, dtype = "qwen3vl_4b.transformer.", getattr(torch, request.param)
    weights = {key.removeprefix(prefix): weight.to(dtype) for key, weight in qwen.cond_stage_model.state_dict().items()
               if key.startswith(prefix)}  # fmt: skip
    weights = {key.replace("model.", "model.language_model.", 1) if key.startswith("model.") else f"model.{key}": weight
               for key, weight in weights.items()}  # fmt: skip
    assert "model.visual.merger.linear_fc2.weight" in weights, "by this name ComfyUI knows the model"
    save_file(weights, tmp_path / "tiny_qwen3vl.safetensors")
    folder_paths.add_model_folder_path("text_encoders", str(tmp_path))
    yield "tiny_qwen3vl.safetensors", dtype
    folder_paths.folder_names_and_paths["text_encoders"][0].remove(str(tmp_path))
    patch.undo()


def test_a_file_is_loaded_by_load_clip_and_asked(comfy, qwen_file):
    comfy.forget()
    name, dtype = qwen_file
    loader = {"class_type": "CLIPLoader", "inputs": {"clip_name": name, "type": "stable_diffusion", "device": "default"}}
    wrap = {"class_type": "CSG_VLMFromTextEncoder", "inputs": {"clip": ["9", 0]}}
    outcome = comfy.run({"9": loader, "1": wrap, "2": PICTURE, "3": extract(max_tokens=64)}, outputs=[9, 3])
    assert outcome.value(3).extra["incomplete"] and outcome.value(3, 1).strip()
    weights = outcome.value(9).cond_stage_model.state_dict()
    assert {weight.dtype for key, weight in weights.items() if key.endswith("_proj.weight")} == {dtype}


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
    assert ask(comfy, vlm, temperature=0, max_tokens=8) == ask(comfy, vlm, temperature=0, max_tokens=8, seed=3)
    assert ask(comfy, vlm, temperature=1.0, max_tokens=8, seed=1) != ask(comfy, vlm, temperature=1.0, max_tokens=8, seed=2)


def test_the_picture_reaches_a_native_text_encoder(comfy, qwen):
    from PIL import Image

    vlm = comfy.module("nodes.host_vlm").TextEncoderVLM(qwen)
    told = {ask(comfy, vlm, Image.new("RGB", (64, 64), colour), temperature=0, max_tokens=8) for colour in ("black", "white")}
    assert len(told) == 2


@pytest.mark.parametrize("said", ["embedding:", "see embedding:EasyNegative, please", "(heavy:1.5) \\(coat\\)"])
def test_words_that_mean_something_to_comfyui_are_only_words_to_the_model(comfy, qwen, monkeypatch, tmp_path, said):
    from safetensors.torch import save_file

    seen, fenced = [], comfy.module("csg.vlm.prompting").fenced
    save_file({"emb": torch.ones(3, 2560)}, tmp_path / "EasyNegative.safetensors")
    tokenizer = getattr(qwen.tokenizer, qwen.tokenizer.clip)
    monkeypatch.setattr(tokenizer, "embedding_directory", [str(tmp_path)])
    monkeypatch.setattr(qwen, "generate", lambda tokens, **_: seen.append(tokens) or [])
    comfy.module("nodes.host_vlm").TextEncoderVLM(qwen).ask(
        comfy.module("csg.vlm.protocol").Question(f"Look.\n{fenced(said)}\nAnswer."))
    (tokens,) = seen[0].values()
    text = tokenizer.tokenizer.decode([token[0] for token in tokens[0]])
    assert f"Look.\n<data>\n{said.replace('embedding:', 'embedding :')}\n</data>\nAnswer." in text.replace("(coat)", "\\(coat\\)")


def test_an_interrupt_reaches_a_native_text_encoder(comfy, qwen):
    import comfy.model_management as management

    vlm = comfy.module("nodes.host_vlm").TextEncoderVLM(qwen)
    management.interrupt_current_processing()
    with pytest.raises(management.InterruptProcessingException):
        ask(comfy, vlm, max_tokens=1000)


def test_an_encoder_that_only_encodes_is_refused(comfy):
    import comfy.sd as sd
    import comfy.sd1_clip as sd1_clip

    class Target:
        clip, tokenizer, params = sd1_clip.SD1ClipModel, sd1_clip.SD1Tokenizer, {}

    provide(comfy, "PlainClip", "CLIP", sd.CLIP(Target(), parameters=1))
    wrap = {"class_type": "CSG_VLMFromTextEncoder", "inputs": {"clip": ["9", 0]}}
    outcome = comfy.run({"9": {"class_type": "PlainClip", "inputs": {}}, "1": wrap}, outputs=[1])
    assert "cannot write" in outcome.errors["1"] and "qwen3vl_4b" in outcome.errors["1"]


def test_the_benchmark_asks_a_text_encoders_file_as_the_node_does(comfy, qwen_file, monkeypatch):
    """`python benchmarks/town_vlm.py --vlm clip:FILE`: the file is found among ComfyUI's, and answers are timed."""
    import town_vlm_models
    from PIL import Image

    from csg.evaluation.runner.study import VLM
    from csg.vlm.protocol import Question, VLMError

    name, _ = qwen_file
    monkeypatch.setattr(town_vlm_models, "pack_module", comfy.module)
    monkeypatch.setattr(town_vlm_models, "start_comfyui", lambda path: None)  # it runs already
    one = VLM.parse(f"clip:{name}")
    vlm = town_vlm_models.opened(one, torch.device("cpu"))
    assert isinstance(vlm.ask(Question("What?", (Image.new("RGB", (64, 64)),), max_tokens=4)), str)
    assert vlm.asks[0].seconds > 0 and vlm.asks[0].tokens is None and not vlm.failed
    assert town_vlm_models.identity(one).startswith("clip ") and town_vlm_models.called(one) == "tiny_qwen3vl"
    with pytest.raises(VLMError, match="no text encoder 'other.safetensors'"):
        town_vlm_models.opened(VLM.parse("clip:other.safetensors"), torch.device("cpu"))
