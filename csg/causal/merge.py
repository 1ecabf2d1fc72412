"""An artist's edits, kept over a graph that may be extracted again.

A three-way merge: `base` is the extraction that the artist edited, `mine` what became of it, `theirs`
the new extraction. What only one side changed is taken from that side; where both changed the same
thing, mine stands and the conflict is listed. The same steps, in the same order, as
`web/editor/merge.mjs`.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .graph import MAX_CONCEPTS, CausalGraph, Concept, Edge, normal, plainly

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Conflict:
    """Something that the artist and a new extraction changed differently.

    `kind` is base_prompt, value, phrase, scope, description, concept, edge, cycle, reason or do;
    `subject` says of what; None stands for nothing: a side that lacks it.
    """

    kind: str
    subject: str
    mine: str | None
    theirs: str | None

    @property
    def key(self) -> str:
        """The same text whenever the same disagreement returns; the editor stores it when it is settled."""
        text = json.dumps([self.kind, self.subject, self.theirs], ensure_ascii=False, separators=(",", ":"))
        return _HALF_CHARACTER.sub(lambda match: f"\\u{ord(match[0]):04x}", text)

    def __str__(self) -> str:
        if self.kind == "cycle":
            return f"edge {plainly(self.subject)}: not taken over, it would close a cycle with {plainly(str(self.mine))}"
        mine, theirs = ("nothing" if side is None else plainly(repr(side)) for side in (self.mine, self.theirs))
        what = f"{self.kind.replace('_', ' ')} {plainly(self.subject)}".strip()
        return f"{what}: {mine} in the editor's text stands; the connected graph has {theirs}"


def merge(
    base: CausalGraph, mine: CausalGraph, theirs: CausalGraph, settled: Collection[str] = ()
) -> tuple[CausalGraph, list[Conflict]]:
    """Return the merged graph and the conflicts, without those whose keys are `settled`."""
    names = _original_names(mine)
    merging = _Merging(_renamed(base, names), mine, _renamed(theirs, names), settled)
    return merging.graph(), merging.conflicts


def _original_names(mine: CausalGraph) -> dict[str, str]:
    """Return the names in the extraction -> the names that the artist gave instead."""
    origins = ((concept.extra.get("origin"), concept.name) for concept in mine.concepts)
    return {normal(origin): name for origin, name in origins if isinstance(origin, str) and origin not in mine}


def _renamed(graph: CausalGraph, names: Mapping[str, str]) -> CausalGraph:
    for old, new in names.items():
        if old in graph and new not in graph:
            graph = rename(graph, old, new)
    return graph


def rename(graph: CausalGraph, old: str, new: str) -> CausalGraph:
    """Return the graph with a concept called `new` that was called `old`, in its edges and do() too."""

    def named(name: str) -> str:
        return new if name == old else name

    return replace(
        graph,
        concepts=tuple(replace(concept, name=named(concept.name)) for concept in graph.concepts),
        edges=tuple(replace(edge, cause=named(edge.cause), effect=named(edge.effect)) for edge in graph.edges),
        interventions={named(name): value for name, value in graph.interventions.items()},
        effects={named(name): value for name, value in graph.effects.items()},
    )


class _Merging:
    """One merge: the three graphs, and the conflicts found so far."""

    def __init__(self, base: CausalGraph, mine: CausalGraph, theirs: CausalGraph, settled: Collection[str]) -> None:
        self.sides = base, mine, theirs
        self.base, self.mine, self.theirs = ({c.name: c for c in side.concepts} for side in self.sides)
        self.base_edges, self.my_edges, self.their_edges = (
            {(e.cause, e.effect): e for e in side.edges} for side in self.sides
        )
        self.settled = settled
        self.conflicts: list[Conflict] = []

    def report(self, conflict: Conflict) -> None:
        if conflict.key not in self.settled:
            self.conflicts.append(conflict)

    def pick(self, kind: str, subject: str, *sides: str | None) -> str | None:
        """Return one text of base, mine and theirs; None is a side that lacks it."""
        base, mine, theirs = sides
        if mine in (base, theirs):
            return theirs
        if theirs != base:
            self.report(Conflict(kind, subject, mine, theirs))
        return mine

    def graph(self) -> CausalGraph:
        base_prompt = self.pick("base_prompt", "", *(side.base_prompt for side in self.sides))
        concepts = self.concepts()
        extra = _keys(*(side.extra for side in self.sides))
        edges = self.edges({concept.name for concept in concepts})
        interventions = self.interventions({concept.name: concept for concept in concepts})
        effects = self.effects({concept.name: concept for concept in concepts})
        return CausalGraph(base_prompt or "", tuple(concepts), tuple(edges), interventions, extra, effects)

    def effects(self, merged: Mapping[str, Concept]) -> dict[str, str]:
        """Return what is to follow: the artist's word where there is one."""
        base, mine, theirs = (side.effects for side in self.sides)
        effects = {}
        for name in dict.fromkeys([*mine, *theirs]):
            value = (theirs if mine.get(name) == base.get(name) else mine).get(name)
            if name in merged and value in merged[name].values:
                effects[name] = value
        return effects

    def interventions(self, merged: Mapping[str, Concept]) -> dict[str, str]:
        _, mine, theirs = (side.interventions for side in self.sides)
        interventions = {}
        for name in dict.fromkeys([*mine, *theirs]):
            if name not in merged:
                continue
            value = self.pick("do", name, *(side.interventions.get(name) for side in self.sides))
            if value in merged[name].values:
                interventions[name] = value
        return interventions

    def concepts(self) -> list[Concept]:
        kept = [merged for concept in self.mine.values() if (merged := self.concept(concept)) is not None]
        more = [concept for name, concept in self.theirs.items() if name not in self.mine]
        wanted = [concept for concept in more if concept.name not in self.base]
        added = wanted[: MAX_CONCEPTS - len(kept)]
        for concept in more:
            if concept not in added:
                self.report_absent(concept)
        return kept + added

    def report_absent(self, theirs: Concept) -> None:
        """Report a concept that the artist removed, or that found no room."""
        base = self.base.get(theirs.name)
        if base is None or base.value != theirs.value:
            self.report(Conflict("concept", theirs.name, None, theirs.value))

    def concept(self, mine: Concept) -> Concept | None:
        """Return the merged concept; None where the extraction dropped it and the artist did not change it."""
        base, theirs = self.base.get(mine.name), self.theirs.get(mine.name)
        if theirs is not None:
            return self.both(base, mine, theirs)
        if base is None:
            return mine
        before, now = ((side.interventions.get(mine.name), side.effects.get(mine.name)) for side in self.sides[:2])
        if _alike(base, mine) and before == now:
            return None
        self.report(Conflict("concept", mine.name, mine.value, None))
        return mine

    def both(self, base: Concept | None, mine: Concept, theirs: Concept) -> Concept:
        name, sides = mine.name, (base, mine, theirs)
        value = self.pick("value", name, *(side and side.value for side in sides))
        values = self.values(base, mine, theirs, value)
        scope = self.pick("scope", name, *(side and side.scope for side in sides))
        description = self.pick("description", name, *(side and side.description for side in sides))
        position = theirs.position if mine.position is None else mine.position
        strength = theirs.strength if base is not None and mine.strength == base.strength else mine.strength
        extra = _keys(*(side.extra if side else {} for side in sides))
        return Concept(name, value, values, scope, description, position, extra, strength)

    def values(self, base: Concept | None, mine: Concept, theirs: Concept, factual: str) -> dict[str, str]:
        """Return the domain: values that one side removed and the other left alone are gone."""
        needed = {factual, self.sides[1].interventions.get(mine.name), self.sides[1].effects.get(mine.name)}
        untouched = base is not None and list(base.values) == list(mine.values)
        first, second = (theirs, mine) if untouched else (mine, theirs)
        values = {}
        for value in dict.fromkeys([*first.values, *second.values]):
            b, m, t = (side and side.values.get(value) for side in (base, mine, theirs))
            gone = b is not None and (m is None or t is None) and (t if m is None else m) == b
            if not gone or value in needed:
                values[value] = self.phrase(f"{mine.name} = {value}", b, m, t)
        return values

    def phrase(self, subject: str, base: str | None, mine: str | None, theirs: str | None) -> str:
        if mine is None or theirs is None:
            return theirs if mine is None else mine
        return self.pick("phrase", subject, base, mine, theirs)

    def edges(self, alive: Collection[str]) -> list[Edge]:
        """Return the merged edges, without what only the extraction confirms where that would close a cycle."""
        kept = [
            merged for edge in self.my_edges.values()
            if edge.cause in alive and edge.effect in alive and (merged := self.edge(edge)) is not None
        ]  # fmt: skip
        news = [
            edge for ends, edge in self.their_edges.items()
            if ends not in self.my_edges and ends not in self.base_edges and edge.cause in alive and edge.effect in alive
        ]  # fmt: skip
        theirs = [edge for edge in kept if self.only_they_confirm(edge)]
        refused = _closing([edge for edge in kept if not self.only_they_confirm(edge)], theirs + news)
        edges = [replace(edge, status="proposed") if edge in refused else edge for edge in kept]
        edges += [edge for edge in news if edge not in refused]
        for edge in refused:
            back = _path(edges, edge.effect, edge.cause)
            self.report(Conflict("cycle", f"{edge.cause} → {edge.effect}", " → ".join(back), edge.reason))
        return edges

    def only_they_confirm(self, merged: Edge) -> bool:
        """Whether an edge is my proposal, confirmed by the extraction."""
        return merged.status == "confirmed" and self.my_edges[merged.cause, merged.effect].status == "proposed"

    def edge(self, mine: Edge) -> Edge | None:
        ends = mine.cause, mine.effect
        base, theirs = self.base_edges.get(ends), self.their_edges.get(ends)
        if theirs is not None:
            return self.both_edges(base, mine, theirs)
        if base is None:
            return mine
        if _alike(base, mine):
            return None
        self.report(Conflict("edge", " → ".join(ends), mine.status, None))
        return mine

    def both_edges(self, base: Edge | None, mine: Edge, theirs: Edge) -> Edge:
        sides = base, mine, theirs
        reason = self.pick("reason", f"{mine.cause} → {mine.effect}", *(side and side.reason for side in sides))
        status = theirs.status if base is not None and mine.status == base.status else mine.status
        return Edge(mine.cause, mine.effect, reason, status, _keys(*(side.extra if side else {} for side in sides)))


def _keys(base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return unknown keys: what one side changed is taken from it, mine where both did."""
    lacking = object()
    merged = {}
    for key in {**theirs, **mine}:
        side = theirs if mine.get(key, lacking) == base.get(key, lacking) else mine
        if key in side:
            merged[key] = side[key]
    return merged


def _alike(one: Concept | Edge, other: Concept | Edge) -> bool:
    """Return whether both are the same but for their places and their origin."""
    if isinstance(one, Edge):
        return replace(one, extra={}) == replace(other, extra={})
    return replace(one, extra={}, position=None) == replace(other, extra={}, position=None)


def _closing(edges: Sequence[Edge], further: Iterable[Edge]) -> dict[Edge, None]:
    """Return those of the further edges, taken one after the other, whose confirmation closes a cycle."""
    taken, closing = list(edges), {}
    for edge in further:
        if edge.status == "confirmed" and _path(taken, edge.effect, edge.cause) is not None:
            closing[edge] = None
        else:
            taken.append(edge)
    return closing


def _path(edges: Iterable[Edge], start: str, goal: str) -> list[str] | None:
    """Return the shortest path along confirmed edges, ends included; of several, the one that is drawn first."""
    effects: dict[str, list[str]] = {}
    for edge in edges:
        if edge.status == "confirmed":
            effects.setdefault(edge.cause, []).append(edge.effect)
    waiting, seen = deque([[start]]), {start}
    while waiting:
        path = waiting.popleft()
        if path[-1] == goal:
            return path
        for name in effects.get(path[-1], ()):
            if name not in seen:
                seen.add(name)
                waiting.append([*path, name])
    return None
