"""How an edited picture lies on its original: shift, zoom and turn, found to a fraction of a pixel, and undone.

Direct alignment (Lucas & Kanade 1981; Baker & Matthews 2004) from coarse to fine, under a robust loss, so that what was
really edited hardly counts; brightness and contrast are fitted along. The solver is scipy's least_squares.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor
from torch.nn import functional as F

COARSEST, FINEST = 24, 512
"""Longest sides of the first and the last level; at the last, a 50th of a pixel is far above the solver's error."""
LIMITS = {"shift": 0.12, "zoom": 0.25, "turn": 8.0}
"""What still is drift: shift as a share of the side, zoom beside 1, degrees."""
NOISE = 1 / 255
WORTH = 0.97  # an alignment counts if it leaves less than this share of the error without it


@dataclass(frozen=True)
class Drift:
    """Where the original's content lies in the edited picture: turned and zoomed about the middle, then shifted.

    `shift` right and down, in pixels of the original; `zoom` across and down; `turn` in degrees, clockwise.
    """

    shift: tuple[float, float] = (0.0, 0.0)
    zoom: tuple[float, float] = (1.0, 1.0)
    turn: float = 0.0

    def reach(self, size: tuple[int, int]) -> float:
        """The farthest that a corner of a picture of this size (height, width) moves, in pixels."""
        half = np.array([size[1] / 2, size[0] / 2])
        corners = np.array([[x, y] for x in (-1, 1) for y in (-1, 1)]) * half
        return float(np.linalg.norm(self._moved(corners) - corners, axis=1).max())

    def _moved(self, points: np.ndarray) -> np.ndarray:
        return points @ self.matrix().T + np.array(self.shift)

    def matrix(self) -> np.ndarray:
        """The linear part, (2, 2), on (x, y)."""
        cos, sin = math.cos(math.radians(self.turn)), math.sin(math.radians(self.turn))
        return np.diag(self.zoom) @ np.array([[cos, -sin], [sin, cos]])

    def within_limits(self, size: tuple[int, int]) -> bool:
        """Whether this still is drift and no other picture."""
        across = max(abs(self.shift[0]) / size[1], abs(self.shift[1]) / size[0])
        zoomed = max(abs(zoom - 1) for zoom in self.zoom)
        return across <= LIMITS["shift"] and zoomed <= LIMITS["zoom"] and abs(self.turn) <= LIMITS["turn"]


def unwarped(edited: Tensor, drift: Drift, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """`edited` (B, H, W, C) laid on an original of `size`, resampled once, and where it has pixels to give (B, *size) bool.

    A picture larger than the original is low-passed first. Beyond its border the nearest pixel goes on.
    """
    planes = _low_passed(edited.movedim(-1, 1), size)
    grid = _grid(drift, size, planes)
    laid = F.grid_sample(planes, grid.expand(len(planes), -1, -1, -1), "bicubic", "border", align_corners=False)
    covered = (grid.abs() <= 1 + 1e-6).all(-1).expand(len(planes), -1, -1)
    return laid.movedim(1, -1).clamp(0, 1), covered


def _grid(drift: Drift, size: tuple[int, int], like: Tensor) -> Tensor:
    """Where each pixel of the original is read, (1, h, w, 2) in grid_sample's coordinates."""
    height, width = size
    scale = np.diag([2 / width, 2 / height])
    theta = np.concatenate([scale @ drift.matrix() @ np.linalg.inv(scale), (scale @ np.array(drift.shift))[:, None]], 1)
    return F.affine_grid(torch.as_tensor(theta, dtype=like.dtype)[None], [1, 1, height, width], align_corners=False).to(like.device)


def _low_passed(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Planes (B, C, h, w) without what a smaller picture cannot show."""
    shrink = max(planes.shape[-2] / size[0], planes.shape[-1] / size[1])
    if shrink < 1.25:
        return planes
    deviation = 0.5 * math.sqrt(shrink**2 - 1)
    reach = math.ceil(3 * deviation)
    taps = torch.exp(-(torch.arange(-reach, reach + 1, dtype=planes.dtype, device=planes.device) ** 2) / (2 * deviation**2))
    taps = (taps / taps.sum()).expand(planes.shape[1], 1, -1)
    padded = F.pad(planes, (reach, reach, reach, reach), mode="replicate")
    across = F.conv2d(padded, taps[:, :, None], groups=planes.shape[1])
    return F.conv2d(across, taps[..., None], groups=planes.shape[1])


def find_drift(original: Tensor, edited: Tensor, still: Tensor | None = None) -> Drift | None:
    """The drift of one edited picture (1, h, w, 3) against its original (1, H, W, 3); None where none can be found.

    `still` (H, W) bool: the only places that count, such as those outside of given masks.
    """
    start = np.zeros(7)  # shift x, y as shares of the half side; log zoom x, y; turn in radians; contrast, brightness
    for level in _pyramid(original, edited, still):
        start = level.solved(start)
    size = (original.shape[1], original.shape[2])
    drift = _drift_of(start, size)
    if not drift.within_limits(size) or level.error(start) > WORTH * level.error(np.r_[np.zeros(5), start[5:]]):
        return None
    return drift


def _drift_of(parameters: np.ndarray, size: tuple[int, int]) -> Drift:
    x, y, zoom_x, zoom_y, turn = (float(value) for value in parameters[:5])
    return Drift((x * size[1] / 2, y * size[0] / 2), (math.exp(zoom_x), math.exp(zoom_y)), math.degrees(turn))


@dataclass(frozen=True)
class _Level:
    """Both pictures as grey planes (1, 1, h, w) of one size, double precision, and the places that count (h, w)."""

    original: Tensor
    edited: Tensor
    counts: Tensor

    def _residuals(self, parameters: np.ndarray) -> np.ndarray:
        size = (self.original.shape[-2], self.original.shape[-1])
        grid = _grid(_drift_of(parameters, size), size, self.edited)
        laid = F.grid_sample(self.edited, grid, "bicubic", "border", align_corners=False)[0, 0]
        gap = laid * math.exp(parameters[5]) + parameters[6] - self.original[0, 0]
        inside = (grid[0].abs() <= 1).all(-1)
        return (gap * inside)[self.counts].numpy()

    def error(self, parameters: np.ndarray) -> float:
        """The mean root of the error: what was edited counts little, and flat places, which fit anywhere, nothing."""
        return float(np.sqrt(np.abs(self._residuals(parameters))).mean()) + 1e-9

    def solved(self, start: np.ndarray) -> np.ndarray:
        """The parameters at this level, from those of the level before."""
        spread = max(1.4826 * float(np.median(np.abs(self._residuals(start)))), NOISE)
        return least_squares(self._residuals, start, loss="soft_l1", f_scale=spread, max_nfev=30).x


def _pyramid(original: Tensor, edited: Tensor, still: Tensor | None) -> Iterator[_Level]:
    """Levels from coarse to fine, each twice the one before."""
    height, width = original.shape[1:3]
    grey = [image.movedim(-1, 1).mean(1, keepdim=True).cpu().double() for image in (original, edited)]
    last = min(1.0, FINEST / max(height, width))
    steps = max(0, math.floor(math.log2(max(height, width) * last / COARSEST)))
    for step in range(steps, -1, -1):
        size = tuple(max(4, round(side * last / 2**step)) for side in (height, width))
        small = [F.interpolate(plane, size, mode="bilinear", antialias=True, align_corners=False) for plane in grey]
        counts = torch.ones(size, dtype=torch.bool)
        if still is not None:
            shares = F.interpolate(still[None, None].double().cpu(), size, mode="bilinear", antialias=True)[0, 0]
            counts = shares > 0.99 if (shares > 0.99).sum() > 64 else counts
        yield _Level(small[0], small[1], counts)
