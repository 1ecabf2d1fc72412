"""From a counterfactual's changes to terms, with an encoder whose columns can be counted by hand."""

from dataclasses import dataclass

import pytest
import torch

from csg.diffusion.edits import (
    REFERENCES,
    Base,
    ConceptTerm,
    encode_change,
    phrase_tokens,
    preserved_words,
    same_conditioning,
    with_conditionings,
)

COMMON = ConceptTerm("", "", 5.0, 0.6, 3)


class Encoder:
    """One token a word, the first at column 1; a text's conditioning is its length."""

    def encode(self, text):
        return [[torch.full((1, len(text.split()) + 2, 1), float(len(text))), {}]]

    def positions(self, caption, phrase):
        whole, sought = caption.split(), phrase.split()
        for start in range(len(whole) - len(sought) + 1 if sought else 0):
            if whole[start : start + len(sought)] == sought:
                return tuple(range(start + 1, start + 1 + len(sought)))
        return ()


@dataclass(frozen=True)
class Change:
    concept: str
    phrase: str
    factual_phrase: str
    scope: str = "local"

    @property
    def removes(self):
        return not self.phrase


CAPTIONS = "a street with dry ground", "a street with wet ground"


def test_a_change_knows_its_words_in_both_captions_and_alone():
    term = encode_change(Encoder(), Change("ground", "wet ground", "dry ground"), COMMON, 2.0, CAPTIONS)
    assert (term.concept, term.phrase, term.scale, term.threshold, term.warmup, term.remove) == ("ground", "wet ground", 5.0, 0.6, 3, False)
    assert term.caption_tokens == term.factual_caption_tokens == (4, 5) and term.tokens == term.factual_tokens == (1, 2)
    assert float(term.conditioning[0][0][0, 0, 0]) == len("wet ground")


def test_a_change_to_nothing_leads_away_from_what_is_there():
    term = encode_change(Encoder(), Change("ground", "", "dry ground"), COMMON, 2.0, CAPTIONS)
    assert term.remove and term.phrase == "dry ground" and term.caption_tokens == (4, 5) and term.factual_conditioning is None


def test_a_global_change_takes_the_scale_of_the_captions_and_no_words():
    term = encode_change(Encoder(), Change("time", "night", "day", "global"), COMMON, 2.0, CAPTIONS)
    assert term.scale == 2.0 and term.conditioning is None and term.tokens == ()


TELLS = "leave it so: dry ground and a lamp", "make it wet ground and remove a lamp"


def test_an_instruction_is_the_row_of_its_concept_and_the_words_of_the_phrase_make_the_mask():
    row = "change the ground to wet ground"
    term = encode_change(Encoder(), Change("ground", "wet ground", "dry ground"), COMMON, 2.0, TELLS, row)
    assert float(term.conditioning[0][0][0, 0, 0]) == len(row) and term.tokens == (5, 6) and term.phrase == "wet ground"
    assert float(term.factual_conditioning[0][0][0, 0, 0]) == len(TELLS[0])
    assert term.caption_tokens == (3, 4) and not term.remove


def test_an_instruction_to_remove_is_guidance_towards_it():
    """The words say what goes; away from them would be to put it there."""
    term = encode_change(Encoder(), Change("lamp", "", "a lamp"), COMMON, 2.0, TELLS, "remove a lamp")
    assert not term.remove and term.phrase == "a lamp" and term.tokens == (2, 3) and term.caption_tokens == (7, 8)
    assert term.factual_tokens == term.factual_caption_tokens == (7, 8)


def test_what_no_caption_names_has_no_factual_row():
    term = encode_change(Encoder(), Change("cat", "a cat", ""), COMMON, 2.0, TELLS, "add a cat")
    assert term.factual_conditioning is None and term.tokens == (2, 3) and term.caption_tokens == ()


def test_an_instruction_without_the_words_of_its_phrase_is_refused():
    with pytest.raises(ValueError, match="has no words"):
        encode_change(Encoder(), Change("ground", "wet ground", "dry ground"), COMMON, 2.0, TELLS, "change it")


def test_a_phrase_without_words_is_refused_without_quoting_it_whole():
    with pytest.raises(ValueError, match="has no words that the text encoder knows") as error:
        with_conditionings(Encoder(), ConceptTerm("c", " " * 5000))
    assert len(str(error.value)) < 300


def test_only_preserved_phrases_that_stand_in_the_caption_are_kept():
    assert preserved_words(Encoder(), CAPTIONS[0], [("ground", "dry ground"), ("lamp", "a lamp")]) == {"ground": (4, 5)}
    assert phrase_tokens(Encoder(), "a lamp") == (1, 2)


def test_equal_texts_are_one_and_more_than_text_never_is():
    a, b = [[torch.ones(1, 2, 3), {"pooled_output": torch.ones(1, 2)}]], [[torch.ones(1, 2, 3), {"pooled_output": torch.ones(1, 2)}]]
    assert same_conditioning(a, b) and same_conditioning(None, None) and not same_conditioning(a, None)
    assert not same_conditioning(a, [[b[0][0], b[0][1] | {"control": 1}]]) and not same_conditioning(a, [[b[0][0] + 1, b[0][1]]])
    shown = [[b[0][0], b[0][1] | {"reference_latents": [torch.ones(1)]}]]
    assert same_conditioning(a, shown, REFERENCES) and not same_conditioning(a, shown) and not same_conditioning(shown, a, REFERENCES)


@pytest.mark.parametrize(("kind", "words"), [
    ("nothing", "it is one of"), ("source", "connect `source` there"), ("interventional", "connect `positive`"),
])  # fmt: skip
def test_a_base_that_lacks_its_prompt_says_what_to_connect(kind, words):
    with pytest.raises(ValueError, match=words):
        Base(kind)
