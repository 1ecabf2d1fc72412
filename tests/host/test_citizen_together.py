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
    batch = replace(joined(singles), seen={})
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
    for at, politely in places(lambda: lab.edit(replace(made, seen={}), edits, **EVERYTHING), 8):
        inversion = replace(made, seen={})
        interrupted(lambda: lab.edit(inversion, edits, **EVERYTHING), at, politely)  # noqa: B023
        remembered += bool(inversion.seen)
        assert state_of(lab.model) == before
        assert torch.equal(lab.edit(inversion, edits, **EVERYTHING)[0], expected)
    assert 0 < remembered < 8, "no interruption came while it looked, or none came after"
