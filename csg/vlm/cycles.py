"""Making the causal edges of a reply acyclic: what closes a cycle becomes a proposal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import networkx as nx

from ..causal.graph import Edge


def without_cycles(edges: Sequence[Edge]) -> tuple[tuple[Edge, ...], tuple[Edge, ...]]:
    """Return (all edges, with those marked as proposed that close a cycle; the edges so marked).

    Confirmed edges are taken one after the other, those with a reason first; one that closes a cycle with
    those taken before becomes a proposal.
    """
    taken = nx.DiGraph()
    demoted: dict[Edge, Edge] = {}
    for edge in sorted(edges, key=lambda edge: not edge.reason.strip()):
        if edge.status != "confirmed":
            continue
        if edge.cause in taken and edge.effect in taken and nx.has_path(taken, edge.effect, edge.cause):
            demoted[edge] = replace(edge, status="proposed")
        else:
            taken.add_edge(edge.cause, edge.effect)
    return tuple(demoted.get(edge, edge) for edge in edges), tuple(demoted[edge] for edge in edges if edge in demoted)
