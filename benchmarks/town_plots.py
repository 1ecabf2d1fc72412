"""The Town benchmark's plots, as PNG."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from PIL import Image  # noqa: E402
from town_methods import CSG, REFERENCES  # noqa: E402

from csg.evaluation.runner.statistics import bootstrap  # noqa: E402
from csg.evaluation.sheets import grid  # noqa: E402
from csg.town import score  # noqa: E402

Rows = list[Mapping[str, Any]]
FIGURES = (("excess_error", "excess error, % points (less is better)"), ("psnr", "PSNR to the exact counterfactual, dB"),
           ("effectiveness_descendants", "effectiveness of descendants"))  # fmt: skip
OURS, OTHERS, BOUND = "#c2553a", ("#4d6a8a", "#7a8f5a", "#8a6fa3", "#a58a4d", "#5f8f8f"), "#a39b8f"


def methods_plot(rows: Mapping[str, Rows], path: Path) -> None:
    """Effectiveness against each of the other figures, a point per method with its 95 % intervals."""
    figure, axes = plt.subplots(1, len(FIGURES), figsize=(4.4 * len(FIGURES), 3.9), layout="constrained")
    others = iter(OTHERS * 4)
    for label, found in rows.items():
        colour = OURS if label == CSG else BOUND if label in REFERENCES else next(others)
        up = _interval(found, "effectiveness")
        for axis, (field, title) in zip(axes, FIGURES, strict=True):
            across = _interval(found, field)
            if across.count:
                _point(axis, across, up, label, colour)
            axis.set(xlabel=title, ylabel="effectiveness", ylim=(-0.04, 1.04))
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(rows), fontsize=8, frameon=False
    )
    _finish(figure, axes, path)


def frontier_plot(rows: Mapping[str, Rows], path: Path) -> None:
    """Scale and threshold: a line per threshold through the scales, effectiveness against what it costs."""
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 4.2), layout="constrained")
    lines: dict[str, list[tuple[float, Rows]]] = {}
    for label, found in rows.items():
        scale, threshold = re.match(r"scale = (.+?), threshold = ([^,]+)", label).groups()
        lines.setdefault(threshold, []).append((float(scale), found))
    colours = plt.get_cmap("viridis")
    for number, (threshold, points) in enumerate(sorted(lines.items(), key=lambda entry: float(entry[0]))):
        points.sort(key=lambda point: point[0])
        colour = colours(0.9 * number / max(1, len(lines) - 1))
        for axis, (field, title) in zip(axes, FIGURES[:2], strict=True):
            across = [_interval(found, field).mean for _, found in points]
            up = [_interval(found, "effectiveness").mean for _, found in points]
            axis.plot(across, up, "o-", color=colour, markersize=4, linewidth=1.2, label=f"threshold {threshold}")
            for x, y, (scale, _) in zip(across, up, points, strict=True):
                axis.annotate(f"{scale:g}", (x, y), (3, 3), textcoords="offset points", fontsize=7, color=colour)
            axis.set(xlabel=title, ylabel="effectiveness")
    axes[0].set_title("numbers: edit guidance scale", fontsize=9)
    edits = {len(found) for found in rows.values()}
    axes[1].set_title(f"cut = quantile, {max(edits, default=0)} edits", fontsize=9)
    axes[0].legend(fontsize=8, frameon=False)
    _finish(figure, axes, path)


def examples_sheet(
    labels: Sequence[str], edits: Sequence[tuple[int, str]], picture_of: Callable[..., Path], path: Path
) -> bool:
    """A row per edit: the factual picture, every method, the exact counterfactual; where no pictures were kept, the sheet stays.

    Returns whether there is a sheet.
    """
    shown = [(*edit, label) for edit in edits for label in labels if picture_of(*edit, label).is_file()]
    if len(shown) < len(edits) * len(labels) or not edits:
        return path.is_file()
    pictures, titles = [], []
    for scene, do in edits:
        known = score.truth(scene, dict([do.split("=")]))
        methods = [label for label in labels if label not in REFERENCES]
        pictures += [Image.fromarray(known.factual), *(Image.open(picture_of(scene, do, label)) for label in methods)]
        pictures.append(Image.fromarray(known.exact))
        titles += [f"do({do.replace('=', ' = ')})", *methods, "exact"]
    grid(pictures, titles, len(titles) // len(edits)).save(path, quality=86)
    return True


def _interval(rows: Rows, field: str) -> Any:  # noqa: ANN401
    return bootstrap([row.get(field) for row in rows], [row["scene"] for row in rows])


def _point(axis: Any, across: Any, up: Any, label: str, colour: str) -> None:  # noqa: ANN401
    sides = [[[one.mean - one.low], [one.high - one.mean]] for one in (across, up)]
    axis.errorbar(across.mean, up.mean, xerr=sides[0], yerr=sides[1], linestyle="", color=colour, capsize=2, markersize=5, label=label,
                  marker="s" if label in REFERENCES else "o")  # fmt: skip


def _finish(figure: Any, axes: Any, path: Path) -> None:  # noqa: ANN401
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.tick_params(labelsize=8)
    figure.savefig(path, dpi=140)
    plt.close(figure)
