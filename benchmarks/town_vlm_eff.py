"""How far Town's small model agrees with the readers on edited pictures: `python benchmarks/town_vlm_eff.py`.

VLM-Eff (the share of changed concepts that a vision-language model sees in the edit) beside the attribute readers'
effectiveness, per method, and Cohen's kappa of the two per concept. Pictures that the Town benchmark has kept in
output/bench are judged as they are; the others are made here. Two references are known without any judge: of the
exact counterfactual every answer is yes, of the unedited picture every answer is no.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from in_process import ROOT, start_comfyui
from town_methods import CSG, NO_EDIT, Method, methods, shipped

RESULTS = ROOT / "benchmarks" / "results"
EXACT = "exact"
TRUTH = {EXACT: True, NO_EDIT: False}
DEFAULT = (CSG, "DDIM", NO_EDIT, EXACT)
log = logging.getLogger("town_vlm_eff")


@dataclass(frozen=True)
class Verdict:
    """One changed concept of one edit, as the model and as the readers see it."""

    method: str
    concept: str
    model: bool
    readers: bool


def cohens_kappa(pairs: Iterable[tuple[bool, bool]]) -> float | None:
    """Agreement of two judges beyond chance; None where neither ever says anything but one word."""
    pairs = list(pairs)
    if not pairs:
        return None
    n = len(pairs)
    agreed = sum(a == b for a, b in pairs) / n
    first, second = sum(a for a, _ in pairs) / n, sum(b for _, b in pairs) / n
    chance = first * second + (1 - first) * (1 - second)
    return None if chance == 1 else (agreed - chance) / (1 - chance)


class Judge:
    """Makes or finds the pictures, and has them judged."""

    def __init__(self, known: Mapping[str, Method]) -> None:
        from town_lab import Lab

        from csg.town.weights import VLM_FOLDER
        from csg.vlm.local import LocalVLM

        self.lab, self.vlm, self.known = Lab(), LocalVLM(VLM_FOLDER), known

    def verdicts(self, scene: int, do: Mapping[str, str], label: str) -> list[Verdict]:
        """Every changed concept of one edit."""
        from town_lab import image_of, pixels

        from csg.causal.counterfactual import propagate
        from csg.causal.formats import read_json
        from csg.evaluation.effectiveness import effectiveness
        from csg.town import score, world
        from csg.town.readers import read_values

        truth = score.truth(scene, do)
        image = image_of(self._picture(scene, do, label, truth))
        graph = read_json(json.dumps(world.graph_document(truth.before))).do(do)
        follow = {n: truth.after[n] for n in truth.changed if n not in do}
        seen = read_values(pixels(image)[None])[0]
        found = effectiveness(self.vlm, image, propagate(graph, follow))
        return [Verdict(label, v.concept, v.answer, seen[v.concept] == truth.after[v.concept]) for v in found.verdicts]

    def _picture(self, scene: int, do: Mapping[str, str], label: str, truth: Any) -> Any:  # noqa: ANN401
        import numpy as np
        from PIL import Image
        from town import picture_of
        from town_lab import Change, image_of, pixels

        kept = picture_of(scene, "=".join(*do.items()), label)
        if kept.is_file():
            return np.array(Image.open(kept).convert("RGB"))
        if label in TRUTH:
            return pixels(self.lab.round_trip(truth.exact if TRUTH[label] else truth.factual))
        change = Change(truth.before, truth.after, tuple(do))
        return pixels(self.lab.edited(image_of(truth.factual), change, self.known[label], 1)[0])


def figures(verdicts: list[Verdict], labels: Iterable[str]) -> dict[str, Any]:
    """Shares per method; agreement per concept over all pictures, and over the edited ones alone."""
    from csg.town import world

    groups: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[verdict.method].append(verdict)
    per_method = {label: _agreement(groups[label]) for label in labels}
    for label in set(TRUTH) & set(groups):
        per_method[label] |= {"model right": _share(v.model == TRUTH[label] for v in groups[label]),
                              "readers right": _share(v.readers == TRUTH[label] for v in groups[label])}  # fmt: skip
    edited = [v for v in verdicts if v.method not in TRUTH]
    per_concept = {name: _agreement([v for v in verdicts if v.concept == name]) for name in world.NAMES}
    return {"methods": per_method, "concepts": per_concept, "all pictures": _agreement(verdicts), "edits": _agreement(edited)}


def _agreement(verdicts: list[Verdict]) -> dict[str, Any]:
    return {
        "n": len(verdicts),
        "VLM-Eff": _share(v.model for v in verdicts),
        "readers": _share(v.readers for v in verdicts),
        "agreed": _share(v.model == v.readers for v in verdicts),
        "kappa": cohens_kappa((v.model, v.readers) for v in verdicts),
    }


def _share(hits: Iterable[bool]) -> float | None:
    hits = list(hits)
    return sum(hits) / len(hits) if hits else None


def report(found: Mapping[str, Any], scenes: int) -> str:
    """The figures as Markdown."""
    keys = ("n", "VLM-Eff", "readers", "agreed", "kappa")

    def cell(key: str, value: float | None) -> str:
        return "-" if value is None else f"{value}" if key == "n" else f"{value:.2f}"

    def row(name: str, values: Mapping[str, Any]) -> str:
        return f"| {name} | {' | '.join(cell(key, values[key]) for key in keys)} |"

    head = ["| | " + " | ".join(keys) + " |", "|---" * (len(keys) + 1) + "|"]
    rows = [row(label, values) for label, values in found["methods"].items()]
    rows += [row("all edits", found["edits"]), row("all pictures", found["all pictures"])]
    concepts = [row(name, values) for name, values in found["concepts"].items()]
    right = [f"{label}: the model is right in {v['model right']:.2f}, the readers in {v['readers right']:.2f}"
             for label, v in found["methods"].items() if "model right" in v]  # fmt: skip
    return "\n".join([
        "# VLM-Eff on Town, and its agreement with the readers", "",
        f"{scenes} held-out scenes, one do() on every root and inner concept. n counts changed concepts; kappa is Cohen's, of the small",
        "model's yes or no and the attribute readers'. Both judges were trained on Town's renderer: a toy world's figures.", "",
        *head, *rows, "", f"References, where the truth is known: {'; '.join(right)}.", "", *head, *concepts, "",
    ])  # fmt: skip


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--methods", nargs="+", default=list(DEFAULT))
    parser.add_argument("--comfyui", type=Path, default=ROOT / ".comfy" / "ComfyUI")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    """Judge every edit, and write down how far the judges agree."""
    options = arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    start_comfyui(options.comfyui)
    from town_lab import FIRST_SCENE, interventions

    judge, verdicts = Judge(methods(shipped())), []
    for scene in range(FIRST_SCENE, FIRST_SCENE + options.scenes):
        for do in interventions(scene):
            for label in options.methods:
                verdicts += judge.verdicts(scene, do, label)
        judge.lab.forget()
        log.info("%d of %d scenes, %d answers", scene - FIRST_SCENE + 1, options.scenes, len(verdicts))
    found = figures(verdicts, options.methods)
    options.output.mkdir(parents=True, exist_ok=True)
    text = report(found, options.scenes)
    (options.output / "town_vlm_eff.md").write_text(text, encoding="utf-8")
    data = {"scenes": options.scenes, **found, "verdicts": [vars(v) for v in verdicts]}
    (options.output / "town_vlm_eff.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    log.info("\n%s", text)


if __name__ == "__main__":
    main()
