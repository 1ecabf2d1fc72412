"""Where words stand in a conditioning, asked of the CLIP that makes it: its tokenizers, templates and encoders."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import torch

from ..csg.diffusion.edits import Conditioning
from ..csg.diffusion.words import Column, Section, find_words, sections_of, spelled, tokens_of_text

SEES = "qwen25_7b"  # the tokenizer of the text encoder that is shown pictures
EMBEDDING = b"\0"  # what stands for a token that is a vector, of textual inversion, and spells nothing


class ClipText:
    """A CLIP of ComfyUI as a `csg.diffusion.edits.TextEncoder`; ValueError for none at all.

    `image` (1, H, W, C): the picture that an edit model's text encoder sees beside every text, as ComfyUI's own node for
    Qwen-Image-Edit (2509 and later) shows it; ValueError for several pictures and for encoders that see none.
    """

    def __init__(self, clip: Any, image: torch.Tensor | None = None) -> None:  # noqa: ANN401
        if clip is None:
            raise ValueError("No CLIP is connected. Connect the CLIP of the checkpoint that edits the picture.")
        self.clip, self.image = clip, None if image is None else _shown(image, clip)
        self._encoded: dict[str, Conditioning] = {}

    def encode(self, text: str) -> Conditioning:
        """CONDITIONING of a text."""
        if text not in self._encoded:
            words, options = self._asked(text)
            self._encoded[text] = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(words, **options))
        return self._encoded[text]

    def positions(self, caption: str, phrase: str) -> tuple[int, ...]:
        """Columns of the phrase's tokens where it first stands in the caption's conditioning; none if it does not."""
        columns: list[Column] = []
        for whole, sought in zip(self._sections(caption), self._sections(phrase), strict=True):
            place = find_words([piece for _, piece in whole], b"".join(piece for _, piece in sought))
            columns += [whole[i][0] for i in place]
        if self.image is None or not columns:
            return tuple(columns)
        more = self.encode(caption)[0][0].shape[1] - self._length(caption)  # one token stands for all of the picture's
        return tuple(Column(column + more, column.weight) for column in columns)

    def _asked(self, text: str) -> tuple[str, dict[str, Any]]:
        """What the CLIP is to tokenize for a text, and with which options."""
        if self.image is None:
            return text, {}
        from comfy_extras.nodes_qwen import TextEncodeQwenImageEditPlus  # only those with such a model need it

        recorder = _Recorder()
        TextEncodeQwenImageEditPlus.execute(recorder, text, None, self.image)
        return recorder.asked

    def _tokens(self, text: str) -> dict[str, list]:
        words, options = self._asked(text)
        return self.clip.tokenize(words, return_word_ids=True, **options)

    def _length(self, text: str) -> int:
        """Columns of a text whose picture has one token."""
        tokens = self._tokens(text)
        (section,) = sections_of(list(tokens))
        numbers = [_number(token) for chunk in tokens[section.key] for token, *_ in chunk]
        return len(numbers) - section.cut(numbers)

    def _sections(self, text: str) -> Iterator[list[tuple[Column, bytes]]]:
        """Per section of the conditioning, the columns of the text's own tokens and what each spells."""
        tokens, empty = self._tokens(text), self._tokens("")
        start = 0
        for section in sections_of(list(tokens)):
            entries = [entry for chunk in tokens[section.key] for entry in chunk]
            cut = section.cut([_number(token) for token, *_ in entries])
            loaded = _loaded(self.clip, section)
            if loaded:
                pieces = _pieces(self.clip, section.key)
                yield [(Column(start + i - cut, section.weight), pieces(_number(entries[i][0]))) for i in _text_places(entries, empty[section.key])]
            if loaded or section.kept:
                start += len(entries) - cut


class _Recorder:
    """Takes the place of a CLIP in a node, and records what that node would have tokenized."""

    asked: tuple[str, dict[str, Any]] = "", {}

    def tokenize(self, text: str, **options: Any) -> dict:  # noqa: ANN401
        self.asked = text, options
        return {}

    def encode_from_tokens_scheduled(self, _tokens: dict) -> Conditioning:
        return []


def _shown(image: torch.Tensor, clip: Any) -> torch.Tensor:  # noqa: ANN401
    """The picture for a text encoder that sees one; ValueError otherwise."""
    if (encoders := list(clip.tokenize(""))) != [SEES]:
        raise ValueError(
            f"An image is connected, but this text encoder ({', '.join(encoders)[:60]}) sees no pictures; only Qwen-Image-Edit's does ({SEES}). "
            "Disconnect it: other edit models get the picture through Set Reference Latent alone."
        )
    if len(image) != 1:
        raise ValueError(f"The image is a batch of {len(image)} pictures; the text encoder is shown one. Edit one picture at a time.")
    return image[..., :3]


def _text_places(entries: list[tuple], empty: list[list[tuple]]) -> list[int]:
    """The places of the text's own tokens among all."""
    places = [i for i, (_, _, word) in enumerate(entries) if word]
    template = [_number(token) for chunk in empty for token, _, word in chunk if word]
    chosen = tokens_of_text([_number(entries[i][0]) for i in places], template)
    return [places[i] for i in chosen]


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
