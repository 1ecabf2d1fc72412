"""Several readings of one picture joined to one graph: each edge with the share of the readings that draw it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..causal.graph import CausalGraph, Edge
from .cycles import without_cycles
from .replies import INCOMPLETE, matching_name

SHARE = "share"
"""The key of an edge in a graph's JSON: in which share of the readings it was drawn, in [0, 1]."""
MAJORITY = 0.5
SHOWN = 40  # edges in a note


def vote(graphs: Sequence[CausalGraph]) -> tuple[CausalGraph, tuple[str, ...]]:
    """Return (one graph over the concepts that the readings agree on most, notes on what the vote settled).

    Concepts, values and base prompt are those of the reading whose concepts most others have too, as it stands. An edge is
    confirmed where at least half of the readings draw it, else a proposal; an edge that a model itself proposed draws nothing.
    What closes a cycle becomes a proposal, as in a single reading: edges with a reason are taken first, then by their shares.
    Readings that could not be read whole count only where none could be. Raises ValueError for no graph at all.
    """
    if not graphs:
        raise ValueError("There is no reading to vote on; at least one is needed.")
    whole = [graph for graph in graphs if INCOMPLETE not in graph.extra] or list(graphs)
    whole = sorted(whole, key=lambda graph: -sum(_shared(graph, other) for other in whole))
    edges = sorted(_edges(whole), key=lambda edge: -edge.extra[SHARE])
    kept, doubted = without_cycles(edges)
    unread = f" {len(graphs) - len(whole)} more could not be read whole." if len(whole) < len(graphs) else ""
    shares = ", ".join(f"{edge} {edge.extra[SHARE]:.2f}" for edge in kept[:SHOWN]) + (", ..." if len(kept) > SHOWN else "")
    notes = [f"{len(whole)} readings draw these edges, each in a share of them: {shares or 'none'}.{unread}"]
    notes += [f"The edge {edge} would close a cycle; it becomes a proposal, without effect." for edge in doubted]
    return replace(whole[0], edges=kept), tuple(notes)


def _shared(graph: CausalGraph, other: CausalGraph) -> int:
    """How many concepts two readings have in common, by their names."""
    return sum(matching_name(name, other.names) is not None for name in graph.names)


def _edges(graphs: Sequence[CausalGraph]) -> Iterable[Edge]:
    """Every edge that some reading has between the concepts of the first, with its share."""
    names = graphs[0].names
    first: dict[tuple[str, str], Edge] = {}
    drawn: dict[tuple[str, str], int] = {}
    for graph in graphs:
        by_ends = {(matching_name(edge.cause, names), matching_name(edge.effect, names)): edge for edge in graph.edges}
        for pair, edge in by_ends.items():
            if None not in pair and pair[0] != pair[1]:
                first.setdefault(pair, edge)
                drawn[pair] = drawn.get(pair, 0) + (edge.status == "confirmed")
    for (cause, effect), edge in first.items():
        share = drawn[cause, effect] / len(graphs)
        status = "confirmed" if share >= MAJORITY else "proposed"
        yield Edge(cause, effect, edge.reason, status, {**edge.extra, SHARE: round(share, 3)})
