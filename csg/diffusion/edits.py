"""What travels through sockets into a sampling run: concept terms, the edits they make up, and the base they add to.

Conditionings are the host's own, as ComfyUI has them: [[context (B, n, d), {"pooled_output": (B, p), ...}], ...]. Nothing
here looks into the model; a `TextEncoder` is all that is asked of the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

Conditioning = list[list[Any]]

LOCAL, GLOBAL = "local", "global"
UNCONDITIONAL, SOURCE, INTERVENTIONAL = "unconditional", "source", "interventional"
BASES = (UNCONDITIONAL, SOURCE, INTERVENTIONAL)
REFERENCES = ("reference_latents", "reference_latents_method")  # the pictures that an edit model is shown
# What plain texts carry beside their context.
TEXT_KEYS = ("pooled_output", "attention_mask", "conditioning_llama3", "guidance", "t5xxl_ids", "t5xxl_weights")


@dataclass(frozen=True)
class ConceptTerm:
    """One concept's share in the guidance.

    scale s_e, threshold lambda in [0, 1), the steps between which it acts (`cooldown` 0 = until the end), `remove` for
    guidance away from the phrase, `scope` local (masked) or global (whole captions, no mask), and an optional user
    `mask` (B, H, W) in [0, 1] of any size. Conditionings and word positions are the host's. `captioned`: the
    captions before and after differ by this change, too. `caption_tokens` are its words there: those of the phrase in the
    caption after or, for a removal, in the caption before; `factual_caption_tokens` those of the factual phrase in the
    caption before. None where a caption has other words for it.
    """

    concept: str
    phrase: str
    scale: float = 8.0
    threshold: float = 0.7
    warmup: int = 0
    cooldown: int = 0
    remove: bool = False
    scope: str = LOCAL
    mask: Tensor | None = None
    conditioning: Any = None
    tokens: tuple[int, ...] = ()
    factual_phrase: str = ""
    factual_conditioning: Any = None
    factual_tokens: tuple[int, ...] = ()
    captioned: bool = False
    caption_tokens: tuple[int, ...] = ()
    factual_caption_tokens: tuple[int, ...] = ()

    def active(self, i: int) -> bool:
        """Whether the concept acts at step `i` (counted over kept steps)."""
        return i >= self.warmup and (self.cooldown <= 0 or i < self.cooldown)

    def outside(self, kept: Mapping[str, Tensor], mask: Tensor) -> Tensor:
        """The mask (B, 1, h, w) less the places `kept` from terms of this scope."""
        return mask * (1 - kept[self.scope]) if self.scope in kept else mask


@dataclass(frozen=True)
class Edits:
    """What travels through CSG_EDITS: the terms, the whole captions, one colour per concept, and what must not change.

    `target` and `source` are the captions after and before, encoded; `prompt` is the one after as text. `preserved`: the
    words of every preserved concept in the caption before, by concept. `unspoken`: the concepts whose words that caption lacks.
    """

    terms: tuple[ConceptTerm, ...] = ()
    target: Conditioning | None = None
    source: Conditioning | None = None
    prompt: str = ""
    colours: Mapping[str, str] = field(default_factory=dict)
    preserved: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unspoken: tuple[str, ...] = ()


@dataclass(frozen=True)
class Base:
    """What the concept terms are added to: its kind, its conditionings, its guidance scale.

    Raises ValueError for an unknown kind, and for one whose prompt is missing.
    """

    kind: str = UNCONDITIONAL
    negative: Conditioning | None = None
    positive: Conditioning | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in BASES:
            raise ValueError(f"base is {self.kind[:60]!r}; it is one of {', '.join(BASES)}.")
        if self.kind != UNCONDITIONAL and self.positive is None:
            wanted = "the inversion to be made with a source prompt (connect `source` there)"
            if self.kind == INTERVENTIONAL:
                wanted = "the interventional prompt (connect `positive`)"
            raise ValueError(f"base = {self.kind} needs {wanted}; none is connected. Connect it or choose another base.")

    @property
    def guided(self) -> bool:
        """Whether the base itself is classifier-free guidance between two rows."""
        return self.kind == SOURCE and self.scale > 1


def same_conditioning(a: Conditioning | None, b: Conditioning | None, carried: Iterable[str] = ()) -> bool:
    """Whether two conditionings are equal plain texts, so that one row serves for both.

    `carried`: keys that `b` may hold beside its text without `a` having them, since they are copied from `b` to `a`.
    """
    if a is b:
        return True
    if a is None or b is None or len(a) != len(b):
        return False
    pairs = list(zip(a, b, strict=True))
    plain = all(set(x[1]) <= set(TEXT_KEYS) and set(y[1]) <= {*TEXT_KEYS, *carried} for x, y in pairs)
    return plain and all(_same(x[0], y[0]) and all(_same(x[1].get(k), y[1].get(k)) for k in TEXT_KEYS) for x, y in pairs)


def _same(a: Tensor | float | None, b: Tensor | float | None) -> bool:
    if torch.is_tensor(a) and torch.is_tensor(b):
        return a is b or torch.equal(a, b)
    return not torch.is_tensor(a) and not torch.is_tensor(b) and a == b


class TextEncoder(Protocol):
    """Encodes texts and finds words in them: what this package needs of the host's text encoder."""

    def encode(self, text: str) -> Conditioning:
        """The conditioning of a text."""
        ...

    def positions(self, caption: str, phrase: str) -> tuple[int, ...]:
        """Columns of the phrase's tokens where it first stands in the caption's conditioning; none if it does not."""
        ...


class Change(Protocol):
    """One changed concept of a counterfactual, as the causal core words it."""

    concept: str
    phrase: str
    factual_phrase: str
    removes: bool
    scope: str


def encode_change(
    text: TextEncoder, change: Change, common: ConceptTerm, global_scale: float, captions: tuple[str, str], instruction: str = ""
) -> ConceptTerm:
    """One changed concept as a term, with its conditionings and its words in the `captions` (before, after).

    `common` carries scale, threshold and warm-up. A change to nothing becomes guidance away from what is there. With an
    `instruction` for an edit model, that is the concept's row, and the captions are instructions, too: a removal is
    asked for in words, so guidance goes towards it, and the row without the change is the caption before.
    """
    phrase, away = change.factual_phrase if change.removes else change.phrase, change.removes and not instruction
    term = replace(common, concept=change.concept, phrase=phrase, remove=away, scope=change.scope, captioned=True)
    if change.scope == GLOBAL:
        return replace(term, scale=global_scale)
    before, after = captions
    old_words = text.positions(before, change.factual_phrase)
    words = old_words if away else text.positions(after, phrase)
    term = replace(term, caption_tokens=words, factual_caption_tokens=old_words)
    if not instruction:
        return with_conditionings(text, term, change.factual_phrase)
    term = replace(term, conditioning=text.encode(instruction), tokens=phrase_tokens(text, phrase, instruction))
    if not old_words:
        return term
    return replace(term, factual_phrase=change.factual_phrase, factual_conditioning=text.encode(before), factual_tokens=old_words)


def with_conditionings(text: TextEncoder, term: ConceptTerm, factual_phrase: str = "") -> ConceptTerm:
    """The term with its phrase (and its factual phrase) encoded."""
    term = replace(term, conditioning=text.encode(term.phrase), tokens=phrase_tokens(text, term.phrase))
    if not factual_phrase.strip() or factual_phrase == term.phrase:
        return term
    return replace(
        term, factual_phrase=factual_phrase, factual_conditioning=text.encode(factual_phrase),
        factual_tokens=phrase_tokens(text, factual_phrase),
    )  # fmt: skip


def phrase_tokens(text: TextEncoder, phrase: str, row: str = "") -> tuple[int, ...]:
    """Columns of a phrase's tokens in its row, by default the phrase alone; ValueError where the text encoder knows none."""
    if not (positions := text.positions(row or phrase, phrase)):
        raise ValueError(f"The phrase {phrase[:60]!r} has no words that the text encoder knows; write a short noun phrase.")
    return positions


def preserved_words(text: TextEncoder, caption: str, phrases: Iterable[tuple[str, str]]) -> dict[str, tuple[int, ...]]:
    """Columns of every (concept, phrase) in the encoded caption; concepts whose phrase does not stand there are left out."""
    columns = {concept: text.positions(caption, phrase) for concept, phrase in phrases}
    return {concept: words for concept, words in columns.items() if words}
