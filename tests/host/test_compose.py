"""The pieces for ComfyUI's own samplers do what the one node does."""

import pytest
import torch

from tests.host.test_sampling import path, samples

GUIDED, REPLAYED = ("base", "mask", "contrast", "mask_source"), ("preserve", "release")


def with_custom_sampler(prompt):
    """The path of `prompt` with SamplerCustomAdvanced beside CSG Sampler, at its settings, under the id `custom`."""
    settings = prompt["sampler"]["inputs"]
    own = {name: settings[name] for name in GUIDED}
    if own["base"] == "source":
        own |= {"positive": prompt["invert"]["inputs"]["source"], "source_guidance": prompt["invert"]["inputs"]["source_guidance"]}
    elif own["base"] == "interventional":
        own["positive"] = settings["positive"]
    prompt["guider"] = {"class_type": "CSG_Guider", "inputs": {"model": ["town", 0], "edits": ["edits", 0]} | own}
    prompt["replay"] = {"class_type": "CSG_ReplaySampler", "inputs": {
        "inversion": ["invert", 0]} | {name: settings[name] for name in REPLAYED}}  # fmt: skip
    prompt["custom"] = {"class_type": "SamplerCustomAdvanced", "inputs": {
        "noise": ["replay", 2], "guider": ["guider", 0], "sampler": ["replay", 0], "sigmas": ["replay", 1],
        "latent_image": ["replay", 3]}}  # fmt: skip
    return prompt


SETTINGS = {
    "paper": {},
    "guided source": {"sampler__base": "source", "invert__source": ["edits", 2], "invert__source_guidance": 3.5},
    "interventional": {"sampler__base": "interventional", "sampler__positive": ["edits", 1], "sampler__mask": "noise"},
    "blend": {"sampler__preserve": "blend", "sampler__mask": "attention"},
    "contrast": {"sampler__contrast": "factual", "sampler__mask_source": "both"},
    "release": {"sampler__release": 0.3, "sampler__mask": "none"},
}


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_guider_and_replay_sampler_equal_the_sampler_to_the_bit(comfy, options):
    outcome = comfy.run(with_custom_sampler(path(invert__steps=6, **options)), outputs=["sampler", "custom"])
    assert torch.equal(samples(outcome, "sampler"), samples(outcome, "custom"))


@pytest.mark.parametrize("node", ["guider", "replay"])
def test_the_pieces_have_every_setting_that_the_sampler_has(comfy, node):
    """Each changes the picture, so each arrives."""
    options = {"contrast": "factual", "mask_source": "both"} if node == "guider" else {"preserve": "blend", "release": 0.3}
    for name, value in options.items():
        prompt = with_custom_sampler(path(invert__steps=6))
        prompt |= {"other": dict(prompt[node]), "again": dict(prompt["custom"])}
        prompt["other"]["inputs"] = prompt[node]["inputs"] | {name: value}
        links = {key: ["other", link[1]] if link[0] == node else link for key, link in prompt["custom"]["inputs"].items()}
        prompt["again"]["inputs"] = links
        outcome = comfy.run(prompt, outputs=["custom", "again"])
        assert not torch.equal(samples(outcome, "custom"), samples(outcome, "again")), name


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
