"""Where words stand in a conditioning, asked of the CLIP that makes it: its tokenizers, templates and encoders."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

from ..csg.diffusion.edits import Conditioning
from ..csg.diffusion.words import Column, Section, find_words, own_tokens, sections_of, spelled

EMBEDDING = b"\0"  # what stands for a token that is a vector, of textual inversion, and spells nothing


class ClipText:
    """A CLIP of ComfyUI as a `csg.diffusion.edits.TextEncoder`; ValueError for none at all."""

    def __init__(self, clip: Any) -> None:  # noqa: ANN401
        if clip is None:
            raise ValueError("No CLIP is connected. Connect the CLIP of the checkpoint that edits the picture.")
        self.clip = clip

    def encode(self, text: str) -> Conditioning:
        """CONDITIONING of a text."""
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def positions(self, caption: str, phrase: str) -> tuple[int, ...]:
        """Columns of the phrase's tokens where it first stands in the caption's conditioning; none if it does not."""
        columns: list[Column] = []
        for whole, sought in zip(_sections(self.clip, caption), _sections(self.clip, phrase), strict=True):
            place = find_words([piece for _, piece in whole], b"".join(piece for _, piece in sought))
            columns += [whole[i][0] for i in place]
        return tuple(columns)


def _sections(clip: Any, text: str) -> Iterator[list[tuple[Column, bytes]]]:  # noqa: ANN401
    """Per section of the conditioning, the columns of the text's own tokens and what each spells."""
    tokens, empty = (clip.tokenize(one, return_word_ids=True) for one in (text, ""))
    start = 0
    for section in sections_of(list(tokens)):
        chunks = tokens[section.key]
        entries = [entry for chunk in chunks for entry in chunk]
        cut = section.cut([_number(token) for token, *_ in entries])
        loaded = _loaded(clip, section)
        if loaded:
            pieces = _pieces(clip, section.key)
            yield [(Column(start + i - cut, section.weight), pieces(_number(entries[i][0]))) for i in _own(entries, empty[section.key])]
        if loaded or section.kept:
            start += len(entries) - cut


def _own(entries: list[tuple], empty: list[list[tuple]]) -> list[int]:
    """The places of the text's own tokens among all."""
    places = [i for i, (_, _, word) in enumerate(entries) if word]
    template = [_number(token) for chunk in empty for token, _, word in chunk if word]
    own = own_tokens([_number(entries[i][0]) for i in places], template)
    return [places[i] for i in own]


def _number(token: object) -> int | None:
    return int(token) if isinstance(token, Integral) else None


def _loaded(clip: Any, section: Section) -> bool:  # noqa: ANN401
    """Whether a text encoder of this section is there; models with several can be loaded with some of them."""
    names = ("clip_g", "clip_l") if section.key == "g" else (section.key,)
    encoders = [getattr(clip.cond_stage_model, name) for name in names if hasattr(clip.cond_stage_model, name)]
    return not encoders or any(encoder is not None for encoder in encoders)


def _pieces(clip: Any, key: str) -> Any:  # noqa: ANN401
    """What a token of this tokenizer spells, as a function."""
    tokenizer = getattr(clip.tokenizer, key, None) or getattr(clip.tokenizer, f"clip_{key}")
    vocabulary = tokenizer.inv_vocab
    sentencepiece = any(piece.startswith("\u2581") for piece in vocabulary.values())
    return lambda token: EMBEDDING if token is None else spelled(vocabulary.get(token, ""), sentencepiece)
