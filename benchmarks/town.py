"""The Town benchmark: `python benchmarks/town.py`, or `make bench`. Tables and plots go to benchmarks/results/.

Every root and inner concept of held-out scenes of the toy world is intervened on, by every method, and each edit is
compared with the exact counterfactual, which this world can draw. One JSON line per edit is written as soon as it is
done; a run that was ended goes on where it stopped, and nothing is computed twice.
"""

from __future__ import annotations

import argparse
import logging
import lzma
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from in_process import ROOT, start_comfyui
from town_methods import AXES, COMPARED, FIELDS, FLOWEDIT, NO_EDIT, REFERENCES, Method, ablation, methods, shipped
from town_networks import UNET, add_arguments, check_arguments, digest, opened

RESULTS = ROOT / "benchmarks" / "results"
PICTURES = ROOT / "output" / "bench"
QUICK_SCENES, QUICK_STEPS, QUICK_CONCEPTS = 2, 20, ("weather", "time", "car")
EDIT, COMPOSITION, REVERSIBILITY = "edit", "composition", "reversibility"


@dataclass(frozen=True)
class Item:
    """One thing to measure: an edit, or an axiom, of one scene by one method."""

    measure: str
    scene: int
    do: str
    method: Method
    label: str
    seed: int

    @property
    def assignment(self) -> dict[str, str]:
        """The intervention."""
        return dict([self.do.split("=")]) if self.do else {}

    def record(self, model: str) -> dict[str, Any]:
        """The fields that identify it."""
        return {"model": model, "measure": self.measure, "settings": self.method.settings, "scene": self.scene,
                "do": self.do, "seed": self.seed}  # fmt: skip


def picture_of(folder: Path, scene: int, do: str, label: str, seed: int = 1) -> Path:
    """Where an edit's picture is kept."""
    name = f"{do.replace('=', '-')}-{label}-{seed}".replace(" ", "_").replace("/", "-")
    return folder / f"scene-{scene}" / f"{name}.png"


def compared(options: argparse.Namespace) -> dict[str, Method]:
    """The methods that the command line asks for, by label."""
    csg = shipped()
    known = methods(csg)
    chosen = {name: known[name] for name in (*options.methods, *REFERENCES)}
    for axis in options.ablate:
        chosen |= ablation(csg, axis)
    if options.steps:
        chosen = {name: method.with_steps(options.steps) for name, method in chosen.items()}
    return chosen


def items(options: argparse.Namespace, chosen: dict[str, Method]) -> Iterator[Item]:
    """Everything to measure, scene by scene, so that edits of a scene can share its inversions."""
    from town_worlds import FIRST_SCENE, interventions

    for number in range(options.first, options.first + options.scenes):
        scene = FIRST_SCENE + number
        asked = ["=".join(*do.items()) for do in interventions(scene)]
        asked = [do for do in asked if do.split("=")[0] in options.concepts]
        for seed in range(1, options.seeds + 1):
            for label, method in chosen.items():
                yield from (Item(EDIT, scene, do, method, label, seed) for do in asked)
            if number < options.axioms:
                yield from _axioms(scene, asked[number % len(asked)], options, chosen, seed)


def _axioms(
    scene: int, do: str, options: argparse.Namespace, chosen: dict[str, Method], seed: int
) -> Iterator[Item]:
    for label in (*options.methods, NO_EDIT):
        yield Item(COMPOSITION, scene, "", chosen[label], label, seed)
        yield Item(REVERSIBILITY, scene, do, chosen[label], label, seed)


class Bench:
    """Does one item after the other."""

    def __init__(self, options: argparse.Namespace) -> None:
        from town_lab import Judge, Lab, Perception

        self.lab, self.keep, self.pictures = Lab(opened(options)), options.keep, options.pictures
        self.perception, self.judge = Perception(options.lpips), Judge()
        self.scene: int | None = None

    def do(self, item: Item) -> dict[str, Any]:
        """The figures of one item."""
        from csg.town import score

        if item.scene != self.scene:
            self.lab.forget()
            self.scene = item.scene
        known = score.truth(item.scene, item.assignment)
        found = self._edit(item, known) if item.measure == EDIT else self._axiom(item, known)
        return {"machine": self.lab.machine, "versions": self.lab.versions} | found

    def _edit(self, item: Item, known: Any) -> dict[str, Any]:  # noqa: ANN401
        from town_lab import Change, Edited, kept, measured
        from town_worlds import INTERVENED_ON

        from csg.images import to_tensor

        change = Change(known.before, known.after, tuple(item.assignment))
        if item.method.editor in ("nothing", "truth"):
            picture = known.factual if item.method.editor == "nothing" else known.exact
            edit = Edited(self.lab.round_trip(picture), None, None, None)
        else:
            edit = self.lab.edited(to_tensor(known.factual), change, item.method, item.seed)
        self._keep(item, edit.image)
        times = {"seconds": edit.seconds, "inversion_seconds": edit.inversion_seconds, "kind": INTERVENED_ON[next(iter(item.assignment))]}
        found = measured(edit.image, item.scene, item.assignment, self.perception, self.judge)
        return times | found | kept(edit, item.scene, item.assignment)

    def _axiom(self, item: Item, known: Any) -> dict[str, Any]:  # noqa: ANN401
        from town_lab import Change

        from csg.evaluation.soundness import composition, reversibility
        from csg.images import to_array, to_tensor

        def edit(picture: Any, values: Any, wanted: Any) -> Any:  # noqa: ANN401
            if item.label == NO_EDIT:
                return self.lab.round_trip(to_array(picture)[0])
            names = tuple(item.assignment)
            return self.lab.edited(picture, Change(values, wanted, names), item.method, item.seed).image

        picture = to_tensor(known.factual)
        if item.measure == COMPOSITION:
            return composition(edit, picture, known.before).named(item.measure)
        return reversibility(edit, picture, known.before, known.after).named(item.measure)

    def _keep(self, item: Item, image: Any) -> None:  # noqa: ANN401
        from town_worlds import FIRST_SCENE

        from csg.images import to_pictures

        if item.scene < FIRST_SCENE + self.keep:
            path = picture_of(self.pictures, item.scene, item.do, item.label, item.seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            to_pictures(image)[0].save(path)


def archive(journal: Path) -> Path:
    """Where a journal's lines are kept in the repository, packed: a fifteenth of the text."""
    return journal.with_name(f"{journal.name}.xz")


def pack(options: argparse.Namespace) -> None:
    """Pack a full run's lines for the repository; the same lines make the same file."""
    if options.journal.parent == RESULTS and not options.quick:
        archive(options.journal).write_bytes(lzma.compress(options.journal.read_bytes(), preset=9 | lzma.PRESET_EXTREME))


def join(options: argparse.Namespace) -> None:
    """Take the lines of the shipped archive and of other journals that the own one lacks."""
    from csg.evaluation.runner.journal import Journal

    shipped_lines = archive(options.journal)
    if shipped_lines.is_file() and not options.journal.exists():
        options.journal.write_bytes(lzma.decompress(shipped_lines.read_bytes()))
    own = Journal(options.journal, FIELDS)
    for path in [*([shipped_lines] if shipped_lines.is_file() else []), *options.join]:
        if not path.is_file():
            raise SystemExit(f"{path} cannot be joined: there is no such file. Name the journals of other runs.")
        found = [record for record in Journal(path, FIELDS).records if record not in own]
        for record in found:
            own.add(record)
        sys.stderr.write(f"{path}: {len(found)} results that {options.journal} lacked\n")


def run(options: argparse.Namespace, todo: Sequence[Item]) -> None:
    """Do what the journal lacks."""
    from csg.evaluation.runner.journal import Journal
    from csg.evaluation.runner.pace import Pace

    journal, model = Journal(options.journal, FIELDS), digest(options.weights)
    left = [item for item in todo if item.record(model) not in journal]
    pace = Pace(len(todo), sys.stderr, done=len(todo) - len(left))
    bench = Bench(options) if left else None
    for item in left:
        if item.record(model) not in journal:  # two labels may name the same settings
            journal.add(item.record(model) | bench.do(item))
        pace.step(f"scene {item.scene}, {item.measure} {item.do}, {item.label}")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = methods(Method())
    add_arguments(parser)
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_SCENES} scenes, {QUICK_STEPS} steps, three concepts: some minutes"
    )
    parser.add_argument("--scenes", type=int, help="held-out scenes (200; with --ablate 20)")
    parser.add_argument(
        "--first", type=int, default=0, help="leave out so many scenes; their lines may come from another run"
    )
    parser.add_argument("--seeds", type=int, default=1, help="inversion seeds per scene")
    parser.add_argument(
        "--methods", nargs="*", choices=[n for n in known if n not in REFERENCES],
        help=f"default: {', '.join(COMPARED)}; with a transformer {FLOWEDIT} too",
    )
    parser.add_argument("--steps", type=int, help="of every inversion; default: each method's own")
    parser.add_argument("--concepts", nargs="+", help="intervene on these alone; default: every root and inner concept")
    parser.add_argument(
        "--ablate", nargs="*", default=[], metavar="AXIS", help=f"of CSG: {', '.join(AXES)}; none named: all"
    )
    parser.add_argument("--axioms", type=int, help="scenes for composition, and for reversibility of one edit each (12; with --ablate 0)")
    parser.add_argument(
        "--keep", type=int, default=8, help=f"keep the pictures of so many scenes in {PICTURES.relative_to(ROOT)}"
    )
    parser.add_argument("--journal", type=Path, help="where the JSON lines go; tables and plots beside them, under its name")
    parser.add_argument(
        "--join", type=Path, nargs="+", default=[], metavar="FILE", help="first take in what other runs have done"
    )
    parser.add_argument(
        "--report", action="store_true", help="only write tables and plots from the lines that are there"
    )
    parser.add_argument("--comfyui", type=Path, default=ROOT / ".comfy" / "ComfyUI")
    parser.add_argument("--lpips", type=Path, help="folder of the LPIPS weights; default: ComfyUI's models/lpips")
    return settled(parser, parser.parse_args(words), sys.argv[1:] if words is None else list(words))


def settled(parser: argparse.ArgumentParser, options: argparse.Namespace, words: Sequence[str]) -> argparse.Namespace:
    """The options with everything that depends on others filled in."""
    from town_worlds import INTERVENED_ON

    options.command = " ".join(["python benchmarks/town.py", *words])
    options.ablate = list(AXES) if "--ablate" in words and not options.ablate else options.ablate
    if unknown := set(options.ablate) - set(AXES):
        parser.error(f"there is no ablation {', '.join(sorted(unknown))}; there are {', '.join(AXES)}")
    if unknown := set(options.concepts or ()) - set(INTERVENED_ON):
        parser.error(f"nothing intervenes on {', '.join(sorted(unknown))}; there are {', '.join(INTERVENED_ON)}")
    defaults = (QUICK_SCENES, 1) if options.quick else (20, 0) if options.ablate else (200, 12)
    options.scenes = defaults[0] if options.scenes is None else options.scenes
    options.axioms = defaults[1] if options.axioms is None else options.axioms
    options.concepts = options.concepts or (QUICK_CONCEPTS if options.quick else tuple(INTERVENED_ON))
    options.steps = options.steps or (QUICK_STEPS if options.quick else None)
    check_arguments(parser, options)
    if options.methods is None:
        options.methods = list(COMPARED if options.network == UNET else (*COMPARED, FLOWEDIT))
    options.pictures = PICTURES if options.network == UNET else PICTURES.with_name(f"bench-{options.network}")
    stem = "town_quick" if options.quick else "town"
    options.journal = options.journal or RESULTS / (f"{stem}.jsonl" if options.network == UNET else f"{stem}_{options.network}.jsonl")
    options.lpips = options.lpips or options.comfyui / "models" / "lpips"
    return options


def main() -> None:
    """Measure what is missing, then write tables and plots."""
    options = arguments()
    logging.basicConfig(level=logging.WARNING)
    start_comfyui(options.comfyui)
    join(options)
    if not options.report:
        run(options, list(items(options, compared(options))))
    pack(options)
    from town_report import write

    sys.stdout.write(f"{write(options, partial(picture_of, options.pictures))}\n")


if __name__ == "__main__":
    main()
