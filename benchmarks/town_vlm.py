"""What Town's small vision-language model can do: `python benchmarks/town_vlm.py [--scenes 200] [--folder FOLDER]`.

Every question goes the product's own way: `extract_concepts`, `vlm_propagate`, `suggest_interventions` and `effectiveness`
ask a `LocalVLM`. The truth is the renderer's, and of a propagation the most probable counterfactual under the graph given
(`town_expected`). Writes benchmarks/results/town_vlm.json and town_vlm.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from in_process import ROOT
from town_expected import TRUE_EDGES, most_probable
from town_training.dialogues import IMPORTANCE, changed_edges, intervened, links, town_graph

from csg.causal.counterfactual import propagate
from csg.causal.graph import CausalGraph, Concept
from csg.evaluation.effectiveness import effectiveness
from csg.town import world
from csg.town.render import render
from csg.town.weights import VLM_FOLDER
from csg.vlm.extract import extract_concepts
from csg.vlm.local import LocalVLM
from csg.vlm.manipulate import vlm_propagate
from csg.vlm.protocol import Question
from csg.vlm.suggest import suggest_interventions

FIRST_SCENE = 90_000_000  # training and the other measurements take their scenes elsewhere
RESULTS = ROOT / "benchmarks" / "results"
EVERY = 4  # of so many scenes one is asked for suggestions, and for fewer concepts
FLOORS = {
    "valid JSON": 0.995,
    "value accuracy, mean": 0.96,
    "value accuracy, lowest concept": 0.88,
    "exactly the true graph": 0.98,
    "propagation exact, true graph": 0.95,
    "propagation exact, edited graph": 0.85,
    "yes/no": 0.93,
}
log = logging.getLogger("town_vlm")


@dataclass
class Tally:
    """Shares of hits by name, and seconds by kind of question."""

    hits: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    misses: list[dict[str, Any]] = field(default_factory=list)

    def count(self, name: str, hit: bool, **details: Any) -> None:  # noqa: ANN401
        """Count one trial; what was asked of a miss is kept."""
        self.hits[name].append(bool(hit))
        if not hit and details:
            self.misses.append({"what": name, **details})

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time one question."""
        begin = time.perf_counter()
        yield
        self.seconds[name].append(time.perf_counter() - begin)

    def share(self, name: str) -> float:
        """The share of hits."""
        return float(np.mean(self.hits[name]))


@dataclass(frozen=True)
class Scene:
    """One held-out scene: its values, its picture (1, 256, 256, 3) in [0, 1], and random numbers of its own."""

    number: int
    values: world.Values
    image: torch.Tensor
    rng: np.random.Generator


def scenes(count: int) -> Iterator[Scene]:
    """The held-out scenes, as they are."""
    for number in range(FIRST_SCENE, FIRST_SCENE + count):
        noise = world.exogenous(number)
        values = world.evaluate(noise)
        picture = torch.from_numpy(render(noise, values)[0].astype(np.float32) / 255)[None]
        yield Scene(number, values, picture, np.random.default_rng((number, 3)))


def is_json(text: str) -> bool:
    """Whether a text is one JSON object and nothing else."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def extraction(vlm: LocalVLM, scene: Scene, tally: Tally) -> None:
    """Concepts, values and edges from the picture alone."""
    with tally.timed("extract"):
        found = extract_concepts(vlm, scene.image, max_concepts=12, seed=scene.number)
    read = {concept.name: concept.value for concept in found.graph.concepts}
    tally.count("valid JSON", is_json(found.reply) and not found.problems)
    for name in world.NAMES:
        tally.count(f"value: {name}", read.get(name) == scene.values[name])
    whole = set(read) == set(world.NAMES) and set(links(found.graph)) == set(TRUE_EDGES)
    tally.count("exactly the true graph", whole)
    tally.count("base prompt exact", found.graph.base_prompt == world.caption(scene.values))


def fewer_concepts(vlm: LocalVLM, scene: Scene, tally: Tally) -> None:
    """The node's usual limit of eight concepts."""
    fewer = extract_concepts(vlm, scene.image, max_concepts=8, seed=scene.number)
    tally.count("eight concepts when eight are asked for", fewer.graph.names == IMPORTANCE[:8] and not fewer.notes)


def propagation(vlm: LocalVLM, scene: Scene, tally: Tally) -> None:
    """One to three interventions at once, under the true graph and under one that an artist has edited."""
    edited = changed_edges(list(TRUE_EDGES), scene.rng)
    for kind, edges in (("true graph", TRUE_EDGES), ("edited graph", edited)):
        graph = intervened(town_graph(scene.values, IMPORTANCE, edges), scene.rng)
        with tally.timed("propagate"):
            found = vlm_propagate(vlm, scene.image, graph, seed=scene.number)
        after = {change.concept: change.counterfactual for change in found.changes}
        wanted = most_probable(scene.values, graph.interventions, links(graph))
        asked = {"scene": scene.number, "do": dict(graph.interventions), "missing edges": sorted(set(TRUE_EDGES) - set(edges))}
        wrong = {n: [after[n], wanted[n]] for n in world.NAMES if after[n] != wanted[n]}
        tally.count(f"propagation exact, {kind}", not wrong, **asked, wrong=wrong)
        tally.count(f"prompt exact, {kind}", found.prompt == world.caption(wanted))
        if kind == "edited graph":
            habits = most_probable(scene.values, graph.interventions)
            if habits != wanted:
                tally.count("edited graph, where it and the world differ", not wrong)
                tally.count("edited graph, answered as the world would", after == habits)


def suggestion(vlm: LocalVLM, scene: Scene, tally: Tally) -> None:
    """Three interventions, each carried through the graph."""
    graph = town_graph(scene.values)
    with tally.timed("suggest"):
        found = suggest_interventions(vlm, scene.image, graph, seed=scene.number)
    tally.count("three usable suggestions", len(found.counterfactuals) == 3 and not found.notes)
    for one in found.counterfactuals:
        after = {change.concept: change.counterfactual for change in one.changes}
        tally.count("suggestion carried exactly", after == most_probable(scene.values, one.graph.interventions))


def questions(values: Mapping[str, str], rng: np.random.Generator) -> tuple[CausalGraph, dict[str, str]]:
    """A graph whose every concept is set to what is asked after, true or false with equal odds."""
    asked, concepts = {}, []
    for name in world.NAMES:
        others = [value for value in world.BY_NAME[name].domain if value != values[name]]
        asked[name] = values[name] if rng.random() < 0.5 else str(rng.choice(others))
        before = next(value for value in world.BY_NAME[name].domain if value != asked[name])
        concepts.append(Concept(name, before, dict(world.BY_NAME[name].phrases)))
    return CausalGraph("", tuple(concepts)).do(asked), asked


def judgement(vlm: LocalVLM, scene: Scene, tally: Tally) -> None:
    """Is this seen? One question for every concept."""
    graph, asked = questions(scene.values, scene.rng)
    with tally.timed("judge, twelve questions"):
        found = effectiveness(vlm, scene.image, propagate(graph, {}))
    for verdict in found.verdicts:
        hit = verdict.answer == (asked[verdict.concept] == scene.values[verdict.concept])
        tally.count("yes/no", hit)
        tally.count(f"yes/no: {verdict.concept}", hit)


def figures(tally: Tally) -> dict[str, Any]:
    """All shares and times."""
    values = {name: tally.share(f"value: {name}") for name in world.NAMES}
    judged = {name: tally.share(f"yes/no: {name}") for name in world.NAMES}
    plain = {name: tally.share(name) for name in tally.hits if ": " not in name}
    plain |= {"value accuracy, mean": float(np.mean(list(values.values()))), "value accuracy, lowest concept": min(values.values())}
    times = {kind: {"median": float(np.median(s)), "longest": max(s)} for kind, s in tally.seconds.items()}
    missed = [name for name, floor in FLOORS.items() if plain[name] < floor]
    trials = {name: len(tally.hits[name]) for name in plain if name in tally.hits}
    details = {"value accuracy": values, "yes/no by concept": judged, "seconds": times}
    return {"shares": plain, "trials": trials, **details, "floors missed": missed}


def report(found: Mapping[str, Any], count: int, settings: str) -> str:
    """The figures as Markdown."""
    shares = found["shares"]
    trials = found["trials"]
    rows = [f"| {name} | {shares[name]:.3f} | {floor} | {trials.get(name, '')} |" for name, floor in FLOORS.items()]
    rows += [f"| {name} | {share:.3f} | | {trials[name]} |" for name, share in shares.items() if name not in FLOORS]
    concepts = [f"| {n} | {found['value accuracy'][n]:.3f} | {found['yes/no by concept'][n]:.3f} |" for n in world.NAMES]
    times = [f"| {kind} | {s['median']:.2f} | {s['longest']:.2f} |" for kind, s in found["seconds"].items()]
    return "\n".join([
        "# Town's small vision-language model", "",
        f"{count} held-out scenes, {settings}.",
        "Figures on a toy world: they say nothing about photographs. **The graph is memorised, not discovered**: it is the same in",
        "every scene, so its figure tells that it is written down without a slip, no more. Edited graphs lack one to four edges of the",
        "world's, and have some turned round or drawn anew; the row on those where the graph and the world differ tells whether",
        "the model follows the graph that it is given.", "",
        "| what | share | wanted | trials |", "|---|---|---|---|", *rows, "",
        "| concept | value read | yes/no |", "|---|---|---|", *concepts, "",
        "| question | median s | longest s |", "|---|---|---|", *times, "",
    ])  # fmt: skip


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=VLM_FOLDER)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--grammar", action="store_true", help="hold replies to their schema with xgrammar; default: written freely")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Ask everything about every scene, and write down how it went."""
    options = arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(options.threads)
    if not options.grammar:
        sys.modules["xgrammar"] = None  # as on a machine without the package
    vlm, tally = LocalVLM(options.folder), Tally()
    with tally.timed("load the model, and a first yes or no"):
        vlm.ask(Question("Is this a picture?", max_tokens=4, temperature=0.0))
    for number, scene in enumerate(scenes(options.scenes), 1):
        parts = (extraction, propagation, judgement) + ((fewer_concepts, suggestion) if number % EVERY == 0 else ())
        for part in parts:
            part(vlm, scene, tally)
        if number % 20 == 0:
            log.info("%d of %d scenes", number, options.scenes)
    found = figures(tally)
    form = "replies held to their schema" if options.grammar else "replies written freely, no grammar"
    words = f"{options.threads} CPU thread(s), {form}"
    options.output.mkdir(parents=True, exist_ok=True)
    text = report(found, options.scenes, words)
    (options.output / "town_vlm.md").write_text(text, encoding="utf-8")
    data = {"scenes": options.scenes, "settings": words, **found, "misses": tally.misses}
    (options.output / "town_vlm.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
