"""The pieces for ComfyUI's own samplers do what the one node does."""

from dataclasses import replace

import pytest
import torch

from tests.host import tiny_models
from tests.host.test_sampling import path, samples


def with_custom_sampler(prompt):
    """The path of `prompt` with SamplerCustomAdvanced beside CSG Sampler, under the id `custom`."""
    prompt["guider"] = {"class_type": "CSG_Guider", "inputs": {
        "model": ["town", 0], "edits": ["edits", 0], "base": "unconditional", "mask": "intersect"}}
    prompt["replay"] = {"class_type": "CSG_ReplaySampler", "inputs": {"inversion": ["invert", 0]}}
    prompt["custom"] = {"class_type": "SamplerCustomAdvanced", "inputs": {
        "noise": ["replay", 2], "guider": ["guider", 0], "sampler": ["replay", 0], "sigmas": ["replay", 1],
        "latent_image": ["replay", 3]}}  # fmt: skip
    return prompt


def test_guider_and_replay_sampler_equal_the_sampler_to_the_bit(comfy):
    outcome = comfy.run(with_custom_sampler(path()), outputs=["sampler", "custom"])
    assert torch.equal(samples(outcome, "sampler"), samples(outcome, "custom"))


def counterfactual_edits(lab):
    """Edits with factual phrases and whole captions, as Encode Concept Edits makes them."""
    edits = lab.edits()
    old = {"factual_phrase": "old", "factual_conditioning": tiny_models.conditioning(30), "factual_tokens": (1, 2), "captioned": True}
    return replace(edits, terms=tuple(replace(t, **old) for t in edits.terms), target=tiny_models.conditioning(6), source=lab.source,
                   preserved={"house": (3, 4)})  # fmt: skip


@torch.inference_mode()
def in_pieces(lab, inversion, edits, base, mask="intersect", preserve="off", release=0.0, **guided):
    """The guider and the replaying sampler at CSG Sampler's settings."""
    from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

    if base == "source":
        guided |= {"positive": inversion.source, "source_guidance": inversion.source_guidance}
    guider = lab.compose.Guider.execute(lab.model, edits, base, mask, negative=inversion.negative, **guided).result[0]
    sampler, sigmas, noise, latent = lab.compose.ReplaySampler.execute(inversion, preserve, release).result
    return SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]


SETTINGS = {
    "mask": {"mask": "noise"},
    "base": {"base": "interventional", "positive": tiny_models.conditioning(5)},
    "preserve": {"preserve": "blend"},
    "preserved concepts": {"preserve": "concepts"},
    "contrast": {"contrast": "factual"},
    "captions": {"contrast": "captions"},
    "mask source": {"mask_source": "both"},
    "cut": {"cut": "otsu"},
    "release": {"release": 0.3},
}


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_the_pieces_have_every_setting_of_the_sampler_and_equal_it_to_the_bit(lab, inversion, options):
    edits, options = counterfactual_edits(lab), {"base": "source"} | options
    whole = lab.edit(inversion, edits, **options)[0]
    assert torch.equal(in_pieces(lab, inversion, edits, **options), whole)
    assert not torch.equal(whole, lab.edit(inversion, edits)[0]), "the setting changes nothing"


def test_sigmas_of_another_schedule_are_refused(comfy):
    prompt = with_custom_sampler(path())
    prompt["other"] = {"class_type": "BasicScheduler", "inputs": {
        "model": ["town", 0], "scheduler": "normal", "steps": 12, "denoise": 1.0}}  # fmt: skip
    prompt["custom"]["inputs"]["sigmas"] = ["other", 0]
    assert "noise levels" in comfy.run(prompt, outputs=["custom"]).errors["custom"]


def stock(model):
    """A stock text-to-image prompt with `model` as its model link."""
    return {"class_type": "KSampler", "inputs": {
        "model": model, "positive": ["words", 0], "negative": ["none", 0], "latent_image": ["empty", 0], "seed": 5, "steps": 8,
        "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}}  # fmt: skip


def test_a_patched_model_guides_a_stock_sampler_and_leaves_the_original_alone(comfy):
    prompt = {k: v for k, v in path().items() if k == "town"}
    prompt["words"] = {"class_type": "CLIPTextEncode", "inputs": {"clip": ["town", 1], "text": "sunny weather"}}
    prompt["none"] = {"class_type": "CLIPTextEncode", "inputs": {"clip": ["town", 1], "text": ""}}
    prompt["empty"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 256, "height": 256, "batch_size": 1}}
    prompt["edit"] = {"class_type": "CSG_ConceptEdit", "inputs": {
        "clip": ["town", 1], "phrase": "wet ground with puddles", "scale": 6.0, "threshold": 0.5, "warmup": 2, "cooldown": 0,
        "remove": False, "scope": "local"}}
    prompt["weak"] = {"class_type": "CSG_ConceptEdit", "inputs": prompt["edit"]["inputs"] | {"scale": 0.0}}
    for name in ("edit", "weak"):
        prompt[f"patched {name}"] = {"class_type": "CSG_ApplyToModel", "inputs": {
            "model": ["town", 0], "edits": [name, 0], "mask": "intersect"}}  # fmt: skip
    prompt |= {"plain": stock(["town", 0]), "none edited": stock(["patched weak", 0]), "edited": stock(["patched edit", 0])}
    outcome = comfy.run(prompt, outputs=["edited", "none edited", "plain"])
    assert torch.equal(samples(outcome, "plain"), samples(outcome, "none edited"))
    assert (samples(outcome, "edited") - samples(outcome, "plain")).abs().max() > 0.05


def test_an_empty_prompt_is_towns_unconditional(comfy):
    prompt = {k: v for k, v in path().items() if k == "town"}
    prompt["none"] = {"class_type": "CLIPTextEncode", "inputs": {"clip": ["town", 1], "text": ""}}
    context, more = comfy.run(prompt, outputs=["none"]).value("none")[0]
    assert not context.any() and not more["pooled_output"].any()
