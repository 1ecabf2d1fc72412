"""What `town_vlm.py` found, as figures with intervals, a table per model, and the page that compares models.

Intervals are Wilson's where every scene is one trial, or all trials went the same way; otherwise a bootstrap over scenes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

from in_process import ROOT
from scipy.stats import binomtest
from town_vlm_questions import BOOK, EDITED, GIVEN, PARTS, PICTURE, TORN, TRUE

from csg.evaluation.runner.statistics import LEVEL, Interval, bootstrap, paired_difference
from csg.evaluation.runner.tables import line
from csg.town import world

FOLDER = ROOT / "benchmarks" / "results" / "vlm"
PAGE = ROOT / "docs" / "which-vlm.md"
PROMPTS = ("extract", "edges", "target", "propagate", "effectiveness", "suggest")
MEANS = ("concepts that Town does not have", "structural Hamming distance", "edges proposed")
"""Measures, by how they begin, that are numbers per scene and no shares."""
WORDING = ("base prompt exact", f"prompt exact, {TRUE}", f"prompt exact, {EDITED}", "eight concepts when eight are asked for",
           "exactly the true graph")  # fmt: skip
"""What only a model that was trained on Town's own words can get right."""
FLOORS = {
    "valid JSON": 0.995,
    "values read": 0.96,
    "value accuracy, lowest concept": 0.88,
    "exactly the true graph": 0.98,
    f"propagation exact, {TRUE}": 0.95,
    f"propagation exact, {EDITED}": 0.85,
    "yes/no": 0.93,
}
"""What the shipped model has to reach."""
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "What it sees": {
        "valid JSON": "valid JSON ↑",
        "concepts named": "concepts named ↑",
        "values read": "values read ↑",
        "yes/no": "yes or no ↑",
        "false positives": "false positives ↓",
        "target of an intervention": "target of an intervention ↑",
    },
    "The graph it draws": {
        f"edge precision, {GIVEN}": "precision ↑",
        f"edge recall, {GIVEN}": "recall ↑",
        f"edge F1, {GIVEN}": "F1 ↑",
        f"structural Hamming distance, {GIVEN}": "Hamming distance ↓",
        f"edges turned round, {GIVEN}": "turned round ↓",
        f"edge F1, {PICTURE}": "F1, from the picture alone ↑",
    },
    "What follows": {
        f"propagation exact, {TRUE}": "true graph, exact ↑",
        f"propagation per descendant, {TRUE}": "per descendant ↑",
        f"propagation exact, {EDITED}": "edited graph, exact ↑",
        f"propagation per descendant, {EDITED}": "per descendant ↑",
        f"as the graph says, {TORN}": "where graph and world differ: as the graph ↑",
        f"as the world would, {TORN}": "as the world ↓",
    },
}
"""The page's tables: measure -> heading. Their sums by scene are kept, so that models can be compared pairwise."""
COMPARED = tuple(measure for columns in COLUMNS.values() for measure in columns)
COSTS = {"extraction": "a graph from a picture", "propagation": "a propagation", "judgement": "a yes or no"}
Record = Mapping[str, Any]
Pairs = Sequence[Sequence[float] | None]
"""(sum, number of trials) by scene; None where a scene was not asked."""


# --------------------------------------------------------------------------------------------- figures


def interval(name: str, pairs: Pairs) -> Interval:
    """The mean of a measure over all trials, with its interval."""
    kept = [(number, *pair) for number, pair in enumerate(pairs) if pair and pair[1]]
    total, trials = sum(pair[1] for pair in kept), sum(pair[2] for pair in kept)
    one_way = total in (0, trials) or all(pair[2] == 1 for pair in kept)
    if not kept or name.startswith(MEANS) or not one_way:
        spread = [(number, amount / count) for number, amount, count in kept for _ in range(int(count))]
        return bootstrap([value for _, value in spread], [number for number, _ in spread])
    ends = binomtest(round(total / trials * len(kept)), len(kept)).proportion_ci(LEVEL, "wilson")
    return Interval(total / trials, float(ends.low), float(ends.high), int(trials))


def by_scene(records: Iterable[Record], scenes: Sequence[int]) -> dict[str, list[list[float] | None]]:
    """Measure -> its sum and trials in each of the scenes."""
    found: dict[str, list[list[float] | None]] = {}
    places = {scene: place for place, scene in enumerate(scenes)}
    for record in records:
        for name, pair in record["scores"].items():
            found.setdefault(name, [None] * len(scenes))[places[record["scene"]]] = list(pair)
    return found


def answers(records: Iterable[Record]) -> dict[str, dict[str, Any]]:
    """Question -> how many were asked, median and longest seconds, and median tokens of an answer."""
    asked: dict[str, list[Sequence[Any]]] = {}
    for record in records:
        asked.setdefault(record["part"], []).extend(record["asks"])
    found = {}
    for part in (part for part in PARTS if asked.get(part)):
        seconds, tokens = [each[0] for each in asked[part]], [each[1] for each in asked[part] if each[1] is not None]
        found[part] = {"asked": len(seconds), "median s": round(median(seconds), 3), "longest s": round(max(seconds), 3),
                       "median tokens": median(tokens) if tokens else None}  # fmt: skip
    return found


def summary(about: Mapping[str, Any], records: Sequence[Record], scenes: Sequence[int]) -> dict[str, Any]:
    """All that a run leaves behind: `about` it, figures as (mean, low, high, trials), costs, and what pairs are made of."""
    scores = by_scene(records, scenes)
    figures = {name: interval(name, pairs) for name, pairs in scores.items() if about["shipped"] or name not in WORDING}
    numbers = {name: [round(f.mean, 4), round(f.low, 4), round(f.high, 4), f.count] for name, f in figures.items() if f.count}
    kept = {name: scores[name] for name in COMPARED if name in scores}
    return {**about, "scenes": [scenes[0], len(scenes)], "figures": numbers, "answers": answers(records), "by scene": kept}


def fingerprint() -> str:
    """By which the prompts of today are told from others."""
    return BOOK.fingerprint(*PROMPTS)[:12]


def save(found: Mapping[str, Any], folder: Path) -> None:
    """Write a run's JSON, a line per field, and its table."""
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in found.items())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{found['model']}.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    (folder / f"{found['model']}.md").write_text(report(found), encoding="utf-8")


# ---------------------------------------------------------------------------------------- one model


def _cell(figure: Sequence[float] | None) -> str:
    return "-" if figure is None else Interval(figure[0], figure[1], figure[2], int(figure[3])).text()


def report(found: Mapping[str, Any]) -> str:
    """A run as Markdown."""
    figures = dict(found["figures"])
    concepts = [line([n, *(_cell(figures.pop(f"{what}: {n}", None)) for what in ("value", "propagated", "yes/no"))]) for n in world.NAMES]
    rows = [line([name, _cell(figure), str(int(figure[3]))]) for name, figure in figures.items()]
    costs = [line([part, *("-" if value is None else f"{value:g}" for value in cost.values())]) for part, cost in found["answers"].items()]
    return "\n".join([
        f"# {found['model']} on Town", "",
        f"{found['scenes'][1]} held-out scenes, {found['settings']}; {found['versions']}, {found['machine']}. `{found['command']}`", "",
        *_about_shipped(found),
        "| what | mean [95 % interval] | trials |", "|---|---|---:|", *rows, "",
        "| concept | value read | propagated | yes or no |", "|---|---|---|---|", *concepts, "",
        "| question | answers | median s | longest s | median tokens |", "|---|---:|---:|---:|---:|", *costs, "",
    ])  # fmt: skip


def _about_shipped(found: Mapping[str, Any]) -> list[str]:
    """What has to be said of the model that was trained on Town, and the floors that it misses."""
    if not found["shipped"]:
        return []
    low = ", ".join(missed(found["figures"]))
    return [
        "This model was trained on Town and on nothing else. **The graph is memorised, not discovered**: it is the same in every scene, so",
        "its figure tells that it is written down without a slip, no more. The target of an intervention it was never taught to tell.",
        "Edited graphs lack one to four edges of the world's, and have some turned round or drawn anew.", "",
        f"Floors ({', '.join(f'{name} {floor}' for name, floor in FLOORS.items())}): {f'missed: {low}' if low else 'all reached'}.",
        "",
    ]  # fmt: skip


def missed(figures: Mapping[str, Sequence[float]]) -> list[str]:
    """The floors that the shipped model does not reach."""
    lowest = min(figures[f"value: {name}"][0] for name in world.NAMES)
    means = {name: figure[0] for name, figure in figures.items()} | {"value accuracy, lowest concept": lowest}
    return [name for name, floor in FLOORS.items() if means[name] < floor]


# ------------------------------------------------------------------------------------- many models


def runs(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Every run that a folder holds, by name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def comparison(found: Sequence[Mapping[str, Any]]) -> str:
    """The tables of the page: a row per model, then every two models on the scenes that both have."""
    parts = []
    for title, columns in COLUMNS.items():
        head = [line(["model", "scenes", *columns.values()]), line(["---", "---:", *["---:"] * len(columns)])]
        rows = [line([_named(run), str(run["scenes"][1]), *(_cell(run["figures"].get(name)) for name in columns)]) for run in found]
        parts += [f"## {title}", "", *head, *rows, ""]
    head = [line(["model", *(f"{what}, s" for what in COSTS.values()), *(f"{what}, tokens" for what in COSTS.values()), "machine"])]
    parts += ["## What an answer costs", "", *head, line(["---", *["---:"] * 6, "---"]), *(_cost(run) for run in found), ""]
    return "\n".join(parts + _pairs(found))


def _named(run: Mapping[str, Any]) -> str:
    """A model's name, with a mark where it was asked with other prompts than today's."""
    return f"{run['model']}{'' if run['prompts'] == fingerprint() else ' (other prompts)'}"


def _cost(run: Mapping[str, Any]) -> str:
    """Median seconds and tokens; a dash where they are not known."""
    cells = [run["answers"].get(part, {}).get(key) for key in ("median s", "median tokens") for part in COSTS]
    return line([run["model"], *("-" if cell is None else f"{cell:g}" for cell in cells), run["machine"]])


def _pairs(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Differences of every two models; nothing for a single one."""
    if len(found) < 2:
        return []
    head = [line(["difference", "scenes", *COMPARED]), line(["---", "---:", *["---:"] * len(COMPARED)])]
    rows = []
    for first, second in combinations(found, 2):
        shared = min(first["scenes"][1], second["scenes"][1])
        cells = (difference(first["by scene"].get(name, []), second["by scene"].get(name, []), shared).text() for name in COMPARED)
        rows.append(line([f"{first['model']} - {second['model']}", str(shared), *cells]))
    words = "Mean difference by scene, on the scenes that both were asked about, with its interval."
    return ["## Two by two", "", words, "", *head, *rows, ""]


def difference(first: Pairs, second: Pairs, scenes: int) -> Interval:
    """How much more the first has of a measure, scene by scene."""
    values = [[pair[0] / pair[1] if pair and pair[1] else None for pair in own[:scenes]] for own in (first, second)]
    return paired_difference(values[0] or [None], values[1] or [None]) if len(values[0]) == len(values[1]) else bootstrap([])


def page(folder: Path = FOLDER) -> str:
    """The page, with what all runs found; the words around the tables are those of `town_vlm_page.md`."""
    words = (Path(__file__).parent / "town_vlm_page.md").read_text(encoding="utf-8")
    return words.replace("$tables", comparison(runs(folder)))
