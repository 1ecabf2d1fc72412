"""Paths as lists of points: smooth curves, pieces of them, dashes."""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, float]
Path = list[Point]


def curve(start: Point, end: Point, axis: int, steps: int = 32) -> Path:
    """Return points of a cubic Bezier curve that leaves and arrives along `axis`, its start left out.

    `axis` is 0 for the horizontal and 1 for the vertical.
    """
    reach = (end[axis] - start[axis]) / 2
    if axis:
        handles = ((start[0], start[1] + reach), (end[0], end[1] - reach))
    else:
        handles = ((start[0] + reach, start[1]), (end[0] - reach, end[1]))
    return [_bezier((start, *handles, end), step / steps) for step in range(1, steps + 1)]


def _bezier(points: Sequence[Point], t: float) -> Point:
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
    x = sum(weight * point[0] for weight, point in zip(weights, points, strict=True))
    y = sum(weight * point[1] for weight, point in zip(weights, points, strict=True))
    return x, y


def direction(start: Point, end: Point) -> Point:
    """Return the unit vector from one point to another."""
    distance = math.dist(start, end) or 1.0
    return (end[0] - start[0]) / distance, (end[1] - start[1]) / distance


def length(path: Sequence[Point]) -> float:
    """Return the length of a path."""
    return sum(math.dist(one, other) for one, other in zip(path, path[1:]))


def part(path: Sequence[Point], begin: float, end: float) -> Path:
    """Return the piece of a path between two distances from its start."""
    piece: Path = []
    walked = 0.0
    for one, other in zip(path, path[1:]):
        step = math.dist(one, other)
        low, high = max(begin - walked, 0.0), min(end - walked, step)
        if low < high:
            piece += [] if piece else [_between(one, other, low / step)]
            piece.append(_between(one, other, high / step))
        walked += step
    return piece or [path[0], path[-1]]


def _between(one: Point, other: Point, share: float) -> Point:
    return one[0] + (other[0] - one[0]) * share, one[1] + (other[1] - one[1]) * share


def dashes(path: Sequence[Point], dash: float, gap: float) -> list[Path]:
    """Return a path cut into dashes, by one walk along it."""
    pieces: list[Path] = []
    period, walked, latest = dash + gap, 0.0, -1
    for one, other in zip(path, path[1:]):
        step = math.dist(one, other)
        for index in range(int(walked // period), math.ceil((walked + step) / period)):
            low, high = max(index * period - walked, 0.0), min(index * period + dash - walked, step)
            if low >= high:
                continue
            if index > latest:
                pieces.append([_between(one, other, low / step)])
                latest = index
            pieces[-1].append(_between(one, other, high / step))
        walked += step
    return pieces
