"""An inversion is a value: made once, used often, and refused where it does not belong."""

import uuid
from pathlib import Path

import pytest
import torch

from tests.host import tiny_models
from tests.host.test_sampling import path, samples


@pytest.fixture(scope="module")
def inversion(lab):
    return lab.invert()[0]


OWN = ("do", "propagate", "edits", "sampler")  # the nodes that every intervention has for itself
RAIN, SNOW = ("weather = rainy", "ground = wet"), ("weather = snowy", "ground = snow")
NIGHT = ("time = night", "lamp = on\nwindows = lit")


def interventions(*doings):
    """The whole path on Town with several interventions behind one inversion; their nodes end in a number."""
    prompt = {}
    for k, (do, values) in enumerate(doings):
        one = path(do, values, invert__steps=6)
        prompt |= {name: one[name] for name in ("town", "scene", "encode", "invert")}
        for name in OWN:
            inputs = one[name]["inputs"]
            links = {key: [f"{v[0]} {k}", v[1]] for key, v in inputs.items() if isinstance(v, list) and v[0] in OWN}
            prompt[f"{name} {k}"] = one[name] | {"inputs": inputs | links}
    return prompt


def test_many_interventions_share_one_inversion(comfy, monkeypatch):
    host, made = comfy.module("nodes.host"), []
    run = host.run_inversion
    monkeypatch.setattr(host, "run_inversion", lambda *a, **k: (made.append(1), run(*a, **k))[1])
    comfy.forget()
    outcome = comfy.run(interventions(RAIN, SNOW), outputs=["sampler 0", "sampler 1"])
    first, second = samples(outcome, "sampler 0"), samples(outcome, "sampler 1")
    assert len(made) == 1 and not torch.equal(first, second)
    again = comfy.run(interventions(RAIN, SNOW, NIGHT), outputs=["sampler 0", "sampler 1", "sampler 2"])
    assert len(made) == 1 and {"invert", "sampler 0", "sampler 1"} <= again.cached
    assert samples(again, "sampler 2").shape == first.shape


def test_an_inversion_serves_many_edits_in_any_order(lab, inversion):
    weak, strong = lab.edits(scale=3.0), lab.edits(scale=9.0)
    first = lab.edit(inversion, weak)[0]
    assert not torch.equal(first, lab.edit(inversion, strong)[0])
    assert torch.equal(first, lab.edit(inversion, weak)[0])


def test_the_same_seed_gives_the_same_inversion_and_another_gives_another(lab, inversion):
    again, other = lab.invert()[0], lab.invert(seed=4)[0]
    assert torch.equal(again.noises, inversion.noises) and not torch.equal(other.noises, inversion.noises)


def first_step(lab, inversion, negative=None, positive=None, scale=1.0):
    """The step at which an edit on this base begins."""
    kind = "unconditional" if positive is None else "source"
    guider = lab.host.CSGGuider(lab.model, lab.edit_types.Base(kind, negative, positive, scale), lab.edits(warmup=2))
    return lab.replaying.first_step(inversion, guider, lab.runs.Run(guider.plan))


def test_only_an_edit_on_the_inversions_own_base_may_begin_on_its_path(lab, inversion):
    """Equal texts are the same base, whoever encoded them; another negative is another base where it counts."""
    again = [[context.clone(), {k: v.clone() for k, v in more.items()}] for context, more in lab.source]
    other = tiny_models.conditioning(1)
    plain, guided = (lab.invert(source=lab.source, negative=other, guidance=g)[0] for g in (1.0, 3.5))
    assert first_step(lab, inversion) == 2 and first_step(lab, inversion, other) == 0
    assert first_step(lab, inversion, positive=lab.source) == 0
    assert first_step(lab, plain, other, again) == first_step(lab, plain, None, again) == 2  # not asked without guidance
    assert first_step(lab, guided, other, again, 3.5) == 2
    assert first_step(lab, guided, None, again, 3.5) == first_step(lab, guided, other, again, 2.0) == 0
    assert first_step(lab, guided, other, tiny_models.conditioning(4), 3.5) == 0


def test_another_checkpoint_is_refused(lab, inversion):
    with pytest.raises(ValueError, match="made with model .* Invert the picture again"):
        lab.edit(inversion, model=tiny_models.model(seed=1))


def test_another_kind_of_model_is_refused(lab, inversion):
    with pytest.raises(ValueError, match="Invert the picture again"):
        lab.sample.EditWithPrompt.execute(tiny_models.model("SD15"), inversion, lab.source, 3.0, negative=lab.source)


def test_the_same_checkpoint_with_a_lora_is_accepted(lab, inversion, tmp_path):
    import comfy.sd
    from safetensors.torch import load_file

    tiny_models.lora(lab.model, tmp_path / "own.safetensors")
    model, _ = comfy.sd.load_lora_for_models(lab.model, None, load_file(str(tmp_path / "own.safetensors")), 1.0, 0)
    plain = lab.edit(inversion)[0]
    edited = lab.edit(inversion, model=model)[0]
    assert not torch.equal(plain, edited)
    assert torch.equal(lab.edit(inversion)[0], plain)  # and the checkpoint is still itself, its weights restored


def test_a_lora_that_changed_since_the_inversion_is_told_on_the_node(lab, inversion, tmp_path):
    """Added, taken away, another one; a model as it was is silent."""
    import comfy.sd
    from safetensors.torch import load_file

    tiny_models.lora(lab.model, tmp_path / "own.safetensors")
    weights = load_file(str(tmp_path / "own.safetensors"))
    first, second = (comfy.sd.load_lora_for_models(lab.model, None, weights, strength, 0)[0] for strength in (1.0, 0.5))
    with_lora = lab.invert(model=first)[0]

    def shown(made, model):
        csg = lab.sample.Sampler.execute(model, made, lab.edits(), "unconditional", "intersect")
        baseline = lab.sample.EditWithPrompt.execute(model, made, lab.source, 3.0)
        assert csg.ui == baseline.ui
        return csg.ui and csg.ui["text"][0]

    assert shown(inversion, lab.model) is None and shown(with_lora, first) is None
    assert "has LoRAs or patches that it did not have" in shown(inversion, first)
    assert "lacks the LoRAs" in shown(with_lora, lab.model)
    assert "may have other LoRAs" in shown(with_lora, second)


def test_the_same_checkpoint_loaded_again_is_accepted(lab, inversion):
    assert torch.equal(lab.edit(inversion, model=tiny_models.model())[0], lab.edit(inversion)[0])


@pytest.mark.parametrize("change", [lambda s: s[1:], lambda s: s.flip(0), lambda s: s * 1.01], ids=["shorter", "flipped", "scaled"])
def test_another_schedule_is_refused(lab, inversion, change):
    from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

    sampler, sigmas, noise, latent = lab.compose.ReplaySampler.execute(inversion).result
    with pytest.raises(ValueError, match="noise levels.*Replay Inversion, unchanged"):
        SamplerCustomAdvanced.execute(noise, lab.guider(inversion), sampler, change(sigmas), latent)


@pytest.mark.parametrize(("picture", "words"), [
    ({"samples": torch.zeros(1, 4, 16, 16)}, "empty.*VAE Encode"),
    ({"samples": torch.ones(1, 16, 16, 16)}, r"\(1, 16, 16, 16\).*expected"),
    ({"samples": torch.ones(1, 4, 3, 16, 16)}, r"\(1, 4, 3, 16, 16\).*expected"),
], ids=["empty", "of a sixteen channel model", "of a video"])  # fmt: skip
def test_a_latent_that_is_no_picture_is_refused(lab, picture, words):
    with pytest.raises(ValueError, match=words):
        lab.invert(picture)


def kept(lab, inversion):
    """The inversion written by one node and read by the other, its file moved from the output to the input folder."""
    import folder_paths

    keep = lab.comfy.module("nodes.keep")
    written = Path(folder_paths.get_output_directory()) / keep.SaveInversion.execute(inversion, "inversions/citizen").result[0]
    name = f"{uuid.uuid4()}{keep.SUFFIX}"
    written.rename(Path(folder_paths.get_input_directory()) / name)
    assert keep.LoadInversion.validate_inputs(name) is True and name in keep.inversion_files()
    return keep.LoadInversion.execute(name).result[0]


@pytest.mark.parametrize("prompted", [False, True], ids=["no source prompt", "source prompt"])
def test_an_inversion_from_a_file_edits_as_the_one_in_memory_to_the_bit(lab, prompted):
    picture = tiny_models.latent() | {"noise_mask": torch.ones(1, 128, 128)}
    inversion, _ = lab.invert(picture, source=lab.source if prompted else None)
    again = kept(lab, inversion)
    for name in ("settings", "schedule", "seed", "model", "patched", "method", "order"):
        assert getattr(again, name) == getattr(inversion, name)
    assert torch.equal(again.noise_mask, inversion.noise_mask) and torch.equal(again.samples, inversion.samples)
    assert torch.equal(lab.edit(again)[0], lab.edit(inversion)[0])


@pytest.mark.parametrize("name", ["x" * 100_000, "../" + "x" * 100_000, "a\0b"])
def test_a_name_that_no_inversion_has_is_refused_in_a_short_line(comfy, name):
    words = comfy.module("nodes.keep").LoadInversion.validate_inputs(name)
    assert "inversion" in words or "lies outside" in words
    assert words.isprintable() and len(words) < 300


def test_an_inversion_from_a_file_is_refused_by_another_checkpoint(lab, inversion):
    with pytest.raises(ValueError, match="Invert the picture again"):
        lab.edit(kept(lab, inversion), model=tiny_models.model(seed=1))
