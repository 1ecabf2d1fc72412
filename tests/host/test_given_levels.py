"""Inversions at the SIGMAS of ComfyUI's own schedulers, as models distilled to a few steps need them."""

from dataclasses import replace

import pytest
import torch

from tests.host import tiny_families, tiny_models
from tests.host.test_families import FamilyLab
from tests.host.tiny_lab import Lab, gap

SEEDED = {"Invert": (50, 0.15, 2.0, 3, "diffusers", 3), "InvertDDPM": (50, 10, 2.0, 3), "InvertFlowEdit": (50, 10, 2.0, 3)}


@pytest.fixture(scope="module", params=["SDXL", "SD3", "CosmosPredict2"])
def painter(request, comfy):
    """A lab of one model for each kind of diffusion, its picture and its unconditional."""
    if request.param == "SDXL":
        return unet(comfy)
    lab = FamilyLab(comfy, request.param)
    return lab, tiny_families.latent(request.param), lab.negative


def unet(comfy):
    return Lab(comfy), tiny_models.latent(), tiny_models.conditioning(1)


def levels(lab, scheduler="sgm_uniform", steps=4):
    """SIGMAS of a stock scheduler."""
    from comfy.samplers import calculate_sigmas

    return calculate_sigmas(lab.model.get_model_object("model_sampling"), scheduler, steps)


@torch.inference_mode()
def inverted(painter, sigmas, node="Invert"):
    lab, picture, negative = painter
    settings = SEEDED.get(node, (50, 2.0))
    out = getattr(lab.sample, node).execute(lab.model, picture, *settings, lab.source, negative, sigmas=sigmas).result
    return out[0], out[1]["samples"]


def replayed(lab, inversion, monkeypatch):
    """The edit by nothing, every step of it predicted."""
    with monkeypatch.context() as patch:
        patch.setattr(lab.replaying, "first_step", lambda *_: 0)
        return lab.edit(inversion, lab.edit_types.Edits(), base="source")[0]


def off(lab, samples, picture):
    """How far samples are from a picture, in the model's own latents."""
    return gap(*(lab.model.model.process_latent_in(one) for one in (samples, picture["samples"])))


@pytest.mark.parametrize(("node", "scheduler", "steps"), [("Invert", "sgm_uniform", 4), ("Invert", "karras", 6), ("Invert", "simple", 1),
                                                          ("InvertDDPM", "sgm_uniform", 4), ("InvertFlowEdit", "beta", 8)])  # fmt: skip
def test_the_picture_comes_back_at_a_few_levels_of_any_scheduler(painter, monkeypatch, node, scheduler, steps):
    """The node's own steps, skip and zeroed noises count for nothing then."""
    lab, picture, _ = painter
    sigmas = levels(lab, scheduler, steps)
    inversion, rebuilt = inverted(painter, sigmas, node)
    assert torch.allclose(inversion.space.shown(inversion.sigmas), sigmas.float(), rtol=2e-4)  # a flow's first is at most .9999
    assert off(lab, rebuilt, picture) < 1e-4 > off(lab, replayed(lab, inversion, monkeypatch), picture)


def test_turbos_own_scheduler_ends_far_from_the_picture_and_is_replayed_all_the_same(comfy, monkeypatch):
    """Four of its steps leap from sigma 2.9 to the picture: what that prediction lacks is recorded."""
    from comfy_extras.nodes_custom_sampler import SDTurboScheduler

    lab, picture, _ = painter = unet(comfy)
    sigmas = SDTurboScheduler.execute(lab.model, 4, 1.0).result[0]
    inversion, _ = inverted(painter, sigmas)
    assert float(sigmas[-2]) > 2 and off(lab, replayed(lab, inversion, monkeypatch), picture) < 1e-4
    lacking = replace(inversion, noises=torch.cat([inversion.noises[:-1], torch.zeros_like(inversion.noises[-1:])]))
    assert off(lab, replayed(lab, lacking, monkeypatch), picture) > 0.1


def test_an_edit_at_four_levels_stays_in_its_masks(painter):
    lab, _, _ = painter
    inversion, rebuilt = inverted(painter, levels(lab))
    edited, masks = lab.edit(inversion, lab.edits(warmup=0), base="source", preserve="blend")
    change = (edited - rebuilt).abs().reshape(-1, 16, 16).amax(0)
    assert 0 < float(masks.mean()) < 0.95 and float(change.max()) > 1e-3 and float(change.min()) < 1e-4


def test_ddim_climbs_the_levels_it_is_given(painter):
    lab, _, _ = painter
    inversion, _ = inverted(painter, levels(lab, "normal", 8), "InvertDDIM")
    assert inversion.steps == 8 and inversion.method == "ddim" and float(inversion.sigmas[-1]) == 0


@pytest.mark.parametrize("node", [*SEEDED, "InvertDDIM"])
def test_what_is_no_schedule_is_refused_in_words(painter, node):
    with pytest.raises(ValueError, match="after 0.5 comes 0.5; every level must be lower"):
        inverted(painter, torch.tensor([0.9, 0.5, 0.5, 0.0]), node)


def test_the_levels_of_another_kind_of_model_are_refused_by_a_flow(comfy):
    lab = FamilyLab(comfy, "SD3")
    with pytest.raises(ValueError, match="begins at 14.61, but a flow model's levels lie between 1 and 0"):
        inverted((lab, tiny_families.latent("SD3"), lab.negative), torch.tensor([14.61, 3.0, 0.0]))


def test_a_model_without_a_table_of_a_thousand_levels_is_inverted_at_its_schedulers(comfy, monkeypatch):
    """LCM's sampling has 50 levels, so the node's own schedule is refused; a scheduler's is not."""
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

    lab, picture, negative = unet(comfy)
    lab.model = ModelSamplingDiscrete().patch(lab.model, "lcm", False)[0]
    painter = lab, picture, negative
    with pytest.raises(ValueError, match="no table of 1000 noise levels.*SIGMAS"):
        inverted(painter, None)
    inversion, _ = inverted(painter, levels(lab))
    assert off(lab, replayed(lab, inversion, monkeypatch), picture) < 1e-4
