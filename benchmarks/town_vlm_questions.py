"""What `town_vlm.py` asks about a scene of Town, and what counts as right.

Every question but one goes the product's own way: `extract_concepts`, the prompt for edges alone, `vlm_propagate`,
`effectiveness` and `suggest_interventions`. Only the target of an intervention, told from two pictures, is asked with a prompt of
this benchmark's. The truth is the renderer's, and of a propagation the most probable counterfactual under the graph given
(`town_expected`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from town_expected import TRUE_EDGES, most_probable
from town_training.dialogues import IMPORTANCE, changed_edges, intervened, links, town_graph
from town_vlm_names import concept_meant, concepts_meant, edges_meant, values_meant
from town_worlds import INTERVENED_ON

from csg.causal.counterfactual import propagate
from csg.causal.graph import CausalGraph, Concept
from csg.evaluation.effectiveness import MAX_TOKENS, effectiveness
from csg.images import to_tensor
from csg.town import world
from csg.town.render import render
from csg.vlm.extract import extract_concepts
from csg.vlm.interview import Interview
from csg.vlm.jsontext import find_object, spoken
from csg.vlm.manipulate import graph_for_model, vlm_propagate
from csg.vlm.pictures import for_model
from csg.vlm.prompting import PromptBook, fenced, fenced_json
from csg.vlm.protocol import VisionLanguageModel, VLMError
from csg.vlm.replies import Reading, read_edges
from csg.vlm.schemas import EdgesReply, Name, plain
from csg.vlm.suggest import suggest_interventions

FIRST_SCENE = 90_000_000  # training and the other measurements take their scenes elsewhere
EVERY = 4  # of so many scenes one is asked for suggestions, and for fewer concepts
BOOK = PromptBook(Path(__file__).parent / "town_vlm_prompts")
PICTURE, GIVEN = "from the picture", "concepts given"
TRUE, EDITED, TORN = "true graph", "edited graph", "one of two causes not drawn"


@dataclass
class Scores:
    """Sums and numbers of trials by measure: a share where what is summed is 0 or 1, else a mean. Misses with what was asked."""

    sums: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    misses: list[dict[str, Any]] = field(default_factory=list)

    def count(self, name: str, amount: float, trials: int = 1, **details: Any) -> None:  # noqa: ANN401
        """Add trials; what was asked of a miss is kept."""
        self.sums[name][0] += float(amount)
        self.sums[name][1] += trials
        if amount < trials and details:
            self.misses.append({"what": name, **details})


@dataclass(frozen=True)
class Scene:
    """One held-out scene: values, picture (1, 256, 256, 3) in [0, 1], and what is asked about it, fixed by its number.

    `graphs`: the true graph and one that an artist has edited, each with one to three interventions, and where the scene has it a
    graph that lacks one cause of an effect, with both causes set; `asked`: concept -> the value that the judge is asked about; `do`:
    one intervention, and `after` the exact counterfactual picture.
    """

    number: int
    values: world.Values
    image: torch.Tensor
    graphs: Mapping[str, CausalGraph]
    asked: Mapping[str, str]
    do: Mapping[str, str]
    after: torch.Tensor


def scenes(count: int) -> Iterator[Scene]:
    """The held-out scenes, as they are."""
    for number in range(FIRST_SCENE, FIRST_SCENE + count):
        noise = world.exogenous(number)
        values, rng = world.evaluate(noise), np.random.default_rng((number, 3))
        edited = changed_edges(list(TRUE_EDGES), rng)
        edges = {TRUE: TRUE_EDGES, EDITED: edited}
        graphs = {kind: intervened(town_graph(values, IMPORTANCE, own), rng) for kind, own in edges.items()}
        asked = statements(values, rng)
        do, graph = one_intervention(values, np.random.default_rng((number, 4))), torn(values, np.random.default_rng((number, 5)))
        graphs |= {TORN: graph} if graph else {}
        yield Scene(number, values, shown(noise, values), graphs, asked, do, shown(noise, world.evaluate(noise, do)))


def shown(noise: world.Exogenous, values: world.Values) -> torch.Tensor:
    """The picture of a scene, IMAGE (1, 256, 256, 3)."""
    return to_tensor(render(noise, values)[0])


def one_intervention(values: Mapping[str, str], rng: np.random.Generator) -> dict[str, str]:
    """One of the benchmark's concepts set to a value that the scene does not have."""
    name = str(rng.choice(list(INTERVENED_ON)))
    return {name: str(rng.choice([value for value in world.BY_NAME[name].domain if value != values[name]]))}


def torn(values: Mapping[str, str], rng: np.random.Generator) -> CausalGraph | None:
    """A graph that lacks one of an effect's two causes, with both set so that the graph and the world give it different values.

    None for a scene in which no such intervention can tell the two apart.
    """
    cases = []
    for cause, effect in (edge for edge in TRUE_EDGES if edge[1] in ("person", "headlights")):
        drawn, causes = [edge for edge in TRUE_EDGES if edge != (cause, effect)], tuple(world.BY_NAME[effect].causes)
        for chosen in product(*([value for value in world.BY_NAME[name].domain if value != values[name]] for name in causes)):
            do = dict(zip(causes, chosen, strict=True))
            if most_probable(values, do, drawn)[effect] != most_probable(values, do)[effect]:
                cases.append((drawn, do))
    if not cases:
        return None
    drawn, do = cases[int(rng.integers(len(cases)))]
    return town_graph(values, IMPORTANCE, drawn).do(do)


def statements(values: Mapping[str, str], rng: np.random.Generator) -> dict[str, str]:
    """A value for every concept, true or false of the scene with equal odds."""
    asked = {}
    for name in world.NAMES:
        others = [value for value in world.BY_NAME[name].domain if value != values[name]]
        asked[name] = values[name] if rng.random() < 0.5 else str(rng.choice(others))
    return asked


# ---------------------------------------------------------------------------------- values and structure


def is_json(text: str) -> bool:
    """Whether a text is one JSON object and nothing else."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def extraction(vlm: VisionLanguageModel, scene: Scene, scores: Scores) -> None:
    """Concepts, values and edges from the picture alone."""
    found = extract_concepts(vlm, scene.image, max_concepts=12, seed=scene.number)
    graph, read = found.graph, values_meant(found.graph)
    scores.count("valid JSON", is_json(found.reply) and not found.problems)
    scores.count("concepts named", len(read), len(world.NAMES))
    scores.count("concepts that Town does not have", len(graph.concepts) - len(concepts_meant(graph)))
    for name in world.NAMES:
        hit = read.get(name) == scene.values[name]
        scores.count("values read", hit, scene=scene.number, concept=name, read=read.get(name, "not named"))
        scores.count(f"value: {name}", hit)
        if name in read:
            scores.count("values read, of the concepts named", hit)
    whole = set(graph.names) == set(world.NAMES) and set(links(graph)) == set(TRUE_EDGES)
    scores.count("exactly the true graph", whole)
    scores.count("base prompt exact", graph.base_prompt == world.caption(scene.values))
    structure(scores, PICTURE, edges_meant(graph, "confirmed"), edges_meant(graph, "proposed"))


def edges(vlm: VisionLanguageModel, scene: Scene, scores: Scores) -> None:
    """The edges alone, between Town's concepts, as extraction in stages asks for them."""
    graph = town_graph(scene.values, edges=())
    listed = [{"name": c.name, "value": c.value, "values": list(c.values)} for c in graph.concepts]
    question = {"description": fenced(""), "max_concepts": "12", "concepts": fenced_json(listed)}
    interview = Interview.about(vlm, scene.image, temperature=0.1, seed=scene.number)
    drawn = interview.ask("edges", question, EdgesReply, lambda text: read_edges(text, graph.concepts)).reading.value
    by_status = {status: {(e.cause, e.effect) for e in drawn if e.status == status} for status in ("confirmed", "proposed")}
    structure(scores, GIVEN, by_status["confirmed"], by_status["proposed"])


Edges = Collection[tuple[str, str]]


def structure(scores: Scores, how: str, confirmed: Edges, proposed: Edges) -> None:
    """Confirmed edges against the true ones, and proposed ones apart.

    F1 counts every right edge twice among right, wrong and missing ones, which is the same ratio. The structural Hamming distance
    is the number of edges to add, take out or turn round (Tsamardinos, Brown & Aliferis 2006).
    """
    true, own = set(TRUE_EDGES), set(confirmed)
    right, wrong, missing = own & true, own - true, true - own
    turned = {(cause, effect) for cause, effect in wrong if (effect, cause) in missing}
    scores.count(f"edge precision, {how}", len(right), len(own))
    scores.count(f"edge recall, {how}", len(right), len(true))
    scores.count(f"edge F1, {how}", 2 * len(right), 2 * len(right) + len(wrong) + len(missing))
    scores.count(f"structural Hamming distance, {how}", len(wrong) + len(missing) - len(turned))
    scores.count(f"edges turned round, {how}", len(turned), len(right) + len(turned))
    scores.count(f"edges proposed, {how}", len(proposed))
    scores.count(f"proposed edges that are true, {how}", len(set(proposed) & true), len(proposed))


# ------------------------------------------------------------------------------ interventions and effects


class TargetReply(BaseModel):
    """The concept that was set."""

    concept: Name


def read_target(text: str) -> Reading[str | None]:
    """The concept of Town that a reply names, from JSON or from a word alone."""
    text = spoken(text)
    found = find_object(text, ("concept",))
    name = plain(found.data.get("concept") if found else text)
    meant = concept_meant(name) if isinstance(name, str) else None
    return Reading(meant, () if meant else ("concept: expected the name of a concept of the graph.",))


def target(vlm: VisionLanguageModel, scene: Scene, scores: Scores) -> None:
    """Which concept was set, told from the picture before and the exact counterfactual."""
    pictures = (for_model(scene.image), for_model(scene.after))
    interview = Interview(vlm, pictures, 0.0, MAX_TOKENS, scene.number, BOOK)
    question = {"graph": fenced_json(graph_for_model(town_graph(scene.values)))}
    name = interview.ask("target", question, TargetReply, read_target).reading.value
    scores.count("target of an intervention", name in scene.do, scene=scene.number, do=dict(scene.do), answer=name)


def propagation(vlm: VisionLanguageModel, scene: Scene, scores: Scores) -> None:
    """One to three interventions at once, under the true graph, an edited one, and one that parts from the world."""
    for kind, graph in scene.graphs.items():
        found = vlm_propagate(vlm, scene.image, graph, seed=scene.number)
        after = {change.concept: change.counterfactual for change in found.changes}
        wanted, habits = (most_probable(scene.values, graph.interventions, own) for own in (links(graph), TRUE_EDGES))
        if kind == TORN:
            _graph_or_world(scores, graph, after, wanted, habits)
            continue
        asked = {"scene": scene.number, "do": dict(graph.interventions), "missing edges": sorted(set(TRUE_EDGES) - set(links(graph)))}
        wrong = {n: [after[n], wanted[n]] for n in world.NAMES if after[n] != wanted[n]}
        scores.count(f"propagation exact, {kind}", not wrong, **asked, wrong=wrong)
        scores.count(f"prompt exact, {kind}", found.prompt == world.caption(wanted))
        for name in graph.descendants_of_interventions():
            scores.count(f"propagation per descendant, {kind}", after[name] == wanted[name])
            scores.count(f"propagated: {name}", after[name] == wanted[name])
        if kind == EDITED and habits != wanted:
            scores.count("edited graph, where it and the world differ", not wrong)
            scores.count("edited graph, answered as the world would", after == habits)


def _graph_or_world(scores: Scores, graph: CausalGraph, after: world.Values, wanted: world.Values, habits: world.Values) -> None:
    """Which of the two a model follows for an effect that it is asked about; what the graph does not reach it is not asked."""
    for name in graph.descendants_of_interventions():
        if habits[name] != wanted[name]:
            scores.count(f"as the graph says, {TORN}", after[name] == wanted[name])
            scores.count(f"as the world would, {TORN}", after[name] == habits[name])


# --------------------------------------------------------------------------------- judging and suggesting


def judgement(vlm: VisionLanguageModel, scene: Scene, scores: Scores) -> None:
    """Is this seen? One question for every concept; the graph sets each to the value that is asked about."""
    concepts = []
    for name, value in scene.asked.items():
        before = next(other for other in world.BY_NAME[name].domain if other != value)
        concepts.append(Concept(name, before, dict(world.BY_NAME[name].phrases)))
    graph = CausalGraph("", tuple(concepts)).do(dict(scene.asked))
    for verdict in effectiveness(vlm, scene.image, propagate(graph, {})).verdicts:
        true = scene.asked[verdict.concept] == scene.values[verdict.concept]
        scores.count("yes/no", verdict.answer == true)
        scores.count(f"yes/no: {verdict.concept}", verdict.answer == true)
        scores.count("false negatives" if true else "false positives", verdict.answer != true)


def fewer(vlm: VisionLanguageModel, scene: Scene, scores: Scores) -> None:
    """The node's usual limit of eight concepts."""
    found = extract_concepts(vlm, scene.image, max_concepts=8, seed=scene.number)
    scores.count("eight concepts when eight are asked for", found.graph.names == IMPORTANCE[:8] and not found.notes)


def suggestion(vlm: VisionLanguageModel, scene: Scene, scores: Scores) -> None:
    """Three interventions, each carried through the graph; none that is usable is three misses, not the end."""
    try:
        found = suggest_interventions(vlm, scene.image, town_graph(scene.values), seed=scene.number)
    except VLMError:
        if getattr(vlm, "failed", False):
            raise
        scores.count("three usable suggestions", False)
        return
    scores.count("three usable suggestions", len(found.counterfactuals) == 3 and not found.notes)
    for one in found.counterfactuals:
        after = {change.concept: change.counterfactual for change in one.changes}
        scores.count("suggestion carried exactly", after == most_probable(scene.values, one.graph.interventions))


PARTS: Mapping[str, Callable[[VisionLanguageModel, Scene, Scores], None]] = {
    part.__name__: part for part in (extraction, edges, target, propagation, judgement, fewer, suggestion)
}
SOMETIMES = ("fewer", "suggestion")


def parts_of(scene: Scene) -> list[str]:
    """What is asked about a scene."""
    last = (scene.number - FIRST_SCENE + 1) % EVERY == 0
    return [name for name in PARTS if last or name not in SOMETIMES]
