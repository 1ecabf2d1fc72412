"""Cross-attention maps of chosen words, captured while the model runs (LEDITS++ M1).

Temporary forward hooks on the query and key projections see what the layers see, whatever else is patched, and leave
the output as it is. Each map is reduced at once: over the words, the heads and the layers, to one number per cell.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

Key = Hashable
DOWN_AND_UP = ("input_blocks.", "output_blocks.")
SUFFIX = ".attn2"


@dataclass(frozen=True)
class Words:
    """Columns of one conditioning: positions of the phrase's words among `length` tokens."""

    positions: tuple[int, ...]
    length: int

    def columns(self, tokens: int) -> list[int]:
        """The words' columns among `tokens`; the host repeats short conditionings to match long ones."""
        return [p + start for start in range(0, tokens, self.length) for p in self.positions]


def cells_of(height: int, width: int) -> tuple[int, int]:
    """Size of the grid that M1 lives on: the latent halved twice, rounding up as the network does."""
    halve = [(n + 1) // 2 for n in (height, width)]
    return (halve[0] + 1) // 2, (halve[1] + 1) // 2


def cross_attentions(unet: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The cross-attention layers of the down and up blocks; the middle block is left out, as in the reference."""
    for name, module in unet.named_modules():
        if name.startswith(DOWN_AND_UP) and name.endswith(SUFFIX):
            yield name, module


def word_attention(q: Tensor, k: Tensor, heads: int, columns: Sequence[int]) -> Tensor:
    """Attention (B, n) on `columns`, summed over them and averaged over the heads; float32.

    q (B, n, heads * d) and k (B, m, heads * d) as projected; the softmax is over all m tokens, scale 1 / sqrt(d).
    """
    b, n, c = q.shape
    q = q.float().view(b, n, heads, c // heads).transpose(1, 2)
    k = k.float().view(b, -1, heads, c // heads).transpose(1, 2)
    weights = ((q @ k.transpose(-1, -2)) * (c // heads) ** -0.5).softmax(-1)
    return weights[..., list(columns)].sum(-1).mean(1)


class AttentionCapture:
    """Collects maps of the wanted rows at the resolution of `cells`, for one model call or several parts of one.

    The host announces, per part, which key each chunk of the batch belongs to (`rows`). Parts may run in several
    threads, one per device.
    """

    def __init__(self, cells: tuple[int, int], words: Mapping[Key, Words]) -> None:
        self.cells, self.words = cells, words
        self._sums: dict[Key, Tensor] = {}
        self._counts: dict[Key, int] = {}
        self._lock = threading.Lock()
        self._local = threading.local()

    @contextmanager
    def hooked(self, unets: Sequence[nn.Module]) -> Iterator[None]:
        """Install the hooks on these networks, and remove them whatever happens."""
        handles = []
        try:
            for unet in unets:
                for _, layer in cross_attentions(unet):
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
        for chunk_q, chunk_k, key in zip(q.chunk(len(keys)), k.chunk(len(keys)), keys, strict=True):
            if key in self.words:
                columns = self.words[key].columns(k.shape[1])
                self._count(key, word_attention(chunk_q, chunk_k, heads, columns))

    def _count(self, key: Key, found: Tensor) -> None:
        with self._lock:
            if key in self._sums:
                self._sums[key] += found.to(self._sums[key])
            else:
                self._sums[key] = found
            self._counts[key] = self._counts.get(key, 0) + 1

    def maps(self) -> dict[Key, Tensor]:
        """The mean map (B, ch, cw) of every key that was seen."""
        return {key: (self._sums[key] / n).unflatten(1, self.cells) for key, n in self._counts.items()}
