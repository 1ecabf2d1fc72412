"""Several questions about one graph, written one to a line."""

from __future__ import annotations

from dataclasses import replace

from .assignments import parse_assignments
from .graph import CausalGraph, GraphError

ARROW = "=>"
MAX_QUESTIONS = 32
EXAMPLE = "`weather = rainy => ground = wet; person = umbrella`"


def parse_questions(text: str) -> list[tuple[int, dict[str, str], dict[str, str]]]:
    """Read lines `weather = rainy => ground = wet`: the line's number, its do()s, and the values expected to follow.

    Comments begin with '#', empty lines are passed over. Raises GraphError for a line without a do(), for no line at
    all, and for more than MAX_QUESTIONS.
    """
    asked = []
    for number, line in enumerate(text.splitlines(), start=1):
        cause, arrow, effects = line.partition("#")[0].partition(ARROW)
        if not (cause.strip() or arrow):
            continue
        asked.append((number, parse_assignments(cause, number), parse_assignments(effects, number)))
        if not asked[-1][1]:
            raise GraphError(f"a question needs a do() before {ARROW}, such as {EXAMPLE}.", line=number)
    if not asked:
        raise GraphError(f"There is no question. Write one to a line, such as {EXAMPLE}.")
    if len(asked) > MAX_QUESTIONS:
        raise GraphError(f"Got {len(asked)} questions; expected at most {MAX_QUESTIONS}, since each is a run of its own.")
    return asked


def questions(graph: CausalGraph, text: str) -> tuple[CausalGraph, ...]:
    """Return the graph once for each line of the text, with that line's do()s and effects in the place of its own.

    Raises GraphError with the line that names a concept or a value which the graph does not have.
    """
    return tuple(_asked(graph, *question) for question in parse_questions(text))


def _asked(graph: CausalGraph, number: int, do: dict[str, str], effects: dict[str, str]) -> CausalGraph:
    try:
        return replace(graph, interventions=do, effects=effects)
    except GraphError as error:
        raise GraphError(str(error), line=number) from error
