"""Captions of scenes as token ids, and the two text encoders that read them; what both of Town's denoisers learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from csg.town.world import CAPTION_ORDER, VARIABLES

BOS, EOS, LENGTH = 49406, 49407, 77


@dataclass(frozen=True)
class Mix:
    """Shares of the captions that say nothing; of the others, that name one concept or about half; that are shuffled; of articles."""

    nothing: float = 0.10
    one: float = 0.2
    half: float = 0.3
    shuffled: float = 0.6
    article: float = 0.25


@dataclass(frozen=True)
class Caption:
    """Token ids of both encoders and, per supervised concept, which positions are its words."""

    ids_l: list[int]
    ids_g: list[int]
    words: int
    spans: Mapping[str, tuple[int, int]]


class Captioner:
    """Draws captions of a scene: all concepts, some, one, or none, in varying order."""

    def __init__(self, tokenise: Callable[[str], list[int]], mix: Mix) -> None:
        self.mix = mix
        self.comma = tokenise(",")
        self.articles = [tokenise(word) for word in ("a", "the")]
        self.phrases = {(v.name, value): tokenise(phrase) for v in VARIABLES for value, phrase in v.phrases.items()}

    def vocabulary(self) -> list[int]:
        """Every id that a caption can hold."""
        words = [*self.phrases.values(), self.comma, *self.articles]
        return sorted({i for ids in words for i in ids} | {0, BOS, EOS})

    def names(self, rng: np.random.Generator) -> list[str]:
        """Which concepts the caption names, in which order; empty = unconditional."""
        if rng.random() < self.mix.nothing:
            return []
        kind, names = rng.random(), list(CAPTION_ORDER)
        if kind > 1 - self.mix.one:
            return [names[rng.integers(len(names))]]
        if kind > 1 - self.mix.one - self.mix.half:
            names = [n for n in names if rng.random() < 0.5] or ["weather"]
        if rng.random() < self.mix.shuffled:
            rng.shuffle(names)
        return names

    def draw(self, values: Mapping[str, str], rng: np.random.Generator) -> Caption:
        """One caption of a scene with these values."""
        body: list[int] = []
        spans = {}
        for name in self.names(rng):
            words = self.phrases[name, values[name]]
            if rng.random() < self.mix.article:
                words = [*self.articles[rng.integers(2)], *words]
            if len(body) + len(words) + 1 > LENGTH - 2:
                break
            body += self.comma if body else []
            spans[name] = (1 + len(body), 1 + len(body) + len(words))
            body += words
        ids = [BOS, *body, EOS]
        pad = LENGTH - len(ids)
        return Caption(ids + [EOS] * pad, ids + [0] * pad, len(body), spans)


class TextPair(nn.Module):
    """The two text encoders with tables of the used ids only (the rest of CLIP's vocabulary never gets a gradient)."""

    def __init__(self, encoder_l: nn.Module, encoder_g: nn.Module, vocabulary: Sequence[int]) -> None:
        super().__init__()
        self.l, self.g = encoder_l, encoder_g
        self.register_buffer("remap", torch.zeros(49408, dtype=torch.long), persistent=False)
        self.remap[torch.tensor(vocabulary)] = torch.arange(len(vocabulary))
        for encoder in (self.l, self.g):
            table = encoder.text_model.embeddings.token_embedding
            table.weight = nn.Parameter(table.weight.data[: len(vocabulary)].clone())

    def forward(self, ids_l: Tensor, ids_g: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 77) ids -> context (B, 77, cl + cg) from the layers before the last, pooled (B, cg)."""
        ends = ((ids_l == EOS).int().argmax(-1) + 1).tolist()
        options = {"num_tokens": ends, "intermediate_output": -2, "final_layer_norm_intermediate": False}
        states_l = self.l(self.remap[ids_l], **options)
        states_g = self.g(self.remap[ids_g], **options)
        return torch.cat([states_l[1], states_g[1]], -1), states_g[2]
