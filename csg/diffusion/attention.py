"""Cross-attention maps of chosen words, captured while the model runs (LEDITS++ M1).

Temporary forward hooks on the query and key projections see what the layers see, whatever else is patched, and leave
the output as it is. Each map is reduced at once: over the words, the heads and the layers, to one number per cell.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Key = Hashable
SCORES_AT_ONCE = 1 << 24  # 64 MiB of float32, while a layer's attention is reduced


@dataclass(frozen=True)
class Words:
    """Columns of one conditioning: positions of the phrase's words among `length` tokens.

    `row` names the conditioning whose row is looked at, where that is not the words' own.
    """

    positions: tuple[int, ...]
    length: int
    row: Key | None = None

    def columns(self, tokens: int, device: torch.device | str = "cpu") -> Tensor:
        """Float (tokens,): 1 at the words' columns, else 0. ComfyUI repeats a short conditioning to match a long one.

        Made on the device: a transfer in every step would wait for the device.
        """
        column = torch.arange(tokens, device=device) % self.length
        return sum((column == p for p in self.positions), torch.zeros_like(column)).float()


def cells_of(height: int, width: int) -> tuple[int, int]:
    """Size of the grid that M1 lives on: the latent halved twice, rounding up as the network does."""
    halve = [(n + 1) // 2 for n in (height, width)]
    return (halve[0] + 1) // 2, (halve[1] + 1) // 2


def cross_attentions(unet: nn.Module) -> Iterator[nn.Module]:
    """The cross-attention layers of the down and up blocks; the middle block is left out, as in the reference."""
    for block in (*unet.input_blocks, *unet.output_blocks):
        for layer in block:
            for transformer in getattr(layer, "transformer_blocks", ()):
                yield transformer.attn2


def quarter_layers(unet: nn.Module) -> int:
    """How many cross-attention layers work at a quarter of the latent's size, where M1 is made."""
    count, halvings = 0, 0
    for block in (*unet.input_blocks, *unet.output_blocks):
        for layer in block:
            kind = type(layer).__name__
            halvings += (kind == "Downsample") - (kind == "Upsample")
            count += len(getattr(layer, "transformer_blocks", ())) * (halvings == 2)
    return count


def word_attention(q: Tensor, k: Tensor, heads: int, words: Tensor) -> Tensor:
    """Attention (B, n) on the `words` (B, m; 1 for a word, else 0), summed over them, averaged over the heads; float32.

    q (B, n, heads * d) and k (B, m, heads * d) as projected; the softmax is over all m tokens, scale 1 / sqrt(d).
    """
    d = q.shape[-1] // heads
    q = q.float().unflatten(-1, (heads, d)).transpose(1, 2)
    k = k.float().unflatten(-1, (heads, d)).permute(0, 2, 3, 1)
    weights = ((q * d**-0.5) @ k).softmax(-1)
    return (weights @ words[:, None, :, None]).squeeze(-1).mean(1)


class AttentionCapture:
    """Collects maps of the wanted rows at the resolution of `cells`, for one model call or several parts of one.

    The host announces, per part, which key each chunk of the batch belongs to (`rows`). Parts may run in several
    threads, one per device.
    """

    def __init__(self, cells: tuple[int, int], words: Mapping[Key, Words]) -> None:
        self.cells, self.words = cells, words
        self._in_row: dict[Key, list[Key]] = {}
        for key, one in words.items():
            self._in_row.setdefault(key if one.row is None else one.row, []).append(key)
        self._sums: dict[Key, Tensor] = {}
        self._counts: dict[Key, int] = {}
        self._columns: dict[tuple, Tensor] = {}
        self._lock = threading.Lock()
        self._local = threading.local()

    @contextmanager
    def hooked(self, unets: Sequence[nn.Module]) -> Iterator[None]:
        """Install the hooks on these networks, and remove them whatever happens."""
        handles = []
        try:
            for unet in unets:
                for layer in cross_attentions(unet):
                    handles.append(layer.to_q.register_forward_hook(self._keep_queries))
                    handles.append(layer.to_k.register_forward_hook(self._reader(layer)))
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._local = threading.local()

    @contextmanager
    def rows(self, keys: Sequence[Key]) -> Iterator[None]:
        """Announce the keys of the chunks, in batch order, of the call made inside."""
        self._local.keys = list(keys)
        try:
            yield
        finally:
            self._local.keys = None
            self._local.queries = None

    def _keep_queries(self, _: nn.Module, __: tuple, output: Tensor) -> None:
        wanted = getattr(self._local, "keys", None) and output.shape[1] == self.cells[0] * self.cells[1]
        self._local.queries = output if wanted else None

    def _reader(self, layer: nn.Module) -> object:
        def read(_: nn.Module, __: tuple, output: Tensor) -> None:
            queries = getattr(self._local, "queries", None)
            self._local.queries = None
            if queries is not None:
                self._reduce(queries, output, layer.heads)

        return read

    def _reduce(self, q: Tensor, k: Tensor, heads: int) -> None:
        keys = self._local.keys
        if len(q) % len(keys) or len(q) != len(k):
            raise RuntimeError(
                f"The attention layers saw {len(q)} rows for {len(keys)} conditionings: another node rearranges the "
                "batch inside the attention (attention couple does). Remove it, or choose mask = noise."
            )
        parts = zip(keys, q.chunk(len(keys)), k.chunk(len(keys)), strict=True)
        chunks = [(key, qs, ks) for row, qs, ks in parts for key in self._in_row.get(row, ())]
        step = max(1, SCORES_AT_ONCE // (len(q) // len(keys) * heads * q.shape[1] * k.shape[1]))
        for start in range(0, len(chunks), step):
            some, qs, ks = zip(*chunks[start : start + step], strict=True)
            maps = word_attention(torch.cat(qs), torch.cat(ks), heads, self._selection(some, ks[0]))
            for key, one in zip(some, maps.chunk(len(some)), strict=True):
                self.add(key, one)

    def _selection(self, keys: Sequence[Key], like: Tensor) -> Tensor:
        """The words' columns of every row of these keys, made for the first layer and kept for the others."""
        tokens, device = like.shape[1], like.device
        kind = (tuple(keys), tokens, device)
        if kind not in self._columns:
            columns = torch.stack([self.words[key].columns(tokens, device) for key in keys])
            self._columns[kind] = columns.repeat_interleave(len(like), 0)
        return self._columns[kind]

    def add(self, key: Key, attention: Tensor) -> None:
        """Count in the map (B, n) that one layer gave for this key."""
        with self._lock:
            if key in self._sums:
                self._sums[key] += attention.to(self._sums[key])
            else:
                self._sums[key] = attention
            self._counts[key] = self._counts.get(key, 0) + 1

    def layers(self, key: Key) -> int:
        """From how many layers there is a map for this key."""
        return self._counts.get(key, 0)

    def maps(self) -> dict[Key, Tensor]:
        """The mean over the layers, (B, ch, cw), of every key that has a map."""
        return {key: (self._sums[key] / n).unflatten(1, self.cells) for key, n in self._counts.items()}
