"""Is the audit right? `python benchmarks/town_audit.py`: the small model's verdicts beside the attribute readers', on edits good and bad.

Every edit is drawn by Town itself: the exact counterfactual, and two that went wrong on purpose, one in which a
consequence is missing and one in which a concept that had to stay was changed. The readers' values of the picture are the
truth. Cohen's kappa is agreement beyond chance. Tables go to benchmarks/results/town_audit.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from in_process import ROOT

sys.path.append(str(ROOT))

from town_worlds import FIRST_SCENE, interventions  # noqa: E402

from csg.causal.counterfactual import Counterfactual, propagate  # noqa: E402
from csg.causal.formats import read_json  # noqa: E402
from csg.evaluation.audit import CHANGE, audit  # noqa: E402
from csg.evaluation.runner.statistics import cohens_kappa  # noqa: E402
from csg.evaluation.runner.tables import line  # noqa: E402
from csg.images import to_tensor  # noqa: E402
from csg.town import world  # noqa: E402
from csg.town.readers import read_values  # noqa: E402
from csg.town.render import render  # noqa: E402
from csg.town.weights import VLM_FOLDER  # noqa: E402
from csg.vlm.local import LocalVLM  # noqa: E402
from csg.vlm.protocol import VisionLanguageModel  # noqa: E402

GOOD, MISSING, DISTURBED = "exact", "a consequence is missing", "a preserved concept changed"
Values = Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """One edit of a scene: the graph's answer, the picture before (H, W, 3) uint8, and the edited one."""

    kind: str
    counterfactual: Counterfactual
    before: np.ndarray
    edited: np.ndarray


@dataclass(frozen=True)
class Trial:
    """One concept's verdict: by the model (None: it cannot tell) and by the readers."""

    kind: str
    demand: str
    model: bool | None
    readers: bool


def cases(scene: int, do: Values) -> Iterator[Case]:
    """The exact edit of a scene and, where the world has something to get wrong, those that went wrong."""
    noise = world.exogenous(scene)
    values, after = world.evaluate(noise), world.evaluate(noise, do)
    follow = [name for name in world.NAMES if after[name] != values[name] and name not in do]
    graph = read_json(json.dumps(world.graph_document(values))).do(dict(do))
    counterfactual = propagate(graph, {name: after[name] for name in follow})
    before, rng = render(noise, values)[0], np.random.default_rng((scene, len(follow)))
    yield Case(GOOD, counterfactual, before, render(noise, after)[0])
    if follow:
        lost = str(rng.choice(follow))
        yield Case(MISSING, counterfactual, before, render(noise, after | {lost: values[lost]})[0])
    stays = [name for name in world.NAMES if after[name] == values[name] and name not in do]
    hit = str(rng.choice(stays))
    other = str(rng.choice([value for value in world.BY_NAME[hit].domain if value != values[hit]]))
    yield Case(DISTURBED, counterfactual, before, render(noise, after | {hit: other})[0])


def trials(vlm: VisionLanguageModel, case: Case) -> Iterator[Trial]:
    """Every concept of one edit that the audit has a verdict on."""
    image, original = (to_tensor(picture) for picture in (case.edited, case.before))
    read = read_values(case.edited[None])[0]
    for finding in audit(vlm, original, image, case.counterfactual).findings:
        wanted = case.counterfactual[finding.concept].counterfactual
        yield Trial(case.kind, finding.demand, finding.good, read[finding.concept] == wanted)


def row(name: str, found: Sequence[Trial]) -> str:
    """One line of the table: how often both said yes, agreed, and beyond chance; how many slips the model caught."""
    told = [trial for trial in found if trial.model is not None]
    kappa = cohens_kappa((bool(trial.model), trial.readers) for trial in told)
    slips = [trial for trial in told if not trial.readers]
    agreed = np.mean([trial.model == trial.readers for trial in told]) if told else float("nan")
    caught = f"{sum(not trial.model for trial in slips)} of {len(slips)}"
    false = f"{sum(not trial.model for trial in told if trial.readers)} of {len(told) - len(slips)}"
    beyond = "-" if kappa is None else f"{kappa:.2f}"
    return line([name, str(len(found)), str(len(found) - len(told)), f"{agreed:.2f}", beyond, caught, false])


def report(found: Sequence[Trial], scenes: int) -> str:
    """All trials as Markdown."""
    groups = {"all": list(found)}
    groups |= {kind: [trial for trial in found if trial.kind == kind] for kind in (GOOD, MISSING, DISTURBED)}
    groups |= {"concepts that had to change": [trial for trial in found if trial.demand == CHANGE],
               "concepts that had to stay": [trial for trial in found if trial.demand != CHANGE]}  # fmt: skip
    head = [line(["edits", "concepts", "unclear", "agreed", "kappa", "slips caught", "false alarms"]), line(["---", *["---:"] * 6])]
    return "\n".join([
        "# The audit beside the truth", "",
        f"{scenes} held-out scenes of Town, every intervention of the benchmark; edits drawn by the world itself, good ones and ones that "
        "went wrong on purpose. Verdicts of Town's small vision-language model, asked as CSG_Audit asks, beside the attribute readers' of "
        "the same picture. *Unclear*: not seen in the original either, left out. Kappa is Cohen's.", "",
        *head, *(row(name, trials) for name, trials in groups.items()), "",
    ])  # fmt: skip


def main(words: Sequence[str] | None = None) -> None:
    """Audit the edits of some scenes, and write down how right it was."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "town_audit.md")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    vlm, found = LocalVLM(VLM_FOLDER), []
    for scene in range(FIRST_SCENE, FIRST_SCENE + options.scenes):
        for do in interventions(scene):
            found += [trial for case in cases(scene, do) for trial in trials(vlm, case)]
        sys.stderr.write(f"scene {scene}: {len(found)} verdicts\n")
    text = report(found, options.scenes)
    options.output.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
