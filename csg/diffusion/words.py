"""Where words stand in what text encoders make of a text, for every kind of tokenizer.

Tokenizers cut the same words differently at the begin of a text and inside it, and chat templates stand around it. So
words are looked for in the text that the tokens spell, as bytes, between what the template alone would spell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class Column(int):
    """A token's place in a conditioning, with the weight of its attention beside that of other copies of the word."""

    weight: float

    def __new__(cls, place: int, weight: float = 1.0) -> Column:
        column = super().__new__(cls, place)
        column.weight = weight
        return column


@dataclass(frozen=True)
class Section:
    """One text encoder's part of a conditioning.

    `key`: its tokenizer's name, as ComfyUI's CLIP.tokenize gives it. `weight`: of its copy of the words. `chat`: the
    encoder cuts off all up to the user's turn of Qwen's chat template. `kept`: its part is there, as zeros, even where
    the encoder itself is not loaded.
    """

    key: str
    weight: float = 1.0
    chat: bool = False
    kept: bool = False

    def cut(self, ids: Sequence) -> int:
        """How many of these tokens are not in the conditioning."""
        turns = [i for i, token in enumerate(ids) if token == TURN][:2] if self.chat else []
        if not turns:
            return 0
        return turns[-1] + (3 if tuple(ids[turns[-1] + 1 : turns[-1] + 3]) == USER else 0)


TURN, USER = 151644, (872, 198)  # Qwen's <|im_start|>, and "user" with a line's end

# By the tokenizers of a CLIP: the sections of its conditioning, in order. Others have one section, their first tokenizer's.
# SD3: SAM-Flow (arXiv 2606.06228) counts T5's copy .3 beside CLIP's. HiDream: the same for T5 beside Llama; no study is known.
SECTIONS: Mapping[frozenset[str], tuple[Section, ...]] = {
    frozenset({"l", "g"}): (Section("g"),),
    frozenset({"l", "g", "t5xxl"}): (Section("g"), Section("t5xxl", 0.3)),
    frozenset({"l", "t5xxl"}): (Section("t5xxl"),),
    frozenset({"l", "g", "t5xxl", "llama"}): (Section("t5xxl", 0.3, kept=True), Section("llama")),
    frozenset({"qwen25_7b"}): (Section("qwen25_7b", chat=True),),
    frozenset({"qwen3_06b", "t5xxl"}): (Section("t5xxl"),),  # Anima: T5's tokens are what its network is asked with, Qwen's what they mean
}


def sections_of(keys: Sequence[str]) -> tuple[Section, ...]:
    """The sections of a CLIP with these tokenizers, in their order."""
    return SECTIONS.get(frozenset(keys), (Section(keys[0]),))


def byte_alphabet() -> dict[str, int]:
    """The letters in which byte-level tokenizers (GPT-2 and after) write bytes: printable ones as they are, the others from U+0100 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + n): b for n, b in enumerate(others)}


ALPHABET = byte_alphabet()


def spelled(piece: str, sentencepiece: bool) -> bytes:
    """What a token of the vocabulary spells, in lower case."""
    if sentencepiece:
        if len(piece) == 6 and piece.startswith("<0x"):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("\u2581", " ").encode().lower()
    if piece.endswith("</w>"):
        return spelled(piece[:-4], False) + b" "
    return bytes(ALPHABET[c] for c in piece if c in ALPHABET).lower()


def tokens_of_text(tokens: Sequence, empty: Sequence) -> range:
    """The tokens of a text itself: what it does not share, at begin and end, with the template around no text."""
    shortest = min(len(tokens), len(empty))
    first = next((i for i in range(shortest) if tokens[i] != empty[i]), shortest)
    shared = next((i for i in range(shortest - first) if tokens[-1 - i] != empty[-1 - i]), shortest - first)
    return range(first, len(tokens) - shared)


def find_words(pieces: Sequence[bytes], sought: bytes) -> range:
    """The tokens that spell the sought words where they first stand, as whole words; empty if they do not."""
    text, sought = b"".join(pieces), sought.strip()
    place = -1
    while sought and (place := text.find(sought, place + 1)) >= 0:
        end = place + len(sought)
        if not _runs_on(text[:place], sought) and not _runs_on(sought, text[end:]):
            return _covering(pieces, place, end)
    return range(0)


def _runs_on(before: bytes, after: bytes) -> bool:
    """Whether a word runs on over this cut; scripts without spaces never do."""
    left, right = before.decode(errors="ignore")[-1:], after.decode(errors="ignore")[:1]
    return bool(left and right) and all(c.isalnum() and ord(c) < 0x2E80 for c in (left, right))


def _covering(pieces: Sequence[bytes], start: int, end: int) -> range:
    place, places = 0, []
    for i, piece in enumerate(pieces):
        if place < end and place + len(piece) > start and piece:
            places.append(i)
        place += len(piece)
    return range(places[0], places[-1] + 1)
