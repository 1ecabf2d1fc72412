"""Results as Markdown: a row per method, a mean with its interval per figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .statistics import Interval, bootstrap

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Figure:
    """A column: the field of the records, its heading, its digits, and whether more or less of it is better."""

    field: str
    title: str
    digits: int = 2
    better: str = "more"

    @property
    def heading(self) -> str:
        """The title with an arrow towards the better end."""
        return self.title + {"more": " ↑", "less": " ↓"}.get(self.better, "")


def summary(rows: Rows, figures: Sequence[Figure], group: str, **options: Any) -> dict[str, Interval]:  # noqa: ANN401
    """Mean and interval of every figure over the rows; `group` names the field whose values are resampled whole."""
    labels = [row[group] for row in rows]
    return {f.field: bootstrap([row.get(f.field) for row in rows], labels, **options) for f in figures}


def select(rows: Rows, **wanted: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401
    """The rows whose fields have these values."""
    return [row for row in rows if all(row.get(field) == value for field, value in wanted.items())]


def common(rows: Mapping[str, Rows], fields: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
    """The items, identified by `fields`, that every label with rows has, in one order: all are compared on the same ones."""
    present = {label: {tuple(row[field] for field in fields): row for row in entries} for label, entries in rows.items() if entries}
    shared = sorted(set.intersection(*map(set, present.values()))) if present else []
    return {label: [entries[key] for key in shared] for label, entries in present.items()}


def paired(rows: Mapping[str, Rows], figures: Sequence[Figure], group: str, fields: Sequence[str]) -> dict[str, dict[str, Interval]]:
    """The `summary` of every label, each figure over the items for which all labels that have it at all have it."""
    summaries: dict[str, dict[str, Interval]] = {label: {} for label in rows}
    for figure in figures:
        shared = common({label: [row for row in entries if row.get(figure.field) is not None] for label, entries in rows.items()}, fields)
        for label, into in summaries.items():
            into |= summary(shared.get(label, []), (figure,), group)
    return summaries


def table(summaries: Mapping[str, Mapping[str, Interval]], figures: Sequence[Figure], corner: str = "method") -> str:
    """A Markdown table with a row per entry of `summaries`."""
    lines = [[corner, *(f.heading for f in figures)], ["---", *("---:" for _ in figures)]]
    lines += [[name, *(intervals[f.field].text(f.digits) for f in figures)] for name, intervals in summaries.items()]
    return "\n".join(map(line, lines))


def line(cells: Iterable[str]) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"
