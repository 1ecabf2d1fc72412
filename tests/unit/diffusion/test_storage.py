"""Inversions survive a file, and files that are none are named."""

import json
from dataclasses import replace

import pytest
import torch

from csg.diffusion import storage
from csg.diffusion.inversion import invert_sde
from csg.diffusion.schedule import leading_timesteps, noise_levels
from csg.diffusion.space import Space


def inversion(source=None):
    table = torch.linspace(0.03, 14, 1000)
    sigmas = noise_levels(table, leading_timesteps(6, 0.15), to_zero=True)
    made = invert_sde(lambda x, s: x / (1 + s[:, None, None, None] ** 2), torch.randn(1, 4, 8, 8), sigmas, seed=3)
    return replace(made, settings={"steps": 6}, seed=3, schedule="diffusers", model="abc", samples=torch.ones(1, 4, 8, 8),
                   source=source, source_guidance=3.5)


def test_everything_comes_back(tmp_path):
    source = [[torch.randn(1, 77, 16), {"pooled_output": torch.randn(1, 8)}]]
    made = inversion(source)
    storage.save(made, [tmp_path / "a.safetensors"])
    again = storage.load(tmp_path / "a.safetensors")
    assert all(torch.equal(getattr(made, n), getattr(again, n)) for n in storage.PARTS)
    assert (again.method, again.order, again.source_guidance, again.model) == ("dpm++", 2, 3.5, "abc")
    assert (again.seed, again.schedule, again.patched, dict(again.settings)) == (3, "diffusers", "", {"steps": 6})
    assert torch.equal(again.samples, made.samples) and again.noise_mask is None and again.negative is None
    assert torch.equal(again.source[0][0], source[0][0])
    assert torch.equal(again.source[0][1]["pooled_output"], source[0][1]["pooled_output"])


def test_a_prompt_with_more_than_text_is_refused_by_name(tmp_path):
    source = [[torch.zeros(1, 77, 16), {"pooled_output": None, "control": object()}]]
    with pytest.raises(storage.StorageError, match="source prompt.*control"):
        storage.save(inversion(source), [tmp_path / "a.safetensors"])


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def half(tensors, path, metadata):
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "save_file", half)
    with pytest.raises(KeyboardInterrupt):
        storage.save(inversion(), [tmp_path / "a.safetensors"])
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_passed_over(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"mine")
    assert storage.save(inversion(), [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]).name == "b.safetensors"
    assert (tmp_path / "a.safetensors").read_bytes() == b"mine"
    with pytest.raises(FileExistsError):
        storage.save(inversion(), [tmp_path / "a.safetensors"])


@pytest.mark.parametrize("change", [{"sigmas": slice(1, None)}, {"noises": slice(2, None)}, {"path": (slice(None), slice(None), 0)}])
def test_parts_that_do_not_belong_together_are_refused(tmp_path, change):
    made = inversion()
    storage.save(replace(made, **{name: getattr(made, name)[cut] for name, cut in change.items()}), [tmp_path / "a.safetensors"])
    with pytest.raises(storage.StorageError, match=r"a\.safetensors holds parts of different inversions \(sigmas "):
        storage.load(tmp_path / "a.safetensors")


def test_other_files_are_refused_with_what_they_are(tmp_path):
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(storage.StorageError, match=r"junk\.safetensors cannot be read"):
        storage.load(tmp_path / "junk.safetensors")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "lora.safetensors")
    with pytest.raises(storage.StorageError, match="holds no inversion"):
        storage.load(tmp_path / "lora.safetensors")


def rewritten(path, tensors=None, **metadata):
    """The same file with other tensors or other metadata."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, "pt") as file:
        kept, about = {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata())  # noqa: SIM118
    save_file({k: v for k, v in {**kept, **(tensors or {})}.items() if v is not None}, path, {**about, **metadata})


@pytest.mark.parametrize(("change", "told"), [
    ({"about": "{}"}, "does not say how it was made"), ({"settings": "[1,"}, "does not say how it was made"),
    ({"tensors": {"settings.samples": None}}, r"no latent of the inverted picture \(none, expected \(1, 4, 8, 8\)\)"),
    ({"tensors": {"settings.samples": torch.ones(1, 4, 4, 4)}}, r"\(1, 4, 4, 4\), expected"),
    ({"tensors": {"noises": torch.full((6, 1, 4, 8, 8), torch.nan)}}, r"not numbers \('noises'\)"),
    *[({"tensors": {"sigmas": levels}}, "do not fall") for levels in
      (torch.arange(7.0), torch.ones(7), torch.arange(3.0, -4, -1))],
    *[({"tensors": {"sigmas": levels}}, "different inversions") for levels in (torch.ones(7, 1), torch.tensor(1.0))],
    ({"tensors": {"noises": torch.ones(6, 1, 4, 8, 8, dtype=torch.int64)}}, "floating-point"),
    ({"tensors": {"noises": torch.ones(6, 1, 4, 8, 8).to(torch.float8_e4m3fn)}}, "floating-point"),
    ({"tensors": {"settings.noise_mask": torch.ones(1, 0, 8)}}, r"noise mask of the shape \(1, 0, 8\)"),
    ({"tensors": {"source.0.context": torch.ones(1, 0, 16)}}, r"prompt of the shape \(1, 0, 16\)"),
    ({"tensors": {"source.0.context": torch.ones(1, 7, 16), "negative.0.context": torch.ones(1, 7, 9)}},
     "prompt of the shape"),
    *[({"settings": text}, "does not say how it was made") for text in
      ("[]", "7", "[" * 100_000, '{"steps": [6]}', '{"seed": "x"}', '{"seed": -1}', '{"model": 3}', '{"skip": Infinity}')],
    *[({"about": f'{{"method": {method}, "order": {order}, "source_guidance": {guidance}}}'}, "does not say how it was made")
      for method, order, guidance in (('"magic"', 2, 1), ('"dpm++"', "Infinity", 1), ('"dpm++"', 3, 1), ('"dpm++"', 2, "NaN"),
                                      ('"dpm++"', 2, "1" + "0" * 400), ("{}", 2, 1))],
])  # fmt: skip
def test_files_that_were_tampered_with_are_refused_in_words(tmp_path, change, told):
    path = tmp_path / "a.safetensors"
    storage.save(inversion(), [path])
    rewritten(path, **change)
    with pytest.raises(storage.StorageError, match=told) as refusal:
        storage.load(path)
    assert len(str(refusal.value)) < 300


def test_doubles_are_read_as_the_numbers_that_the_sampler_uses(tmp_path):
    path = tmp_path / "a.safetensors"
    made = inversion()
    storage.save(made, [path])
    rewritten(path, tensors={"path": made.path.double()})
    assert storage.load(path).path.dtype == torch.float32 and torch.equal(storage.load(path).path, made.path)


def test_a_flows_space_and_what_its_texts_carry_come_back(tmp_path):
    mask = torch.tensor([[1, 1, 0]])
    carried = {"pooled_output": None, "attention_mask": mask, "guidance": 2.2, "conditioning_llama3": torch.randn(1, 2, 3, 8)}
    text = [[torch.randn(1, 3, 8), carried]]
    made = replace(inversion(text), space=Space("rectified flow", 8.0, 1), samples=torch.randn(1, 4, 1, 8, 8))
    storage.save(made, [tmp_path / "a.safetensors"])
    again = storage.load(tmp_path / "a.safetensors")
    assert again.space == made.space and torch.equal(again.samples, made.samples)
    more = again.source[0][1]
    assert more["guidance"] == 2.2 and torch.equal(more["attention_mask"], mask) and more["attention_mask"].dtype == mask.dtype
    assert torch.equal(more["conditioning_llama3"], text[0][1]["conditioning_llama3"]) and "pooled_output" not in more


@pytest.mark.parametrize("space", ['"flow"', '{"kind": "edm"}', '{"noise_scale": 0}', '{"axes": 9}', '{"axes": true}', '{"else": 1}'])
def test_a_strange_space_is_refused(space):
    assert not storage.is_space(json.loads(space))
