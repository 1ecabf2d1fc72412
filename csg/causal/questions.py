"""Several questions about one graph, written one to a line."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from .assignments import parse_assignments
from .graph import CausalGraph, GraphError

ARROW = "=>"
MAX_QUESTIONS = 32
EXAMPLE = "`weather = rainy => ground = wet; person = umbrella`"
AT = "@"


class Question(NamedTuple):
    """One line: its number, its do()s, the values expected to follow, and how strongly all of them are edited."""

    number: int
    do: dict[str, str]
    effects: dict[str, str]
    strength: float = 1.0


def parse_questions(text: str) -> list[Question]:
    """Read lines `weather = rainy => ground = wet @ 0.5`; the part from the @ on may be left out.

    Comments begin with '#', empty lines are passed over. Raises GraphError for a line without a do(), for a negative
    strength, for no line at all, and for more than MAX_QUESTIONS.
    """
    asked = [_question(number, line.partition("#")[0]) for number, line in enumerate(text.splitlines(), start=1)
             if line.partition("#")[0].strip()]  # fmt: skip
    if not asked:
        raise GraphError(f"There is no question. Write one to a line, such as {EXAMPLE}.")
    if len(asked) > MAX_QUESTIONS:
        raise GraphError(f"Got {len(asked)} questions; expected at most {MAX_QUESTIONS}, since each is a run of its own.")
    return asked


def _question(number: int, line: str) -> Question:
    text, strength = line, 1.0
    before, _, after = line.rpartition(AT)
    with suppress(ValueError):  # an @ before anything but a number belongs to a value
        text, strength = (before, float(after))
    cause, arrow, effects = text.partition(ARROW)
    do = parse_assignments(cause, number)
    if not do:
        raise GraphError(f"a question needs a do() before {arrow or AT}, such as {EXAMPLE}.", line=number)
    if not 0 <= strength < math.inf:
        raise GraphError(f"the strength after {AT} is {strength:g}; expected a number of at least 0, such as 0.5.", line=number)
    return Question(number, do, parse_assignments(effects, number), strength)


def questions(graph: CausalGraph, text: str) -> tuple[CausalGraph, ...]:
    """Return the graph once for each line of the text, with that line's do()s and effects in the place of its own.

    A line's strength is a factor on the strengths of all concepts. Raises GraphError with the line that names a concept
    or a value which the graph does not have.
    """
    return tuple(_asked(graph, question) for question in parse_questions(text))


def _asked(graph: CausalGraph, question: Question) -> CausalGraph:
    try:
        concepts = tuple(replace(concept, strength=concept.strength * question.strength) for concept in graph.concepts)
        return replace(graph, concepts=concepts, interventions=question.do, effects=question.effects)
    except GraphError as error:
        raise GraphError(str(error), line=question.number) from error
