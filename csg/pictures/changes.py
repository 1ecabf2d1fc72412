"""What an edit really changed: colours matched where nothing changed, then the places that still differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.optimize import least_squares
from torch import Tensor

from ..diffusion.guidance import otsu_mask

GAINS, OFFSETS = (0.7, 1.4), (-0.15, 0.15)
"""Colour drift that can be undone; stronger changes of all colours are an edit of the whole picture."""
SAMPLES = 20_000
WIDTH = 1 / 160  # deviation of the smoothing as a share of the longer side
SPECK = 1 / 2500  # parts of the change that cover less of the picture are noise
WEAK = (5 / 255, 14 / 255)  # smoothed differences: below the first an eye hardly sees one, above the second no codec makes one
DEVIATIONS = 4.0


@dataclass(frozen=True)
class Colour:
    """What an editor did to every colour: `original * gain + offset` per channel, in [0, 1]."""

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def undone(self, edited: Tensor) -> Tensor:
        """The picture (..., 3) with the colours of the original."""
        gain, offset = (edited.new_tensor(values) for values in (self.gain, self.offset))
        return ((edited - offset) / gain).clamp(0, 1)

    def within_limits(self) -> bool:
        """Whether this still is drift and no change of light."""
        gains, offsets = np.array(self.gain), np.array(self.offset)
        return bool((gains > GAINS[0]).all() and (gains < GAINS[1]).all() and (offsets > OFFSETS[0]).all() and (offsets < OFFSETS[1]).all())

    def strength(self) -> float:
        """The largest change of a channel's mid-grey, as a share of the range."""
        return max(abs(0.5 * (gain - 1) + offset) for gain, offset in zip(self.gain, self.offset))


def find_colour(original: Tensor, edited: Tensor, counts: Tensor) -> Colour:
    """The colour drift between aligned pictures (H, W, 3) over the places `counts` (H, W) bool, by a robust fit per channel.

    Clipped pixels say nothing about gain, and are left out.
    """
    before, after = original[counts], edited[counts]
    chosen = slice(None, None, max(1, len(before) // SAMPLES))
    before, after = before[chosen].double().cpu().numpy(), after[chosen].double().cpu().numpy()
    fits = [_fitted(before[:, channel], after[:, channel]) for channel in range(3)]
    gains, offsets = zip(*fits)
    return Colour(gains, offsets)


def _fitted(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Gain and offset of one channel."""
    open_ended = (after > 0.01) & (after < 0.99) & (before > 0.01) & (before < 0.99)
    before, after = before[open_ended], after[open_ended]
    if len(before) < 100:
        return 1.0, 0.0
    if before.std() < 0.02:  # one flat colour tells no gain
        return 1.0, float(np.median(after - before))
    fit = least_squares(lambda p: p[0] * before + p[1] - after, [1.0, 0.0], loss="cauchy", f_scale=0.02)
    return float(fit.x[0]), float(fit.x[1])


def difference(original: Tensor, edited: Tensor) -> Tensor:
    """How much two pictures (H, W, 3) differ, smoothed, (H, W): noise of single pixels and thin rims hardly count.

    The signed difference is smoothed first, so that noise averages out; then its size over the channels.
    """
    deviation = max(0.8, max(original.shape[:2]) * WIDTH / 2)
    gap = (edited - original).cpu().numpy()
    signed = ndimage.gaussian_filter(gap, (deviation, deviation, 0))
    size = np.sqrt((signed**2).mean(-1))
    return torch.from_numpy(ndimage.gaussian_filter(size, deviation))


def find_changes(original: Tensor, edited: Tensor, covered: Tensor) -> Tensor:
    """Where aligned and colour-matched pictures (H, W, 3) really differ, (H, W) bool.

    A smoothed difference cut by Otsu's method; parts that are weaker but touch a strong one belong to it; holes are
    closed, specks dropped. `covered` (H, W) bool: where the edited picture has pixels; elsewhere nothing is found.
    """
    gap = difference(original, edited) * covered
    usual = gap[covered] if covered.any() else gap.flatten()
    middle = float(usual.median())
    spread = 1.4826 * float((usual - middle).abs().median())
    weak = min(max(WEAK[0], middle + DEVIATIONS * spread), WEAK[1])
    strong = (otsu_mask(gap[None])[0] > 0) & (gap > weak)
    return torch.from_numpy(_whole_parts(strong.numpy(), (gap > weak).numpy()))


def _whole_parts(strong: np.ndarray, weak: np.ndarray) -> np.ndarray:
    """The connected parts of `weak` that hold something strong, holes closed, specks dropped."""
    names, count = ndimage.label(weak)
    kept = np.zeros(count + 1, bool)
    kept[np.unique(names[strong])] = True
    kept[0] = False
    closed = ndimage.binary_fill_holes(ndimage.binary_closing(kept[names], iterations=2) | kept[names])
    names, count = ndimage.label(closed)
    sizes = np.bincount(names.ravel(), minlength=count + 1)
    sizes[0] = 0
    return (sizes >= max(12, SPECK * strong.size))[names]
