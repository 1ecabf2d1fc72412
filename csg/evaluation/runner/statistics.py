"""Means with honest intervals: a bootstrap over scenes, since edits of one scene are not independent of each other."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 5000
LEVEL = 0.95
AT_ONCE = 4_000_000  # resampled groups per block, which bounds the memory


@dataclass(frozen=True)
class Interval:
    """A mean of `count` values and the ends of its confidence interval; nan where there is no value."""

    mean: float
    low: float
    high: float
    count: int

    def text(self, digits: int = 2) -> str:
        """The mean with its interval, as `0.93 [0.91, 0.95]`; a dash without values."""
        if not self.count:
            return "-"
        mean, low, high = (round(x, digits) + 0.0 for x in (self.mean, self.low, self.high))  # no "-0.00"
        return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def bootstrap(
    values: Iterable[float | None], groups: Iterable[Hashable] | None = None, *,
    level: float = LEVEL, draws: int = DRAWS, seed: int = 0,
) -> Interval:  # fmt: skip
    """The mean of `values` with its percentile bootstrap interval (Efron & Tibshirani 1993, chapter 13).

    Whole `groups` are drawn with replacement (one label per value, such as the scene); without them every value is a
    group of its own. None and nan are left out. Raises ValueError when labels and values differ in number.
    """
    values = list(values)
    labels = list(range(len(values))) if groups is None else list(groups)
    if len(labels) != len(values):
        raise ValueError(f"There are {len(values)} values but {len(labels)} group labels; give one label per value.")
    kept = [(label, float(v)) for label, v in zip(labels, values, strict=True) if v is not None and not math.isnan(v)]
    if not kept:
        return Interval(math.nan, math.nan, math.nan, 0)
    sums, counts = _by_group(kept)
    means = _resampled_means(sums, counts, draws, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high), len(kept))


def _by_group(labelled: Sequence[tuple[Hashable, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values of each group."""
    place = {label: i for i, label in enumerate(dict.fromkeys(label for label, _ in labelled))}
    sums, counts = np.zeros(len(place)), np.zeros(len(place))
    for label, value in labelled:
        sums[place[label]] += value
        counts[place[label]] += 1
    return sums, counts


def _resampled_means(sums: np.ndarray, counts: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    means, block = [], max(1, AT_ONCE // len(sums))
    for start in range(0, draws, block):
        chosen = rng.integers(0, len(sums), (min(block, draws - start), len(sums)))
        means.append(sums[chosen].sum(1) / counts[chosen].sum(1))
    return np.concatenate(means)


def paired_difference(
    first: Sequence[float | None], second: Sequence[float | None], groups: Iterable[Hashable] | None = None,
    *, level: float = LEVEL, draws: int = DRAWS, seed: int = 0,
) -> Interval:  # fmt: skip
    """The mean of first - second over pairs measured on the same edit; pairs with a gap are left out."""
    if len(first) != len(second):
        raise ValueError(f"There are {len(first)} first and {len(second)} second values; pairs are expected.")
    gaps = [None if a is None or b is None else a - b for a, b in zip(first, second, strict=True)]
    return bootstrap(gaps, groups, level=level, draws=draws, seed=seed)


def cohens_kappa(pairs: Iterable[tuple[bool, bool]]) -> float | None:
    """Agreement of two judges beyond chance (Cohen 1960); None where neither ever says anything but one word."""
    pairs = list(pairs)
    if not pairs:
        return None
    n = len(pairs)
    agreed = sum(a == b for a, b in pairs) / n
    first, second = sum(a for a, _ in pairs) / n, sum(b for _, b in pairs) / n
    chance = first * second + (1 - first) * (1 - second)
    return None if chance == 1 else (agreed - chance) / (1 - chance)
