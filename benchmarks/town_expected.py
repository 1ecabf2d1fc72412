"""What an artist's own graph makes of an intervention in Town: the most probable counterfactual under the graph given.

`world.counterfactual` knows a scene's noise; whoever sees only the values does not. So the noise of each mechanism is
abducted to all that the factual values allow, and pushed through the mechanism again (Pearl, Causality, 7.1). The graph
given decides what is passed on: a cause whose edge is missing acts as it did in fact, and an edge that the world does
not have brings no mechanism with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from graphlib import TopologicalSorter

from csg.town.world import BY_NAME, MECHANISMS, NAMES, VARIABLES, Values, check_do

Edges = Iterable[tuple[str, str]]
CELLS = 1000
"""Cells of equal noise: every threshold of a mechanism with causes is a multiple of 1/100, so the cells are exact."""
TRUE_EDGES: tuple[tuple[str, str], ...] = tuple((cause, v.name) for v in VARIABLES for cause in v.causes)


@cache
def _outcomes(name: str, causes: tuple[str, ...]) -> tuple[str, ...]:
    """The mechanism's value in every cell of the noise, its causes as they are."""
    known = dict(zip(BY_NAME[name].causes, causes, strict=True))
    return tuple(MECHANISMS[name](known, (cell + 0.5) / CELLS) for cell in range(CELLS))


def probable_value(name: str, values: Mapping[str, str], causes: Mapping[str, str]) -> str:
    """The most probable value of concept `name` with its causes as in `causes`, given all the factual `values`.

    Where the facts contradict the mechanism (somebody set the value by hand) they tell nothing of the noise. Of equally
    probable values the factual one is preferred, then the first.
    """
    names = BY_NAME[name].causes
    before = _outcomes(name, tuple(values[cause] for cause in names))
    after = _outcomes(name, tuple(causes[cause] for cause in names))
    allowed = [new for old, new in zip(before, after, strict=True) if old == values[name]] or after
    return max(dict.fromkeys([values[name], *BY_NAME[name].domain]), key=allowed.count)


def most_probable(
    values: Mapping[str, str],
    do: Mapping[str, str],
    edges: Edges = TRUE_EDGES,
    settled: Mapping[str, str] | None = None,
) -> Values:
    """The values of a scene with the facts `values` under `do`, carried along `edges` (cause, effect) alone.

    `settled` are values that somebody has fixed by hand; they count for what `do` reaches, and are passed on.
    Raises ValueError for an unknown concept or value, CycleError for a circle.
    """
    check_do(do)
    causes: dict[str, list[str]] = {name: [] for name in NAMES}
    for cause, effect in edges:
        causes[effect].append(cause)
    after, reached = dict(values) | dict(do), {name for name, value in do.items() if value != values[name]}
    for name in TopologicalSorter(causes).static_order():
        if name in do or not reached.intersection(causes[name]):
            continue
        reached.add(name)
        after[name] = (settled or {}).get(name) or _followed(name, values, after, causes[name])
    return after


def _followed(name: str, values: Mapping[str, str], after: Mapping[str, str], linked: list[str]) -> str:
    causes = {cause: (after if cause in linked else values)[cause] for cause in BY_NAME[name].causes}
    if all(causes[cause] == values[cause] for cause in causes):
        return values[name]
    return probable_value(name, values, causes)
