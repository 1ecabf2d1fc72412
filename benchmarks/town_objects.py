"""Objects with their traces: `python benchmarks/town_objects.py`. Writes benchmarks/results/town_objects.{md,jsonl}.

In Town a car has a shadow, and by night the beam of its headlights. `do(car = none)` has to take both along, `do(car = red)` to
bring both. The graph knows the beam as an effect of the car; the shadow is no concept of its own. Every held-out scene loses its
car, or gets one where it has none. A run that was ended goes on where it stopped; lines count only for the weights that made them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import in_process  # noqa: F401  makes csg importable
import numpy as np
from town_methods import CSG, FIELDS, INTERVENED, NO_EDIT, Method, methods, shipped
from town_networks import digest, opened
from town_program import carry_out, parser_of
from town_worlds import FIRST_SCENE

from csg.evaluation.runner.journal import Journal
from csg.evaluation.runner.pace import Pace
from csg.evaluation.runner.tables import Figure, common, paired, select, table
from csg.images import to_array, to_tensor
from csg.town import score, world
from csg.town.canvas import THING_ID
from csg.town.readers import read_values
from csg.town.render import layout, render

OBJECTS, WITHOUT = "objects", f"{CSG} without the edge"
ROAD, WHEELS, WHEEL = 0.922, 0.088, 0.040  # where a car's body ends, its wheels stand, and how far they reach; shares of the side
FEWEST = 12  # pixels of a part that is judged
FIGURES = (
    Figure("read", "car reads as it must"), Figure("thing", "the car itself"), Figure("shadow", "its shadow"),
    Figure("beam", "its beam (night)"), Figure("psnr_place", "PSNR on the place, dB", 1), Figure("excess_error", "excess error", 2, "less"),
)  # fmt: skip


def compared() -> dict[str, Method]:
    """CSG with and without the graph's edge to the beam, the baselines, and the two references.

    The beam's concept is the car's only effect, so that CSG told of the car alone is CSG without the edge.
    """
    known = methods(shipped())
    csg = known[CSG]
    return {
        CSG: csg, WITHOUT: replace(csg, concepts=INTERVENED),
        **{name: known[name] for name in ("DDIM", "DDPM", "LEDITS++ direct", NO_EDIT, "exact")},
    }  # fmt: skip


def intervention(scene: int) -> dict[str, str]:
    """The scene's car is taken away, or one is put where there is none, its colour fixed by the scene."""
    if world.factual(scene)["car"] != "none":
        return {"car": "none"}
    return {"car": str(np.random.default_rng((scene, 3)).choice(["red", "blue"]))}


def parts(scene: int, do: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Where the car itself, its shadow and its beam are, (256, 256) bool, in whichever of the two pictures has the car."""
    noise = world.exogenous(scene)
    values = (world.evaluate(noise), world.evaluate(noise, do))
    things = render(noise, values[do["car"] != "none"])[1]
    side, car = len(things), things == THING_ID["car"]
    y, x = (np.indices(things.shape) + 0.5) / side
    middle = layout(noise).car[0]
    wheels = np.zeros_like(car)
    for wheel in (middle - WHEELS, middle + WHEELS):
        wheels |= np.hypot(x - wheel, y - ROAD) < WHEEL
    shadow = car & (y > ROAD) & ~wheels
    return {"thing": car & ~shadow, "shadow": shadow, "beam": things == THING_ID["beam"]}


def followed(picture: np.ndarray, known: score.Truth, where: np.ndarray) -> float | None:
    """1 where a part of the picture is nearer to the exact counterfactual than to the factual picture, else 0; None for too few pixels."""
    if where.sum() < FEWEST:
        return None
    to_exact, to_factual = (score.percent_error(picture, other, where) for other in (known.exact, known.factual))
    return float(to_exact < to_factual)


def measured(picture: np.ndarray, scene: int, do: Mapping[str, str]) -> dict[str, Any]:
    """The figures of an edited picture (256, 256, 3) uint8."""
    known, places = score.truth(scene, do), parts(scene, do)
    place = np.logical_or.reduce(list(places.values()))
    return {
        "read": float(read_values(picture[None])[0]["car"] == do["car"]),
        **{name: followed(picture, known, where) for name, where in places.items()},
        "psnr_place": score.psnr(picture[place], known.exact[place]),
        "excess_error": score.score(picture, scene, do).excess_error,
    }  # fmt: skip


def run(options: argparse.Namespace) -> None:
    """Measure what the journal lacks, scene by scene, so that a scene's edits share its inversions."""
    from town_lab import Change, Lab

    journal, model = Journal(options.journal, FIELDS), digest(options.weights)
    first, common_fields = FIRST_SCENE + options.first, {"model": model, "measure": OBJECTS, "seed": 1}
    asked = [common_fields | {"settings": method.settings, "scene": scene, "do": f"car={intervention(scene)['car']}"}
             for scene in range(first, first + options.scenes) for method in compared().values()]  # fmt: skip
    left = [line for line in asked if line not in journal]
    pace, by_settings = Pace(len(asked), sys.stderr, done=len(asked) - len(left)), {m.settings: m for m in compared().values()}
    lab, scene = Lab(opened(options)) if left else None, None
    for line in left:
        if line["scene"] != scene:
            lab.forget()
        scene, method, do = line["scene"], by_settings[line["settings"]], intervention(line["scene"])
        known = score.truth(scene, do)
        if method.editor in ("nothing", "truth"):
            image = lab.round_trip(known.factual if method.editor == "nothing" else known.exact)
        else:
            image = lab.edited(to_tensor(known.factual), Change(known.before, known.after, ("car",)), method, 1).image
        machine = {"machine": lab.machine, "versions": lab.versions, "night": known.before["time"] == "night"}
        journal.add(line | machine | measured(to_array(image)[0], scene, do))
        pace.step(f"scene {scene}")


def report(records: Sequence[Mapping[str, Any]], command: str) -> str:
    """Both ways as Markdown, on the scenes that every method has done."""
    done = common({label: select(records, settings=method.settings) for label, method in compared().items()}, ("scene", "do"))
    scenes = {row["scene"] for rows in done.values() for row in rows}
    told = "; ".join(sorted({f"{row['machine']}, {row['versions']}" for rows in done.values() for row in rows}))
    text = [
        "# Objects with their traces", "", f"`{command}`", "", f"{len(scenes)} held-out scenes of Town. {told}.", "",
        "The shares of edits in which a part (the car itself, its shadow, its beam) is nearer to the exact counterfactual than to "
        "the picture before; PSNR to the exact one on the place of all three; excess error beyond all that had to change, in points. "
        f"*{WITHOUT}*: the same settings, but nothing follows from the car. The whole prompts of DDIM and DDPM are told of the headlights; "
        "LEDITS++ is told of the car alone. *no edit* and *exact*: the autoencoder's round trips of the picture "
        "before and of the exact counterfactual. Means with 95 % bootstrap intervals over scenes.", "",
    ]  # fmt: skip
    for title, taken in (("The car is taken away", True), ("A car is put there", False)):
        rows = {label: [row for row in own if (row["do"] == "car=none") == taken] for label, own in done.items()}
        count, night = len(rows.get(CSG, [])), sum(row["night"] for row in rows.get(CSG, []))
        if count:
            found = table(paired(rows, FIGURES, "scene", ("scene", "do")), FIGURES)
            text += [f"## {title}", "", found, "", f"{count} scenes, {night} by night.", ""]
    return "\n".join(text)


def main(words: Sequence[str] | None = None) -> None:
    """Measure what is missing, then write the tables."""
    parser = parser_of(__doc__ or "", 100)
    carry_out(parser, words, "town_objects", OBJECTS, run, report)


if __name__ == "__main__":
    main()
