"""Where the concepts of a graph stand when it is drawn, causes to the left of their effects.

The layered method of Sugiyama, Tagawa and Toda (1981): concepts go into columns by topological
generation, edges that span several columns reserve a lane in those between, and sweeps order each
column by the barycentre of its neighbours, which keeps crossings few. A proposed edge that closes a
cycle is laid out as if it were turned round, and runs back from right to left.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx

from .curves import Point
from .graph import CausalGraph, Edge

Pair = tuple[str, str]
_Item = str | tuple[str, str, int]
"""A concept's name, or one lane of an edge: cause, effect, column."""

SWEEPS = 12
MAX_STRETCH = 6.0
MAX_EXTENT = 1e6
MAX_LANES = 400
"""Past this many lanes a drawing is no clearer for them, and long edges run straight across."""


@dataclass(frozen=True)
class Layout:
    """Centres of the boxes, and for each edge the lanes that it runs through on its way, in pixels."""

    centres: Mapping[str, Point]
    lanes: Mapping[Pair, tuple[Point, ...]]


def lay_out(graph: CausalGraph, box: Point, gap: Point) -> Layout:
    """Place boxes of size `box` (width, height), at least `gap` apart.

    The stored positions are used when every concept has one, spread out as far as it takes to keep
    the boxes apart; otherwise the graph is laid out in layers.
    """
    stored = {concept.name: concept.position for concept in graph.concepts if concept.position is not None}
    if len(stored) == len(graph.concepts) and _extent(stored.values()) <= MAX_EXTENT:
        stretch = _stretch(list(stored.values()), box, gap)
        return Layout({name: (x * stretch, y * stretch) for name, (x, y) in stored.items()}, {})
    return _layered(graph, box, gap)


def _extent(points: Iterable[Point]) -> float:
    return max((abs(number) for point in points for number in point), default=0.0)


def _stretch(points: Sequence[Point], box: Point, gap: Point) -> float:
    """Return the smallest factor, from 1 on, that keeps boxes around the points apart."""
    needed = 1.0
    for index, (x, y) in enumerate(points):
        for other_x, other_y in points[:index]:
            across = _ratio(box[0] + gap[0] / 2, abs(x - other_x))
            down = _ratio(box[1] + gap[1] / 2, abs(y - other_y))
            needed = max(needed, min(across, down, MAX_STRETCH))
    return needed


def _ratio(wanted: float, given: float) -> float:
    return wanted / given if given > 0 else math.inf


def _layered(graph: CausalGraph, box: Point, gap: Point) -> Layout:
    columns, links = _columns(graph)
    columns = _untangled(columns, links)
    heights = {item: box[1] if isinstance(item, str) else 0.0 for column in columns for item in column}
    rows = _rows(columns, links, heights, gap[1])
    places = {item: (index * (box[0] + gap[0]), rows[item]) for index, column in enumerate(columns) for item in column}
    centres = {name: places[name] for name in graph.names}
    lanes: dict[Pair, tuple[Point, ...]] = {}
    for item, point in places.items():
        if not isinstance(item, str):
            lanes[item[:2]] = (*lanes.get(item[:2], ()), point)
    return Layout(centres, {pair: _in_direction(pair, points, centres) for pair, points in lanes.items()})


def _in_direction(pair: Pair, lanes: tuple[Point, ...], centres: Mapping[str, Point]) -> tuple[Point, ...]:
    """Return the lanes from left to right, or from right to left for an edge that runs back."""
    (start, _), (end, _) = (centres[name] for name in pair)
    return lanes if start < end else lanes[::-1]


def _columns(graph: CausalGraph) -> tuple[list[list[_Item]], dict[_Item, set[_Item]]]:
    """Return the columns with lanes for long edges, and each item's neighbours; concepts apart go last."""
    linked = {end for edge in graph.edges for end in (edge.cause, edge.effect)}
    columns: list[list[_Item]] = [sorted(layer, key=lambda name: name not in linked) for layer in _generations(graph)]
    column_of = {name: index for index, column in enumerate(columns) for name in column}
    links: dict[_Item, set[_Item]] = {name: set() for name in graph.names}
    spans = [_between(edge, column_of) for edge in graph.edges]
    crowded = sum(map(len, spans)) > MAX_LANES
    for edge, span in zip(graph.edges, spans, strict=True):
        left, right = sorted((edge.cause, edge.effect), key=column_of.__getitem__)
        before: _Item = left
        for index in () if crowded else span:
            lane = (edge.cause, edge.effect, index)
            columns[index].append(lane)
            _link(links, before, lane)
            before = lane
        _link(links, before, right)
    return columns, links


def _generations(graph: CausalGraph) -> list[list[str]]:
    """Return the names in layers, in the artist's order, each one layer after the latest of its causes."""
    forward = nx.DiGraph()
    forward.add_nodes_from(graph.names)
    forward.add_edges_from((edge.cause, edge.effect) for edge in graph.forward_edges())
    layer_of = {name: index for index, layer in enumerate(nx.topological_generations(forward)) for name in layer}
    layers: list[list[str]] = [[] for _ in set(layer_of.values())]
    for name in graph.names:
        layers[layer_of[name]].append(name)
    return layers


def _between(edge: Edge, column_of: Mapping[str, int]) -> range:
    """Return the columns that an edge passes; no edge stays within one."""
    first, last = sorted((column_of[edge.cause], column_of[edge.effect]))
    return range(first + 1, last)


def _link(links: dict[_Item, set[_Item]], one: _Item, other: _Item) -> None:
    links.setdefault(one, set()).add(other)
    links.setdefault(other, set()).add(one)


def _untangled(columns: list[list[_Item]], links: Mapping[_Item, set[_Item]]) -> list[list[_Item]]:
    """Return the order with the fewest crossings that the sweeps come upon."""
    best, fewest = columns, _crossings(columns, links)
    for sweep in range(SWEEPS):
        columns = [list(column) for column in columns]
        _sweep(columns, links, forwards=sweep % 2 == 0)
        crossings = _crossings(columns, links)
        if crossings < fewest:
            best, fewest = columns, crossings
    return best


def _crossings(columns: list[list[_Item]], links: Mapping[_Item, set[_Item]]) -> int:
    """Count pairs of links between neighbouring columns that cross: inversions of their right ends."""
    total = 0
    for left, right in zip(columns, columns[1:]):
        place = {item: row for row, item in enumerate(right)}
        ends = [row for item in left for row in sorted(place[n] for n in links[item] if n in place)]
        above: list[int] = []
        for end in ends:
            index = bisect_right(above, end)
            total += len(above) - index
            above.insert(index, end)
    return total


def _sweep(columns: list[list[_Item]], links: Mapping[_Item, set[_Item]], forwards: bool) -> None:
    """Order each column by the mean place of its neighbours in the column before it."""
    order = range(1, len(columns)) if forwards else range(len(columns) - 2, -1, -1)
    for index in order:
        column, fixed = columns[index], columns[index - 1 if forwards else index + 1]
        place = {item: row / max(len(fixed) - 1, 1) for row, item in enumerate(fixed)}
        own = {item: row / max(len(column) - 1, 1) for row, item in enumerate(column)}
        column.sort(key=lambda item: _mean([place[n] for n in links[item] if n in place], own[item]))


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise


def _rows(
    columns: list[list[_Item]], links: Mapping[_Item, set[_Item]], heights: Mapping[_Item, float], gap: float
) -> dict[_Item, float]:
    """Return the vertical centre of each item: drawn to its neighbours, without changing the order."""
    rows: dict[_Item, float] = {}
    for column in columns:
        rows |= _stacked(column, dict.fromkeys(column, 0.0), heights, gap)
    for _ in range(SWEEPS):
        for column in columns:
            wished = {item: _mean([rows[n] for n in links[item]], rows[item]) for item in column}
            rows |= _stacked(column, wished, heights, gap)
    return rows


def _stacked(
    column: Sequence[_Item], wished: Mapping[_Item, float], heights: Mapping[_Item, float], gap: float
) -> dict[_Item, float]:
    """Return centres as near to the wished ones as the order and the gaps allow (least squares).

    With the space each item needs taken off, the task is isotonic regression: neighbours that
    would overlap are pooled at their mean.
    """
    offsets, offset = [], 0.0
    for index, item in enumerate(column):
        offset += (heights[column[index - 1]] + heights[item]) / 2 + gap if index else 0.0
        offsets.append(offset)
    pools: list[tuple[float, int]] = []
    for item, offset in zip(column, offsets, strict=True):
        pools.append((wished[item] - offset, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (late, more), (early, some) = pools.pop(), pools.pop()
            pools.append(((early * some + late * more) / (some + more), some + more))
    levels = [level for level, size in pools for _ in range(size)]
    return {item: level + offset for item, level, offset in zip(column, levels, offsets, strict=True)}
