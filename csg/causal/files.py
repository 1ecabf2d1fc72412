"""Graphs as files, inside one folder that no path may leave."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ..writing import numbered, write_new
from .formats import MAX_CHARACTERS, read_graph
from .graph import CausalGraph, GraphError, quoted

SUFFIXES = {"json": ".json", "dagitty": ".dagitty", "dot": ".dot"}
READABLE = (".json", ".dagitty", ".dot", ".gv", ".txt")
_MAX_BYTES = 4 * MAX_CHARACTERS


def readable_files(folder: str | os.PathLike[str]) -> list[str]:
    """Return the names of the folder's files that may hold a graph, sorted."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.name.lower().endswith(READABLE) and _is_file(entry))


def _is_file(entry: os.DirEntry[str] | Path) -> bool:
    """Whether an entry is a file; one that cannot be looked at, such as a link to itself, is none."""
    try:
        return entry.is_file()
    except OSError:
        return False


def load_graph(folder: str | os.PathLike[str], name: str, format: str = "auto") -> CausalGraph:
    """Read the graph in the folder's file `name`.

    Raises GraphError when the file lies outside the folder, is missing, is too large or is not text.
    """
    try:
        text = _bytes(folder, name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GraphError(f"The file {quoted(name)} is no UTF-8 text (byte {error.start}); save it as UTF-8.") from None
    return read_graph(text, format)


def content_hash(folder: str | os.PathLike[str], name: str) -> str:
    """Return a digest of the file's content, which changes exactly when the content does."""
    return hashlib.sha256(_bytes(folder, name)).hexdigest()


def _bytes(folder: str | os.PathLike[str], name: str) -> bytes:
    root = Path(folder).resolve()
    path = root if "\0" in name else (root / name).resolve()
    if not path.is_relative_to(root):
        raise GraphError(f"The file {quoted(name)} lies outside the folder of inputs; copy it there first.")
    if not _is_file(path):
        raise GraphError(f"There is no file {quoted(name)} in the folder of inputs; upload it there first.")
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise GraphError(f"The file {quoted(name)} is larger than {_MAX_BYTES} bytes, too large for a graph.")
    return content


def save_text(text: str, folder: str | os.PathLike[str], stem: str, first: int, format: str) -> Path:
    """Write a graph's text to `stem_00001_.json`, or the first number from `first` on that is free; wholly or not at all."""
    content = text.encode("utf-8")
    return write_new(numbered(folder, stem, first, SUFFIXES[format]), lambda part: part.write_bytes(content))
