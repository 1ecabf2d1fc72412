"""The transformers backend with a tiny random Qwen3-VL built here."""
import json
import shutil

import pytest
import torch
from PIL import Image

from csg.vlm.local import LocalVLM, stay
from csg.vlm.protocol import VisionLanguageModel, VLMError
from tests.unit.vlm import tiny_qwen

PICTURE = Image.new("RGB", (96, 64), (30, 90, 200))
SCHEMA = {
    "type": "object", "properties": {"answer": {"enum": ["yes", "no"]}}, "required": ["answer"], "additionalProperties": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_qwen.save(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def vlm(folder):
    return LocalVLM(folder)


def test_it_answers_and_repeats_itself_under_the_same_seed(vlm):
    assert isinstance(vlm, VisionLanguageModel)
    first = vlm.ask("What is this?", [PICTURE], temperature=1.0, max_tokens=12, seed=1)
    assert first == vlm.ask("What is this?", [PICTURE], temperature=1.0, max_tokens=12, seed=1)
    assert first != vlm.ask("What is this?", [PICTURE], temperature=1.0, max_tokens=12, seed=2)
    assert vlm.ask("What?", [], temperature=0, max_tokens=5, seed=1) == vlm.ask("What?", [], temperature=0, max_tokens=5, seed=2)


def test_the_picture_matters_and_the_random_state_does_not_change(vlm):
    state = torch.get_rng_state()
    replies = {vlm.ask("?", pictures, temperature=1.0, max_tokens=24) for pictures in ([], [PICTURE], [Image.new("RGB", (64, 96))])}
    assert len(replies) == 3 and torch.equal(state, torch.get_rng_state())


def test_progress_comes_with_every_token_and_ends_the_writing_when_it_raises(vlm):
    seen = []
    vlm.ask("?", [PICTURE], temperature=0, max_tokens=6, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 6) for n in range(7)]

    class Interrupted(BaseException):
        pass

    def interrupt(done, total):
        if done == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        vlm.ask("?", [PICTURE], max_tokens=1000, progress=interrupt)


def test_with_a_grammar_even_noise_fits_the_schema(vlm):
    pytest.importorskip("xgrammar")
    for seed in range(3):
        reply = vlm.ask("?", [PICTURE], schema=SCHEMA, temperature=1.0, max_tokens=60, seed=seed)
        assert json.loads(reply)["answer"] in ("yes", "no")


@pytest.mark.parametrize(("dtype", "loaded"), [("auto", torch.float32), ("float16", torch.float16), ("bfloat16", torch.bfloat16)])
def test_the_weights_take_the_chosen_precision_where_they_are_placed(folder, dtype, loaded):
    placed = []

    def place(model, beside):
        placed.append((model.dtype, beside))
        return stay(model, beside)

    LocalVLM(folder, dtype=dtype, attention="eager", place=place).ask("?", [PICTURE], max_tokens=2)
    assert placed[0][0] == loaded and placed[0][1] > 2**29


def test_precisions_that_cannot_be_had_are_told(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(VLMError, match="4-bit needs the package bitsandbytes"):
        LocalVLM(folder, dtype="4-bit").ask("?", [])
    with pytest.raises(VLMError, match="expected one of auto, bfloat16"):
        LocalVLM(folder, dtype="int3").ask("?", [])


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


def test_code_in_a_folder_is_never_run(folder, tmp_path):
    evil = altered(folder, tmp_path / "evil", auto_map={"AutoModelForImageTextToText": "evil.Model", "AutoConfig": "evil.Config"})
    mark = tmp_path / "ran"
    (evil / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    LocalVLM(evil).ask("?", [PICTURE], max_tokens=2)
    assert not mark.exists()


def test_damaged_weights_are_told(folder, tmp_path):
    broken = altered(folder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(VLMError, match="broken cannot be loaded"):
        LocalVLM(broken).ask("?", [])
