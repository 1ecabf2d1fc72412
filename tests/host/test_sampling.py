"""The path from a picture to its counterfactual through ComfyUI's executor."""

import math
from dataclasses import replace

import pytest
import torch

from csg.causal.formats import write_json

STEPS = 12


def path(do="weather = rainy", values="ground = wet", **options):
    """An API prompt of the whole path on Town; `options` go to nodes as `node.input`."""
    concept, value = (s.strip() for s in do.split("="))
    prompt = {
        "town": {"class_type": "CSG_LoadTown", "inputs": {}},
        "scene": {"class_type": "CSG_TownScene", "inputs": {"seed": 11, "do": ""}},
        "encode": {"class_type": "VAEEncode", "inputs": {"pixels": ["scene", 0], "vae": ["town", 2]}},
        "do": {"class_type": "CSG_Intervene", "inputs": {"graph": ["scene", 1], "concept": concept, "value": value}},
        "propagate": {"class_type": "CSG_Propagate", "inputs": {
            "graph": ["do", 0], "values": values, "temperature": 0.2, "max_tokens": 3072, "seed": 0}},
        "edits": {"class_type": "CSG_EncodeEdits", "inputs": {
            "clip": ["town", 1], "counterfactual": ["propagate", 0], "scale": 8.0, "threshold": 0.7, "warmup": 2,
            "concepts": "intervened + descendants"}},
        "invert": {"class_type": "CSG_Invert", "inputs": {
            "model": ["town", 0], "latent": ["encode", 0], "steps": STEPS, "skip": 0.15, "source_guidance": 1.0, "seed": 3,
            "schedule": "diffusers", "zero_noise_steps": 0}},
        "sampler": {"class_type": "CSG_Sampler", "inputs": {
            "model": ["town", 0], "inversion": ["invert", 0], "edits": ["edits", 0], "base": "unconditional",
            "mask": "intersect", "preserve": "off", "contrast": "unconditional", "mask_source": "edit", "release": 0.0}},
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sampler", 0], "vae": ["town", 2]}},
        "overlay": {"class_type": "CSG_MaskOverlay", "inputs": {
            "image": ["decode", 0], "masks": ["sampler", 1], "edits": ["edits", 0]}},
        "score": {"class_type": "CSG_TownScore", "inputs": {"image": ["decode", 0], "seed": 11, "do": do}},
        "sheet": {"class_type": "CSG_CompareSheet", "inputs": {
            "images": ["scene", 0], "images_2": ["decode", 0], "titles": "factual\ncounterfactual",
            "counterfactual": ["propagate", 0]}},
    }  # fmt: skip
    for name, value in options.items():
        node, _, key = name.partition("__")
        prompt[node]["inputs"][key] = value
    return prompt


def samples(outcome, node, index=0):
    return outcome.value(node, index)["samples"]


def test_the_whole_path_runs_and_names_what_it_did(comfy):
    outcome = comfy.run(path(), outputs=["overlay", "score", "sheet", "sampler"])
    assert outcome.errors == {}
    masks = outcome.value("sampler", 1)
    assert masks.shape == (2, 256, 256) and 0 < masks.mean() < 1
    assert [m["concept"] for m in outcome.ui["overlay"]["csg_masks"]] == ["weather", "ground"]
    assert samples(outcome, "sampler").shape == (1, 4, 32, 32)
    assert 0 <= outcome.value("score", 0) <= 1


def test_reconstruction_is_exact_and_no_edit_means_no_change(comfy):
    outcome = comfy.run(path(invert__schedule="authors", edits__scale=0.0), outputs=["invert", "encode", "sampler"])
    original = samples(outcome, "encode")
    assert torch.allclose(samples(outcome, "invert", 1), original, atol=2e-4)
    assert torch.allclose(samples(outcome, "sampler"), original, atol=2e-4)


def test_a_second_edit_takes_the_inversion_from_the_cache(comfy):
    comfy.run(path(), outputs=["sampler"])
    again = comfy.run(path(edits__scale=4.0), outputs=["sampler"])
    assert "invert" in again.cached and "sampler" not in again.cached


@pytest.mark.parametrize("base", ["unconditional", "source"])
@pytest.mark.parametrize("kind", ["intersect", "attention", "noise", "none"])
def test_masks_confine_the_edit(comfy, base, kind):
    prompt = path(sampler__base=base, sampler__mask=kind, invert__source=["edits", 2], edits__warmup=4)
    outcome = comfy.run(prompt, outputs=["sampler"])
    area = float(outcome.value("sampler", 1).mean())
    expected = {"intersect": (0, 0.31), "attention": (0.25, 0.45), "noise": (0.29, 0.31), "none": (1, 1)}[kind]
    assert expected[0] <= area <= expected[1]


def test_a_global_concept_acts_everywhere_beside_masked_ones(comfy):
    prompt = path("time = night", "lamp = on\nwindows = lit", sampler__base="source", invert__source=["edits", 2])
    masks = comfy.run(prompt, outputs=["sampler"]).value("sampler", 1)
    assert masks[0].min() == 1 and masks[1].mean() < 0.5 and masks[2].mean() < 0.5


def test_strengths_are_factors_on_the_scale_of_single_concepts(comfy):
    """Local or global, by hand or by default: the named concept alone is guided more; an unknown one is refused by name."""
    values = path("season = winter", "foliage = bare", edits__global_scale=2.0)
    plain, stronger = (comfy.run(values | {"edits": {**values["edits"], "inputs": values["edits"]["inputs"] | more}}, outputs=["edits"])
                       for more in ({}, {"strengths": "season = 1.5; foliage = 0.5"}))  # fmt: skip
    scales = [{term.concept: term.scale for term in outcome.value("edits").terms} for outcome in (plain, stronger)]
    assert scales == [{"season": 2.0, "foliage": 8.0}, {"season": 3.0, "foliage": 4.0}]
    refused = comfy.run(path(edits__strengths="snow man = 2"), outputs=["edits"])
    assert "'snow man', which the graph does not have" in refused.errors["edits"] and "snowman" in refused.errors["edits"]


def with_graph(graph, do="season = winter", values="foliage = bare", **options):
    """The path with an editor's text between the scene and the question."""
    prompt = path(do, values, **options)
    prompt["editor"] = {"class_type": "CSG_GraphEditor", "inputs": {"graph_json": write_json(graph)}}
    prompt["do"]["inputs"]["graph"] = ["editor", 0]
    return prompt


def test_strengths_in_the_graph_count_and_the_nodes_own_text_comes_first(comfy):
    scene = comfy.run(path(), outputs=["scene"]).value("scene", 1)
    factors = {"season": 2.0, "foliage": 0.25}
    graph = replace(scene, concepts=tuple(replace(each, strength=factors.get(each.name, 1.0)) for each in scene.concepts))
    scales = []
    for text in ("", "foliage = 0.5"):
        edits = comfy.run(with_graph(graph, edits__strengths=text), outputs=["edits"]).value("edits")
        scales.append({term.concept: term.scale for term in edits.terms})
    assert scales == [{"season": 4.0, "foliage": 2.0}, {"season": 4.0, "foliage": 4.0}]


def test_the_sampler_says_which_words_the_caption_lacks_where_it_looks_for_them(comfy):
    scene = comfy.run(path(), outputs=["scene"]).value("scene", 1)
    graph = replace(scene, base_prompt="a little street with a house, sunny weather")
    shown = {}
    for name, options in {"captions": {"contrast": "captions"}, "concepts": {"preserve": "concepts"}, "neither": {}}.items():
        asked = with_graph(graph, "weather = rainy", "ground = wet", **{f"sampler__{key}": value for key, value in options.items()})
        outcome = comfy.run(asked, outputs=["sampler"])
        assert outcome.errors == {}
        shown[name] = " ".join(outcome.ui.get("sampler", {}).get("text", []))
    assert "lacks the words of ground, so" in shown["captions"] and shown["neither"] == ""
    assert "lacks the words of" in shown["concepts"] and "lamp" in shown["concepts"]
    assert not any(name in shown["concepts"] for name in ("weather", "ground", "time", "season")), "found, changed, or without a place"


def test_blend_returns_untouched_places_to_the_original(comfy):
    outcome = comfy.run(path(sampler__preserve="blend", invert__schedule="authors"), outputs=["sampler", "encode"])
    union = outcome.value("sampler", 1).amax(0)[::8, ::8]
    far = torch.nn.functional.max_pool2d(union[None, None], 7, 1, 3)[0, 0] == 0
    difference = (samples(outcome, "sampler") - samples(outcome, "encode")).abs().amax(1)[0]
    assert far.any() and difference[far].max() < 1e-3 and difference.max() > 0.1


def kept_by_the_graph(**options):
    """do(season = winter) leaves the house alone; season is global, so without the graph nothing is."""
    values = "foliage = bare\nweather = snowy\nground = snow"
    shared = {"edits__scale": 1.5, "edits__global_scale": 1.0, "edits__warmup": 0, "edits__threshold": 0.5,
              "invert__source": ["edits", 2], "sampler__base": "source", "sampler__contrast": "captions"}  # fmt: skip
    return path("season = winter", values, **(shared | options))


def confined(prompt, concept, mask):
    """The path with one concept confined; `mask` names a node or gives a grey of the left half, the right one black."""
    prompt["black"] = {"class_type": "SolidMask", "inputs": {"value": 0.0, "width": 256, "height": 256}}
    prompt["half"] = {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 128, "height": 256}}
    prompt["left"] = {"class_type": "MaskComposite", "inputs": {
        "destination": ["black", 0], "source": ["half", 0], "x": 0, "y": 0, "operation": "add"}}
    prompt["confine"] = {"class_type": "CSG_MaskConcept", "inputs": {"edits": ["edits", 0], "concept": concept, "mask": [mask, 0]}}
    prompt["sampler"]["inputs"]["edits"] = ["confine", 0]
    return prompt


@pytest.mark.parametrize("options", [
    {}, {"sampler__mask": "attention"}, {"sampler__mask": "none"},
    {"sampler__contrast": "captions", "sampler__base": "source", "invert__source": ["edits", 2]},
])  # fmt: skip
def test_a_concept_is_confined_to_its_mask_and_the_others_are_not(comfy, options):
    free, bound = (comfy.run(prompt, outputs=["sampler", "encode"]) for prompt in
                   (path(**options), confined(path(**options), " weather ", "left")))
    weather, ground = bound.value("sampler", 1)
    assert weather[:, :128].mean() > 0 and not weather[:, 128:].any()
    assert free.value("sampler", 1)[0][:, 128:].any() and ground[:, 128:].any()
    assert not torch.equal(samples(free, "sampler"), samples(bound, "sampler"))


def test_a_global_concept_acts_everywhere_in_its_mask_and_outside_all_masks_nothing_changes(comfy):
    prompt = path("time = night", "lamp = off\nwindows = dark", sampler__base="source", sampler__preserve="blend",
                  invert__source=["edits", 2], invert__schedule="authors")  # fmt: skip
    outcome = comfy.run(confined(prompt, "time", "left"), outputs=["sampler", "encode"])
    masks = outcome.value("sampler", 1)
    assert len(masks) == 1 and masks[0, :, :128].min() == 1 and not masks[0, :, 128:].any()
    changed = (samples(outcome, "sampler") - samples(outcome, "encode")).abs().amax(1)[0]
    assert changed[:, :16].mean() > 0.1 and changed[:, 19:].max() < 1e-3


@pytest.mark.parametrize(("concept", "mask", "words"), [
    ("wether", "left", "no concept 'wether'. Did you mean 'weather'?"), ("weather", "black", "black everywhere"),
])  # fmt: skip
def test_a_mask_for_an_unknown_concept_or_an_empty_one_is_refused_in_words(comfy, concept, mask, words):
    assert words in comfy.run(confined(path(), concept, mask), outputs=["confine"]).errors["confine"]


def test_a_concept_that_does_not_change_may_keep_its_mask(comfy):
    outcome = comfy.run(confined(path(), "house", "left"), outputs=["confine"])
    assert outcome.errors == {} and all(term.mask is None for term in outcome.value("confine").terms)


@pytest.mark.parametrize("mask_source", ["edit", "both"])
def test_preserved_concepts_keep_their_places_from_global_ones_too(comfy, mask_source):
    free = comfy.run(kept_by_the_graph(sampler__preserve="blend", sampler__mask_source=mask_source), outputs=["sampler"])
    kept = comfy.run(kept_by_the_graph(sampler__preserve="concepts", sampler__mask_source=mask_source), outputs=["sampler", "score"])
    assert free.value("sampler", 1)[0].min() == 1
    season = kept.value("sampler", 1)[0]
    assert season.min() < 0.5 < season.mean() < 1
    assert kept.value("score", 0) >= 0.75


def test_a_base_prompt_without_the_preserved_phrases_is_told_of(comfy, caplog):
    prompt = kept_by_the_graph(sampler__preserve="concepts")
    graph = comfy.run(path(), outputs=["scene"]).value("scene", 1)
    prompt["load"] = {"class_type": "CSG_GraphEditor", "inputs": {"graph_json": renamed(graph)}}
    prompt["do"]["inputs"]["graph"] = ["load", 0]
    outcome = comfy.run(prompt, outputs=["sampler"])
    assert outcome.errors == {} and "acts like blend" in caplog.text


def renamed(graph):
    """The graph with a base prompt that words everything otherwise."""
    return write_json(replace(graph, base_prompt="a street"))


def test_another_base_than_the_inversions_is_refused_with_what_to_do(comfy):
    message = comfy.run(path(sampler__base="source"), outputs=["sampler"]).errors["sampler"]
    assert "source" in message and "Connect" in message


def test_the_score_says_nan_where_every_pixel_changes(comfy):
    outcome = comfy.run(path("time = night", "lamp = on"), outputs=["score"])
    assert math.isnan(outcome.value("score", 1))


def test_baselines_run(comfy):
    prompt = path()
    common = {"model": ["town", 0], "latent": ["encode", 0], "steps": STEPS, "source_guidance": 1.0, "source": ["edits", 2]}
    prompt["ddpm"] = {"class_type": "CSG_InvertDDPM", "inputs": common | {"skip_steps": 4, "seed": 1}}
    prompt["ddim"] = {"class_type": "CSG_InvertDDIM", "inputs": common}
    for name in ("ddpm", "ddim"):
        prompt[f"edit {name}"] = {"class_type": "CSG_EditWithPrompt", "inputs": {
            "model": ["town", 0], "inversion": [name, 0], "positive": ["edits", 1], "cfg": 3.0}}  # fmt: skip
    prompt["again"] = {"class_type": "CSG_EditWithPrompt", "inputs": {
        "model": ["town", 0], "inversion": ["ddpm", 0], "positive": ["edits", 2], "cfg": 1.0}}  # fmt: skip
    outcome = comfy.run(prompt, outputs=["edit ddpm", "edit ddim", "again", "ddpm"])
    replayed, rebuilt = samples(outcome, "again"), samples(outcome, "ddpm", 1)
    assert torch.allclose(replayed, rebuilt, atol=0.05)  # its own prompt, no guidance: the same picture
    assert (samples(outcome, "edit ddpm") - rebuilt).abs().max() > 0.1
