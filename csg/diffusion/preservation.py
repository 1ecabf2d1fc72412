"""Preserved concepts keep their places: what no intervention reaches is taken out of the masks of what changes.

A causal graph says more than what changes: it names what must not. Where the picture as it was looks more at a
preserved concept's words than at those of any change, and the two captions hardly differ, no concept acts. This is not
in the paper; masks of single concepts at a quarter of the latent's size reach over the rims of their neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from .edits import GLOBAL, LOCAL
from .guidance import REFERENCE_CELL, Predictions, otsu_mask, smoothed

# A place is kept only while the guidance there stays under so many times its mean over the picture. Light, which a
# global concept may be, shows on preserved things too, so less is kept from it. Chosen on Town (benchmarks/results).
SHARES: Mapping[str, float] = {LOCAL: 1.2, GLOBAL: 0.7}


def place(attention: Tensor, size: tuple[int, int], cell: float = REFERENCE_CELL) -> Tensor:
    """How much each latent pixel belongs to a phrase, (B, 1, h, w) in [0, 1]: attention (B, ch, cw) by its peak."""
    smooth = smoothed(attention, cell)[:, None]
    smooth = smooth / smooth.amax((2, 3), keepdim=True).clamp(min=1e-12)
    return F.interpolate(smooth, size, mode="bilinear", align_corners=False)


class Preservation:
    """Finds the kept places of one run; the strength of the guidance is remembered from step to step.

    Early steps tell best where the captions differ; once the change is drawn, they agree about it.
    """

    def __init__(self) -> None:
        self.strength: Tensor | None = None

    def kept(self, predictions: Predictions, psis: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """1 where preserved concepts keep their place, per scope of the acting term, each (B, 1, h, w).

        `psis` are the guidances (B, C, h, w) of the terms that have one of their own. Empty where nothing preserved
        can be looked at.
        """
        moves = [*psis.values(), *([] if predictions.caption_difference is None else [predictions.caption_difference])]
        if not predictions.preserved_attention or not moves:
            return {}
        now = sum(move.float().abs().sum(1, keepdim=True) for move in moves)
        self.strength = now if self.strength is None else self.strength + now
        relative = self.strength / self.strength.mean((2, 3), keepdim=True).clamp(min=1e-12)
        claimed = self._claimed(predictions, (now.shape[-2], now.shape[-1]))
        return {scope: claimed * (relative < share) for scope, share in SHARES.items()}

    @staticmethod
    def _claimed(predictions: Predictions, size: tuple[int, int]) -> Tensor:
        """Where some preserved concept is looked at more than every change, each map measured by its own peak."""
        preserved = [place(a, size, predictions.cell) for a in predictions.preserved_attention.values()]
        best = torch.stack([a * otsu_mask(a[:, 0])[:, None] for a in preserved]).amax(0)
        rivals = [place(a, size, predictions.cell) for a in (*predictions.attention.values(), *predictions.factual_attention.values())]
        return (best > torch.stack(rivals).amax(0)).float() if rivals else torch.zeros_like(best)
