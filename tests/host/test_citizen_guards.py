"""Where an inversion or a conditioning meets something it does not fit."""

import pytest
import torch

from tests.host import tiny_models
from tests.host.test_citizen_company import area


def first_maps(lab, inversion):
    """The attention maps of the first guided step."""
    return lab.evaluations(lab.guider(inversion), inversion)[0][1]


def test_crops_of_area_conditionings_do_not_enter_the_maps(lab, inversion):
    """A quarter of the latent has as many tokens one level higher as the masks have cells."""
    plain, cropped = first_maps(lab, inversion), first_maps(lab, lab.invert(source=area(lab.source))[0])
    assert plain.keys() == cropped.keys() and all(torch.allclose(plain[key], cropped[key], atol=1e-4) for key in plain)


def replayed(lab, inversion, model, latent):
    from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

    sampler, sigmas, noise, _ = lab.compose.ReplaySampler.execute(inversion).result
    with torch.inference_mode():
        SamplerCustomAdvanced.execute(noise, lab.guider(inversion, model=model), sampler, sigmas, latent)


@pytest.mark.parametrize("latent", [tiny_models.latent(16, 24), tiny_models.latent(batch=2)], ids=["size", "batch"])
def test_a_replay_refuses_another_size(lab, inversion, latent):
    with pytest.raises(ValueError, match=r"inversion is of \(1, 4, 16, 16\)"):
        replayed(lab, inversion, lab.model, latent)


def test_a_replay_refuses_another_checkpoint(lab, inversion):
    with pytest.raises(ValueError, match="Invert the picture again"):
        replayed(lab, inversion, tiny_models.model(seed=1), tiny_models.latent())


def test_a_model_of_another_kind_is_refused_before_anything_else_is_asked_of_it(lab, inversion):
    with pytest.raises(ValueError, match="Invert the picture again"):
        lab.edit(inversion, model=tiny_models.model("SD15"))
    with pytest.raises(ValueError, match="Invert the picture again"):
        lab.sample.EditWithPrompt.execute(tiny_models.model("SD15"), inversion, lab.source, 3.0)


def test_concepts_are_measured_under_the_controlnet_of_the_unconditional(lab):
    import nodes

    hint = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(0))
    pair = nodes.ControlNetApplyAdvanced().apply_controlnet(
        lab.source, tiny_models.conditioning(1), tiny_models.controlnet(), hint, 1.0, 0.0, 1.0)
    inversion, _ = lab.invert(source=pair[0], negative=pair[1])
    guider = lab.guider(inversion)
    controls = {key: {id(one.get("control")) for one in conds} for key, conds in guider.original_conds.items()}
    assert len(set.union(*controls.values())) == 1 and None not in [conds[0].get("control") for conds in guider.original_conds.values()]
    assert lab.replay(guider, inversion).isfinite().all()


def test_towns_model_can_be_split_over_devices(comfy):
    town = comfy.module("nodes.host_town").load_model()
    second = town.deepclone_multigpu(new_load_device=torch.device("cpu", 0))
    assert second.model is not town.model
    assert torch.equal(second.model.state_dict()["diffusion_model.out.2.bias"], town.model.state_dict()["diffusion_model.out.2.bias"])


@pytest.mark.parametrize(("has_units", "kept"), [(True, torch.bfloat16), (False, torch.float32)])
def test_town_computes_on_a_cpu_in_what_the_cpu_is_fast_at(comfy, monkeypatch, has_units, kept):
    town = comfy.module("nodes.host_town")
    monkeypatch.setattr(town, "bf16_units", lambda: has_units)
    model = town.load_model().model
    assert {w.dtype for w in model.diffusion_model.parameters()} == {kept}
    assert model.manual_cast_dtype is None, "ComfyUI would cast every weight in every step"


def test_attention_that_is_partly_hidden_is_told_of(lab, inversion, monkeypatch):
    """A layer that runs as a copy of itself, as compiled ones do, is not seen; the others alone would make other masks."""
    import copy

    layer = lab.model.model.diffusion_model.output_blocks[1][1].transformer_blocks[0]
    monkeypatch.setattr(layer, "forward", copy.deepcopy(layer).forward)
    with pytest.raises(RuntimeError, match="seen in only 4 of 5 layers for 'phrase 0', 'phrase 1'.*compile"):
        lab.edit(inversion)
    assert lab.edit(inversion, mask="noise")[0].isfinite().all()


@pytest.mark.parametrize(("kind", "layers"), [("SDXL", 5), ("SD15", 5), ("SD20", 5)])
def test_the_layers_to_be_seen_are_those_at_a_quarter_of_the_size(comfy, kind, layers):
    attention = comfy.module("csg.diffusion.attention")
    assert attention.quarter_layers(tiny_models.model(kind).model.diffusion_model) == layers


@pytest.mark.parametrize(("pictures", "masks"), [(3, 2), (1, 3)])
def test_masks_of_another_number_than_the_pictures_are_refused(lab, pictures, masks):
    edits = lab.edits(mask=torch.ones(masks, 32, 32))
    with pytest.raises(ValueError, match=rf"'phrase 0' holds {masks} masks for {pictures} picture"):
        lab.edit(lab.invert(tiny_models.latent(batch=pictures))[0], edits)


def test_values_that_are_no_numbers_are_told_of_where_they_come_in(lab, inversion):
    broken = tiny_models.latent()
    broken["samples"][0, 0, 3, 3] = float("nan")
    with pytest.raises(ValueError, match="The latent holds values that are not numbers.*--fp32-vae"):
        lab.invert(broken)
    silent = tiny_models.conditioning(3)
    silent[0][0][0, 2] = float("inf")
    with pytest.raises(ValueError, match="The inversion holds values that are not numbers"):
        lab.invert(source=silent)
    with pytest.raises(ValueError, match="mask of 'phrase 0' holds values that are not numbers"):
        lab.edit(inversion, lab.edits(mask=torch.full((1, 32, 32), float("nan"))))
    with pytest.raises(ValueError, match="The edit holds values that are not numbers"):
        lab.edit(inversion, lab.edits(scale=float("inf")))


def test_a_prompt_of_another_models_encoder_is_refused(lab, inversion):
    other = [[torch.zeros(1, 77, 48), {"pooled_output": torch.zeros(1, 32)}]]
    with pytest.raises(ValueError, match="48 numbers per token, but this model reads 32"):
        lab.invert(source=other)


@pytest.mark.parametrize("size", [(2, 2), (4, 16), (16, 3)])
def test_pictures_of_a_few_cells_are_edited_too(lab, size):
    assert lab.edit(lab.invert(tiny_models.latent(*size))[0])[0].isfinite().all()


def test_an_inversion_of_a_latent_with_other_channels_is_refused(lab, inversion):
    from dataclasses import replace

    parts = {name: getattr(inversion, name).repeat(1, 1, 4, 1, 1) for name in ("path", "denoised", "noises")}
    with pytest.raises(ValueError, match="16 channels, but the model draws 4"):
        lab.edit(replace(inversion, **parts, samples=torch.ones(1, 16, 16, 16)))
