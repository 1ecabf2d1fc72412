"""Files that are written wholly or not at all."""

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
                part = _beside(path)
                write(part)
                _settle(part)
            if _take(part, path):
                return path
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
    raise FileExistsError("every name for the file is taken: choose another one")


def write_over(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a name that an earlier one may have, which stays whole until the new one is on the disk."""
    part = _beside(path)
    try:
        write(part)
        _settle(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """A name of its own in the same folder."""
    return path.with_name(f".{path.stem[:80]}.{secrets.token_hex(8)}.part")


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
