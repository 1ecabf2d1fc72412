"""Does a vote of several readings draw a better graph than one? `python benchmarks/town_vote.py [--scenes 40] [--asked 4] [--readings 5]`.

Two readers: Town's small model, sampled at two temperatures, and a scripted one that forgets and invents edges at known rates,
anew in every reading. Of each scene the first reading is held against the vote of all. Writes benchmarks/results/town_vote.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from in_process import ROOT, processor
from town_expected import TRUE_EDGES
from town_training.dialogues import IMPORTANCE
from town_vlm_names import edges_meant
from town_vlm_questions import Scene, Scores, scenes, structure
from town_vlm_report import interval

from csg.causal.graph import CausalGraph
from csg.evaluation.runner.statistics import paired_difference
from csg.evaluation.runner.tables import line
from csg.town import world
from csg.town.weights import VLM_FOLDER
from csg.vlm.extract import extract_concepts
from csg.vlm.local import LocalVLM
from csg.vlm.protocol import Progress, Question, VisionLanguageModel
from csg.vlm.vote import vote

MEASURES = ("edge precision", "edge recall", "edge F1", "structural Hamming distance")
ONE, VOTE = "one reading", "vote"
FALSE = [pair for pair in permutations(world.NAMES, 2) if pair not in TRUE_EDGES and pair[::-1] not in TRUE_EDGES]


class Forgetful:
    """A reader of Town whose errors are known: it leaves out each true edge and draws each false one with given odds.

    With `same` the errors are one scene's habit, alike in all its readings, as a model's that is wrong for a reason.
    """

    def __init__(self, forgets: float, invents: float, same: bool = False) -> None:
        self.forgets, self.invents, self.same = forgets, invents, same

    def ask(self, question: Question, progress: Progress | None = None) -> str:
        """The graph as it is, but for what the seed makes it forget and invent."""
        rng = np.random.default_rng(question.seed // 100 if self.same else question.seed)
        drawn = [edge for edge in TRUE_EDGES if rng.random() >= self.forgets]
        drawn += [edge for edge in FALSE if rng.random() < self.invents]
        concepts = [{"name": n, "value": world.BY_NAME[n].domain[0], "values": dict(world.BY_NAME[n].phrases)} for n in IMPORTANCE]
        edges = [{"cause": cause, "effect": effect, "reason": ""} for cause, effect in drawn]
        return json.dumps({"base_prompt": "a street", "concepts": concepts, "edges": edges})


def read(vlm: VisionLanguageModel, scene: Scene, readings: int, temperature: float) -> list[CausalGraph]:
    """Several readings of a scene's picture, as the extractor makes them."""
    seeds = range(100 * scene.number, 100 * scene.number + readings)
    return [extract_concepts(vlm, scene.image, max_concepts=12, temperature=temperature, seed=seed).graph for seed in seeds]


def judged(graph: CausalGraph) -> dict[str, tuple[float, int]]:
    """Sums and trials of the measures of structure."""
    scores = Scores()
    structure(scores, "", edges_meant(graph, "confirmed"), edges_meant(graph, "proposed"))
    return {name.removesuffix(", "): (pair[0], pair[1]) for name, pair in scores.sums.items()}


def rows(name: str, found: Sequence[Sequence[CausalGraph]]) -> Iterator[str]:
    """The lines of one reader: one reading, the vote, and how much more the vote has, scene by scene."""
    both = {ONE: [judged(graphs[0]) for graphs in found], VOTE: [judged(vote(graphs)[0]) for graphs in found]}
    alike = np.mean([len({frozenset(edges_meant(g, "confirmed")) for g in graphs}) == 1 for graphs in found])
    for how, scored in both.items():
        yield line([name, how, *(interval(measure, [each[measure] for each in scored]).text() for measure in MEASURES), f"{alike:.2f}"])
    gains = (paired_difference(means(both[VOTE], measure), means(both[ONE], measure)).text() for measure in MEASURES)
    yield line([name, "vote - one", *gains, ""])


def means(scored: Sequence[Mapping[str, tuple[float, int]]], measure: str) -> list[float | None]:
    """A measure's mean in each scene; None where there was no trial."""
    return [each[measure][0] / each[measure][1] if each[measure][1] else None for each in scored]


def readers(count: int, asked: int) -> Iterator[tuple[str, VisionLanguageModel, float, int]]:
    """Who reads, at which temperature, and how many scenes: `count` the scripted ones, `asked` the real model."""
    yield "forgets 0.3, invents 0.03, anew each time", Forgetful(0.3, 0.03), 0.7, count
    yield "the same errors in all readings of a scene", Forgetful(0.3, 0.03, same=True), 0.7, count
    shipped = LocalVLM(VLM_FOLDER)
    for temperature in (0.7, 1.5):
        yield f"town-vlm, temperature {temperature}", shipped, temperature, asked


def report(count: int, asked: int, readings: int) -> str:
    """All readers as Markdown."""
    head = ["reader", "graph", "precision", "recall", "F1", "Hamming distance", "scenes with all readings alike"]
    lines = [line(head), line(["---", "---", *["---:"] * 5])]
    for name, vlm, temperature, number in readers(count, asked):
        lines += rows(name, [read(vlm, scene, readings, temperature) for scene in scenes(number)])
        sys.stderr.write(f"{name}: done\n")
    return "\n".join([
        "# One reading or a vote", "",
        f"Held-out scenes of Town ({count} for the scripted readers, {asked} for `town-vlm`), {readings} readings each, confirmed edges",
        "against the true ones; means with 95 % intervals, the differences paired by scene.",
        f"`python benchmarks/town_vote.py --scenes {count} --asked {asked} --readings {readings}`, {processor()}.",
        "The first two readers are scripted: their errors are drawn at the rates that are named, so they show what a vote can",
        "do and what it cannot, not how often a real model errs. `town-vlm` knows Town's graph by heart.", "",
        *lines, "",
    ])  # fmt: skip


def main(words: Sequence[str] | None = None) -> None:
    """Read, vote, and write down which graph was better."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=40, help="for the scripted readers")
    parser.add_argument("--asked", type=int, default=4, help="for Town's model, which takes seconds a reading")
    parser.add_argument("--readings", type=int, default=5)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "town_vote.md")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    text = report(options.scenes, options.asked, options.readings)
    options.output.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
