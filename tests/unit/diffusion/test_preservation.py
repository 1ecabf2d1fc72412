"""Preserved concepts keep their places: the rule on maps drawn by hand."""

import torch

from csg.diffusion import edits
from csg.diffusion import guidance as csg
from csg.diffusion.guidance import ConceptTerm, GuidanceSettings, Predictions
from csg.diffusion.preservation import SHARES, Preservation, place

SIZE = (32, 32)


def looks(rows, columns, level=1.0):
    """Attention (1, 8, 8) that looks at a block of cells."""
    seen = torch.full((1, 8, 8), 0.01)
    seen[0, slice(*rows), slice(*columns)] = level
    return seen


def differs(base, at=None, level=0.0):
    """A caption difference (1, 4, 32, 32) of one strength, and of another in a block of latent pixels."""
    found = torch.full((1, 4, *SIZE), base)
    if at:
        found[..., slice(*at[0]), slice(*at[1])] = level
    return found


def said(house, change, difference, **more):
    return Predictions(
        torch.zeros(1, 4, *SIZE), caption_difference=difference, attention={0: change},
        preserved_attention={"house": house}, **more,
    )  # fmt: skip


SKY, HOUSE = looks((0, 3), (0, 8)), looks((4, 7), (2, 6), 0.3)


def test_a_place_is_measured_by_its_own_peak():
    seen = place(HOUSE, SIZE)
    assert seen.shape == (1, 1, *SIZE) and 0.95 < seen.max() <= 1
    assert torch.allclose(seen, place(7 * HOUSE, SIZE))


def test_the_preserved_concept_keeps_what_it_alone_is_looked_at_for():
    kept = Preservation().kept(said(HOUSE, SKY, differs(1.0)), {})[edits.LOCAL]
    assert kept[0, 0, 18:26, 10:22].all() and not kept[0, 0, :12].any() and not kept[0, 0, 16:, :6].any()
    assert set(kept.unique().tolist()) == {0.0, 1.0}


def test_a_change_that_is_looked_at_as_much_wins_the_place():
    left = looks((4, 7), (2, 4), 0.7)
    kept = Preservation().kept(said(HOUSE, left, differs(1.0)), {})[edits.LOCAL]
    assert not kept[0, 0, 20:24, 11:13].any() and kept[0, 0, 18:26, 18:22].all()
    nothing = Preservation().kept(said(HOUSE, SKY, differs(1.0), factual_attention={0: 2 * HOUSE}), {})[edits.LOCAL]
    assert not nothing.any()


def test_where_the_captions_differ_nothing_is_kept():
    """Night falls on the house as well; the snow around it does not."""
    around = differs(1.0, ((10, 32), (2, 30)), 0.1)
    night = differs(1.0, ((10, 32), (2, 30)), 2.0)
    assert Preservation().kept(said(HOUSE, SKY, around), {})[edits.GLOBAL][0, 0, 18:26, 10:22].all()
    assert not Preservation().kept(said(HOUSE, SKY, night), {})[edits.LOCAL].any()


def test_less_is_kept_from_global_concepts():
    kept = Preservation().kept(said(HOUSE, SKY, differs(1.0)), {})
    assert SHARES[edits.GLOBAL] < 1 < SHARES[edits.LOCAL]
    assert kept[edits.LOCAL].any() and not kept[edits.GLOBAL].any()


def test_the_difference_is_remembered_from_step_to_step():
    """Once the change is drawn the captions agree about it; what the first steps said still counts."""
    night = differs(1.0, ((10, 32), (2, 30)), 2.0)
    run = Preservation()
    assert not run.kept(said(HOUSE, SKY, night), {})[edits.LOCAL].any()
    assert not run.kept(said(HOUSE, SKY, differs(0.1)), {})[edits.LOCAL].any()
    assert Preservation().kept(said(HOUSE, SKY, differs(0.1)), {})[edits.LOCAL].any()


def test_guidances_of_their_own_count_where_there_is_no_caption_difference():
    own = said(HOUSE, SKY, None)
    assert Preservation().kept(own, {}) == {}
    assert Preservation().kept(own, {0: differs(1.0)})[edits.LOCAL].any()
    assert not Preservation().kept(own, {0: differs(1.0, ((10, 32), (2, 30)), 2.0)})[edits.LOCAL].any()


def test_without_preserved_concepts_nothing_is_kept():
    alone = Predictions(torch.zeros(1, 4, *SIZE), caption_difference=differs(1.0), attention={0: SKY})
    assert Preservation().kept(alone, {}) == {}


def test_without_attention_of_a_change_nothing_is_taken_from_it():
    """A global concept alone has no place of its own to compare with; it is not confined on a guess."""
    alone = Predictions(torch.zeros(1, 4, *SIZE), caption_difference=differs(1.0), preserved_attention={"house": HOUSE})
    assert not Preservation().kept(alone, {})[edits.LOCAL].any()


def test_kept_places_leave_the_masks_and_the_sum():
    term = ConceptTerm("weather", "snow", 2.0, 0.0, captioned=True)
    settings = GuidanceSettings(csg.NONE, contrast=csg.CAPTIONS)
    prediction = said(HOUSE, SKY, differs(1.0))
    free = csg.guide([term], [0], prediction, settings)
    kept = csg.guide([term], [0], prediction, settings, Preservation().kept)
    place_kept = Preservation().kept(prediction, {})[edits.LOCAL]
    assert torch.equal(kept.masks[0], free.masks[0] * (1 - place_kept))
    assert torch.equal(kept.denoised, free.denoised * (1 - place_kept)) and place_kept.any()


def test_every_picture_of_a_batch_has_its_own_places():
    pair = said(
        torch.cat([HOUSE, looks((4, 7), (0, 2))]), torch.cat([SKY, SKY]), torch.cat([differs(1.0), 9 * differs(1.0)])
    )
    both = Preservation().kept(pair, {})[edits.LOCAL]
    assert torch.equal(both[:1], Preservation().kept(said(HOUSE, SKY, differs(1.0)), {})[edits.LOCAL])
    assert both[1, 0, 20, 2] == 1 and both[1, 0, 20, 16] == 0
