"""Where concepts and edges are drawn, causes to the left of their effects.

The layered method of Sugiyama, Tagawa and Toda (1981): a column for each topological generation, a lane in the
columns between for each edge that spans several, and sweeps that order every column by the mean place of its
neighbours. A proposed edge that would close a cycle runs back from right to left.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import networkx as nx

from .graph import CausalGraph

Point = tuple[float, float]
Pair = tuple[str, str]
_Lane = tuple[Pair, int]

SWEEPS = 8
MAX_STRETCH, MAX_EXTENT = 6.0, 1e6
MAX_LANES = 400  # of more, a drawing is no clearer; long edges then run straight across
PORT_SPACING = 13.0
STEPS = 24  # points of one curve


@dataclass(frozen=True)
class Layout:
    """Centres of the boxes, and for each edge the points of its path from box to box, in pixels."""

    centres: Mapping[str, Point]
    paths: Mapping[Pair, Sequence[Point]]


def lay_out(graph: CausalGraph, box: Point, gap: Point) -> Layout:
    """Place boxes of size `box` (width, height), `gap` apart: in layers, or as stored.

    Stored positions are used when every concept has one, spread out as far as it takes to keep the boxes apart.
    """
    stored = {concept.name: concept.position for concept in graph.concepts if concept.position is not None}
    lanes: Mapping[Pair, Sequence[Point]] = {}
    if len(stored) == len(graph.concepts) and all(max(map(abs, point)) <= MAX_EXTENT for point in stored.values()):
        stretch = _stretch(list(stored.values()), box, gap)
        centres = {name: (x * stretch, y * stretch) for name, (x, y) in stored.items()}
    else:
        centres, lanes = _layered(graph, box, gap)
    pairs = [(edge.cause, edge.effect) for edge in graph.edges]
    return Layout(centres, _paths({pair: [centres[pair[0]], *lanes.get(pair, ()), centres[pair[1]]] for pair in pairs}, box))


def _stretch(points: Sequence[Point], box: Point, gap: Point) -> float:
    """Return the smallest factor, from 1 on, that keeps boxes around the points apart."""
    needed = 1.0
    for index, (x, y) in enumerate(points):
        for other_x, other_y in points[:index]:
            across = (box[0] + gap[0] / 2) / max(abs(x - other_x), 1e-9)
            down = (box[1] + gap[1] / 2) / max(abs(y - other_y), 1e-9)
            needed = max(needed, min(across, down, MAX_STRETCH))
    return needed


def _layered(graph: CausalGraph, box: Point, gap: Point) -> tuple[dict[str, Point], dict[Pair, list[Point]]]:
    """Return the centres of the boxes, concepts without edges last, and the points that long edges pass on their way."""
    forward = nx.DiGraph()
    forward.add_nodes_from(graph.names)
    forward.add_edges_from((edge.cause, edge.effect) for edge in graph.forward_edges())
    layers = enumerate(nx.topological_generations(forward))
    column_of: dict[str | _Lane, int] = {name: index for index, layer in layers for name in layer}
    crowded = sum(abs(column_of[edge.cause] - column_of[edge.effect]) - 1 for edge in graph.edges) > MAX_LANES
    lanes: dict[Pair, list[_Lane]] = {}
    links = nx.Graph()
    links.add_nodes_from(graph.names)
    for edge in graph.edges:
        start, end, pair = column_of[edge.cause], column_of[edge.effect], (edge.cause, edge.effect)
        step = 1 if start < end else -1
        lanes[pair] = [] if crowded else [(pair, index) for index in range(start + step, end, step)]
        column_of |= {lane: lane[1] for lane in lanes[pair]}
        nx.add_path(links, [edge.cause, *lanes[pair], edge.effect])
    apart = list(nx.isolates(links))
    links.remove_nodes_from(apart)
    rows = _rows(_ordered(links, column_of), links, box[1], gap[1])
    bottom = max((row for item, row in rows.items() if column_of[item] == 0), default=-box[1] - gap[1])
    rows |= {name: bottom + index * (box[1] + gap[1]) for index, name in enumerate(apart, start=1)}
    places = {item: (index * (box[0] + gap[0]), rows[item]) for item, index in column_of.items()}
    return {name: places[name] for name in graph.names}, {pair: [places[lane] for lane in lanes[pair]] for pair in lanes}


def _ordered(links: nx.Graph, column_of: Mapping[str | _Lane, int]) -> list[list[str | _Lane]]:
    """Return the columns, sorted by the mean place of an item's neighbours in the next; what has none keeps its place."""
    columns: list[list[str | _Lane]] = [[] for _ in range(1 + max(column_of.values(), default=0))]
    for item in links:
        columns[column_of[item]].append(item)
    right, left = range(1, len(columns)), range(len(columns) - 2, -1, -1)
    for index, fixed in [*((i, i - 1) for i in right), *((i, i + 1) for i in left)] * (SWEEPS // 2):
        places = {item: place / len(columns[fixed]) for place, item in enumerate(columns[fixed])}
        means = {item: place / len(columns[index]) for place, item in enumerate(columns[index])}
        for item in columns[index]:
            beside = [places[other] for other in links[item] if other in places]
            means[item] = sum(beside) / len(beside) if beside else means[item]
        columns[index].sort(key=means.__getitem__)
    return columns


def _rows(columns: Sequence[Sequence[str | _Lane]], links: nx.Graph, height: float, gap: float) -> dict[str | _Lane, float]:
    """Return the vertical centre of each item: near the mean of its neighbours, in order, with room for every box."""
    rows: dict[str | _Lane, float] = dict.fromkeys(links, 0.0)
    for column in list(columns) * SWEEPS:
        halves = [height / 2 if isinstance(item, str) else 0.0 for item in column]
        tops = list(accumulate((one + other + gap for one, other in pairwise(halves)), initial=0.0))
        wished = [sum(rows[other] for other in links[item]) / len(links[item]) for item in column]
        shifts = _rising([wish - top for wish, top in zip(wished, tops)])
        rows |= {item: top + shift for item, top, shift in zip(column, tops, shifts)}
    return rows


def _rising(numbers: Sequence[float]) -> list[float]:
    """Return the numbers nearest to these (least squares) of which none is below the one before it: isotonic regression."""
    pools: list[tuple[float, int]] = []
    for number in numbers:
        pools.append((number, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (late, more), (early, some) = pools.pop(), pools.pop()
            pools.append(((early * some + late * more) / (some + more), some + more))
    return [mean for mean, count in pools for _ in range(count)]


def _paths(stops: Mapping[Pair, Sequence[Point]], box: Point) -> dict[Pair, list[Point]]:
    """Return a smooth path for each edge; those that meet on one side of a box do so next to each other."""
    sides = defaultdict(list)
    axes = {pair: int(len(at) == 2 and abs(at[0][0] - at[1][0]) < box[0]) for pair, at in stops.items()}
    for pair, points in stops.items():
        axis = axes[pair]
        for end, (centre, beyond) in enumerate([points[:2], points[:-3:-1]]):
            sides[centre, axis, math.copysign(0.5, beyond[axis] - centre[axis])].append((beyond[1 - axis], pair, end))
    paths = {pair: [*points] for pair, points in stops.items()}
    for (centre, axis, sign), ends in sides.items():
        spacing = min(PORT_SPACING, 0.7 * box[1 - axis] / len(ends))
        for index, (_, pair, end) in enumerate(sorted(ends)):
            along, aside = sign * box[axis], (index - (len(ends) - 1) / 2) * spacing
            across, down = (aside, along) if axis else (along, aside)
            paths[pair][-end] = (centre[0] + across, centre[1] + down)
    return {pair: _smooth(points, axes[pair], box[0]) for pair, points in paths.items()}


def _smooth(points: Sequence[Point], axis: int, width: float) -> list[Point]:
    """Join two ports by curves; in a lane the path is straight over the width of a box."""
    start, *lanes, end = points
    ahead = math.copysign(width / 2, end[0] - start[0])
    path = [start]
    for stop in [stop for x, y in lanes for stop in ((x - ahead, y), (x + ahead, y))] + [end]:
        path += _curve(path[-1], stop, axis)
    return path


def _curve(start: Point, end: Point, axis: int) -> list[Point]:
    """Return points of a cubic Bezier curve that leaves and arrives along `axis` (0 horizontal, 1 vertical)."""
    times = [step / STEPS for step in range(1, STEPS + 1)] if start[1 - axis] != end[1 - axis] else [1.0]
    shares = [(1.5 * t - 1.5 * t**2 + t**3, 3 * t**2 - 2 * t**3) for t in times]
    (x, y), (end_x, end_y) = start, end
    return [(x + (end_x - x) * share[axis], y + (end_y - y) * share[1 - axis]) for share in shares]
