"""Undo the drift of any editor: the edited picture back on its original, and only what really changed is kept of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from scipy import ndimage
from torch import Tensor

from . import pairs
from .align import Drift, find_drift, unwarped
from .changes import Colour, find_changes, find_colour
from .keep import FEATHER, pasted, soft_edge

STILL = 0.05
"""Pixels that a corner may move before a picture is resampled: less is lost by leaving it."""
FAINT = 0.5 / 255
EVERYWHERE = 0.8
"""From this share on the whole picture changed, and there is nothing to keep."""
ASPECT = 0.04
MARGIN = 2  # pixels around a change that was found: its rim differs too little to be seen as one


@dataclass(frozen=True)
class Undone:
    """One picture (1, H, W, 3), how much of the edit shows in it (1, H, W), and what drift was found."""

    image: Tensor
    mask: Tensor
    drift: Drift
    colour: Colour
    notes: tuple[str, ...] = ()

    def report(self) -> str:
        """The drift in words: pixels, per cent, colours, and how much really changed."""
        share = float((self.mask > 0).float().mean())
        kept = "is the original's, bit by bit" if share < 1 else "of the original is kept"
        parts = [_moved(self.drift), _coloured(self.colour), f"{share:.1%} shows the edit; the rest {kept}"]
        return "; ".join(self.notes or parts)


def undo_drift(
    original: Tensor, edited: Tensor, masks: Tensor | None = None, align: bool = True, match_colour: bool = True, feather: float = FEATHER
) -> tuple[Tensor, Tensor, str]:
    """The edited pictures (B, H, W, 3) without drift, how much of the edit shows (B, H, W), and a line of report for each.

    `masks` (N, h, w) say where the edit is; without them it is found. An original of its own for each picture, or one for
    all. Raises ValueError for pictures that cannot be laid on each other, and for what `pairs` refuses.
    """
    original, edited = pairs.one_batch(original, edited)
    _same_aspect(original, edited)
    size = (original.shape[1], original.shape[2])
    given = None if masks is None else pairs.union(masks, len(edited), size) > 0
    undone = [
        _one(original[i : i + 1], edited[i : i + 1], None if given is None else given[i], align, match_colour, feather)
        for i in range(len(edited))
    ]
    lines = [one.report() for one in undone]
    report = lines[0] if len(lines) == 1 else "\n".join(f"picture {i}: {line}" for i, line in enumerate(lines, 1))
    return torch.cat([one.image for one in undone]), torch.cat([one.mask for one in undone]), report


def _same_aspect(original: Tensor, edited: Tensor) -> None:
    ratio = (edited.shape[2] / edited.shape[1]) / (original.shape[2] / original.shape[1])
    if abs(ratio - 1) > ASPECT:
        raise ValueError(
            f"The original is {pairs.size_text(original)} and the edited picture {pairs.size_text(edited)}: their aspects differ by "
            f"{abs(ratio - 1):.0%}, at most {ASPECT:.0%} is expected. Crop or pad the edited picture to the original's aspect first."
        )


def _one(original: Tensor, edited: Tensor, given: Tensor | None, align: bool, match_colour: bool, feather: float) -> Undone:
    size = (original.shape[1], original.shape[2])
    if edited.shape == original.shape and torch.equal(edited, original):
        return _unchanged(original, "the pictures are identical")
    drift = find_drift(original, edited, None if given is None else ~given) if align else None
    laid, covered = _laid(edited, drift or Drift(), size)
    start = Undone(laid, covered, drift or Drift(), Colour())
    settled, inside = _settled(original, start, given, match_colour)
    if given is None and inside.float().mean() > EVERYWHERE:
        return _everywhere(edited, size)
    if not inside.any():
        return replace(settled, image=original, mask=torch.zeros(1, *size))
    alpha = soft_edge(_widened(inside, 0 if given is not None else feather + MARGIN)[None] & covered, feather)
    return replace(settled, image=pasted(original, settled.image, alpha), mask=alpha)


def _laid(edited: Tensor, drift: Drift, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The picture on the original's grid; one that hardly moved is not resampled."""
    if edited.shape[1:3] == size and drift.reach(size) < STILL:
        return edited, torch.ones(1, *size, dtype=torch.bool, device=edited.device)
    return unwarped(edited, drift, size)


def _settled(original: Tensor, start: Undone, given: Tensor | None, match_colour: bool) -> tuple[Undone, Tensor]:
    """Colours matched and the places of the change (H, W) bool, each found twice: the second time knowing the other."""
    covered, settled = start.mask[0], start
    inside = torch.zeros_like(covered) if given is None else given.to(covered.device)
    for _ in range(2):
        still = covered & ~inside
        if match_colour and still.any():
            colour = find_colour(original[0], start.image[0], still)
            usable = colour.within_limits() and colour.strength() > FAINT
            settled = replace(start, image=colour.undone(start.image), colour=colour) if usable else start
        if given is None:
            inside = find_changes(original[0], settled.image[0], covered)
    return settled, inside


def _widened(inside: Tensor, pixels: float) -> Tensor:
    if pixels <= 0:
        return inside
    distance = ndimage.distance_transform_edt(~inside.cpu().numpy())
    return torch.from_numpy(distance <= pixels).to(inside.device)


def _unchanged(original: Tensor, note: str) -> Undone:
    return Undone(original, torch.zeros(original.shape[:3]), Drift(), Colour(), (note,))


def _everywhere(edited: Tensor, size: tuple[int, int]) -> Undone:
    image = edited if edited.shape[1:3] == size else unwarped(edited, Drift(), size)[0]
    note = "the picture changed everywhere, so it is returned as it is; give masks to say where the edit is"
    return Undone(image, torch.ones(1, *size), Drift(), Colour(), (note,))


def _moved(drift: Drift) -> str:
    across, down = drift.shift
    across_text = f"{abs(across):.2f} px {'right' if across >= 0 else 'left'}"
    down_text = f"{abs(down):.2f} px {'down' if down >= 0 else 'up'}"
    zooms = [f"{zoom - 1:+.1%}" for zoom in drift.zoom]
    zoom = " x ".join(dict.fromkeys(zooms))
    return f"shifted {across_text} and {down_text}, zoomed {zoom}, turned {drift.turn:+.2f} degrees" if drift != Drift() else "no shift"


def _coloured(colour: Colour) -> str:
    if colour == Colour():
        return "colours as they were"
    names = ("red", "green", "blue")
    channels = [f"{name} x {gain:.3f} {offset:+.1%}" for name, gain, offset in zip(names, colour.gain, colour.offset)]
    return f"colours drifted: {', '.join(channels)}"
