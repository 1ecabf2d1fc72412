"""Preserved pixels: outside the masks of an edit a picture is the original, bit by bit."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from . import pairs

FEATHER = 4.0


def soft_edge(inside: Tensor, feather: float) -> Tensor:
    """How much of the edit shows, (B, H, W) in [0, 1], for places (B, H, W) bool.

    Outside it is 0 exactly. Inside it rises with the distance to the edge, to 1 within `feather` pixels; the border of the
    picture is no edge.
    """
    if feather <= 0:
        return inside.float()
    return torch.stack([_ramp(one.cpu().numpy(), feather) for one in inside]).to(inside.device)


def _ramp(inside: np.ndarray, feather: float) -> Tensor:
    if inside.all() or not inside.any():
        return torch.full(inside.shape, float(inside.all()))
    distance = ndimage.distance_transform_edt(inside)
    return torch.from_numpy(np.clip(distance / (feather + 1), 0, 1).astype(np.float32))


def pasted(original: Tensor, edited: Tensor, alpha: Tensor) -> Tensor:
    """`edited` over `original`, IMAGEs of one size, by alpha (B, H, W); where alpha is 0 or 1 the pixel is one of theirs, bit by bit."""
    alpha = alpha[..., None].to(edited.device)
    mixed = original + alpha * (edited - original)
    return torch.where(alpha >= 1, edited, mixed)


def keep_preserved(original: Tensor, edited: Tensor, masks: Tensor, feather: float = FEATHER) -> tuple[Tensor, Tensor]:
    """The edited picture with the original's own pixels outside the masks, and how much of the edit shows (B, H, W).

    `masks` (N, h, w): see `pairs.union`; the edit is wherever one of them is above 0. Raises ValueError for pictures and
    masks that do not fit together.
    """
    original, edited = pairs.one_batch(original, edited)
    pairs.same_size(original, edited)
    merged = pairs.union(masks, len(edited), tuple(edited.shape[1:3]))
    alpha = soft_edge(merged > 0, feather)
    return pasted(original, edited, alpha), alpha
