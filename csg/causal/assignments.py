"""The two small languages of the nodes' text inputs: `weather = rainy; time = night`, and `snowman = 2`."""

from __future__ import annotations

import math
from collections.abc import Collection

from .graph import GraphError, closest, quoted


def parse_assignments(text: str, first: int = 1) -> dict[str, str]:
    """Read `weather = rainy; time = night`: split by semicolons or lines, comments after '#'. `first`: its first line's number.

    Raises GraphError with the line that is no assignment or assigns a concept again.
    """
    assignments: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=first):
        for part in filter(str.strip, line.partition("#")[0].split(";")):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if "," in value and "=" in value:
                raise GraphError(f"got {quoted(part.strip())}; write one assignment to a line, or put `;` between them.", line=number)
            if not (name and equals and value):
                raise GraphError(f"expected `concept = value`, got {quoted(part.strip())}.", line=number)
            if name in assignments:
                raise GraphError(f"{quoted(name)} is assigned twice; keep one of the two.", line=number)
            assignments[name] = value
    return assignments


def parse_strengths(text: str, names: Collection[str]) -> dict[str, float]:
    """Read `snowman = 2; car = 0.5`: finite factors of at least 0 for concepts called as in `names`.

    Raises GraphError for another concept, and for what is no such number.
    """
    strengths = {}
    for name, value in parse_assignments(text).items():
        if name not in names:
            raise GraphError(
                f"a strength is given for {quoted(name)}, which the graph does not have. {closest(name, names)} "
                "Take that strength away or name another concept."
            )
        try:
            strengths[name] = float(value)
        except ValueError:
            strengths[name] = math.nan
        if not 0 <= strengths[name] < math.inf:
            raise GraphError(f"the strength of {quoted(name)} is {quoted(value)}; expected a number of at least 0, such as 2.")
    return strengths
