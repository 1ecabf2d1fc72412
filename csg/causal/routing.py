"""The way of each edge from box to box."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .curves import Path, Point, curve
from .graph import Edge
from .layout import Layout, Pair

PORT_SPACING = 13.0


@dataclass(frozen=True)
class _End:
    """Where an edge meets a box: `axis` 0 for its left or right side, 1 for its top or bottom."""

    pair: Pair
    concept: str
    centre: Point
    towards: Point
    axis: int

    @property
    def sign(self) -> float:
        return math.copysign(1.0, self.towards[self.axis] - self.centre[self.axis])

    def port(self, box: Point, aside: float) -> Point:
        """Return the point on the side that faces `towards`, moved along that side by `aside`."""
        offset = [aside, aside]
        offset[self.axis] = self.sign * box[self.axis] / 2
        return self.centre[0] + offset[0], self.centre[1] + offset[1]


def routes(edges: Iterable[Edge], layout: Layout, box: Point) -> dict[Pair, Path]:
    """Return for each edge a smooth path that runs through its lanes, from port to port.

    Edges that meet on one side of a box get ports of their own, in the order in which they come in.
    """
    ends = {(edge.cause, edge.effect): _ends(edge, layout, box) for edge in edges}
    ports = _ports([end for pair in ends.values() for end in pair], box)
    return {
        pair: _through(ports[start], layout.lanes.get(pair, ()), ports[end], start.axis, box)
        for pair, (start, end) in ends.items()
    }


def _ends(edge: Edge, layout: Layout, box: Point) -> tuple[_End, _End]:
    pair = (edge.cause, edge.effect)
    start, end = layout.centres[edge.cause], layout.centres[edge.effect]
    lanes = layout.lanes.get(pair, ())
    axis = int(not lanes and abs(end[0] - start[0]) < box[0])
    first, last = (lanes[0], lanes[-1]) if lanes else (end, start)
    return _End(pair, edge.cause, start, first, axis), _End(pair, edge.effect, end, last, axis)


def _ports(ends: Sequence[_End], box: Point) -> dict[_End, Point]:
    sides: dict[tuple[str, int, float], list[_End]] = defaultdict(list)
    for end in ends:
        sides[end.concept, end.axis, end.sign].append(end)
    ports: dict[_End, Point] = {}
    for side in sides.values():
        side.sort(key=lambda end: end.towards[1 - end.axis])
        spacing = min(PORT_SPACING, 0.7 * box[1 - side[0].axis] / len(side))
        ports |= {end: end.port(box, (i - (len(side) - 1) / 2) * spacing) for i, end in enumerate(side)}
    return ports


def _through(start: Point, lanes: Sequence[Point], end: Point, axis: int, box: Point) -> Path:
    """Join two ports; a lane is run through straight over the width of a box, whichever way the edge runs."""
    path = [start]
    ahead = math.copysign(box[0] / 2, end[0] - start[0])
    for x, y in lanes:
        path += [*curve(path[-1], (x - ahead, y), axis), (x + ahead, y)]
    return path + curve(path[-1], end, axis)
