"""The kind of diffusion is asked of the patched model, for every family; levels follow its patches."""

import pytest
import torch

from tests.host import tiny_families, tiny_models

FLOW_FAMILIES = [name for name in tiny_families.FAMILIES if name != "CosmosPredict2"]


@pytest.fixture(scope="module")
def spaces(comfy):
    return comfy.module("nodes.host_space")


@pytest.mark.parametrize("family", FLOW_FAMILIES)
def test_flow_models_are_seen_as_flows(spaces, family):
    """AuraFlow too, though it has a table of 1000 levels and SDXL's latents."""
    model = tiny_families.model(family)
    space = spaces.space_of(model)
    assert (space.kind, space.noise_scale) == ("rectified flow", 1.0)
    assert space.axes == tiny_families.FAMILIES[family].axes
    shown = space.shown(spaces.level_table(model))
    sampling = model.get_model_object("model_sampling")
    own = [float(sampling.percent_to_sigma(1 - t / 1000)) for t in (1, 500, 850)]
    assert shown[[0, 499, 849]].tolist() == pytest.approx(own, rel=1e-4)
    assert float(shown[-1]) == pytest.approx(0.9999, rel=1e-5)


def test_cosmos_hands_its_levels_over_as_they_are(spaces):
    model = tiny_families.model("CosmosPredict2")
    space, table = spaces.space_of(model), spaces.level_table(model)
    assert space.kind == "rectified flow, variance exploding" and space.axes == 1
    assert float(table[-1]) == 80 and 0 < float(table[0]) < 0.003 and (table.diff() > 0).all()


@pytest.mark.parametrize("kind", ["SDXL", "SD15", "SD20"])
@pytest.mark.parametrize("v_prediction", [False, True])
def test_unets_keep_their_own_table(spaces, kind, v_prediction):
    model = tiny_models.model(kind, v_prediction=v_prediction and kind == "SD20")
    assert spaces.space_of(model).kind == "variance preserving"
    assert torch.equal(spaces.level_table(model), model.get_model_object("model_sampling").sigmas.float())


@pytest.mark.parametrize(
    ("family", "node", "inputs"),
    [("SD3", "ModelSamplingSD3", {"shift": 7.0}), ("AuraFlow", "ModelSamplingAuraFlow", {"shift": 5.0}),
     ("Flux", "ModelSamplingFlux", {"max_shift": 1.15, "base_shift": 0.5, "width": 256, "height": 256})],
)  # fmt: skip
def test_a_patched_shift_moves_the_levels(comfy, spaces, family, node, inputs):
    import comfy_extras.nodes_model_advanced as advanced

    model = tiny_families.model(family)
    made = getattr(advanced, node)()
    patched = getattr(made, made.FUNCTION)(model, **inputs)[0]
    before, after = spaces.level_table(model), spaces.level_table(patched)
    own = float(patched.get_model_object("model_sampling").percent_to_sigma(0.5))
    assert not torch.allclose(before, after, rtol=0.05)
    assert float(spaces.space_of(patched).shown(after)[499]) == pytest.approx(own, rel=1e-4)


def with_sampling(model, base, kind):
    import comfy.model_sampling as kinds

    changed = model.clone()
    sampling = type("Sampling", (getattr(kinds, base), getattr(kinds, kind)), {})
    changed.add_object_patch("model_sampling", sampling(model.model.model_config))
    return changed


def test_the_patched_object_decides_and_not_the_model(spaces):
    """A node may turn one kind of model into another: what samples is what counts."""
    model = with_sampling(tiny_models.model("SD15"), "ModelSamplingDiscreteFlow", "CONST")
    assert spaces.space_of(model).kind == "rectified flow"


@pytest.mark.parametrize("kind", ["IMG_TO_IMG", "IMG_TO_IMG_FLOW"])
def test_a_model_that_draws_from_no_noise_is_refused(spaces, kind):
    with pytest.raises(ValueError, match="turns one picture into another, without noise"):
        spaces.space_of(with_sampling(tiny_families.model("SD3"), "ModelSamplingDiscreteFlow", kind))


def test_an_unknown_prediction_is_refused(spaces):
    with pytest.raises(ValueError, match="not known here \\(V_PREDICTION_DDPM\\)"):
        spaces.space_of(with_sampling(tiny_models.model(), "ModelSamplingDiscrete", "V_PREDICTION_DDPM"))


def test_a_model_of_sound_is_refused(spaces, monkeypatch):
    import comfy.latent_formats

    model = tiny_families.model("SD3")
    monkeypatch.setattr(model.model, "latent_format", comfy.latent_formats.StableAudio1())
    with pytest.raises(ValueError, match="does not draw pictures"):
        spaces.space_of(model)


def test_a_distilled_table_is_refused(spaces):
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

    with pytest.raises(ValueError, match="no table of 1000 noise levels"):
        spaces.level_table(ModelSamplingDiscrete().patch(tiny_models.model(), "lcm", False)[0])
