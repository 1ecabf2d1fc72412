"""Making the causal edges of a reply acyclic at the least cost: what closes a cycle becomes a proposal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations

import networkx as nx

from ..causal.graph import Edge

MAX_EDGES_VISITED = 300_000


def without_cycles(edges: Sequence[Edge]) -> tuple[tuple[Edge, ...], tuple[Edge, ...]]:
    """Return (all edges, with those marked as proposed that close a cycle; the edges so marked).

    The fewest confirmed edges become proposals, and among those the least sure: without a reason
    before with one, later before earlier. Small tangles are solved exactly, large ones by adding
    edges from the surest on and demoting each that closes a cycle.
    """
    doubted: set[Edge] = set()
    for tangle in _tangles([edge for edge in edges if edge.status == "confirmed"]):
        doubted.update(_fewest(tangle) or _greedy(tangle))
    demoted = {edge: replace(edge, status="proposed") for edge in edges if edge in doubted}
    return tuple(demoted.get(edge, edge) for edge in edges), tuple(demoted.values())


def _tangles(edges: Sequence[Edge]) -> list[list[Edge]]:
    """Return the edges of each strongly connected part."""
    parts = nx.strongly_connected_components(_digraph(edges))
    return [inside for part in parts if (inside := [e for e in edges if {e.cause, e.effect} <= part])]


def _digraph(edges: Iterable[Edge]) -> nx.DiGraph:
    return nx.DiGraph((edge.cause, edge.effect) for edge in edges)


def _confidence(edge: Edge) -> int:
    return int(bool(edge.reason.strip()))


def _fewest(tangle: list[Edge]) -> tuple[Edge, ...] | None:
    """Return the smallest, least sure set that breaks every cycle; None when too many to try."""
    doubtful_first = [edge for _, edge in sorted(enumerate(tangle), key=lambda item: (_confidence(item[1]), -item[0]))]
    visited = 0
    for size in range(1, len(tangle)):
        breaking = []
        for gone in combinations(doubtful_first, size):
            visited += len(tangle)
            if visited > MAX_EDGES_VISITED:
                return None
            if nx.is_directed_acyclic_graph(_digraph(e for e in tangle if e not in gone)):
                breaking.append(gone)
        if breaking:
            return min(breaking, key=lambda gone: sum(map(_confidence, gone)))
    return None


def _greedy(tangle: list[Edge]) -> tuple[Edge, ...]:
    kept, gone = nx.DiGraph(), []
    for edge in sorted(tangle, key=_confidence, reverse=True):
        if edge.cause in kept and edge.effect in kept and nx.has_path(kept, edge.effect, edge.cause):
            gone.append(edge)
        else:
            kept.add_edge(edge.cause, edge.effect)
    return tuple(gone)
