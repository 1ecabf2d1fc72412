"""A record of finished work that survives a kill: one JSON line per item, so that nothing is computed twice."""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

Record = dict[str, Any]
Key = tuple[Hashable, ...]


class Journal:
    """The lines of one file, each found again by the fields that identify its item; `.xz` is read, never written."""

    def __init__(self, path: str | Path, fields: Sequence[str]) -> None:
        """Read what is there but for a last line that a kill cut short, or that another run is writing just now.

        Raises ValueError when an earlier line is no JSON object with the identifying `fields`.
        """
        self.path, self.fields = Path(path), tuple(fields)
        self._records: dict[Key, Record] = {}
        self._claimed = False
        if self.path.is_file():
            self._read()

    def _read(self) -> int:
        """Take in all whole lines; returns how many bytes they are."""
        whole = lzma.decompress(self.path.read_bytes()) if self.path.suffix == ".xz" else self.path.read_bytes()
        complete = whole[: whole.rfind(b"\n") + 1]
        for number, line in enumerate(complete.split(b"\n")[:-1], 1):
            self._take(line, number)
        return len(complete)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Be the only writer; ValueError while another run is. What it has written since is read, a cut last line goes."""
        if self._claimed:
            yield
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f"{self.path.name}.lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB) if fcntl else msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
            except OSError:
                raise ValueError(f"Another run is writing to {self.path}. Wait for it, or give this one another folder.") from None
            self._claimed = True
            try:
                if self.path.is_file() and (complete := self._read()) < self.path.stat().st_size:
                    os.truncate(self.path, complete)
                yield
            finally:
                self._claimed = False

    def _take(self, line: bytes, number: int) -> None:
        try:
            record = json.loads(line)
            self._records[self.key(record)] = record
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"Line {number} of {self.path} is no result ({error}): expected a JSON object with "
                f"{', '.join(self.fields)}. Move the file away, or name another one."
            ) from error

    def key(self, record: Mapping[str, Any]) -> Key:
        """What identifies a record."""
        return tuple(record[field] for field in self.fields)

    def __contains__(self, item: Mapping[str, Any]) -> bool:
        """Whether the item is done."""
        return self.key(item) in self._records

    def __len__(self) -> int:
        """How many items are done."""
        return len(self._records)

    def __getitem__(self, item: Mapping[str, Any]) -> Record:
        """The record of a finished item."""
        return self._records[self.key(item)]

    @property
    def records(self) -> list[Record]:
        """Everything done so far, in the order in which it was done."""
        return list(self._records.values())

    def add(self, record: Record) -> None:
        """Write a finished item to the disk before anything else happens; one that is there already is refused."""
        if record in self:
            raise ValueError(f"{dict(zip(self.fields, self.key(record), strict=True))} is in {self.path} already.")
        with self.claimed(), self.path.open("ab") as file:
            file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._records[self.key(record)] = record
