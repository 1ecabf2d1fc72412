"""What an editor's text is: the artist's graph, and what it remembers of the extraction that was edited."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .formats import graph_from_data, read_graph, write_json
from .graph import CausalGraph, GraphError
from .merge import Conflict, merge
from .presets import street

MEMORY_KEYS = ("extracted", "latest", "settled")


@dataclass(frozen=True)
class Memory:
    """What an editor's text remembers of the extraction under it.

    `base` is the extraction that the artist edited; `latest` another one merged since, while
    conflicts with it are open, or else the same; `settled` the keys of conflicts decided for the artist.
    """

    base: CausalGraph = field(default_factory=CausalGraph)
    latest: CausalGraph = field(default_factory=CausalGraph)
    settled: frozenset[str] = frozenset()


def remembered(stored: CausalGraph) -> Memory:
    """Return what a stored graph remembers; raises GraphError when that is no graph."""
    base, latest = (_graph_under(stored, key) for key in ("extracted", "latest"))
    base = base or CausalGraph()
    settled = stored.extra.get("settled")
    return Memory(base, latest or base, frozenset(map(str, settled if isinstance(settled, list) else ())))


def _graph_under(stored: CausalGraph, key: str) -> CausalGraph | None:
    data = stored.extra.get(key)
    if not data:
        return None
    try:
        return graph_from_data(data)
    except GraphError as error:
        raise GraphError(
            f"Under {key!r} the text keeps the graph that was edited, and it is damaged: {error}"
        ) from None


def forget(stored: CausalGraph) -> CausalGraph:
    """Return the graph without what only a merge needs."""
    return replace(stored, extra={key: value for key, value in stored.extra.items() if key not in MEMORY_KEYS})


def merge_again(memory: Memory, mine: CausalGraph, theirs: CausalGraph) -> tuple[CausalGraph, list[Conflict]]:
    """Return `mine` with the news of `theirs`, and every conflict that is open."""
    graph, conflicts = merge(memory.latest, mine, theirs, memory.settled)
    if memory.latest is memory.base:
        return graph, conflicts
    _, before = merge(memory.base, graph, theirs, memory.settled)
    shown = {conflict.key for conflict in before}
    return graph, before + [conflict for conflict in conflicts if conflict.key not in shown]


def edited(text: str, graph: CausalGraph | None = None) -> tuple[CausalGraph, list[Conflict]]:
    """Return the graph that an editor's text and its optional input graph make together, and the open conflicts.

    With a graph connected, an empty text (or the sample text, untouched) leaves it as it is; any
    other text is the artist's work on an extraction that it remembers, and is merged with the graph.
    Raises GraphError when the text is broken or there is neither.
    """
    if graph is not None and text.strip() in ("", sample_text().strip()):
        return graph, []
    if not text.strip():
        raise GraphError('The graph is empty: write at least {"concepts": []}, or connect a graph.')
    stored = read_graph(text)
    memory, mine = remembered(stored), forget(stored)
    return (mine, []) if graph is None else merge_again(memory, mine, forget(graph))


def sample_text() -> str:
    """Return the text that a new editor starts with."""
    return write_json(street())
