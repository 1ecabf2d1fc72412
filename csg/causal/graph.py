"""Causal graphs over the concepts of a picture, and the operation do(X = x).

A graph is an immutable value. It is checked when it is built, so that every graph is a valid one:
at most 64 concepts, each with a value inside its own domain, and edges of which the confirmed
ones form no cycle. A proposed edge is a question to the artist. It is drawn, dashed, and counts for
nothing else, neither for what an intervention changes nor for the order of causes and effects; so it
may point backwards, and what would close a cycle can be shown and refused instead of lost.

Terms follow Pearl, Causality (2009): `do` announces an intervention, `surgery` cuts the edges into
the intervened concepts, and only what then lies downstream may answer to the intervention.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any
from unicodedata import category, normalize

import networkx as nx

from .frozen import FrozenMap

MAX_CONCEPTS = 64
MAX_EDGES = MAX_CONCEPTS * (MAX_CONCEPTS - 1)
MAX_VALUES = 100  # of one concept
MAX_NAME, MAX_PHRASE, MAX_TEXT, MAX_PROMPT = 200, 400, 4_000, 20_000  # characters: what follows costs in proportion, or more
MAX_SHOWN = 12  # names in a message
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
MAX_HINT = 60  # a longer word is no misspelt name, and comparing it takes quadratic time
SCOPES = ("local", "global")
STATUSES = ("confirmed", "proposed")


class GraphError(ValueError):
    """A causal graph, or a text that describes one, that cannot be accepted.

    `line` and `column` (both from 1) say where in the text, when there is one.
    """

    def __init__(self, message: str, *, line: int | None = None, column: int | None = None) -> None:
        place = "" if line is None else f"line {line}" + ("" if column is None else f", column {column}") + ": "
        super().__init__(place + message)
        self.line = line
        self.column = column


def normal(text: str) -> str:
    """Return a text in the one form in which texts are compared: Unicode's normal form C.

    Marks that follow one another are sorted in quadratic time: a text with more in a row than Unicode's own bound for
    streams, 30, which no script needs, stays as it is. https://unicode.org/reports/tr15/#Stream_Safe_Text_Format
    """
    if text.isascii() or "M" * 31 in "".join(category(letter)[0] for letter in text):
        return text
    return normalize("NFC", text)


def closest(word: str, choices: Iterable[str]) -> str:
    """Return a hint that ends an error message: the nearest known word, or all of them."""
    names = list(choices)
    near = get_close_matches(word, [name for name in names if len(name) <= MAX_HINT], n=1) if len(word) <= MAX_HINT else []
    if near:
        return f"Did you mean {quoted(near[0])}?"
    shown = [plainly(name) for name in names[:MAX_SHOWN]] + (["..."] if len(names) > MAX_SHOWN else [])
    return f"Known: {', '.join(shown)}." if names else "None is known yet."


def plainly(text: str, longest: int = MAX_HINT) -> str:
    """Return a stranger's text for a message or a log: one line, no control characters, `longest` letters at most."""
    clean = _CONTROLS.sub(" ", text[: longest + 1])
    return clean if len(text) <= longest else clean[: longest - 3] + "..."


def quoted(text: str) -> str:
    """Return `plainly` text in quotes."""
    return repr(plainly(text))


@dataclass(frozen=True)
class Concept:
    """One thing that can be otherwise in a picture.

    `value` is its factual value. `values` is its domain: value -> the noun phrase that prompts use,
    in the order the artist gave. An empty phrase stands for nothing to see, such as a car that is
    gone. `scope` is "local" (a region of the picture) or "global" (light, season, style).
    `position` is where the concept is drawn, in pixels, y downwards. `strength` is a factor on the
    guidance scale of the concept's edit.

    Raises GraphError for an empty name, a factual value outside the domain, an unknown scope, a
    position that is not two finite numbers or a strength that is not a finite number of at least 0.
    """

    name: str
    value: str
    values: Mapping[str, str] = field(default_factory=FrozenMap)
    scope: str = "local"
    description: str = ""
    position: tuple[float, float] | None = None
    extra: Mapping[str, Any] = field(default_factory=FrozenMap)
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise GraphError("A concept has an empty name; give every concept a name.")
        object.__setattr__(self, "name", normal(self.name))
        _check_length(f"The name {quoted(self.name)}", self.name, MAX_NAME)
        _check_length(f"The description of concept {quoted(self.name)}", self.description, MAX_TEXT)
        object.__setattr__(self, "value", normal(self.value))
        values = self.values or {self.value: self.value}
        object.__setattr__(self, "values", FrozenMap({normal(value): phrase for value, phrase in values.items()}))
        object.__setattr__(self, "extra", FrozenMap(self.extra))
        self._check_values()
        self._check_scope()
        self._check_position()
        self._check_strength()

    def _check_values(self) -> None:
        if any(not value.strip() for value in self.values):
            raise GraphError(f"Concept {quoted(self.name)} has an empty value; name every value.")
        if len(self.values) > MAX_VALUES:
            raise GraphError(f"Concept {quoted(self.name)} has {len(self.values)} values; at most {MAX_VALUES} are supported.")
        for value, phrase in self.values.items():
            _check_length(f"A value of concept {quoted(self.name)}", value, MAX_NAME)
            _check_length(f"The phrase of {quoted(value)}", phrase, MAX_PHRASE)
        self.phrase()

    def _check_scope(self) -> None:
        if self.scope not in SCOPES:
            raise GraphError(f"Concept {quoted(self.name)} has the scope {quoted(self.scope)}; expected 'local' or 'global'.")

    def _check_position(self) -> None:
        if self.position is None:
            return
        try:
            x, y = map(float, self.position)
        except (TypeError, ValueError, OverflowError):
            x = y = math.nan
        if not (math.isfinite(x) and math.isfinite(y)):
            raise GraphError(f"Concept {quoted(self.name)} has the position {plainly(repr(self.position))}; expected two finite numbers.")
        object.__setattr__(self, "position", (x, y))

    def _check_strength(self) -> None:
        try:
            strength = float(self.strength)
        except (TypeError, ValueError, OverflowError):
            strength = math.nan
        if not 0 <= strength < math.inf:
            given = plainly(repr(self.strength))
            raise GraphError(f"Concept {quoted(self.name)} has the strength {given}; expected a number of at least 0.")
        object.__setattr__(self, "strength", strength)

    def phrase(self, value: str | None = None) -> str:
        """Return the noun phrase of `value` (default: the factual value).

        Raises GraphError, naming the domain, when the value lies outside it.
        """
        value = self.value if value is None else normal(value)
        if value not in self.values:
            raise GraphError(
                f"{quoted(value)} is not a value of concept {quoted(self.name)}. {closest(value, self.values)} "
                "Add it to the concept's values, with its phrase, to use it."
            )
        return self.values[value]


@dataclass(frozen=True)
class Edge:
    """A direct causal influence. Only confirmed edges carry effects, give the order and must form no cycle."""

    cause: str
    effect: str
    reason: str = ""
    status: str = "confirmed"
    extra: Mapping[str, Any] = field(default_factory=FrozenMap)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cause", normal(self.cause))
        object.__setattr__(self, "effect", normal(self.effect))
        object.__setattr__(self, "extra", FrozenMap(self.extra))
        if self.cause == self.effect:
            raise GraphError(f"Concept {quoted(self.cause)} is drawn as its own cause; remove the edge {self}.")
        if self.status not in STATUSES:
            raise GraphError(f"Edge {self} has the status {quoted(self.status)}; expected 'confirmed' or 'proposed'.")
        _check_length(f"The reason of the edge {self}", self.reason, MAX_TEXT)

    def __str__(self) -> str:
        return f"{plainly(self.cause)} -> {plainly(self.effect)}"


@dataclass(frozen=True)
class CausalGraph:
    """Concepts, the edges between them, the prompt of the factual picture and the pending do()s.

    `effects` are the values that the artist expects of descendants of the do()s.

    Raises GraphError, naming the culprit, for more than 64 concepts, a name used twice, an edge with
    an unknown end or drawn twice, a cycle of confirmed edges, and an intervention or an effect that
    names an unknown concept or value.
    """

    base_prompt: str = ""
    concepts: tuple[Concept, ...] = ()
    edges: tuple[Edge, ...] = ()
    interventions: Mapping[str, str] = field(default_factory=FrozenMap)
    extra: Mapping[str, Any] = field(default_factory=FrozenMap)
    effects: Mapping[str, str] = field(default_factory=FrozenMap)

    def __post_init__(self) -> None:
        object.__setattr__(self, "concepts", tuple(self.concepts))
        object.__setattr__(self, "edges", tuple(self.edges))
        for key in ("interventions", "effects"):
            pending = {normal(name): normal(value) for name, value in getattr(self, key).items()}
            object.__setattr__(self, key, FrozenMap(pending))
        object.__setattr__(self, "extra", FrozenMap(self.extra))
        _check_length("The base prompt", self.base_prompt, MAX_PROMPT)
        self._check_concepts()
        self._check_edges()
        self._check_acyclic()
        for name, value in (*self.interventions.items(), *self.effects.items()):
            self[name].phrase(value)

    def _check_concepts(self) -> None:
        if len(self.concepts) > MAX_CONCEPTS:
            raise GraphError(f"The graph has {len(self.concepts)} concepts; at most {MAX_CONCEPTS} are supported.")
        twice = first_repeated(concept.name for concept in self.concepts)
        if twice is not None:
            raise GraphError(f"Two concepts are called {quoted(twice)}; rename or remove one of them.")

    def _check_edges(self) -> None:
        for edge in self.edges:
            for end in (edge.cause, edge.effect):
                if end not in self._by_name:
                    raise GraphError(f"Edge {edge} ends at the unknown concept {quoted(end)}. {closest(end, self.names)}")
        twice = first_repeated((edge.cause, edge.effect) for edge in self.edges)
        if twice is not None:
            raise GraphError(f"The edge {plainly(twice[0])} -> {plainly(twice[1])} is drawn twice; remove one of the two.")

    def _check_acyclic(self) -> None:
        try:
            steps = nx.find_cycle(self._confirmed)
        except nx.NetworkXNoCycle:
            return
        path = " -> ".join(map(plainly, [steps[0][0], *(effect for _, effect in steps)]))
        raise GraphError(
            f"The confirmed edges form a cycle: {path}. A cause cannot follow its own effect; "
            "remove one of them or mark it as proposed."
        )

    @cached_property
    def _by_name(self) -> dict[str, Concept]:
        return {concept.name: concept for concept in self.concepts}

    @cached_property
    def _confirmed(self) -> nx.DiGraph:
        digraph = nx.DiGraph()
        digraph.add_nodes_from(self.names)
        digraph.add_edges_from((edge.cause, edge.effect) for edge in self.edges if edge.status == "confirmed")
        return digraph

    @property
    def names(self) -> tuple[str, ...]:
        """The concepts' names, in the artist's order."""
        return tuple(self._by_name)

    def __getitem__(self, name: str) -> Concept:
        """Return the concept called `name`; raises GraphError when there is none."""
        name = normal(name)
        if name not in self._by_name:
            raise GraphError(f"The graph has no concept {quoted(name)}. {closest(name, self.names)}")
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and normal(name) in self._by_name

    def parents(self, name: str) -> tuple[str, ...]:
        """Return the confirmed direct causes of a concept, pending do()s aside."""
        return self._in_order(self._confirmed.predecessors(self[name].name))

    def children(self, name: str) -> tuple[str, ...]:
        """Return the confirmed direct effects of a concept, pending do()s aside."""
        return self._in_order(self._confirmed.successors(self[name].name))

    def _in_order(self, names: Iterable[str]) -> tuple[str, ...]:
        wanted = set(names)
        return tuple(name for name in self.names if name in wanted)

    def descendants(self, names: Iterable[str]) -> frozenset[str]:
        """Return what the concepts `names` can change, directly or through others, themselves excluded.

        Only confirmed edges count, and those into an intervened concept are cut: a pending do() on
        a mediator stops the effect there.
        """
        sources = {self[name].name for name in names}
        digraph = self.surgery()._confirmed
        reached = set().union(*(nx.descendants(digraph, name) for name in sources))
        return frozenset(reached - sources)

    def descendants_of_interventions(self) -> frozenset[str]:
        """Return what the pending interventions can change: the descendants of those that differ from the facts.

        A concept held at its factual value changes nothing, whatever follows from it.
        """
        return self.descendants(name for name, value in self.interventions.items() if value != self[name].value)

    def topological_order(self) -> tuple[str, ...]:
        """Return the names, confirmed causes before their effects; ties in the artist's order."""
        place = {name: index for index, name in enumerate(self.names)}
        return tuple(nx.lexicographical_topological_sort(self._confirmed, key=place.__getitem__))

    def forward_edges(self) -> tuple[Edge, ...]:
        """Return the edges that a drawing can point one way, confirmed ones first.

        These are the confirmed edges, and of the proposed ones each that closes no cycle with the
        edges before it.
        """
        digraph = self._confirmed.copy()
        forward = [edge for edge in self.edges if edge.status == "confirmed"]
        for edge in self.edges:
            if edge.status == "proposed" and not nx.has_path(digraph, edge.effect, edge.cause):
                digraph.add_edge(edge.cause, edge.effect)
                forward.append(edge)
        return tuple(forward)

    def do(self, assignments: Mapping[str, str]) -> CausalGraph:
        """Return the graph with further pending interventions, `name -> value`.

        A later do() on the same concept replaces the earlier one. Raises GraphError when a concept
        is unknown or a value lies outside its domain.
        """
        return replace(self, interventions={**self.interventions, **assignments})

    def hold(self, *names: str) -> CausalGraph:
        """Return the graph with concepts fixed at their factual value, do(M = m).

        With a mediator held, what is left is the controlled direct effect.
        """
        return self.do({name: self[name].value for name in names})

    def surgery(self) -> CausalGraph:
        """Return the graph without the edges into its intervened concepts."""
        return replace(self, edges=tuple(edge for edge in self.edges if edge.effect not in self.interventions))


def _check_length(what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise GraphError(f"{what} has {len(text)} characters; a graph holds at most {most} there. Shorten it.")


def first_repeated(items: Iterable[Hashable]) -> Any:
    """Return the first item that came before, or None."""
    seen = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None
