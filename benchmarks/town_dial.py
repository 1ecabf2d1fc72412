"""Strength as a dial: `python benchmarks/town_dial.py`. Writes benchmarks/results/town_dial.{md,jsonl}.

Every intervention on held-out scenes of Town is edited at strengths from 0 to 1.5 times that of the shipped settings, the
intervened concept and all that follows from it alike, on one inversion per scene. Does the effect grow with every turn, and
does what is no descendant stay as it is? A run that was ended goes on where it stopped; lines count only for the weights
that made them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import in_process  # noqa: F401  makes csg importable
import numpy as np
from scipy.stats import rankdata
from town_methods import FIELDS, Method, shipped
from town_networks import digest, opened
from town_program import carry_out, parser_of
from town_worlds import FIRST_SCENE, INTERVENED_ON, interventions

from csg.evaluation.runner.journal import Journal
from csg.evaluation.runner.pace import Pace
from csg.evaluation.runner.tables import Figure, common, paired, select, summary, table
from csg.images import to_array, to_tensor
from csg.town import score, world
from csg.town.readers import probabilities

DIAL, STRENGTHS = "dial", (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
FIGURES = (
    Figure("wished", "intervened value"), Figure("effects", "values that follow"), Figure("moved", "from the picture before, %", 2, ""),
    Figure("error", "to the exact one, %", 2, "less"), Figure("others", "non-descendants read as before"),
    Figure("psnr_outside", "PSNR outside, dB", 1),
)  # fmt: skip
MONOTONE = (
    Figure("rho_wished", "Spearman, intervened value"), Figure("rho_effects", "Spearman, values that follow"),
    Figure("rho_moved", "Spearman, distance from before"), Figure("fall", "largest fall of the intervened value", 2, "less"),
    Figure("best", "strength nearest to the exact one", 2, ""),
)  # fmt: skip


def dial(csg: Method) -> dict[float, Method]:
    """The shipped settings at every strength: local and global concepts' scales by the same factor."""
    return {s: replace(csg, scale=csg.scale * s, global_scale=csg.global_scale * s) for s in STRENGTHS}


def measured(picture: np.ndarray, scene: int, do: Mapping[str, str]) -> dict[str, Any]:
    """The figures of an edited picture (256, 256, 3) uint8; probabilities are the attribute readers'."""
    known, seen = score.truth(scene, do), probabilities(picture[None])[0]
    effects = [name for name in known.changed if name not in do]
    others = [name for name in world.NAMES if name not in {*do, *world.descendants(tuple(do))}]
    outside = known.unchanged
    return {
        "wished": float(np.mean([seen[name][value] for name, value in do.items()])),
        "effects": float(np.mean([seen[name][known.after[name]] for name in effects])) if effects else None,
        "moved": score.percent_error(picture, known.factual),
        "error": score.percent_error(picture, known.exact),
        "others": float(np.mean([max(seen[name], key=seen[name].get) == known.before[name] for name in others])),
        "psnr_outside": score.psnr(picture[outside], known.factual[outside]) if outside.sum() >= score.ENOUGH_PIXELS else None,
    }  # fmt: skip


def spearman(values: Sequence[float]) -> float:
    """Rank correlation of a figure with its place along the dial; 0 for one that never moves. A hundredth is a move, less is not."""
    ranks = rankdata(np.round(values, 2))
    return 0.0 if np.ptp(ranks) == 0 else float(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1])


def sweep(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What one intervention's edits, in the order of their strengths, say about the dial."""
    along = {name: [row[name] for row in rows] for name in ("wished", "effects", "moved", "error")}
    effects = None if None in along["effects"] else spearman(along["effects"])
    return {
        "scene": rows[0]["scene"], "kind": INTERVENED_ON[rows[0]["do"].split("=")[0]],
        "rho_wished": spearman(along["wished"]), "rho_effects": effects, "rho_moved": spearman(along["moved"]),
        "fall": max(0.0, *(a - b for a, b in pairwise(along["wished"]))), "best": STRENGTHS[int(np.argmin(along["error"]))],
    }  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Measure what the journal lacks, scene by scene, so that all edits of a scene share its inversion."""
    from town_lab import Change, Lab

    journal, model, methods = Journal(options.journal, FIELDS), digest(options.weights), dial(shipped())
    first, fields = FIRST_SCENE + options.first, {"model": model, "measure": DIAL, "seed": 1}
    asked = [(fields | {"settings": method.settings, "scene": scene, "do": "=".join(*do.items())}, do, strength)
             for scene in range(first, first + options.scenes) for do in interventions(scene) if {*do} & {*options.concepts}
             for strength, method in methods.items()]  # fmt: skip
    left = [one for one in asked if one[0] not in journal]
    pace = Pace(len(asked), sys.stderr, done=len(asked) - len(left))
    lab, scene = Lab(opened(options)) if left else None, None
    for line, do, strength in left:
        if line["scene"] != scene:
            lab.forget()
        scene, known = line["scene"], score.truth(line["scene"], do)
        edit = lab.edited(to_tensor(known.factual), Change(known.before, known.after, tuple(do)), methods[strength], 1)
        machine = {"machine": lab.machine, "versions": lab.versions, "seconds": edit.seconds}
        journal.add(line | machine | measured(to_array(edit.image)[0], scene, do))
        pace.step(f"scene {scene}")


def report(records: Sequence[Mapping[str, Any]], command: str) -> str:
    """The dial as Markdown, on the interventions that were edited at every strength."""
    by_strength = {f"{s:g}": select(records, settings=method.settings) for s, method in dial(shipped()).items()}
    if not all(by_strength.values()):
        return "No intervention has been edited at every strength yet.\n"
    done = common(by_strength, ("scene", "do"))
    sweeps = [sweep(rows) for rows in zip(*done.values(), strict=True)]
    kinds = {"all": sweeps} | {kind: rows for kind in dict.fromkeys(INTERVENED_ON.values()) if (rows := select(sweeps, kind=kind))}
    scenes, told = ({row[name] for rows in done.values() for row in rows} for name in ("scene", "machine"))
    used = sorted({row["versions"] for rows in done.values() for row in rows})
    return "\n".join([
        "# Strength as a dial", "", f"`{command}`", "",
        f"{len(sweeps)} interventions on {len(scenes)} held-out scenes of Town, each at {len(STRENGTHS)} strengths. "
        f"{'; '.join(sorted(told))}; {'; '.join(used)}.", "",
        "A strength is the factor on the shipped guidance scales, of the intervened concept and of all that follows; 1 is the Town "
        "template. *Intervened value*, *values that follow*: the attribute readers' probability of the values in the exact counterfactual. "
        "Distances are mean absolute errors. *Non-descendants*: the concepts that the intervention cannot reach. "
        "*PSNR outside*: on the pixels that the exact counterfactual leaves as they were, the autoencoder's own loss included. "
        "Means with 95 % bootstrap intervals over scenes.", "",
        "## Along the dial", "", table(paired(done, FIGURES, "scene", ("scene", "do")), FIGURES, "strength"), "",
        "## Is it monotone?", "",
        "Spearman's rank correlation of each intervention's figure with the strength, in steps of a hundredth, then averaged: 1 grows "
        "with every turn, and a figure that never moves counts as 0. *Largest fall*: from one strength to the next. *Nearest*: where the "
        "error is least.", "",
        table({f"{kind} ({len(rows)})": summary(rows, MONOTONE, "scene") for kind, rows in kinds.items()}, MONOTONE, "intervention on"), "",
    ])  # fmt: skip


def main(words: Sequence[str] | None = None) -> None:
    """Measure what is missing, then write the tables."""
    parser = parser_of(__doc__ or "", 20)
    parser.add_argument("--concepts", nargs="+", choices=list(INTERVENED_ON), default=list(INTERVENED_ON), help="intervene on these alone")
    carry_out(parser, words, "town_dial", DIAL, run, report)


if __name__ == "__main__":
    main()
