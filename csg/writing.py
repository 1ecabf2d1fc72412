"""Files that are written wholly or not at all, and never over another one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path


def numbered(folder: str | os.PathLike[str], stem: str, first: int, suffix: str) -> Iterator[Path]:
    """Yield `stem_00001_suffix` in the folder, and so on from the number `first`, as ComfyUI names what it saves."""
    return (Path(folder) / f"{stem}_{number:05}_{suffix}" for number in count(first))


def write_new(names: Iterable[Path], write: Callable[[Path], object]) -> Path:
    """Write a file under the first of the names that is free, all of one folder, and return that name.

    `write` fills a file beside it, which gets the name once it is on the disk: what has the name is whole, and two
    writers never get the same one. Raises FileExistsError when every name is taken.
    """
    part: Path | None = None
    try:
        for path in names:
            if path.exists():
                continue
            if part is None:
                part = path.with_name(f".{path.stem[:80]}.{secrets.token_hex(8)}.part")
                write(part)
                _settle(part)
            if _take(part, path):
                return path
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
    raise FileExistsError("every name for the file is taken: choose another one")


def _settle(part: Path) -> None:
    with part.open("rb+") as file:
        os.fsync(file.fileno())


def _take(part: Path, path: Path) -> bool:
    """Give the file its name; False when another file has it."""
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        return _take_reserved(part, path)
    return True


def _take_reserved(part: Path, path: Path) -> bool:
    """The same where there are no hard links: the name is reserved by an empty file first."""
    try:
        path.open("xb").close()
    except FileExistsError:
        return False
    try:
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
    return True
