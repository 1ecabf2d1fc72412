"""What tokens spell, which of them are a text's own, and where words stand among them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csg.diffusion.words import ALPHABET, Column, find_words, sections_of, spelled, tokens_of_text


def test_byte_level_pieces():
    letters = {byte: letter for letter, byte in ALPHABET.items()}
    assert len(letters) == 256
    assert spelled("\u0120Red", False) == b" red" and spelled("man</w>", False) == b"man "
    assert spelled("".join(letters[b] for b in "\u96ea".encode()), False).decode() == "\u96ea"


def test_sentencepiece_pieces():
    assert spelled("\u2581Red", True) == b" red" and spelled("<0xE9>", True) == b"\xe9" and spelled("\u96ea", True).decode() == "\u96ea"


@pytest.mark.parametrize(("sought", "place"), [
    (b"wet ground", (2, 4)), (b" wet ground ", (2, 4)), (b"man", (5, 6)), (b"ground, man", (3, 6)), (b"round", None), (b"we", None),
    (b"snow", None), (b"", None), (b"photo of wet", (0, 3))])  # fmt: skip
def test_words_are_found_as_whole_words(sought, place):
    pieces = [b"photo", b" of", b" wet", b" ground", b",", b" man", b" snow", b"man"]
    assert find_words(pieces, sought) == range(*(place or (0,)))


@given(st.lists(st.sampled_from(["red", "car", "\u96ea", "w\u00e9t", "a"]), min_size=1, max_size=8), st.data())
def test_however_a_text_is_cut_the_same_letters_are_found(words, data):
    text = " ".join(words).encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=6)))
    pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)])]
    first = len(" ".join(words[: words.index(words[-1])]).encode()) + bool(words.index(words[-1]))
    spans = [len(b"".join(pieces[:i])) for i in range(len(pieces) + 1)]
    place = find_words(pieces, words[-1].encode())
    assert spans[place.start] <= first < spans[place.start + 1]
    assert spans[place.stop - 1] < first + len(words[-1].encode()) <= spans[place.stop]


def test_own_tokens_stand_between_those_of_the_template():
    assert tokens_of_text([1, 2, 7, 8, 3, 4], [1, 2, 3, 4]) == range(2, 4)
    assert tokens_of_text([1, 2, 3, 4], [1, 2, 3, 4]) == range(4, 4)
    assert tokens_of_text([5, 6], []) == range(2)
    assert tokens_of_text([1, 2, 2, 3], [1, 2, 3]) == range(2, 3)


def test_a_column_is_its_place():
    assert Column(4, 0.3) == 4 and Column(4, 0.3).weight == 0.3 and Column(2).weight == 1.0


def test_an_unheard_encoder_has_one_section():
    assert [s.key for s in sections_of(["gemma9", "byt5"])] == ["gemma9"]
    assert [s.key for s in sections_of(["l", "g"])] == ["g"]
