"""How near to the exact counterfactual of a Town scene anyone can come who sees only the picture.

    python benchmarks/town_ceiling.py --scenes 200

An exact counterfactual shows what the factual picture hides: where drops fall when it rains, the tint of the car that
was not there. Here everything hidden is drawn again, many times, and everything visible is kept, so that each drawing is
as good a counterfactual as the exact one. Their distance to the exact one is what a perfect sampler would leave; the
distance of their mean is what a perfect guesser would leave, who may blur. Both pass through Town's autoencoder, as
every edit does. Nothing here is edited by a model. Writes benchmarks/results/town_ceiling.jsonl, one line per edit, from
which benchmarks/town.py takes its ceilings. Needs no ComfyUI.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from in_process import ROOT
from town_worlds import FIRST_SCENE, INTERVENED_ON, interventions

from csg.evaluation.runner.journal import Journal
from csg.evaluation.runner.pace import Pace
from csg.images import to_tensor
from csg.town import score, world
from csg.town.render import render

LINES = ROOT / "benchmarks" / "results" / "town_ceiling.jsonl"
TRIALS, ATTEMPTS = 6, 40


class Scene:
    """A scene, and others that look the same."""

    def __init__(self, number: int) -> None:
        self.noise, self.values = world.exogenous(number), world.factual(number)
        self.picture, self.rng = render(self.noise, self.values)[0].astype(int), np.random.default_rng((number, 7))

    def looks_alike(self, changed: Mapping[str, np.ndarray]) -> bool:
        """Whether no pixel shows that part of the geometry is another."""
        other = replace(self.noise, geometry={**self.noise.geometry, **changed})
        return int(np.abs(self.picture - render(other, self.values)[0]).max()) <= score.SAME_PIXEL

    def hidden(self) -> dict[str, np.ndarray]:
        """Which numbers of the geometry the picture does not show: no others in their place change it."""
        found = {}
        for key, numbers in self.noise.geometry.items():
            everything = np.ones(len(numbers), bool)
            alone = [everything] if len(numbers) == 1 else [everything, *np.eye(len(numbers), dtype=bool)]
            free = (which for which in alone if all(self.looks_alike({key: self._other(numbers, which)}) for _ in range(TRIALS)))
            found[key] = np.zeros(len(numbers), bool)
            for which in free:
                found[key] |= which
                if which is everything:
                    break
        return found

    def _other(self, numbers: np.ndarray, which: np.ndarray) -> np.ndarray:
        return np.where(which, self.rng.random(len(numbers)), numbers)

    def redrawn(self, count: int) -> Iterator[world.Exogenous]:
        """Scenes that look like this one, everything hidden drawn again."""
        free, made = self.hidden(), 0
        for _ in range(count * ATTEMPTS):
            if made == count:
                return
            other = {key: self._other(numbers, free[key]) for key, numbers in self.noise.geometry.items()}
            if self.looks_alike(other):  # numbers that are hidden one by one may show together
                made += 1
                yield replace(self.noise, geometry=other)
        if made < count:
            raise RuntimeError(f"Only {made} of {count} drawings of scene {self.noise.seed} look like it.")


def through_autoencoder(picture: np.ndarray) -> np.ndarray:
    """(256, 256, 3) in [0, 255], and what the autoencoder leaves of it."""
    with torch.inference_mode():
        return (score.codec()(to_tensor(picture).movedim(-1, 1))[0].permute(1, 2, 0).clamp(0, 1) * 255).numpy()


def measured(scene: int, count: int) -> Iterator[dict[str, Any]]:
    """One line per intervention on the scene, PSNR in dB."""
    others = list(Scene(scene).redrawn(count))
    for do in interventions(scene):
        known, [(name, value)] = score.truth(scene, do), do.items()
        drawn = [render(other, known.after)[0].astype(float) for other in others]
        samples = [score.psnr(through_autoencoder(picture), known.exact) for picture in drawn[: max(4, count // 4)]]
        yield {
            "scene": scene, "do": f"{name}={value}", "kind": INTERVENED_ON[name], "drawings": count,
            "psnr_drawing": float(np.mean(samples)),
            "psnr_mean": score.psnr(through_autoencoder(np.mean(drawn, 0)), known.exact),
            "psnr_exact": score.psnr(through_autoencoder(known.exact), known.exact),
        }  # fmt: skip


def main() -> None:
    """Measure the scenes that have no lines yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--drawings", type=int, default=32)
    options = parser.parse_args()
    journal = Journal(LINES, ("scene", "do"))
    lines = Counter(record["scene"] for record in journal.records)
    left = [scene for scene in range(FIRST_SCENE, FIRST_SCENE + options.scenes) if lines[scene] < len(INTERVENED_ON)]
    pace = Pace(options.scenes, sys.stderr, done=options.scenes - len(left))
    for scene in left:
        for line in list(measured(scene, options.drawings)):
            if line not in journal:  # a run that was ended may have left some of a scene's lines
                journal.add(line)
        pace.step(f"scene {scene}")


if __name__ == "__main__":
    main()
