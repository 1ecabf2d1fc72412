"""The transformers backend with a tiny random Qwen3-VL built here."""
import json
import re
import shutil
import socket
import sys
from importlib import metadata

import pytest
import torch
from PIL import Image

from csg.vlm.local import Here, LocalVLM
from csg.vlm.protocol import Question, VisionLanguageModel, VLMError
from csg.vlm.schemas import (
    AnswerReply,
    ConceptsReply,
    DescriptionReply,
    EdgesReply,
    GraphReply,
    PropagationReply,
    SuggestionsReply,
    schema_of,
)
from tests.unit.vlm import tiny_qwen
from tests.unit.vlm.scripted import GOOD

PICTURE = Image.new("RGB", (96, 64), (30, 90, 200))
FORMS = (GraphReply, DescriptionReply, ConceptsReply, EdgesReply, PropagationReply, SuggestionsReply, AnswerReply)
SCHEMA = {
    "type": "object", "properties": {"answer": {"enum": ["yes", "no"]}}, "required": ["answer"], "additionalProperties": False,
}  # fmt: skip


def ask(vlm, *pictures, progress=None, **settings):
    return vlm.ask(Question("What is this?", pictures, **settings), progress)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_qwen.save(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def vlm(folder):
    return LocalVLM(folder)


@pytest.fixture(scope="module")
def grammars(folder):
    """xgrammar's compiler for the tokens of the model in the folder."""
    xgrammar = pytest.importorskip("xgrammar")
    from transformers import AutoConfig, AutoTokenizer

    size = AutoConfig.from_pretrained(folder).get_text_config().vocab_size
    return xgrammar.GrammarCompiler(xgrammar.TokenizerInfo.from_huggingface(AutoTokenizer.from_pretrained(folder), vocab_size=size))


def test_it_answers_and_repeats_itself_under_the_same_seed(vlm):
    assert isinstance(vlm, VisionLanguageModel)
    first = ask(vlm, PICTURE, temperature=1.0, max_tokens=12, seed=1)
    assert first == ask(vlm, PICTURE, temperature=1.0, max_tokens=12, seed=1)
    assert first != ask(vlm, PICTURE, temperature=1.0, max_tokens=12, seed=2)
    assert ask(vlm, temperature=0, max_tokens=5, seed=1) == ask(vlm, temperature=0, max_tokens=5, seed=2)


def test_the_picture_matters_and_the_random_state_does_not_change(vlm):
    state = torch.get_rng_state()
    replies = {ask(vlm, *pictures, temperature=1.0, max_tokens=24) for pictures in ([], [PICTURE], [Image.new("RGB", (64, 96))])}
    assert len(replies) == 3 and torch.equal(state, torch.get_rng_state())


def test_progress_comes_with_every_token_and_ends_the_writing_when_it_raises(vlm):
    seen = []
    ask(vlm, PICTURE, temperature=0, max_tokens=6, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 6) for n in range(7)]

    class Interrupted(BaseException):
        pass

    def interrupt(done, total):
        if done == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        ask(vlm, PICTURE, max_tokens=1000, progress=interrupt)


def test_with_a_grammar_even_noise_fits_the_schema(vlm):
    pytest.importorskip("xgrammar")
    for seed in range(3):
        reply = ask(vlm, PICTURE, schema=SCHEMA, temperature=1.0, max_tokens=60, seed=seed)
        assert json.loads(reply)["answer"] in ("yes", "no")


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_that_is_asked_for_can_be_held_to(vlm, grammars, form):
    xgrammar = pytest.importorskip("xgrammar")
    schema = schema_of(form)
    reply = ask(vlm, schema=schema, temperature=1.0, max_tokens=40, seed=1)
    matcher = xgrammar.GrammarMatcher(grammars.compile_json_schema(json.dumps(schema)))
    assert re.match(rf'\s*{{\s*"{next(iter(schema["properties"]))}"\s*:', reply)
    assert not matcher.accept_string('{"answer to everything": 42}')


@pytest.mark.parametrize("name", sorted(GOOD))
def test_the_grammar_admits_good_replies(grammars, name):
    xgrammar = pytest.importorskip("xgrammar")
    matcher = xgrammar.GrammarMatcher(grammars.compile_json_schema(json.dumps(schema_of(GraphReply))))
    assert matcher.accept_string(GOOD[name].strip())


def test_without_a_grammar_the_model_answers_all_the_same(folder, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "xgrammar", None)
    free = ask(LocalVLM(folder), schema=SCHEMA, temperature=0, max_tokens=8)
    monkeypatch.undo()
    xgrammar = pytest.importorskip("xgrammar")
    monkeypatch.setattr(xgrammar.TokenizerInfo, "from_huggingface", classmethod(lambda *_, **__: 1 / 0))
    assert ask(LocalVLM(folder), schema=SCHEMA, temperature=0, max_tokens=8) == free
    assert caplog.text.count("xgrammar cannot read the model's tokens") == 1


@pytest.mark.parametrize(("dtype", "loaded"), [("auto", torch.float32), ("float16", torch.float16), ("bfloat16", torch.bfloat16)])
def test_the_weights_take_the_chosen_precision_where_they_are_placed(folder, dtype, loaded):
    place = Ledger()
    ask(LocalVLM(folder, dtype=dtype, attention="eager", place=place), PICTURE, max_tokens=2)
    assert place.brought[0][0] == loaded and place.brought[0][1] > 2**29 and place.room == []


class Ledger(Here):
    """Keeps account of what it was asked."""

    def __init__(self):
        self.room, self.brought = [], []

    def make_room(self, size):
        self.room.append(size)
        return super().make_room(size)

    def bring(self, model, beside):
        self.brought.append((model.dtype, beside))
        return super().bring(model, beside)


@pytest.fixture
def packages(monkeypatch):
    """Says which versions of the optional packages are installed; absent ones have none."""
    known, real = {"bitsandbytes": "0.50.2", "accelerate": "1.10.0"}, metadata.version

    def version(name):
        if name in ("bitsandbytes", "accelerate") and name not in known:
            raise metadata.PackageNotFoundError(name)
        return known[name] if name in known else real(name)

    monkeypatch.setattr(metadata, "version", version)
    return known


@pytest.mark.parametrize(("dtype", "share"), [("8-bit", 0.6), ("4-bit", 0.4)])
def test_quantised_weights_are_made_where_room_was_made_for_them(folder, packages, monkeypatch, dtype, share):
    place, read = Ledger(), {}

    def from_pretrained(kind, path, **options):
        read.update(options)
        raise OSError("seen enough")

    monkeypatch.setattr("transformers.AutoModelForImageTextToText.from_pretrained", classmethod(from_pretrained))
    with pytest.raises(VLMError, match="seen enough"):
        ask(LocalVLM(folder, dtype=dtype, place=place))
    assert place.room == [int(share * (folder / "model.safetensors").stat().st_size)]
    assert read["device_map"] == {"": torch.device("cpu")} and read["use_safetensors"] and not read["trust_remote_code"]
    config = read["quantization_config"]
    assert (config.load_in_8bit, config.load_in_4bit) == (dtype == "8-bit", dtype == "4-bit")
    assert dtype == "8-bit" or (config.bnb_4bit_compute_dtype, config.bnb_4bit_quant_type) == (torch.bfloat16, "nf4")


def test_precisions_that_cannot_be_had_are_told(folder, packages):
    packages["bitsandbytes"] = "0.47.0"
    with pytest.raises(VLMError, match="8-bit needs bitsandbytes 0.48 or newer, got 0.47.0"):
        ask(LocalVLM(folder, dtype="8-bit"))
    for name in ("accelerate", "bitsandbytes"):
        del packages[name]
        with pytest.raises(VLMError, match=f"4-bit needs the package {name}"):
            ask(LocalVLM(folder, dtype="4-bit"))
    with pytest.raises(VLMError, match="expected one of auto, bfloat16"):
        ask(LocalVLM(folder, dtype="int3"))


def altered(folder, target, **config):
    shutil.copytree(folder, target)
    data = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**data, **config}))
    return target


def test_a_model_that_cannot_see_is_refused_by_name(folder, tmp_path):
    with pytest.raises(VLMError, match=r"deaf \(qwen3\) cannot look at pictures"):
        LocalVLM(altered(folder, tmp_path / "deaf", model_type="qwen3"))


def test_other_weights_and_no_config_are_refused(folder, tmp_path):
    bare = altered(folder, tmp_path / "bare")
    (bare / "model.safetensors").rename(bare / "pytorch_model.bin")
    with pytest.raises(VLMError, match="no .*safetensors file"):
        LocalVLM(bare)
    (bare / "config.json").write_text("{oops")
    with pytest.raises(VLMError, match="is no model folder"):
        LocalVLM(bare)


def test_an_adapter_that_names_another_model_is_refused(folder, tmp_path):
    adapter = altered(folder, tmp_path / "adapter")
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "../../elsewhere"}')
    with pytest.raises(VLMError, match="adapter holds an adapter.*Merge"):
        LocalVLM(adapter)


def test_code_in_a_folder_is_never_run(folder, tmp_path):
    evil = altered(folder, tmp_path / "evil", auto_map={"AutoModelForImageTextToText": "evil.Model", "AutoConfig": "evil.Config"})
    mark = tmp_path / "ran"
    (evil / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    ask(LocalVLM(evil), PICTURE, max_tokens=2)
    assert not mark.exists()


def test_loading_opens_no_connection(folder, monkeypatch):
    def refused(*_):
        raise AssertionError("a model was asked for over the network")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    assert isinstance(ask(LocalVLM(folder), PICTURE, max_tokens=2), str)


@pytest.mark.parametrize("moment", ["transformers.AutoProcessor.from_pretrained", "transformers.GenerationMixin.generate"])
def test_what_a_library_would_fetch_on_the_way_is_not_fetched(folder, monkeypatch, moment):
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import OfflineModeIsEnabled

    before = constants.HF_HUB_OFFLINE

    def fetches(*_, **__):
        return get_session().get("https://huggingface.co/kernels-community/flash-attn2")

    monkeypatch.setattr(moment, fetches)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("a connection was tried"))
    with pytest.raises((VLMError, OfflineModeIsEnabled), match="offline mode"):
        ask(LocalVLM(folder), PICTURE, max_tokens=2)
    assert before == constants.HF_HUB_OFFLINE


def test_flash_attention_without_its_package_is_told(folder, monkeypatch):
    monkeypatch.setattr("csg.vlm.local.find_spec", lambda name: None)
    with pytest.raises(VLMError, match="needs the package flash-attn"):
        ask(LocalVLM(folder, attention="flash_attention_2"))


def test_a_model_without_a_chat_template_is_told(folder, tmp_path):
    mute = altered(folder, tmp_path / "mute")
    (mute / "chat_template.jinja").unlink()
    with pytest.raises(VLMError, match="no chat template.*instruct model"):
        ask(LocalVLM(mute))


def test_damaged_weights_are_told(folder, tmp_path):
    broken = altered(folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(VLMError, match="broken cannot be loaded"):
        ask(LocalVLM(broken))


def test_a_config_nested_without_end_and_a_foreign_attention_are_told(folder, tmp_path):
    damaged = shutil.copytree(folder, tmp_path / "deep")
    (damaged / "config.json").write_text('{"a":' * 20_000 + "1" + "}" * 20_000)
    with pytest.raises(VLMError, match=r"deep is no model folder: config\.json cannot be read"):
        LocalVLM(damaged)
    with pytest.raises(VLMError, match="Got the attention 'someone/kernels'; expected one of sdpa"):
        LocalVLM(folder, attention="someone/kernels")


def test_a_chat_template_that_fails_is_told(folder, tmp_path):
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    for file in damaged.glob("chat_template*"):
        file.write_text("{{ messages.no.such.thing.at.all }}")
    for name in ("tokenizer_config.json", "processor_config.json"):
        if (damaged / name).is_file():
            config = json.loads((damaged / name).read_text())
            if "chat_template" in config:
                (damaged / name).write_text(json.dumps(config | {"chat_template": "{{ messages.no.such.thing.at.all }}"}))
    with pytest.raises(VLMError, match="chat template fails"):
        ask(LocalVLM(damaged), PICTURE, max_tokens=2)
