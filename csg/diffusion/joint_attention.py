"""Word maps of transformers (LEDITS++ M1 without a UNet): how much each picture token attends to chosen words.

Text and picture share one sequence, and attention is one call. Beside the call itself, the same call is made once more
with the picture's queries and with indicator columns for values: the result is the exact softmax mass on each word,
after the network's own norm, RoPE and mask. No matrix of scores is built, and the output stays as it is.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .attention import Key, Words

Attention = Callable[..., Tensor]


@dataclass(frozen=True)
class TextLayout:
    """Where words and picture stand in the sequences of one family of transformers.

    `blocks`: the network's lists of blocks that attend jointly, in order. `patch`: latent pixels per token and side.
    `registers`: tokens of the network's own before the text. `left`: the text is padded on the left to this length.
    `multiple`: text and picture are padded on the right to multiples of it. `picture_first`: the picture comes before
    the text. `second_twice`: a second text follows the first, and stands there twice. `separate`: the picture attends to the
    text alone, in a call of its own. `layers`: which are read, by the lengths of the lists of blocks, where this is
    published; elsewhere the middle half.
    """

    blocks: tuple[str, ...]
    patch: int = 2
    registers: int = 0
    left: int = 0
    multiple: int = 1
    picture_first: bool = False
    second_twice: bool = False
    separate: bool = False
    layers: Mapping[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of picture tokens of a latent."""
        return -(-height // self.patch), -(-width // self.patch)

    def chosen(self, counts: Sequence[int]) -> tuple[int, ...]:
        """The layers that are read, counted over all joint attention calls of a network with so many blocks."""
        total = sum(counts)
        return self.layers.get(tuple(counts)) or tuple(range(total // 4, max(total - total // 4, total // 4 + 1)))

    def text_tokens(self, lengths: Sequence[int]) -> int:
        """Tokens of the texts in the sequence, of conditionings so long; registers and padding included."""
        text = self.registers + _padded(max(lengths[0], self.left), self.multiple)
        return text + 2 * sum(lengths[1:]) if self.second_twice else text

    def picture_tokens(self, cells: tuple[int, int]) -> int:
        """Tokens of the picture, padding included."""
        return _padded(math.prod(cells), self.multiple)

    def picture_start(self, lengths: Sequence[int]) -> int:
        """The picture's first token."""
        return 0 if self.picture_first or self.separate else self.text_tokens(lengths)

    def columns(self, position: int, encoded: int, lengths: Sequence[int], cells: tuple[int, int]) -> tuple[int, ...]:
        """Where the token at `position` of a conditioning of `encoded` tokens stands among the keys.

        Where there is a second text, positions from `encoded` on are those of its tokens.
        """
        start = self.picture_tokens(cells) if self.picture_first else self.registers
        if self.second_twice and position >= encoded:
            second = start + lengths[0] + position - encoded
            return second, second + lengths[1]
        return (start + max(0, self.left - encoded) + position,)


def _padded(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


class JointAttentionCapture:
    """Collects maps of words from the attention calls of a transformer, for one model call or several parts of one.

    The same use as `AttentionCapture`: the host announces whose rows a call holds, here with the lengths of its texts,
    and routes the attention through `override`. `counts`: how many blocks each of the layout's lists holds.
    """

    def __init__(self, layout: TextLayout, counts: Sequence[int], cells: tuple[int, int], words: Mapping[Key, Words]) -> None:
        self.layout, self.cells, self.words = layout, cells, words
        self.calls, self.chosen = sum(counts), frozenset(layout.chosen(counts))
        self._in_row: dict[Key, list[Key]] = {}
        for key, one in words.items():
            self._in_row.setdefault(key if one.row is None else one.row, []).append(key)
        self._sums: dict[Key, Tensor] = {}
        self._counts: dict[Key, int] = {}
        self._selectors: dict[tuple, Tensor] = {}
        self._lock, self._local = threading.Lock(), threading.local()
        self.mismatch = ""

    @contextmanager
    def rows(self, keys: Sequence[Key], lengths: Sequence[int], others: int = 0) -> Iterator[None]:
        """Announce the rows of the call made inside, the lengths of its texts, and its tokens of other pictures."""
        local = self._local
        local.keys, local.lengths, local.others, local.call, local.seen = list(keys), tuple(lengths), others, 0, set()
        try:
            yield
            if any(key in self._in_row for key in keys) and local.call != self.calls:
                self.mismatch = self._describe(local)
        finally:
            local.keys = None

    def _describe(self, local: threading.local) -> str:
        expected = self.layout.text_tokens(local.lengths), self.layout.picture_tokens(self.cells) + local.others
        seen = ", ".join(f"{q} x {k}" for q, k in sorted(local.seen)[:6]) or "none"
        return (
            f"{local.call} of {self.calls} attention calls had the length of this model's text and picture "
            f"({expected[0]} and {expected[1]} tokens; lengths seen: {seen})"
        )

    def override(self, previous: Callable | None = None) -> Callable:
        """An attention override around another node's, or around none; the output is bit by bit the same as without it."""

        def attend(attention: Attention, *args: object, **kwargs: object) -> Tensor:
            out = attention(*args, **kwargs) if previous is None else previous(attention, *args, **kwargs)
            if getattr(self._local, "keys", None):
                self._watch(_Call(attention, args, kwargs))
            return out

        return attend

    def _watch(self, call: _Call) -> None:
        local = self._local
        local.seen.add(call.lengths)
        if not self._joint(*call.lengths):
            return
        if local.call in self.chosen:
            self._read(call)
        local.call += 1

    def _joint(self, queries: int, keys: int) -> bool:
        local, layout = self._local, self.layout
        text, picture = layout.text_tokens(local.lengths), layout.picture_tokens(self.cells)
        if layout.separate:
            return queries == picture + local.others and keys == text
        return queries in (text + picture, text + picture + local.others) and keys == text + picture + local.others

    def _read(self, call: _Call) -> None:
        keys, rows = self._local.keys, len(call.q)
        if rows % len(keys) or rows != len(call.k):
            raise RuntimeError(
                f"The attention layers saw {rows} rows for {len(keys)} conditionings: another node rearranges the "
                "batch inside the attention. Remove it, or choose mask = noise."
            )
        batch, start = rows // len(keys), self.layout.picture_start(self._local.lengths)
        for n, row in enumerate(keys):
            wanted = self._in_row.get(row, [])
            for first in range(0, len(wanted), call.width):
                group = tuple(wanted[first : first + call.width])
                part = call.part(slice(n * batch, (n + 1) * batch), slice(start, start + math.prod(self.cells)))
                self._count(group, part.mean_over_heads(self._selector(group, call.lengths[1], call.width, call.k)))

    def _selector(self, group: tuple, tokens: int, width: int, like: Tensor) -> Tensor:
        local = self._local
        kind = (group, tokens, width, local.lengths, like.device, like.dtype)
        if kind not in self._selectors:
            made = torch.zeros(tokens, width, device=like.device, dtype=like.dtype)
            for channel, key in enumerate(group):
                words = self.words[key]
                for position in words.positions:
                    for column in self.layout.columns(position, words.length, local.lengths, self.cells):
                        made[column, channel] = getattr(position, "weight", 1.0)
            self._selectors[kind] = made
        return self._selectors[kind]

    def _count(self, group: Sequence[Key], maps: Tensor) -> None:
        with self._lock:
            for channel, key in enumerate(group):
                one = maps[..., channel]
                self._sums[key] = self._sums[key] + one.to(self._sums[key]) if key in self._sums else one
                self._counts[key] = self._counts.get(key, 0) + 1

    def layers(self, key: Key) -> int:
        """From how many layers there is a map for this key."""
        return self._counts.get(key, 0)

    def maps(self) -> dict[Key, Tensor]:
        """The mean over the layers, (B, ch, cw), of every key that has a map."""
        return {key: (self._sums[key] / n).unflatten(1, self.cells) for key, n in self._counts.items()}


class _Call:
    """One call of ComfyUI's attention: attention(q, k, v, heads, mask, ...), heads in their own axis or in the last."""

    NAMES = ("q", "k", "v", "heads", "mask", "attn_precision", "skip_reshape", "skip_output_reshape")

    def __init__(self, attention: Attention, args: Sequence, kwargs: Mapping) -> None:
        self.attention = attention
        self.arguments = dict(zip(self.NAMES, args)) | dict(kwargs)  # backends name the first three differently
        self.q, self.k, self.heads = self.arguments.pop("q"), self.arguments.pop("k"), self.arguments.pop("heads")
        self.arguments.pop("v", None)
        self.axis = 2 if self.arguments.get("skip_reshape") else 1
        self.width = self.q.shape[-1] if self.axis == 2 else self.q.shape[-1] // self.heads

    @property
    def lengths(self) -> tuple[int, int]:
        """Tokens of queries and keys."""
        return self.q.shape[self.axis], self.k.shape[self.axis]

    def part(self, rows: slice, tokens: slice) -> _Call:
        """The same call for some rows of the batch and some query tokens."""
        mask = self.arguments.get("mask")
        if mask is not None:
            if mask.ndim > 1 and mask.shape[-2] == self.lengths[0] and (mask.ndim > 2 or len(mask) != len(self.q)):
                mask = mask[..., tokens, :]
            if len(mask) == len(self.q) and (mask.ndim != 2 or mask.shape[-1] == self.lengths[1]):
                mask = mask[rows]
        q = self.q[rows].narrow(self.axis, tokens.start, tokens.stop - tokens.start)
        return _Call(self.attention, (q, self.k[rows], None, self.heads), self.arguments | {"mask": mask})

    def mean_over_heads(self, selector: Tensor) -> Tensor:
        """Attention (B, n, d) with the columns of `selector` (m, d) as every head's values, averaged over the heads; float32."""
        k = self.k
        if self.axis == 2:
            values = selector.expand(*k.shape[:2], *selector.shape)
        else:
            values = selector.repeat(1, k.shape[-1] // self.width).expand(len(k), -1, -1)
        out = self.attention(self.q, k, values, self.heads, **self.arguments)
        if self.arguments.get("skip_output_reshape"):
            return out.float().mean(1)
        return out.float().unflatten(-1, (self.heads, self.width)).mean(2)
