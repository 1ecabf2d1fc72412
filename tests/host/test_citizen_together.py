"""Many settings at once, and an interruption in the middle of them."""

from dataclasses import replace

import pytest
import torch

from tests.host import tiny_models
from tests.host.test_citizen_model import interrupted, places
from tests.host.test_citizen_shapes import joined
from tests.host.test_compose import counterfactual_edits, in_pieces
from tests.host.tiny_lab import gap, state_of

EVERYTHING = {"base": "source", "preserve": "concepts", "mask_source": "both", "contrast": "captions", "cut": "otsu"}
SIZE = (17, 30)


@pytest.fixture(scope="module")
def regions():
    """A user's mask (3, H, W) for each of three pictures."""
    return torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(2))


def told(lab, mask):
    """Edits of a counterfactual inside a user's mask, of which one ends early."""
    first, *others = (replace(term, mask=mask) for term in counterfactual_edits(lab).terms)
    return replace(counterfactual_edits(lab), terms=(replace(first, cooldown=4), *others))


@pytest.mark.parametrize("contrast", ["unconditional", "captions"])
def test_every_picture_of_a_batch_is_edited_inside_its_own_mask(lab, regions, contrast):
    options = EVERYTHING | {"contrast": contrast}
    singles = [lab.invert(tiny_models.latent(*SIZE, seed=seed), source=lab.source)[0] for seed in range(3)]
    batch = joined(singles)
    edited, masks = lab.edit(batch, told(lab, regions), **options)
    assert edited.shape == (3, 4, *SIZE) and masks.shape == (6, *(8 * n for n in SIZE))
    shared = lab.edit(batch, told(lab, regions[:1]), **options)[0]
    for k, single in enumerate(singles):
        alone, its_masks = lab.edit(single, told(lab, regions[k : k + 1]), **options)
        assert gap(edited[k : k + 1], alone) < 2e-3
        assert ((masks[k::3] - its_masks).abs() < 1e-3).float().mean() > 0.99
    assert gap(shared[:1], edited[:1]) < 2e-3 < gap(shared[1:], edited[1:])


def test_the_pieces_equal_the_sampler_with_everything_at_once(lab, regions):
    inversion, _ = lab.invert(tiny_models.latent(*SIZE, batch=3), source=lab.source, schedule="diffusers")
    whole = lab.edit(inversion, told(lab, regions), **EVERYTHING, release=0.2)[0]
    assert torch.equal(in_pieces(lab, inversion, told(lab, regions), **EVERYTHING, release=0.2), whole)


def test_what_is_remembered_of_an_interrupted_edit_is_right(lab):
    """An inversion remembers what its edits saw: nothing half-written may stay there either."""
    made, edits, before = lab.invert(source=lab.source)[0], counterfactual_edits(lab), state_of(lab.model)
    expected, remembered = lab.edit(made, edits, **EVERYTHING)[0], 0
    for at, politely in places(lambda: lab.edit(replace(made), edits, **EVERYTHING), 8):
        inversion = replace(made)
        interrupted(lambda: lab.edit(inversion, edits, **EVERYTHING), at, politely)  # noqa: B023
        remembered += bool(lab.seen_on_the_path(inversion))
        assert state_of(lab.model) == before
        assert torch.equal(lab.edit(inversion, edits, **EVERYTHING)[0], expected)
    assert 0 < remembered < 8, "no interruption came while it looked, or none came after"


def drawn(model, seed=4, guider=None):
    """A stock sampler's picture from noise, by this model or by a guider; 6 steps of Euler."""
    from comfy_extras.nodes_custom_sampler import (
        BasicScheduler,
        CFGGuider,
        KSamplerSelect,
        RandomNoise,
        SamplerCustomAdvanced,
    )

    with torch.inference_mode():
        guider = guider or CFGGuider.execute(model, tiny_models.conditioning(0), tiny_models.conditioning(1), 3.0).result[0]
        sigmas = BasicScheduler.execute(model, "normal", 6, 1.0).result[0]
        euler, noise = KSamplerSelect.execute("euler").result[0], RandomNoise.execute(seed).result[0]
        empty = {"samples": torch.zeros(1, 4, 16, 16)}
        return SamplerCustomAdvanced.execute(noise, guider, euler, sigmas, empty).result[0]["samples"]


def test_a_model_with_two_patches_follows_the_edits_of_both(lab):
    edits = lab.edits(warmup=0)
    first, second = (replace(edits, terms=(term,)) for term in edits.terms)

    def patched(model, some):
        return lab.compose.ApplyToModel.execute(model, some, "none").result[0]

    both, chained = drawn(patched(lab.model, edits)), drawn(patched(patched(lab.model, first), second))
    assert gap(chained, both) < 1e-3 < gap(chained, drawn(patched(lab.model, second)))


def test_a_replay_leaves_a_guider_as_it_was(lab):
    inversion, _ = lab.invert(schedule="authors")
    edits = replace(lab.edits(), terms=tuple(replace(t, warmup=w) for t, w in zip(lab.edits().terms, (0, 4))))
    guider = lab.guider(inversion, edits)
    before = drawn(lab.model, guider=guider)
    lab.replay(guider, inversion)
    assert torch.equal(drawn(lab.model, guider=guider), before)


def with_weights(model):
    changed, key = model.clone(), "diffusion_model.input_blocks.7.1.transformer_blocks.0.attn2.to_v.weight"
    changed.add_patches({key: (torch.ones_like(model.model.state_dict()[key]) / 4,)})
    return changed


def with_attention(model):
    changed = model.clone()
    changed.set_model_attn2_patch(lambda q, k, v, extra: (q, k, 2 * v))
    return changed


@pytest.mark.parametrize("patch", [with_weights, with_attention])
def test_a_patch_of_the_edit_alone_acts_from_the_first_step_on(lab, monkeypatch, patch):
    """The start at the first guided step is an equal output only for the model that made the inversion."""
    inversion, model = lab.invert(source=lab.source)[0], patch(lab.model)
    found = lab.edit(inversion, model=model)[0]
    same = lab.invert(source=lab.source, model=model)[0]
    shortened = lab.edit(same, model=model)[0]
    with lab.watching() as watch:
        assert torch.equal(lab.edit(inversion, model=model)[0], found) and watch.predicted[0][0] == 0
    with lab.watching() as watch:
        assert torch.equal(lab.edit(same, model=model)[0], shortened)
        assert watch.predicted[0][0] == 2, "the model's own inversion was not taken up"
    with lab.from_the_first_step(monkeypatch):
        assert torch.equal(lab.edit(inversion, model=model)[0], found)
        assert gap(lab.edit(same, model=model)[0], shortened) < 2e-3
