"""An evaluation's rows as Parquet and as the paper's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .tables import Figure, common, paired, select, table

EDIT_FIELDS = ("sample", "number")  # what identifies an edit of one method
COLUMNS = {
    "sample": "string", "number": "int32", "method": "string", "intervention": "string", "caption": "string", "prompt": "string",
    "effectiveness": "float64", "effectiveness_descendants": "float64", "perceptual": "float64", "perception": "string",
    "seconds": "float64", "inversion_shared": "bool_",
}  # fmt: skip


class ParquetUnavailable(RuntimeError):
    """pyarrow is not installed."""


def parquet_module() -> Any:  # noqa: ANN401
    """pyarrow with its Parquet part, or ParquetUnavailable with what to install."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ParquetUnavailable(f"Parquet needs the package pyarrow ({error}): run `pip install pyarrow`.") from error
    return pyarrow


def write_parquet(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """One line per edit, typed columns, gaps as nulls."""
    arrow = parquet_module()
    schema = arrow.schema([(name, getattr(arrow, kind)()) for name, kind in COLUMNS.items()])
    arrow.parquet.write_table(arrow.Table.from_pylist([dict(row) for row in rows], schema=schema), str(path))


def paper_table(rows: Sequence[Mapping[str, Any]], methods: Sequence[str], perception: str) -> str:
    """The paper's table: VLM-Eff and perceptual distance of every method, with 95 % intervals over pictures.

    Every figure is over the edits for which all methods have it; seconds are those of edits that made their own inversion.
    """
    figures = (
        Figure("effectiveness", "VLM-Eff"), Figure("effectiveness_descendants", "of descendants"),
        Figure("perceptual", f"{perception} to the factual", 3, "less"), Figure("seconds", "seconds with the inversion", 1, "less"),
    )  # fmt: skip
    timed = [row | {"seconds": None if row["inversion_shared"] else row["seconds"]} for row in rows]
    by_method = {method: selected for method in methods if (selected := select(timed, method=method))}
    edits = next(iter(common(by_method, EDIT_FIELDS).values()), [])
    count = f"{len(edits)} edits of {len({row['sample'] for row in edits})} pictures, which all these methods have done."
    return f"{table(paired(by_method, figures, 'sample', EDIT_FIELDS), figures)}\n\n{count}"
