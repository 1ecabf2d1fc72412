"""Which rows a step asks for and whose words are sought where, on edits whose answers are written down here."""

from dataclasses import replace

import pytest
import torch

from csg.diffusion.attention import Words
from csg.diffusion.edits import Base, ConceptTerm, Edits
from csg.diffusion.guidance import GuidanceSettings
from csg.diffusion.plan import Concept, Factual, Preserved, Prompt, placed, plan

NEGATIVE, POSITIVE, BEFORE, AFTER = Prompt.NEGATIVE, Prompt.POSITIVE, Prompt.BEFORE, Prompt.AFTER


def text(seed, length=77):
    return [[torch.randn(1, length, 4, generator=torch.Generator().manual_seed(seed)), {}]]


OLD, NEW = text(1), text(2, 99)


def term(k, **options):
    options = {"conditioning": text(10 + k), "tokens": (1, 2), "factual_conditioning": text(20 + k, 80), "factual_tokens": (3,)} | options
    return ConceptTerm(f"c{k}", f"phrase {k}", **options)


def told(k, **options):
    """A term whose words stand in both captions."""
    return term(k, captioned=True, **{"caption_tokens": (5, 6), "factual_caption_tokens": (7,)} | options)


def edits(*terms, **options):
    return Edits(tuple(terms), NEW, OLD, **options)


@pytest.mark.parametrize(("base", "rows"), [
    (Base(), [NEGATIVE]),
    (Base("source", None, text(5), 1.0), [POSITIVE]),
    (Base("source", None, text(5), 3.5), [POSITIVE, NEGATIVE]),
    (Base("interventional", None, text(5), 3.5), [POSITIVE]),
])  # fmt: skip
def test_a_step_at_which_nothing_acts_asks_for_its_base_alone(base, rows):
    made = plan(edits(term(0)), base, GuidanceSettings())
    assert made.rows([], looks=True) == rows and made.rows([], looks=True, with_base=False) == []


def test_a_phrase_is_measured_against_no_prompt_or_against_its_old_one():
    for contrast, rows in (("unconditional", [NEGATIVE, Concept(1)]), ("factual", [NEGATIVE, Concept(1), Factual(1)])):
        made = plan(edits(term(0), term(1)), Base(), GuidanceSettings("intersect", contrast=contrast))
        assert made.rows([1], looks=True) == rows


def test_with_captions_two_rows_serve_every_term_whose_words_stand_there():
    made = plan(edits(told(0), told(1)), Base(), GuidanceSettings("intersect", "both", "captions"))
    assert made.rows([0, 1], looks=True) == [NEGATIVE, AFTER, BEFORE]
    assert made.words[Concept(1)] == Words((5, 6), 99, AFTER) and made.words[Factual(1)] == Words((7,), 77, BEFORE)
    assert Concept(0) not in made.conditionings and Factual(0) not in made.conditionings


def test_a_term_that_the_caption_words_otherwise_has_a_row_to_be_looked_at_only():
    made = plan(edits(told(0, caption_tokens=())), Base(), GuidanceSettings("intersect", contrast="captions"))
    assert made.rows([0], looks=True) == [NEGATIVE, AFTER, BEFORE, Concept(0)]
    assert made.rows([0], looks=False) == [NEGATIVE, AFTER, BEFORE]
    assert made.words[Concept(0)] == Words((1, 2), 77, Concept(0))


def test_what_is_removed_is_looked_for_in_the_caption_before():
    made = plan(edits(told(0, remove=True)), Base(), GuidanceSettings(contrast="captions"))
    assert made.words[Concept(0)] == Words((5, 6), 77, BEFORE)


def test_a_source_that_is_the_caption_before_is_not_asked_for_twice():
    same = [[OLD[0][0].clone(), {}]]
    made = plan(edits(told(0), preserved={"lamp": (9,)}), Base("source", None, same, 3.5), GuidanceSettings(contrast="captions"))
    assert made.before == POSITIVE and BEFORE not in made.conditionings
    assert made.rows([0], looks=True) == [POSITIVE, NEGATIVE, AFTER]
    assert made.words[Preserved("lamp")] == Words((9,), 77, POSITIVE)


def test_preserved_concepts_are_looked_for_in_the_caption_before_even_where_no_term_needs_it():
    made = plan(edits(term(0), preserved={"lamp": (9,)}), Base(), GuidanceSettings())
    assert made.rows([0], looks=True) == [NEGATIVE, Concept(0)]
    assert made.rows_of(made.preserved_looks(True)) == [BEFORE] and made.preserved_looks(False) == []


def test_a_global_term_has_no_place_and_needs_the_captions():
    made = plan(edits(term(0, scope="global"), term(1)), Base(), GuidanceSettings())
    assert made.local([0, 1]) == [1] and Concept(0) not in made.words
    assert made.rows([0, 1], looks=True) == [NEGATIVE, AFTER, BEFORE, Concept(1)]
    with pytest.raises(ValueError, match="whole captions: make the edits with Encode Concept Edits"):
        plan(Edits((term(0, scope="global"),)), Base(), GuidanceSettings())


def test_old_phrases_are_sought_only_where_masks_come_from_them():
    for source, looks in (("edit", []), ("factual", [Factual(0)]), ("both", [Factual(0)])):
        made = plan(edits(term(0), term(1, factual_conditioning=None)), Base(), GuidanceSettings("attention", source))
        assert made.factual_looks([0, 1], looks=True) == looks and made.factual_looks([0, 1], looks=False) == []


def test_at_once_the_captions_act_from_the_first_step_and_phrases_do_not():
    made = plan(edits(term(0, scope="global", warmup=3), term(1, warmup=4)), Base(), GuidanceSettings())
    assert made.active(0) == [] and made.at_once().active(0) == [0] and made.at_once().active(4) == [0, 1]
    assert made.jointly(True).active(3) == [] and made.first_guided_step(10) == 3 and made.jointly(True).first_guided_step(10) == 4


def test_users_masks_are_brought_to_the_latent_and_must_fit_its_pictures():
    latent, mask = torch.zeros(2, 4, 8, 8), torch.zeros(1, 64, 64)
    mask[:, :32] = 1
    plain, masked = placed((term(0), term(1, mask=mask)), latent)
    assert plain.mask is None and masked.mask.shape == (1, 1, 8, 8)
    assert masked.mask[0, 0, :4].min() == 1 and masked.mask[0, 0, 4:].max() == 0
    with pytest.raises(ValueError, match="holds 3 masks for 2 picture"):
        placed((replace(term(1), mask=mask.expand(3, -1, -1)),), latent)
