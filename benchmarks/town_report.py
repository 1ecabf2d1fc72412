"""The Town benchmark's lines as Markdown tables and plots."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from in_process import ROOT, versions
from town_methods import (
    AXES,
    BASELINES,
    COMPARED,
    CSG,
    DIRECT,
    FIELDS,
    FLOWEDIT,
    REFERENCES,
    UNUSED,
    Method,
    ablation,
    methods,
    plain,
    shipped,
)  # fmt: skip
from town_networks import digest
from town_worlds import INTERVENED_ON

from csg.evaluation.runner.journal import Journal
from csg.evaluation.runner.statistics import Interval, bootstrap, cohens_kappa, paired_difference
from csg.evaluation.runner.tables import Figure, line, paired, select, table
from csg.evaluation.runner.tables import common as common_items

RESULTS = ROOT / "benchmarks" / "results"
Rows = list[Mapping[str, Any]]
EFFECT, FOLLOWED, EXCESS, PSNR = "effectiveness", "effectiveness_descendants", "excess_error", "psnr"
EDIT_FIELDS = ("scene", "do", "seed")  # what tells the edits of one method apart
KEPT = "kept_"  # figures of an edit with preserved pixels kept, which lines from before that step lack
TIMES = ("seconds", "inversion_seconds")
GOALS = {EFFECT: 0.95, EXCESS: 0.5, PSNR: 2.0}  # at least; of the best baseline's; dB above the best baseline


JUDGES = (
    "*VLM-Eff*: share of the changed concepts that Town's small vision-language model sees, asked yes or no as CSG_Effectiveness "
    "asks; *readers*: that the attribute readers see. Kappa is Cohen's: agreement beyond chance, which is low where nearly every "
    "answer is yes; *all pictures* has the unedited ones, where nearly every answer is no. In italics, concepts over all edits. Both "
    "judges were trained on Town's renderer."
)
EFFECTIVE = 0.85
FOLLOWING = (
    "A method that does nothing errs nowhere. The same against the baselines that follow an intervention, with an effectiveness of "
    f"at least {EFFECTIVE:g} in its kind:"
)
BLIND = (
    "Methods that are told of the intervened concept alone, beside those that are told of everything that follows from it: what a model "
    "of pictures makes of one word without a causal graph. Whole prompts: the caption with that one value changed."
)
KEEPING = (
    "CSG's edits as they came, and the same with the scene's own pixels outside of their concepts' masks, as the Town workflow ends. Whole "
    "prompts have no masks, so there is nothing to keep. Both figures are of one run: {edits}, of {scenes} scenes."
)
UNKNOWABLE = (
    "PSNR to the exact counterfactual, dB. The exact one shows what the factual picture hides, where each drop falls, the tint of a "
    "car that was not there. *Another drawing*: the same counterfactual with everything hidden drawn again, as good an answer as the "
    "exact one; *best guess*: the mean of many such drawings, which may blur; *autoencoder*: the exact one itself. All three through the "
    "autoencoder, none by a model of pictures (`python benchmarks/town_ceiling.py`)."
)


def figures(perception: str) -> tuple[Figure, ...]:
    """The columns of the main table."""
    return (
        Figure(EFFECT, "effectiveness"),
        Figure(FOLLOWED, "of descendants"),
        Figure("vlm_effectiveness", "VLM-Eff"),
        Figure("perceptual", f"{perception} to the factual", 3, "less"),
        Figure(EXCESS, "excess error, % points", 2, "less"),
        Figure("untouched", "untouched"),
        Figure(PSNR, "PSNR to the exact, dB", 2),
        Figure("error", "error to the exact, %", 2, "less"),
        Figure("kept_excess_error", "excess error, pixels kept", 2, "less"),
        Figure("kept_psnr", "PSNR, pixels kept", 2),
        Figure("seconds", "CPU seconds per edit", 1, "less"),
        Figure("inversion_seconds", "CPU seconds per inversion", 1, "less"),
    )


def rows_of(
    records: Sequence[Mapping[str, Any]], chosen: Mapping[str, Method], measure: str = "edit"
) -> dict[str, Rows]:
    """The records of each method, by label."""
    return {label: select(records, measure=measure, settings=m.settings) for label, m in chosen.items()}


def common(rows: Mapping[str, Rows]) -> dict[str, Rows]:
    """Only the edits that every method with results has done, so that all are compared on the same ones."""
    return common_items(rows, EDIT_FIELDS)


def compared_table(rows: Mapping[str, Rows], perception: str) -> str:
    """Methods down, figures across; then what it stands on."""
    timed, clock = of_one_clock(rows)
    columns = tuple(figure for figure in figures(perception) if not figure.field.startswith(KEPT) or everywhere(rows, KEPT + PSNR))
    edits = {tuple(row[field] for field in EDIT_FIELDS) for found in rows.values() for row in found}
    scenes = {scene for scene, *_ in edits}
    told = f"{len(edits)} edits of {len(scenes)} scenes" + (f"; seconds on {clock}." if clock else ".")
    return f"{table(paired(timed, columns, 'scene', EDIT_FIELDS), columns)}\n\n{told}"


def everywhere(rows: Mapping[str, Rows], field: str) -> bool:
    """Whether some method has this figure of every edit, so that its mean stands beside the others'."""
    return any(found and all(row.get(field) is not None for row in found) for found in rows.values())


def kept_table(rows: Rows) -> str:
    """The same edits as they came and with preserved pixels kept, per kind of intervention; empty where none was measured."""
    done = [row for row in rows if row.get(KEPT + PSNR) is not None]
    if not done:
        return ""
    columns = {EFFECT: "effectiveness", EXCESS: "excess error", PSNR: "PSNR"}
    head = [line(["intervention on", "edits", *(name for title in columns.values() for name in (title, "pixels kept"))]),
            line(["---", *["---:"] * (1 + 2 * len(columns))])]  # fmt: skip
    lines = []
    for kind in (*dict.fromkeys(INTERVENED_ON.values()), None):
        if own := done if kind is None else select(done, kind=kind):
            cells = [_interval(own, field).text() for name in columns for field in (name, KEPT + name)]
            lines.append(line([kind or "all", str(len(own)), *cells]))
    return "\n".join(head + lines)


def kept_section(rows: Rows) -> list[str]:
    """The section on preserved pixels, or nothing."""
    table = kept_table(rows)
    done = [row["scene"] for row in rows if row.get(KEPT + PSNR) is not None]
    all_done = len(done) == len(rows)
    edits = f"all {len(rows)} edits" if all_done else f"{len(done)} of the {len(rows)} edits (older lines lack the second)"
    words = KEEPING.format(edits=edits, scenes=len(set(done)))
    return ["## Preserved pixels kept", "", words, "", table, ""] if table else []


def by_kind(rows: Mapping[str, Rows]) -> str:
    """The three figures that are judged together, for each kind of intervention."""
    kinds = list(dict.fromkeys(INTERVENED_ON.values()))
    head = [line(["intervention on", "method", "effectiveness ↑", "of descendants ↑", "excess error ↓", "PSNR to the exact ↑", "edits"]),
            line(["---", "---", *["---:"] * 5])]  # fmt: skip
    lines = []
    for kind in kinds:
        for label, found in rows.items():
            if own := select(found, kind=kind):
                cells = [_interval(own, field).text() for field in (EFFECT, FOLLOWED, EXCESS, PSNR)]
                lines.append(line([kind, label, *cells, str(len(own))]))
    return "\n".join(head + lines)


def _interval(rows: Rows, field: str) -> Interval:
    return bootstrap([row.get(field) for row in rows], [row["scene"] for row in rows])


def goals(rows: Mapping[str, Rows], effective: float = 0.0) -> str:
    """CSG against the best baseline of each figure, per kind of intervention: paired differences and the verdict.

    Only baselines count whose effectiveness in that kind is at least `effective`.
    """
    baselines = [label for label in BASELINES if label in rows]
    if CSG not in rows or not baselines:
        return "CSG or every baseline is missing, so there is nothing to judge."
    lines = [
        line(["intervention on", "figure", "CSG", "best baseline", "CSG minus that", "goal", "met"]),
        line(["---"] * 7),
    ]
    for kind in dict.fromkeys(row["kind"] for row in rows[CSG]):
        own = {label: select(rows[label], kind=kind) for label in (CSG, *baselines)}
        able = [label for label in baselines if _interval(own[label], EFFECT).mean >= effective]
        lines += [found for field in GOALS if able and (found := _goal(kind, field, own, able))]
    return "\n".join(lines)


def _goal(kind: str, field: str, rows: Mapping[str, Rows], baselines: Sequence[str]) -> str:
    values = {label: _interval(found, field) for label, found in rows.items()}
    ours = values[CSG]
    if not ours.count:
        return ""
    best = (min if field == EXCESS else max)(baselines, key=lambda label: values[label].mean)
    theirs = values[best].mean
    difference = paired_difference(
        [r[field] for r in rows[CSG]], [r[field] for r in rows[best]], [r["scene"] for r in rows[CSG]]
    )
    wanted, met = {
        EFFECT: (f"at least {GOALS[EFFECT]:g} and {best}'s", ours.mean >= max(GOALS[EFFECT], theirs)),
        EXCESS: ("at most half of it", ours.mean <= max(0.0, GOALS[EXCESS] * theirs)),
        PSNR: (f"at least {GOALS[PSNR]:g} dB more", ours.mean >= theirs + GOALS[PSNR]),
    }[field]
    verdict = "yes" if met else "**no**"
    return line(
        [kind, field.replace("_", " "), ours.text(), f"{theirs:.2f} ({best})", difference.text(), wanted, verdict]
    )


def ceilings(rows: Mapping[str, Rows], lines: Sequence[Mapping[str, Any]]) -> str:
    """PSNR of CSG and the baselines beside what the factual picture allows at most, per kind, on edits with both; may be empty."""
    known = {(line["scene"], line["do"]): line for line in lines}
    shown = {label: [row for row in rows[label] if (row["scene"], row["do"]) in known] for label in (*BASELINES, CSG) if label in rows}
    own = shown.get(CSG, [])
    if not own:
        return ""
    limits = {"another drawing": "psnr_drawing", "best guess": "psnr_mean", "autoencoder": "psnr_exact"}
    head = [line(["intervention on", "edits", *shown, *limits]), line(["---", *["---:"] * (1 + len(shown) + len(limits))])]
    table_lines = []
    for kind in (*dict.fromkeys(row["kind"] for row in own), None):
        some = {label: found if kind is None else select(found, kind=kind) for label, found in shown.items()}
        bounds = [known[row["scene"], row["do"]] for row in some[CSG]]
        means = [_mean(row[PSNR] for row in found) for found in some.values()]
        means += [_mean(bound[field] for bound in bounds) for field in limits.values()]
        table_lines.append(line([kind or "all", str(len(bounds)), *(f"{mean:.1f}" for mean in means)]))
    return "\n".join(head + table_lines)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def judges(rows: Mapping[str, Rows]) -> str:
    """The small VLM beside the attribute readers, per changed concept: shares of yes, agreement, Cohen's kappa."""
    pairs = {label: [pair for row in found for pair in verdicts(row)] for label, found in rows.items()}
    edits = [pair for label, found in pairs.items() if label not in REFERENCES for pair in found]
    everything = [pair for found in pairs.values() for pair in found]
    groups = pairs | {"all edits": edits, "all pictures": everything}
    groups |= {f"*{name}*": [p for p in edits if p[0] == name] for name in dict.fromkeys(p[0] for p in edits)}
    head = [line(["", "concepts", "VLM-Eff", "readers", "agreed", "kappa"]), line(["---", *["---:"] * 5])]
    return "\n".join([*head, *(_judged(label, found) for label, found in groups.items() if found)])


def verdicts(row: Mapping[str, Any]) -> list[tuple[str, bool, bool]]:
    """(concept, the VLM's answer, the readers') for each concept that the edit was to change."""
    return [(name, answer, name not in row["missed"]) for name, answer in row.get("vlm", {}).items()]


def _judged(label: str, found: Sequence[tuple[str, bool, bool]]) -> str:
    n = len(found)
    kappa = cohens_kappa((seen, read) for _, seen, read in found)
    shares = [sum(hits) / n for hits in zip(*((s, r, s == r) for _, s, r in found))]
    return line([label, str(n), *(f"{share:.2f}" for share in shares), "-" if kappa is None else f"{kappa:.2f}"])


def axioms_table(records: Sequence[Mapping[str, Any]], chosen: Mapping[str, Method]) -> str:
    """Composition and reversibility of every method."""
    parts = [
        ("mean_error", "mean error, %", 2, "less"),
        ("psnr", "PSNR, dB", 1, "more"),
        ("ms_ssim", "MS-SSIM", 3, "more"),
    ]
    columns = tuple(Figure(f"{measure}_{field}", f"{measure}: {title}", digits, better)
                    for measure in ("composition", "reversibility") for field, title, digits, better in parts)  # fmt: skip
    axioms = [row for row in records if row["measure"] != "edit"]
    rows = {label: own for label, method in chosen.items() if (own := select(axioms, settings=method.settings))}
    if not rows:
        return ""
    found = paired(rows, columns, "scene", ("measure", *EDIT_FIELDS))
    counts = [max(intervals[f"{measure}_psnr"].count for intervals in found.values()) for measure in ("composition", "reversibility")]
    return f"{table(found, columns)}\n\n{counts[0]} scenes for composition, {counts[1]} edits for reversibility."


def examples(rows: Mapping[str, Rows]) -> list[tuple[int, str]]:
    """One edit for each concept that is intervened on, each of another scene: (scene, do)."""
    found: dict[str, tuple[int, str]] = {}
    for row in next(iter(rows.values()), []):
        concept = row["do"].split("=")[0]
        if concept not in found and row["scene"] not in [scene for scene, _ in found.values()]:
            found[concept] = (row["scene"], row["do"])
    return list(found.values())


def failing(rows: Rows, count: int = 12) -> str:
    """Which concepts CSG misses or disturbs most often."""
    lines = [line(["intervention", "edits", "missed", "disturbed"]), line(["---", "---:", "---", "---"])]
    for kind in sorted({row["do"] for row in rows}):
        own = select(rows, do=kind)
        told = [_counts(own, field, count) for field in ("missed", "disturbed")]
        lines.append(line([f"do({kind})", str(len(own)), *told]))
    return "\n".join(lines)


def _counts(rows: Rows, field: str, count: int) -> str:
    counted = Counter(name for row in rows for name in row[field])
    return ", ".join(f"{name} {times}" for name, times in counted.most_common(count)) or "-"


def ablations(
    records: Sequence[Mapping[str, Any]], csg: Method, perception: str
) -> dict[str, tuple[dict[str, Rows], str]]:
    """Every axis that has results: its rows by label, and its table."""
    found = {}
    for axis in AXES:
        rows = common(rows_of(records, ablation(csg, axis)))
        if len(rows) > 1:
            found[axis] = (rows, compared_table(rows, perception))
    return found


def head(options: argparse.Namespace, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was run, with what."""
    edits = [r for r in records if r["measure"] == "edit"]
    machines = Counter(machine_of(r) for r in edits)
    return [
        "# The Town benchmark", "",
        f"`{options.command}`", "",
        f"Town's weights {digest(options.weights)}, {'; '.join(sorted({r['versions'] for r in edits if 'versions' in r} | {versions()}))}. "
        f"{len(edits)} edits of held-out scenes by all methods, references and ablations together, done by "
        f"{'; '.join(f'{name} ({count})' for name, count in machines.most_common())}.", "",
        "Means with 95 % bootstrap intervals over scenes. Effectiveness: share of the concepts that must change and read as in the exact "
        "counterfactual; *of descendants*: without the intervened one. Excess error: mean error on pixels that must not change, above the "
        "autoencoder's own; nothing is measured where every pixel changes. Untouched: share of the other concepts that read as before. "
        "*no edit* and *exact* are the autoencoder's round trips of the factual picture and of the exact counterfactual: the floor and "
        "the ceiling of every figure. Every table compares on "
        "the edits that all its methods have done, and says how many those are. "
        "Seconds are CPU time, which other work on the machine lengthens less than the clock, of one machine per table.", "",
    ]  # fmt: skip


def machine_of(record: Mapping[str, Any]) -> str:
    """Where a line was made; the oldest do not say."""
    return record.get("machine", "a machine without a name")


def clock_of(record: Mapping[str, Any]) -> str:
    """Where a line's seconds were taken: a line done again for a new figure may keep those of the line that it replaces."""
    return record.get("clock", machine_of(record))


def of_one_clock(rows: Mapping[str, Rows]) -> tuple[dict[str, Rows], str]:
    """The rows with the seconds of one machine, which did the most of them, and its name: those of others mean something else."""
    timed = Counter(clock_of(r) for found in rows.values() for r in found if r.get("seconds") is not None)
    clock = timed.most_common(1)[0][0] if timed else ""
    untimed = dict.fromkeys(TIMES)
    return {label: [r if clock_of(r) == clock else {**r, **untimed} for r in found]
            for label, found in rows.items()}, clock  # fmt: skip


def of_one_perception(records: Rows) -> tuple[Rows, str]:
    """The records with one perceptual distance, the commonest, and its name: LPIPS and SSIM have no mean in common."""
    known = Counter(r["perception"] for r in records if "perception" in r)
    name = known.most_common(1)[0][0] if known else ""
    return [r if r.get("perception", name) == name else {**r, "perceptual": None} for r in records], name


def settings(chosen: Mapping[str, Method]) -> str:
    """What each method is, field by field."""
    lines = []
    for label, method in chosen.items():
        known = {name: value for name, value in vars(method).items() if name not in ("editor", *UNUSED.get(method.editor, ()))}
        lines.append(f"- **{label}**: {', '.join(f'{name} {plain(value)}' for name, value in known.items())}")
    return "\n".join(lines)


def write(options: argparse.Namespace, picture_of: Callable[[int, str, str], Path]) -> str:
    """Write `<name>.md` and its plots beside the journal; returns the main table. `picture_of` finds kept pictures."""
    from town_plots import examples_sheet, frontier_plot, methods_plot

    csg = shipped()
    records, perception = of_one_perception(select(Journal(options.journal, FIELDS).records, model=digest(options.weights)))
    if not records:
        return f"{options.journal} holds no results of these weights."
    known = methods(csg)
    if options.steps:
        csg = csg.with_steps(options.steps)
        known = {name: method.with_steps(options.steps) for name, method in known.items()}
    rows = common(rows_of(records, {label: known[label] for label in (*COMPARED, FLOWEDIT, *REFERENCES)}))
    folder, name = options.journal.parent, options.journal.stem
    main = compared_table(rows, perception)
    parts = [*head(options, records), "## Methods", "", main, "", f"![methods]({name}_methods.png)", "",
             "## Settings", "", settings({label: known[label] for label in rows if label not in REFERENCES}), "",
             "## By kind of intervention", "", by_kind({k: v for k, v in rows.items() if k not in REFERENCES}), "",
             "## The goals", "", goals(rows), "", FOLLOWING, "", goals(rows, EFFECTIVE), ""]  # fmt: skip
    parts += kept_section(rows.get(CSG, []))
    limits = RESULTS / "town_ceiling.jsonl"
    if bounds := ceilings(rows, Journal(limits, ("scene", "do")).records if limits.exists() else []):
        parts += ["## What nobody can know", "", UNKNOWABLE, "", bounds, ""]
    methods_plot(rows, folder / f"{name}_methods.png")
    if examples_sheet(list(rows), examples(rows), picture_of, folder / f"{name}_examples.jpg"):
        parts += ["## Examples", "", f"![examples]({name}_examples.jpg)", ""]
    blind = common(rows_of(records, {label: known[label] for label in (*DIRECT, *BASELINES[:2], CSG)}))
    if {*DIRECT} <= blind.keys():
        parts += ["## Without the graph", "", BLIND, "", compared_table(blind, perception), "", by_kind(blind), ""]
    if CSG in rows:
        parts += ["## What CSG misses", "", failing(rows[CSG]), ""]
    parts += ["## The small VLM beside the readers", "", JUDGES, "", judges(rows), ""]
    if axioms := axioms_table(records, known):
        parts += ["## Composition and reversibility", "", axioms, ""]
    for axis, (found, text) in ablations(records, csg, perception).items():
        parts += [f"## Ablation: {axis.replace('_', ' ')}", "", text, ""]
        if axis == "frontier":
            frontier_plot(found, folder / f"{name}_frontier.png")
            parts += [f"![frontier]({name}_frontier.png)", ""]
    (folder / f"{name}.md").write_text("\n".join(parts), encoding="utf-8")
    return main
