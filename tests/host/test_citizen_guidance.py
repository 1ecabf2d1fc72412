"""The guidance as the nodes run it: which rows are evaluated, what they are summed to, and what a run leaves behind."""

from dataclasses import replace

import pytest
import torch

from tests.host import tiny_models
from tests.host.tiny_lab import STEPS, Lab, gap

GUIDED = 2  # the first guided step of an edit


@pytest.fixture(scope="module")
def plain(lab):
    """The picture inverted without a prompt, on the reference's schedule."""
    return lab.invert(schedule="diffusers")[0]


def watched(lab, inversion, edits, base=None, settings=None, **options):
    """An edit's watch, after the run; `mean` holds the concepts' mean masks."""
    base = base or lab.sample.edit_base(inversion, "unconditional" if inversion.source is None else "source", None)
    guider = lab.host.CSGGuider(lab.model, base, edits, settings or lab.guidance.GuidanceSettings("none"))
    acted = lab.runs.Acted(len(edits.terms))
    with lab.watching() as watch:
        lab.replay(guider, inversion, acted=acted, **options)
    watch.mean = acted.mean
    return watch


def test_the_interventional_base_is_equation_12_to_the_letter(lab, plain):
    """eps(z, p~) + sum of s_e (eps(z, p_j) - eps(z)), masked; here without masks."""
    base = lab.edit_types.Base("interventional", None, tiny_models.conditioning(5))
    out, found = watched(lab, plain, lab.edits(scale=3.0), base).at(GUIDED)
    assert list(out) == ["positive", "negative", "concept 0", "concept 1"]
    expected = out["positive"] + sum(3.0 * (out[f"concept {k}"] - out["negative"]) for k in range(2))
    assert gap(found, expected) < 1e-5 and gap(out["positive"], out["negative"]) > 1e-3


def test_an_interventional_edit_starts_at_the_beginning(lab, plain):
    base = lab.edit_types.Base("interventional", None, tiny_models.conditioning(5))
    assert min(watched(lab, plain, lab.edits(), base).rows()) == 0


def test_the_source_base_is_guided_as_the_inversion_was(lab, inversion):
    out, found = watched(lab, inversion, lab.edits(count=1, scale=3.0)).at(GUIDED)
    expected = out["negative"] + 3.5 * (out["positive"] - out["negative"]) + 3.0 * (out["concept 0"] - out["negative"])
    assert gap(found, expected) < 1e-5


def with_factuals(edits):
    """The edits with a factual phrase for every concept."""
    own = {"factual_phrase": "as it is", "factual_tokens": (1, 2)}
    terms = [replace(t, factual_conditioning=tiny_models.conditioning(20 + k), **own) for k, t in enumerate(edits.terms)]
    return replace(edits, terms=tuple(terms))


def test_contrast_measures_the_new_phrase_from_the_old_one(lab, plain):
    settings = lab.guidance.GuidanceSettings("none", contrast="factual")
    out, found = watched(lab, plain, with_factuals(lab.edits(count=1, scale=3.0)), settings=settings).at(GUIDED)
    assert gap(found, out["negative"] + 3.0 * (out["concept 0"] - out["factual 0"])) < 1e-5
    assert gap(out["factual 0"], out["negative"]) > 1e-3


@pytest.mark.parametrize("source", ["factual", "both"])
def test_factual_masks_come_from_the_original_at_the_same_level(lab, plain, source):
    settings = lab.guidance.GuidanceSettings("attention", source)
    watch = watched(lab, replace(plain), with_factuals(lab.edits(count=1)), settings=settings)
    looked = [(x, maps) for _, x, out, maps in watch.evaluated if list(out) == ["factual 0"]]
    assert torch.equal(torch.cat([x for x, _ in looked]), plain.path[GUIDED:STEPS].flatten(0, 1))
    assert all(list(maps) == ["factual 0"] and len(maps["factual 0"]) == len(x) for x, maps in looked)
    means = [watched(lab, plain, with_factuals(lab.edits(count=1)), settings=lab.guidance.GuidanceSettings("attention", s)).mean
             for s in ("edit", source)]  # fmt: skip
    edit, other = (mean.result((1, 4, 16, 16)) for mean in means)
    assert not torch.equal(edit, other) and (source != "both" or other.mean() > edit.mean())


def test_a_global_concept_adds_the_captions_difference_beside_masked_ones(lab, inversion):
    local = lab.edits(count=1, scale=3.0)
    whole = lab.guidance.ConceptTerm("night", "night", 2.0, 0.7, GUIDED, scope="global")
    edits = replace(local, terms=(*local.terms, whole), target=tiny_models.conditioning(6), source=tiny_models.conditioning(7))
    watch = watched(lab, inversion, edits, settings=lab.guidance.GuidanceSettings("noise"))
    out, found = watch.at(GUIDED)
    base = out["negative"] + 3.5 * (out["positive"] - out["negative"])
    psi = 3.0 * (out["concept 0"] - out["negative"])
    expected = base + 2.0 * (out["after"] - out["before"]) + psi * lab.guidance.noise_mask(psi, 0.6)
    assert gap(found, expected) < 1e-5
    masks = watch.mean.result((1, 4, 16, 16))
    assert masks[1].min() == 1 and masks[0].mean() < 0.5


def test_the_sources_caption_is_not_evaluated_twice(lab, inversion):
    whole = lab.guidance.ConceptTerm("night", "night", 2.0, 0.7, GUIDED, scope="global")
    edits = lab.edit_types.Edits((whole,), tiny_models.conditioning(6), lab.source)
    out, found = watched(lab, inversion, edits).at(GUIDED)
    assert list(out) == ["positive", "negative", "after"]
    base = out["negative"] + 3.5 * (out["positive"] - out["negative"])
    assert gap(found, base + 2.0 * (out["after"] - out["positive"])) < 1e-5


def captioned(lab, *words, **options):
    """Edits of a counterfactual: the captions tell of every term, whose words stand there at these columns."""
    terms = [replace(t, captioned=True, caption_tokens=w, **options) for t, w in zip(lab.edits(len(words), 3.0).terms, words, strict=True)]
    return lab.edit_types.Edits(tuple(terms), tiny_models.conditioning(6), lab.source)


def test_with_captions_concepts_share_two_rows_and_look_into_the_caption(lab, inversion):
    settings = lab.guidance.GuidanceSettings("attention", contrast="captions")
    watch = watched(lab, inversion, captioned(lab, (1, 2), (4,)), settings=settings)
    out, found = watch.at(GUIDED)
    assert list(out) == ["positive", "negative", "after"]
    maps = watch.evaluated[0][3]
    assert set(maps) == {"concept 0", "concept 1"} and gap(maps["concept 0"], maps["concept 1"]) > 1e-4
    union = torch.maximum(*(lab.guidance.attention_mask(maps[f"concept {k}"], 0.6, (16, 16)) for k in range(2)))
    base = out["negative"] + 3.5 * (out["positive"] - out["negative"])
    assert gap(found, base + 3.0 * union * (out["after"] - out["positive"])) < 1e-5


def test_a_phrase_that_the_caption_words_otherwise_gets_a_row_to_look_at(lab, inversion):
    settings = lab.guidance.GuidanceSettings("attention", contrast="captions")
    out, _ = watched(lab, inversion, captioned(lab, (1, 2), ()), settings=settings).at(GUIDED)
    assert list(out) == ["positive", "negative", "after", "concept 1"]
    unmasked = lab.guidance.GuidanceSettings("none", contrast="captions")
    assert list(watched(lab, inversion, captioned(lab, (1, 2)), settings=unmasked).at(GUIDED)[0])[-1] == "after"


def test_a_removed_phrase_is_looked_for_in_the_old_caption(lab, inversion):
    """What goes has no words in the new caption, and its guidance is the captions' difference without a sign."""
    settings = lab.guidance.GuidanceSettings("attention", contrast="captions")
    watch = watched(lab, inversion, captioned(lab, (1, 2), remove=True), settings=settings)
    out, found = watch.at(GUIDED)
    mask = lab.guidance.attention_mask(watch.evaluated[0][3]["concept 0"], 0.6, (16, 16))
    kept = watched(lab, inversion, captioned(lab, (1, 2)), settings=settings)
    assert gap(kept.evaluated[0][3]["concept 0"], watch.evaluated[0][3]["concept 0"]) > 1e-4
    base = out["negative"] + 3.5 * (out["positive"] - out["negative"])
    assert gap(found, base + 3.0 * mask * (out["after"] - out["positive"])) < 1e-5


def test_old_phrases_are_looked_for_in_the_old_caption_on_the_original(lab, inversion):
    """One row for all of them, on the reference path; without their words there, the phrase's own row."""
    edits = with_factuals(captioned(lab, (1, 2), (4,)))
    first = replace(edits.terms[0], factual_caption_tokens=(3, 4))
    settings = lab.guidance.GuidanceSettings("attention", "factual", "captions")
    for terms, rows in (((first, replace(edits.terms[1], factual_caption_tokens=(5,))), ["positive"]),
                        ((first, edits.terms[1]), ["positive", "factual 1"])):  # fmt: skip
        watch = watched(lab, replace(inversion), replace(edits, terms=terms), settings=settings)
        (_, at, old, maps), (_, x, own, _) = watch.evaluated[:2]
        assert list(own) == ["positive", "negative", "after"] and list(old) == rows
        assert torch.equal(at, inversion.path[GUIDED:STEPS].flatten(0, 1)) and set(maps) == {"factual 0", "factual 1"}
        mask = lab.guidance.attention_mask(maps["factual 0"][:1], 0.6, (16, 16))
        acted = watch.mean.result((1, 4, 16, 16))[0, 0]
        assert (acted[mask[0, 0] == 1] > 0).all() and (acted == 0).any()


def timed(lab):
    """Three concepts, of which two begin later and one ends before the others."""
    terms = lab.edits(count=3).terms
    return lab.edit_types.Edits((replace(terms[0], warmup=2, cooldown=5), replace(terms[1], warmup=4), replace(terms[2], scale=0.0)))


def test_only_rows_that_matter_are_evaluated(lab, plain):
    """Nothing before the first guided step, and no concept before its warm-up, after its cool-down, or without scale."""
    assert watched(lab, plain, timed(lab)).rows() == {
        2: ["negative", "concept 0"], 3: ["negative", "concept 0"], 4: ["negative", "concept 0", "concept 1"],
        5: ["negative", "concept 1"]}  # fmt: skip


def test_on_the_authors_schedule_concepts_wait_for_each_other(lab):
    inversion, _ = lab.invert(schedule="authors")
    terms = timed(lab).terms[:2]
    rows = watched(lab, inversion, lab.edit_types.Edits((replace(terms[0], cooldown=0), terms[1]))).rows()
    assert rows == dict.fromkeys((4, 5), ["negative", "concept 0", "concept 1"])


def test_a_patched_model_is_guided_as_the_guider_guides(lab):
    """One stock sampler driven by CSG Guider, and by the stock guider over a model with the edits in it."""
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import BasicScheduler, CFGGuider, RandomNoise, SamplerCustomAdvanced

    edits, negative, cfg = lab.edits(), tiny_models.conditioning(1), 4.0
    own = lab.compose.Guider.execute(lab.model, edits, "source", "intersect", lab.source, negative, cfg).result[0]
    model = lab.compose.ApplyToModel.execute(lab.model, edits, "intersect").result[0]
    stock = CFGGuider.execute(model, lab.source, negative, cfg).result[0]
    sigmas = BasicScheduler.execute(lab.model, "normal", STEPS, 1.0).result[0]
    sampler, noise, empty = comfy.samplers.sampler_object("euler"), RandomNoise.execute(5).result[0], {"samples": torch.zeros(1, 4, 16, 16)}
    with torch.inference_mode():
        drawn = [SamplerCustomAdvanced.execute(noise, g, sampler, sigmas, empty).result[0]["samples"] for g in (own, stock)]
        bare = SamplerCustomAdvanced.execute(
            noise, CFGGuider.execute(lab.model, lab.source, negative, cfg).result[0], sampler, sigmas, empty).result[0]["samples"]
    assert gap(*drawn) < 2e-3 and gap(drawn[0], bare) > 0.05


def test_a_guiders_masks_are_of_its_last_run_alone(lab, inversion, plain):
    base = lab.edit_types.Base("source", None, lab.source, 3.5)
    guider, fresh = (lab.host.CSGGuider(lab.model, base, lab.edits(), lab.guidance.GuidanceSettings("noise")) for _ in range(2))
    lab.replay(guider, inversion)
    again, once = lab.runs.Acted(2), lab.runs.Acted(2)
    lab.replay(guider, plain, acted=again)
    lab.replay(fresh, plain, acted=once)
    assert torch.equal(again.mean.result((1, 4, 16, 16)), once.mean.result((1, 4, 16, 16)))


def drawn_by(model, lab, negative):
    """Text to image with a stock sampler."""
    import nodes

    empty = {"samples": torch.zeros(1, 4, 16, 16)}
    with torch.inference_mode():
        return nodes.common_ksampler(model, 1, 3, 3.0, "euler", "normal", lab.source, negative, empty)[0]["samples"]


@pytest.mark.parametrize("kind", ["SD15", "SD20"])
def test_a_patched_model_needs_no_zero_conditioning_of_its_own(comfy, kind):
    lab, negative = Lab(comfy, kind=kind), tiny_models.conditioning(1)
    idle, model = (lab.compose.ApplyToModel.execute(lab.model, lab.edits(scale=s, warmup=0), "intersect").result[0] for s in (0.0, 6.0))
    assert gap(drawn_by(model, lab, negative), drawn_by(idle, lab, negative)) > 1e-3


def test_concepts_in_a_patched_model_are_measured_under_the_controlnet_of_the_negative(lab):
    import nodes

    hint, seen = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(0)), []
    pair = nodes.ControlNetApplyAdvanced().apply_controlnet(
        lab.source, tiny_models.conditioning(1), tiny_models.controlnet(), hint, 1.0, 0.0, 1.0)
    model = lab.compose.ApplyToModel.execute(lab.model, lab.edits(warmup=0), "intersect").result[0]
    evaluate = lab.step.GuidedModel.evaluate

    def watched(guided, rows, *arguments):
        seen.append([{id(one.get("control")) for one in guided.conds[str(row)]} for row in rows])
        return evaluate(guided, rows, *arguments)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(lab.step.GuidedModel, "evaluate", watched)
        nodes.common_ksampler(model, 1, 3, 3.0, "euler", "normal", *pair, {"samples": torch.zeros(1, 4, 16, 16)})
    assert len(seen) == 3 and all(rows[0] == rows[1] == rows[2] != {id(None)} for rows in seen)

def test_a_run_leaves_nothing_in_the_guider_or_the_patched_model(lab, inversion):
    """A guider is as it was, to the object; a patch holds its edits, its settings and its key."""
    import comfy.samplers

    guider, empty = lab.guider(inversion), torch.zeros(1, 4, 16, 16)
    before = dict(vars(guider))
    lab.replay(guider, inversion)
    assert vars(guider) == before
    with torch.inference_mode():
        guider.sample(empty + 1, empty, comfy.samplers.sampler_object("euler"), inversion.sigmas)
    assert vars(guider) == before
    model = lab.compose.ApplyToModel.execute(lab.model, lab.edits(), "intersect").result[0]
    patch = model.wrappers["outer_sample"][lab.step.KEY][0].__self__
    before = dict(vars(patch))
    drawn_by(model, lab, tiny_models.conditioning(1))
    assert vars(patch) == before and lab.step.KEY not in model.model_options


def test_a_users_mask_of_pixels_is_brought_to_the_latent_once(lab, inversion, monkeypatch):
    region, resized = torch.zeros(1, 128, 128), []
    region[:, :64] = 1
    resize = torch.nn.functional.interpolate
    monkeypatch.setattr(torch.nn.functional, "interpolate", lambda *a, **k: (resized.append(k.get("mode")), resize(*a, **k))[1])
    _, masks = lab.edit(inversion, lab.edits(mask=region), mask="noise")
    assert resized.count("area") == 2  # one for each concept, not for each step
    assert masks[:, 64:].max() == 0 < masks[:, :64].mean()
