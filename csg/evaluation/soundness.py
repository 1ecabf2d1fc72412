"""Two axioms that every counterfactual obeys, measured (Galles & Pearl 1998; Monteiro et al., ICLR 2023).

Composition: do() of what already is changes nothing. Reversibility: there and back again leads to the start. The third,
effectiveness, is measured in `effectiveness.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from torch import Tensor

from .similarity import mean_error, ms_ssim, psnr

Assignment = Mapping[str, str]
Edit = Callable[[Tensor, Assignment, Assignment], Tensor]
"""An editing method: (picture, its values, the values wanted) -> the edited picture, all IMAGE (B, H, W, 3)."""


@dataclass(frozen=True)
class Distances:
    """How far two pictures are apart: mean error in per cent, PSNR in dB, multi-scale SSIM."""

    mean_error: float
    psnr: float
    ms_ssim: float

    def text(self) -> str:
        """The three in words."""
        return f"mean error {self.mean_error:.2f} %, PSNR {self.psnr:.1f} dB, multi-scale SSIM {self.ms_ssim:.3f}"

    def named(self, measure: str) -> dict[str, float]:
        """The three as fields of a record, `measure` in front."""
        return {f"{measure}_{name}": value for name, value in asdict(self).items()}


def distances(a: Tensor, b: Tensor) -> Distances:
    """All distances between two IMAGEs of the same size."""
    return Distances(mean_error(a, b), psnr(a, b), ms_ssim(a, b))


def composition(edit: Edit, picture: Tensor, values: Assignment, times: int = 1) -> Distances:
    """Edit by nothing, `times` over: how far is the picture from the one it was?"""
    unedited = picture
    for _ in range(times):
        unedited = edit(unedited, values, values)
    return distances(picture, unedited)


def reversibility(edit: Edit, picture: Tensor, values: Assignment, wanted: Assignment) -> Distances:
    """Edit to `wanted` and back to `values`: how far is the picture from the one it was?"""
    return distances(picture, edit(edit(picture, values, wanted), wanted, values))
