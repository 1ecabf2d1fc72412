"""What the small vision-language model is taught: the product's own questions about Town, and the right replies.

The truth of a reply is the renderer's and `expected.most_probable`. Reasons are fixed clauses, so that they can be
learned. Every question is worded by the prompt files of `csg.vlm`; a changed file asks for a new training.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from town_expected import TRUE_EDGES, most_probable

from csg.causal.graph import CausalGraph, Concept, Edge
from csg.town.world import BY_NAME, NAMES, VARIABLES, Values, caption, evaluate, exogenous
from csg.vlm import suggest
from csg.vlm.manipulate import graph_for_model
from csg.vlm.prompting import PromptBook, fenced, fenced_json

from .data import training_do

IMPORTANCE = (
    "season", "time", "weather", "ground", "foliage", "house", "car", "person", "lamp", "windows", "headlights", "snowman",
)  # fmt: skip
"""The order in which concepts are named; a smaller `max_concepts` drops the last ones."""
SMALL = ("person", "snowman", "lamp", "house")
DESCRIPTIONS = {
    "season": "the time of year, seen in grass and tree",
    "time": "day or night, over the whole picture",
    "weather": "what the sky does",
    "ground": "lawn, pavement and road",
    "foliage": "the crown of the tree",
    "house": "the walls of the house",
    "car": "what stands on the road",
    "person": "who is on the pavement",
    "lamp": "the street lamp on the pavement",
    "windows": "the windows of the house",
    "headlights": "the lights of the car",
    "snowman": "what stands on the lawn",
}
CAUSES_STAY = "what causes it stays as it is"
STAYS = "it stays as it is all the same"
BECAUSE = {
    "weather": {"sunny": "a clear sky is likelier now", "rainy": "rain is likelier now", "snowy": "snow is likelier now"},
    "foliage": {
        "pink": "trees blossom in spring", "green": "trees are green in summer",
        "orange": "leaves turn in autumn", "bare": "trees lose their leaves in winter",
    },
    "ground": {"dry": "nothing falls on it", "wet": "rain wets the ground", "snow": "snow covers the ground"},
    "lamp": {"off": "street lamps are off by day", "on": "street lamps are lit at night"},
    "windows": {"dark": "rooms need no light by day", "lit": "people light their rooms at night"},
    "person": {
        "none": "fewer people are out at night", "walking": "people walk here without umbrellas",
        "umbrella": "people open umbrellas in the rain",
    },
    "headlights": {"off": "no car needs its lights", "on": "drivers switch them on at night"},
    "snowman": {"none": "there is no snow to build it of", "built": "somebody builds one of the snow"},
}  # fmt: skip
CHOSEN_BECAUSE = ("it changes much of the picture", "it changes little else", "it would be a surprise")
DESCRIPTION = (
    "A painted town scene: a house with a tree and a street lamp, a pavement and a road under the sky. "
    "The season decides the weather and the tree, the weather the ground, and the hour the lights."
)
HINTS = ("the weather", "the lights of the street", "colours of house and car", "what the season changes", "Jahreszeit und Wetter")
EDGE_REASONS = {(cause, v.name): reason for v in VARIABLES for cause, reason in v.causes.items()}
BOOK = PromptBook()


@dataclass(frozen=True)
class Dialogue:
    """One question and its right reply; `sees` is whether the picture comes with the question."""

    prompt: str
    reply: str
    sees: bool = True


# ------------------------------------------------------------------------------------------ graphs


def town_graph(
    values: Mapping[str, str], names: Iterable[str] = IMPORTANCE, edges: Iterable[tuple[str, str]] = TRUE_EDGES,
    described: bool = True,
) -> CausalGraph:
    """Town's graph with these values, over these concepts and edges."""
    names = tuple(names)
    concepts = tuple(
        Concept(n, values[n], dict(BY_NAME[n].phrases), BY_NAME[n].scope, DESCRIPTIONS[n] if described else "") for n in names
    )
    kept = tuple(Edge(c, e, EDGE_REASONS.get((c, e), "")) for c, e in edges if c in names and e in names)
    return CausalGraph(caption(values), concepts, kept)


def links(graph: CausalGraph) -> tuple[tuple[str, str], ...]:
    """The confirmed edges of a graph as (cause, effect)."""
    return tuple((e.cause, e.effect) for e in graph.edges if e.status == "confirmed")


def told_values(graph: CausalGraph, rest: Mapping[str, str]) -> Values:
    """The values of a graph's concepts, and those of `rest` for concepts that it leaves out."""
    return dict(rest) | {concept.name: concept.value for concept in graph.concepts}


# ------------------------------------------------------------------------------------- extraction


def extraction(values: Mapping[str, str], most: int = 12, hint: str = "") -> Dialogue:
    """Concepts and graph from a picture."""
    prompt = BOOK.fill("extract", {"description": fenced(hint), "max_concepts": str(most)})
    return Dialogue(prompt, json.dumps(_graph_reply(values, most)))


def _graph_reply(values: Mapping[str, str], most: int) -> dict[str, object]:
    names = IMPORTANCE[: max(1, most)]
    concepts = [
        {"name": n, "value": values[n], "values": dict(BY_NAME[n].phrases), "scope": BY_NAME[n].scope, "description": DESCRIPTIONS[n]}
        for n in names
    ]  # fmt: skip
    edges = [
        {"cause": c, "effect": e, "reason": EDGE_REASONS[c, e]} for c, e in TRUE_EDGES if c in names and e in names
    ]
    return {"base_prompt": caption(values), "concepts": concepts, "edges": edges}


def staged(values: Mapping[str, str], most: int = 12, hint: str = "") -> tuple[Dialogue, Dialogue, Dialogue]:
    """The same in three questions: description, concepts, edges."""
    whole, asked = _graph_reply(values, most), {"description": fenced(hint), "max_concepts": str(most)}
    seen = {"seen": fenced(DESCRIPTION), "base_prompt": fenced(caption(values))}
    listed = [{"name": n, "value": values[n], "values": list(BY_NAME[n].domain)} for n in IMPORTANCE[:most]]
    return (
        Dialogue(BOOK.fill("describe", asked), json.dumps({"description": DESCRIPTION, "base_prompt": caption(values)})),
        Dialogue(BOOK.fill("concepts", asked | seen), json.dumps({"concepts": whole["concepts"]})),
        Dialogue(BOOK.fill("edges", asked | {"concepts": fenced_json(listed)}), json.dumps({"edges": whole["edges"]})),
    )


# ------------------------------------------------------------------------------------ propagation


def propagation(
    graph: CausalGraph, values: Mapping[str, str], settled: Mapping[str, str] | None = None, sees: bool = True
) -> Dialogue:
    """The graph's pending interventions carried through it; `values` tell of concepts that it leaves out."""
    settled = dict(settled or {})
    asked = _asked(graph, settled)
    question = {
        "graph": fenced_json(graph_for_model(graph)),
        "interventions": fenced_json(dict(graph.interventions)),
        "settled": fenced_json(settled),
        "descendants": fenced_json(asked),
        "base_prompt": fenced(graph.base_prompt),
    }
    reply = _carried(graph, values, settled, asked)
    return Dialogue(BOOK.fill("propagate", question), json.dumps(reply), sees)


def _asked(graph: CausalGraph, settled: Mapping[str, str]) -> list[str]:
    downstream = graph.descendants_of_interventions().difference(settled)
    return [name for name in graph.topological_order() if name in downstream]


def _carried(graph: CausalGraph, rest: Mapping[str, str], settled: Mapping[str, str], asked: Sequence[str]) -> dict:
    before = told_values(graph, rest)
    after = most_probable(before, graph.interventions, links(graph), settled)
    items = [{"concept": n, "reason": _reason(graph, n, before, after), "value": after[n]} for n in asked]
    return {"values": items, "prompt": caption(after)}


def _reason(graph: CausalGraph, name: str, before: Values, after: Values) -> str:
    if after[name] != before[name]:
        return BECAUSE[name][after[name]]
    changed = any(after[c] != before[c] for c, e in links(graph) if e == name)
    return STAYS if changed else CAUSES_STAY


# ----------------------------------------------------------------------- suggestions and judgements


def suggestions(graph: CausalGraph, values: Mapping[str, str], count: int, rng: np.random.Generator, sees: bool = True) -> Dialogue:
    """Some interventions on different concepts, each carried through the graph."""
    candidates = [c for c in graph.concepts if c.name not in graph.interventions]
    items = []
    for place, name in enumerate(_diverse(graph, [c.name for c in candidates], rng)[:count]):
        others = [value for value in BY_NAME[name].domain if value != graph[name].value]
        value = str(rng.choice(others))
        then = graph.do({name: value})
        why = CHOSEN_BECAUSE[min(place, 2)]
        items.append({"concept": name, "value": value, "reason": why} | _carried(then, values, {}, _asked(then, {})))
    return Dialogue(BOOK.fill("suggest", suggest.question(graph, candidates, count)), json.dumps({"interventions": items}), sees)


def _diverse(graph: CausalGraph, names: list[str], rng: np.random.Generator) -> list[str]:
    """First what reaches much of the graph, then what reaches nothing, then the others, each group in random order."""
    mixed = [names[i] for i in rng.permutation(len(names))]
    reach = {name: len(graph.descendants([name])) for name in names}
    first = sorted(mixed, key=lambda n: reach[n] < min(3, max(reach.values())))[0]
    second = sorted((n for n in mixed if n != first), key=lambda n: reach[n] > 0)[:1]
    return [first, *second, *(n for n in mixed if n != first and n not in second)]


def judgement(values: Mapping[str, str], name: str, value: str) -> Dialogue:
    """Does the picture show this value?"""
    answer = "yes" if values[name] == value else "no"
    return Dialogue(BOOK.fill("effectiveness", {"phrase": fenced(BY_NAME[name].phrases[value])}), json.dumps({"answer": answer}))


# ------------------------------------------------------------------------------------- random ones


def any_values(rng: np.random.Generator) -> Values:
    """The values of some scene, half of the time with some of them set by hand."""
    return evaluate(exogenous(int(rng.integers(1 << 40))), training_do(rng))


def edited_graph(values: Mapping[str, str], rng: np.random.Generator) -> CausalGraph:
    """Town's graph as an artist may leave it: edges taken out, drawn or reversed, concepts moved or missing."""
    names = list(IMPORTANCE if rng.random() < 0.6 else NAMES)
    if rng.random() < 0.12:
        names = list(IMPORTANCE[: int(rng.integers(5, 12))])
    if rng.random() < 0.15:
        names = [names[i] for i in rng.permutation(len(names))]
    edges = list(TRUE_EDGES)
    if rng.random() < 0.6:
        edges = changed_edges(edges, rng)
    return town_graph(values, names, edges, described=rng.random() < 0.6)


def changed_edges(edges: list[tuple[str, str]], rng: np.random.Generator) -> list[tuple[str, str]]:
    """One to four edges taken out, and sometimes one reversed or a new one drawn; never a circle."""
    kept = [edges[i] for i in sorted(rng.choice(len(edges), len(edges) - int(rng.integers(1, 5)), replace=False))]
    if rng.random() < 0.15:
        turned = int(rng.integers(len(kept)))
        kept = _without_circle(kept[:turned] + kept[turned + 1 :], kept[turned][::-1])
    if rng.random() < 0.3:
        cause, effect = rng.choice(len(NAMES), 2, replace=False)
        kept = _without_circle(kept, (NAMES[cause], NAMES[effect]))
    return kept


def _without_circle(edges: list[tuple[str, str]], new: tuple[str, str]) -> list[tuple[str, str]]:
    reached = {new[1]}
    for _ in NAMES:
        reached |= {effect for cause, effect in edges if cause in reached}
    return edges if new[0] in reached or new in edges else [*edges, new]


def intervened(graph: CausalGraph, rng: np.random.Generator) -> CausalGraph:
    """One to three pending interventions, most on causes and away from the facts."""
    number = int(rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15]))
    causes = [c for c in graph.names if graph.children(c)]
    pool = causes if causes and rng.random() < 0.6 else list(graph.names)
    chosen = rng.choice(len(pool), min(number, len(pool)), replace=False)
    do = {}
    for name in (pool[i] for i in chosen):
        others = [v for v in BY_NAME[name].domain if v != graph[name].value or rng.random() < 0.05]
        do[name] = str(rng.choice(others))
    return graph.do(do)


def some_propagation(values: Mapping[str, str], rng: np.random.Generator, sees: bool) -> Dialogue:
    """A random propagation over a scene's values."""
    graph = intervened(edited_graph(values, rng), rng)
    asked, settled = _asked(graph, {}), {}
    if asked and rng.random() < 0.15:
        name = str(rng.choice(asked))
        settled = {name: str(rng.choice(BY_NAME[name].domain))}
    return propagation(graph, values, settled, sees)


def torn_propagation(values: Mapping[str, str], rng: np.random.Generator) -> Dialogue:
    """Both causes of a concept change, and only one of them is drawn: the hardest question about an edited graph."""
    effect = str(rng.choice(["person", "headlights"]))
    causes = list(BY_NAME[effect].causes)
    gone = (causes[int(rng.integers(2))], effect)
    edges = [edge for edge in TRUE_EDGES if edge != gone]
    graph = town_graph(values, IMPORTANCE, edges, described=rng.random() < 0.7)
    do = {name: str(rng.choice([v for v in BY_NAME[name].domain if v != values[name]])) for name in causes}
    return propagation(graph.do(do), values, sees=rng.random() < 0.7)


def some_suggestions(values: Mapping[str, str], rng: np.random.Generator, sees: bool) -> Dialogue:
    """Random suggestions over a scene's values."""
    graph = edited_graph(values, rng)
    if rng.random() < 0.2:
        graph = intervened(graph, rng)
    return suggestions(graph, values, int(rng.choice([1, 2, 3, 4], p=[0.1, 0.1, 0.7, 0.1])), rng, sees)


def some_judgement(values: Mapping[str, str], rng: np.random.Generator, small: float = 0.3) -> Dialogue:
    """A random question with yes and no equally likely; small things are asked after more often."""
    name = str(rng.choice(SMALL if rng.random() < small else NAMES))
    others = [value for value in BY_NAME[name].domain if value != values[name]]
    return judgement(values, name, values[name] if rng.random() < 0.5 else str(rng.choice(others)))


def lesson(values: Values, rng: np.random.Generator, sitting: str = "") -> list[list[Dialogue]]:
    """All that is asked about one picture in one step of training, in rows of similar length.

    In the sitting "seeing" most pictures are only looked at, small things above all; in "reasoning" the questions that
    take more than one cause, or more than one suggestion, prevail.
    """
    most = 12 if rng.random() < 0.4 else int(rng.integers(1, 15))
    hint = str(rng.choice(HINTS)) if rng.random() < 0.1 else ""
    seen = [extraction(values, most, hint), *(some_judgement(values, rng, 0.6 if sitting else 0.3) for _ in range(6))]
    if sitting == "seeing" and rng.random() < 0.7:
        return [seen]
    own = values if rng.random() < 0.5 else any_values(rng)
    if sitting == "reasoning":
        rows = [[some_suggestions(own, rng, sees=True)], [torn_propagation(own, rng)]]
        return [*rows, [some_propagation(own, rng, sees=True)] if rng.random() < 0.3 else seen, seen[1:]]
    rows = [seen, [some_propagation(own, rng, sees=rng.random() < 0.7)]]
    kind = rng.random()
    if kind < 0.35:
        rows.append([some_suggestions(own, rng, sees=rng.random() < 0.8)])
    elif kind < 0.45:
        rows.append([staged(values, most, hint)[int(rng.integers(3))]])
    elif kind < 0.6:
        rows.append([some_propagation(any_values(rng), rng, sees=rng.random() < 0.3)])
    return rows
