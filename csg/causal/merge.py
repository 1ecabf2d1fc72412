"""Laying an artist's graph over another one, such as one that a model extracted."""

from __future__ import annotations

from dataclasses import replace

from .formats import read_graph, write_json
from .graph import CausalGraph, Concept, GraphError
from .presets import street


def overlay(base: CausalGraph, artist: CausalGraph) -> CausalGraph:
    """Return `base` with everything that `artist` says instead.

    Concepts are matched by name and edges by their two ends; what only one of the graphs has is
    kept. A concept the artist has not placed stays where `base` draws it.
    """
    concepts = {concept.name: concept for concept in base.concepts}
    concepts |= {concept.name: _placed(concept, concepts.get(concept.name)) for concept in artist.concepts}
    edges = {(edge.cause, edge.effect): edge for edge in (*base.edges, *artist.edges)}
    return CausalGraph(
        base_prompt=artist.base_prompt or base.base_prompt,
        concepts=tuple(concepts.values()),
        edges=tuple(edges.values()),
        interventions={**base.interventions, **artist.interventions},
        extra={**base.extra, **artist.extra},
    )


def _placed(concept: Concept, before: Concept | None) -> Concept:
    if concept.position is not None or before is None:
        return concept
    return replace(concept, position=before.position)


def edited(text: str, graph: CausalGraph | None = None) -> CausalGraph:
    """Return the graph that an editor's text and its optional input graph make together.

    With a graph connected, an empty text (or the sample text, untouched) leaves it as it is, and
    any other text is laid over it. Raises GraphError when the text is broken or there is neither.
    """
    if graph is not None and text.strip() in ("", sample_text().strip()):
        return graph
    if not text.strip():
        raise GraphError('The graph is empty: write at least {"concepts": []}, or connect a graph.')
    artist = read_graph(text)
    return artist if graph is None else overlay(graph, artist)


def sample_text() -> str:
    """Return the text that a new editor starts with."""
    return write_json(street())
