"""Causal Semantic Guidance: one masked term per concept added to the base prediction (FM-CGM eq. 9-12; LEDITS++ 3.2).

In the space of denoised latents the reference's psi = eps(x, p) - eps(x) becomes D(x, p) - D(x) up to the factor -sigma,
which changes neither the masks nor the sum, so that every kind of prediction (eps, v) works alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from .edits import GLOBAL, UNCONDITIONAL, ConceptTerm

INTERSECT, ATTENTION, NOISE, NONE = "intersect", "attention", "noise", "none"
MASKS = (INTERSECT, ATTENTION, NOISE, NONE)
EDIT, FACTUAL, BOTH = "edit", "factual", "both"
CAPTIONS = "captions"
QUANTILE, OTSU = "quantile", "otsu"
REFERENCE_CELL = 32.0  # pixels of the picture per cell of SDXL's attention maps, where the reference smooths them


@dataclass(frozen=True)
class GuidanceSettings:
    """How the terms are formed: which masks, from which attention, cut where, against which reference.

    `cut`: M1 ends at the threshold's quantile (the paper), or where the map itself parts in two (Otsu). M2 is a matter
    of strength, not of things, and always ends at the quantile.
    """

    mask: str = INTERSECT
    mask_source: str = EDIT
    contrast: str = UNCONDITIONAL
    cut: str = QUANTILE
    joint_warmup: bool = False

    def __post_init__(self) -> None:
        allowed = {"mask": MASKS, "mask_source": (EDIT, FACTUAL, BOTH), "contrast": (UNCONDITIONAL, FACTUAL, CAPTIONS),
                   "cut": (QUANTILE, OTSU)}  # fmt: skip
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} is {getattr(self, name)[:60]!r}; it is one of {', '.join(values)}.")

    @property
    def uses_attention(self) -> bool:
        """Whether M1 is needed."""
        return self.mask in (INTERSECT, ATTENTION)

    def by_captions(self, term: ConceptTerm) -> bool:
        """Whether the term's guidance is the difference of the whole captions."""
        return term.scope == GLOBAL or (self.contrast == CAPTIONS and term.captioned)


def first_guided_step(terms: Sequence[ConceptTerm], steps: int, joint: bool = False) -> int:
    """The first step at which any term acts (all together if `joint`); `steps` when none ever does."""
    starts = [t.warmup for t in terms if t.scale != 0]
    return min(steps, (max if joint else min)(starts, default=steps))


def active_terms(terms: Sequence[ConceptTerm], i: int, joint: bool = False) -> list[int]:
    """Indices of the terms that act at step `i`; terms without scale never do."""
    if joint and i < max((t.warmup for t in terms if t.scale != 0), default=0):
        return []
    return [k for k, t in enumerate(terms) if t.scale != 0 and t.active(i)]


def quantile_mask(values: Tensor, threshold: float) -> Tensor:
    """1 where a value (B, h, w) reaches its picture's `threshold` quantile (linear interpolation), else 0."""
    values = values.float()
    level = torch.quantile(values.flatten(1), threshold, dim=1)
    return (values >= level[:, None, None]).float()


def otsu_mask(values: Tensor) -> Tensor:
    """1 in the upper one of the two classes into which a picture's values (B, h, w) part best, else 0.

    Otsu (1979): of all cuts the one with the largest variance between the classes. The share of the picture follows
    from the map: little for a lamp, much for a sky.
    """
    ordered = values.float().flatten(1).sort(1).values
    sums, n = ordered.cumsum(1), ordered.shape[1]
    low = torch.arange(1, n, device=values.device)
    below, above = sums[:, :-1] / low, (sums[:, -1:] - sums[:, :-1]) / (n - low)
    first = (low * (n - low) * (above - below) ** 2).argmax(1, keepdim=True) + 1
    return (values >= ordered.gather(1, first)[:, :, None]).float()


def cut_mask(values: Tensor, threshold: float, cut: str = QUANTILE) -> Tensor:
    """The binary mask of a map (B, h, w), cut as the settings say; a threshold of 0 leaves nothing out either way."""
    return otsu_mask(values) if cut == OTSU and threshold > 0 else quantile_mask(values, threshold)


def smoothing(device: torch.device | str = "cpu", cell: float = REFERENCE_CELL) -> Tensor:
    """The reference's 3x3 Gaussian: its exponent halves the distance twice, so the effective deviation is 1/sqrt(2) cells.

    Its cells are 32 pixels of the picture wide; where a `cell` is narrower, as in transformers, it reaches over more of
    them. Made on the device itself: sending it there would wait for the device in every step.
    """
    reach = max(1, round(REFERENCE_CELL / cell))
    taps = torch.exp(-((torch.arange(-float(reach), reach + 1.0, device=device) * (cell / REFERENCE_CELL)) ** 2))
    return torch.outer(taps / taps.sum(), taps / taps.sum())


def smoothed(attention: Tensor, cell: float = REFERENCE_CELL) -> Tensor:
    """Attention (B, ch, cw) under the reference's Gaussian; `cell`: pixels of the picture per cell and side."""
    kernel = smoothing(attention.device, cell)
    reach = len(kernel) // 2
    mode = "reflect" if min(attention.shape[-2:]) > reach else "replicate"  # few cells have nothing to reflect
    padded = F.pad(attention[:, None].float(), (reach,) * 4, mode=mode)
    return F.conv2d(padded, kernel[None, None])[:, 0]


def attention_mask(
    attention: Tensor, threshold: float, size: tuple[int, int], cut: str = QUANTILE, cell: float = REFERENCE_CELL
) -> Tensor:
    """M1: attention (B, ch, cw) -> binary mask (B, 1, h, w): smoothed, cut, enlarged to `size`."""
    return F.interpolate(cut_mask(smoothed(attention, cell), threshold, cut)[:, None], size, mode="nearest")


def noise_mask(psi: Tensor, threshold: float) -> Tensor:
    """M2: guidance (B, C, h, w) -> binary mask (B, 1, h, w): its channel-summed magnitude against its quantile."""
    return quantile_mask(psi.float().abs().sum(1), threshold)[:, None]


@dataclass
class Predictions:
    """The model's predictions at one step: denoised latents (B, C, h, w), and attention maps (B, ch, cw) per term and kind.

    `preserved_attention` is per preserved concept, by name, on the reference path. `cell`: pixels of the picture per
    cell of the attention maps and side.
    """

    base: Tensor
    unconditional: Tensor | None = None
    concepts: Mapping[int, Tensor] = field(default_factory=dict)
    factuals: Mapping[int, Tensor] = field(default_factory=dict)
    caption_difference: Tensor | None = None
    attention: Mapping[int, Tensor] = field(default_factory=dict)
    factual_attention: Mapping[int, Tensor] = field(default_factory=dict)
    preserved_attention: Mapping[str, Tensor] = field(default_factory=dict)
    cell: float = REFERENCE_CELL


KeptPlaces = Callable[[Predictions, Mapping[int, Tensor]], Mapping[str, Tensor]]
"""From the predictions and the terms' own guidances (B, C, h, w) to what is kept from terms of each scope (B, 1, h, w)."""


@dataclass
class Guided:
    """The guided prediction (B, C, h, w) and the mask (B, 1, h, w) of every term that acted."""

    denoised: Tensor
    masks: dict[int, Tensor]

    def union(self) -> Tensor | None:
        """Where any concept acted, (B, 1, h, w); None when none did."""
        return torch.stack(list(self.masks.values())).amax(0) if self.masks else None


def local_psi(term: ConceptTerm, k: int, predictions: Predictions, settings: GuidanceSettings) -> Tensor:
    """s_e * (D(x, p) - reference), signed, under the user's mask: what M2 looks at."""
    reference = predictions.factuals[k] if settings.contrast == FACTUAL and k in predictions.factuals else predictions.unconditional
    psi = (-term.scale if term.remove else term.scale) * (predictions.concepts[k] - reference).float()
    return psi if term.mask is None else psi * user_mask(term.mask, psi)


def user_mask(mask: Tensor, like: Tensor) -> Tensor:
    """A mask (H, W), (B, H, W) or (B, 1, H, W) of any size, as (B, 1, h, w) of the latent `like`; not binarised."""
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).to(like)
    if mask.shape[-2:] != like.shape[-2:]:
        mask = F.interpolate(mask, like.shape[-2:], mode="area")
    return mask


def first_mask(term: ConceptTerm, k: int, predictions: Predictions, settings: GuidanceSettings, size: tuple[int, int]) -> Tensor:
    """M1 from the edit phrase's attention, the factual phrase's on the original picture, or the union of both."""
    maps = []
    if settings.mask_source != FACTUAL or k not in predictions.factual_attention:
        maps.append(predictions.attention[k])
    if settings.mask_source != EDIT and k in predictions.factual_attention:
        maps.append(predictions.factual_attention[k])
    return torch.stack([attention_mask(m, term.threshold, size, settings.cut, predictions.cell) for m in maps]).amax(0)


def concept_mask(
    term: ConceptTerm, k: int, psi: Tensor, predictions: Predictions, settings: GuidanceSettings
) -> Tensor:
    """phi's masks for one local term, (B, 1, h, w): M1 * M2, one of them, or all ones; none of it outside the user's mask."""
    size = (psi.shape[-2], psi.shape[-1])
    mask = torch.ones_like(psi[:, :1])
    if settings.uses_attention:
        mask = mask * first_mask(term, k, predictions, settings, size)
    if settings.mask in (INTERSECT, NOISE):
        mask = mask * noise_mask(psi, term.threshold)
    return mask if term.mask is None else mask * (user_mask(term.mask, psi) > 0)


def guide(
    terms: Sequence[ConceptTerm],
    active: Sequence[int],
    predictions: Predictions,
    settings: GuidanceSettings,
    kept_places: KeptPlaces | None = None,
) -> Guided:
    """The base prediction plus every active term (eq. 12 with the base the caller chose), outside the places kept from it."""
    shared = [k for k in active if settings.by_captions(terms[k]) and predictions.caption_difference is not None]
    psis = {k: local_psi(terms[k], k, predictions, settings) for k in active if not settings.by_captions(terms[k])}
    kept = kept_places(predictions, psis) if kept_places else {}
    total, masks = predictions.base.float(), {}
    if shared:
        masks = {k: terms[k].outside(kept, _caption_mask(terms[k], k, predictions, settings)) for k in shared}
        total = total + torch.stack([terms[k].scale * masks[k] for k in shared]).amax(0) * predictions.caption_difference.float()
    for k, psi in psis.items():
        masks[k] = terms[k].outside(kept, concept_mask(terms[k], k, psi, predictions, settings))
        total = total + psi * masks[k]
    return Guided(total, masks)


def _caption_mask(term: ConceptTerm, k: int, predictions: Predictions, settings: GuidanceSettings) -> Tensor:
    """Where a term acts whose guidance is the difference of the captions, (B, 1, h, w).

    All such terms share this difference, which holds every change at once: where several act, the strongest counts, not
    their sum. A global term acts everywhere, or everywhere in its user's mask.
    """
    difference = predictions.caption_difference.float()
    everywhere = torch.ones_like(difference[:, :1])
    mask = everywhere if term.scope == GLOBAL else concept_mask(term, k, difference, predictions, settings)
    return mask if term.mask is None else mask * user_mask(term.mask, difference)


def soft_edge(mask: Tensor, radius: int = 1) -> Tensor:
    """A binary mask (B, 1, h, w) grown and feathered by `radius` latent pixels, still 1 wherever it was 1."""
    if radius < 1:
        return mask
    grown = F.max_pool2d(mask, 2 * radius + 1, 1, radius)
    blurred = F.avg_pool2d(F.pad(grown, (radius,) * 4, mode="replicate"), 2 * radius + 1, 1)
    return torch.maximum(mask, blurred * grown)


class MaskMean:
    """Running mean of each concept's mask over its guided steps, kept on the masks' device."""

    def __init__(self, count: int) -> None:
        self.sums: list[Tensor | None] = [None] * count
        self.counts = [0] * count

    def add(self, masks: Mapping[int, Tensor]) -> None:
        """Count one step's masks in."""
        for k, mask in masks.items():
            self.sums[k] = mask.clone() if self.sums[k] is None else self.sums[k] + mask
            self.counts[k] += 1

    def result(self, shape: Sequence[int]) -> Tensor:
        """Means (K, B, h, w) in [0, 1] on the CPU; zeros for a concept that never acted."""
        batch, height, width = shape[0], shape[-2], shape[-1]
        empty = torch.zeros(batch, height, width)
        means = [empty if s is None else (s[:, 0] / n).cpu() for s, n in zip(self.sums, self.counts, strict=True)]
        return torch.stack(means) if means else torch.zeros(0, batch, height, width)
