"""How far a long run is, and how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO


def readable(seconds: float) -> str:
    """A duration for people: 48 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


class Pace:
    """A line per finished item with the time that is left, judged by the mean time of this run's items."""

    def __init__(self, total: int, out: TextIO, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        """`done` items of `total` come from an earlier run and say nothing about the speed of this one."""
        self.total, self.out, self.clock = total, out, clock
        self.earlier, self.done, self.begin = done, done, clock()
        if done:
            self._write(f"{done}/{total} done by an earlier run")

    @property
    def remaining(self) -> float | None:
        """Seconds until the end; None before the first item."""
        here = self.done - self.earlier
        return (self.clock() - self.begin) / here * (self.total - self.done) if here else None

    def step(self, label: str) -> None:
        """One more item is done."""
        self.done += 1
        remaining = readable(self.remaining or 0)
        self._write(f"{self.done}/{self.total}  {remaining} left  {label}")

    def _write(self, line: str) -> None:
        self.out.write(f"\r{line:<79}" if self.out.isatty() and self.done < self.total else f"{line}\n")
        self.out.flush()
