"""The toy world edited through the real ComfyUI: `python benchmarks/demo.py --output output/demo`.

Starts ComfyUI without a window, sends the workflow `workflows/api/town_counterfactual.json` once per scene and
intervention, and compares every result with the exact counterfactual, which this world can draw. All settings of the
method stand in the workflow; this module fills in the scene, the intervention and its consequences.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any, TextIO

import in_process
import town_from_image as from_image
from PIL import Image, ImageDraw, ImageFont

from csg.evaluation.runner import prompts
from csg.evaluation.runner.comfy_client import ComfyClient, ComfyError, ComfyServer, Progress, Run
from csg.evaluation.runner.prompts import Prompt
from csg.town import world

WORKFLOW = in_process.ROOT / "workflows" / "api" / "town_counterfactual.json"
TRANSFORMER = in_process.ROOT / "workflows" / "api" / "town_transformer.json"
INTERVENTIONS = ("weather=rainy", "weather=snowy", "time=night", "season=autumn", "house=blue")
PICTURES = ("factual", "counterfactual", "exact", "masks")
FIGURES = ("effectiveness", "excess_error", "untouched", "reconstruction_error", "seconds")
Figures = dict[str, float | None]


@dataclass(frozen=True)
class Edit:
    """One scene under one intervention: what is asked of ComfyUI."""

    seed: int
    intervention: str

    @property
    def do(self) -> dict[str, str]:
        """The intervention as an assignment."""
        concept, value = self.intervention.split("=")
        return {concept: value}

    @property
    def name(self) -> str:
        """A folder's name for the results."""
        return f"{self.intervention.replace('=', '-')}/scene-{self.seed}"

    def consequences(self) -> dict[str, str]:
        """The values that change downstream, by the world's own mechanisms."""
        before, after = world.factual(self.seed), world.counterfactual(self.seed, self.do)
        return {name: value for name, value in after.items() if value != before[name] and name not in self.do}


@dataclass(frozen=True)
class Result:
    """One edit done: the encoded pictures by name, the figures, and what was read for every concept."""

    edit: Edit
    pictures: Mapping[str, bytes]
    figures: Figures
    detail: Mapping[str, Any]


def scenes(interventions: Sequence[str], number: int) -> list[int]:
    """The first seeds of scenes in which every intervention changes something."""
    def changed_by_all(seed: int) -> bool:
        values = world.factual(seed)
        return all(values[concept] != value for concept, value in (text.split("=") for text in interventions))

    return list(islice(filter(changed_by_all, count()), number))


def question(edit: Edit) -> str:
    """The editor's text: the scene's graph with its do() and what follows from it."""
    scene = world.graph_document(world.factual(edit.seed))
    asked = {"interventions": dict(edit.do), "effects": edit.consequences()}
    return json.dumps({**scene, **asked, "extracted": scene})


def filled(template: Prompt, edit: Edit) -> Prompt:
    """The workflow for one edit: scene, do() and what follows, in the graph."""
    return prompts.filled(template, {
        "Factual scene": {"seed": edit.seed},
        "Exact counterfactual": {"seed": edit.seed},
        "Causal graph": {"graph_json": question(edit)},
        "Score": {"seed": edit.seed},
    })


def collected(client: ComfyClient, prompt: Prompt, run: Run, edit: Edit) -> Result:
    """The pictures and figures of one finished prompt."""
    nodes = prompts.ids(prompt)
    pictures = {name: client.images(run, nodes[name])[0] for name in PICTURES}
    detail = json.loads(run.text(nodes["Score"])) | {"seconds": run.seconds}
    return Result(edit, pictures, {name: detail[name] for name in FIGURES}, detail)


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the numbers among `values`, None when there is none."""
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    return sum(numbers) / len(numbers) if numbers else None


def means(rows: Sequence[Mapping[str, float | None]]) -> Figures:
    """Every figure's mean over rows."""
    return {name: mean(row[name] for row in rows) for name in FIGURES}


def report(results: Sequence[Result]) -> dict[str, Any]:
    """The figures per intervention, with each scene's own, and the means over interventions."""
    found: dict[str, Any] = {}
    for intervention in dict.fromkeys(result.edit.intervention for result in results):
        own = [result for result in results if result.edit.intervention == intervention]
        per_scene = [{"seed": r.edit.seed, **r.detail} for r in own]
        found[intervention] = means([r.figures for r in own]) | {"scenes": per_scene}
    return {"world": "Town, a toy world", "interventions": found, "mean": means(list(found.values()))}


def table(summary: Mapping[str, Any]) -> str:
    """The report as text, a row per intervention."""
    def row(name: str, figures: Mapping[str, float | None]) -> str:
        cells = ("-" if figures[key] is None else f"{figures[key]:.2f}" for key in FIGURES)
        return f"{name:<16}" + "".join(f"{cell:>22}" for cell in cells)

    rows = [row(f"do({name})", figures) for name, figures in summary["interventions"].items()]
    head = f"{'':<16}" + "".join(f"{name:>22}" for name in FIGURES)
    return "\n".join([head, *rows, row("mean", summary["mean"])])


def sheet(results: Sequence[Result], side: int = 176, margin: int = 26) -> Image.Image:
    """A row per scene: the factual picture, then for every intervention the edited and the exact counterfactual."""
    seeds = list(dict.fromkeys(r.edit.seed for r in results))
    interventions = list(dict.fromkeys(r.edit.intervention for r in results))
    page = Image.new("RGB", ((1 + 2 * len(interventions)) * side, margin + len(seeds) * side), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)

    def place(picture: bytes, column: int, row: int) -> None:
        page.paste(Image.open(io.BytesIO(picture)).convert("RGB").resize((side, side)), (column * side, margin + row * side))

    draw.text((6, 5), "factual", "black", font)
    for column, name in enumerate(interventions):
        draw.text(((1 + 2 * column) * side + 6, 5), f"do({name})", "black", font)
        draw.text(((2 + 2 * column) * side + 6, 5), "exact answer", "gray", font)
    for result in results:
        row, column = seeds.index(result.edit.seed), 1 + 2 * interventions.index(result.edit.intervention)
        place(result.pictures["factual"], 0, row)
        place(result.pictures["counterfactual"], column, row)
        place(result.pictures["exact"], column + 1, row)
    return page


class ProgressBar:
    """A bar of plain characters over all edits; on a terminal it redraws one line, elsewhere it writes one per edit."""

    def __init__(self, total: int, out: TextIO, width: int = 30) -> None:
        self.total, self.out, self.width, self.begin = total, out, width, time.monotonic()
        self.shown: tuple[int, str] | None = None

    def show(self, done: float, label: str) -> None:
        """Draw `done` edits of all, with what is at work."""
        if not self.out.isatty() and self.shown == (int(done), label):
            return
        self.shown = (int(done), label)
        filled_part = "#" * int(self.width * done / self.total)
        line = f"[{filled_part:.<{self.width}}] {int(done):>2}/{self.total}  {time.monotonic() - self.begin:4.0f} s  {label}"
        self.out.write(f"\r{line:<78}" if self.out.isatty() else f"{line}\n")
        self.out.flush()

    def close(self) -> None:
        """Leave the line."""
        self.out.write("\n" if self.out.isatty() else "")


def run_edits(client: ComfyClient, template: Prompt, edits: Sequence[Edit], bar: ProgressBar, prefix: str = "") -> list[Result]:
    """Send one prompt after the other. Edits of one scene follow each other, so that ComfyUI inverts it once."""
    results = []
    for number, edit in enumerate(edits):
        prompt = filled(template, edit)
        label = f"{prefix}do({edit.intervention}), scene {edit.seed}"

        def tell(progress: Progress, number: int = number, label: str = label) -> None:
            bar.show(number + min(progress.overall, 0.999), label)

        bar.show(number, label)
        results.append(collected(client, prompt, client.run(prompt, tell), edit))
    bar.show(len(edits), "done")
    bar.close()
    return results


def run_from_image(client: ComfyClient, edits: Sequence[Edit], bar: ProgressBar) -> dict[str, Any]:
    """The same from the picture alone, one edit after the other; the report's part about the small model."""
    template, done = prompts.read(from_image.WORKFLOW), []
    for number, edit in enumerate(edits):
        label = f"from the picture: do({edit.intervention}), scene {edit.seed}"

        def tell(progress: Progress, number: int = number, label: str = label) -> None:
            bar.show(number + min(progress.overall, 0.999), label)

        done.append(from_image.run_scene(client, template, edit.seed, edit.do, tell))
    bar.show(len(edits), "done")
    bar.close()
    return from_image.summary(done)


def write(results: Sequence[Result], output: Path, vlm: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Leave pictures, sheet and report in `output`; returns the report."""
    for result in results:
        folder = output / result.edit.name
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in result.pictures.items():
            (folder / f"{name}.png").write_bytes(picture)
    summary = report(results) | ({"vlm": vlm} if vlm else {})
    sheet(results).save(output / "sheet.png")
    (output / "report.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python benchmarks/demo.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("output/demo"), help="where pictures and report.json go")
    parser.add_argument("--scenes", type=int, default=4, help="how many scenes to edit")
    parser.add_argument("--interventions", nargs="+", default=INTERVENTIONS, metavar="CONCEPT=VALUE")
    parser.add_argument("--from-image", type=int, default=4, metavar="N", help="scenes that the small model reads itself, 0: none")
    parser.add_argument("--transformer", type=int, default=4, metavar="N", help="edits that are drawn by the transformer too, 0: none")
    parser.add_argument("--workflow", type=Path, default=WORKFLOW, help="the API workflow to send")
    parser.add_argument("--url", help="a ComfyUI that runs already with this pack; default: start one")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    options = arguments(words)
    seeds = scenes(options.interventions, options.scenes)
    edits = [Edit(seed, intervention) for seed in seeds for intervention in options.interventions]
    sys.stderr.write("starting ComfyUI (some 15 s) ...\n")
    begin = time.monotonic()
    try:
        with ComfyServer(options.url) as server:
            template = prompts.read(options.workflow)
            results = run_edits(server.client, template, edits, ProgressBar(len(edits), sys.stderr))
            alone = [Edit(seed, own) for seed, own in zip(seeds, cycle(options.interventions))][: options.from_image]
            vlm = run_from_image(server.client, alone, ProgressBar(len(alone), sys.stderr)) if alone else None
            again = edits[: options.transformer]
            other = run_edits(server.client, prompts.read(TRANSFORMER), again, ProgressBar(len(again), sys.stderr), "by the transformer: ")
    except ComfyError as error:
        sys.stderr.write(f"\n{error}\n")
        return 1
    summary = write(results, options.output, vlm)
    figures = table(summary) + (f"\n\n{from_image.table(vlm)}" if vlm else "")
    if other:
        figures += f"\n\nby the transformer, scene {seeds[0]}\n{table(write(other, options.output / 'transformer'))}"
    sys.stdout.write(f"{figures}\n\nThe toy world, {time.monotonic() - begin:.0f} s in all. "
                     f"Look at {options.output / 'sheet.png'}; every figure is in {options.output / 'report.json'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
