"""How good an edit of a Town scene is, against its exact counterfactual."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import torch

from .. import images
from .autoencoder import Codec
from .readers import read_values
from .render import SIZE, render
from .weights import VAE, checkpoint, part
from .world import NAMES, Values, check_do, evaluate, exogenous

SAME_PIXEL = 2  # levels of 255 by which two renders of an unchanged pixel may differ
ENOUGH_PIXELS = 200


@dataclass(frozen=True)
class Truth:
    """Scene and exact counterfactual: values, pictures (256, 256, 3) uint8, and which pixels must not change."""

    before: Values
    after: Values
    factual: np.ndarray
    exact: np.ndarray
    unchanged: np.ndarray

    @property
    def changed(self) -> tuple[str, ...]:
        """Concepts whose value the intervention changes: the intervened ones and those descendants that follow."""
        return tuple(n for n in NAMES if self.before[n] != self.after[n])


def truth(seed: int, do: Mapping[str, str]) -> Truth:
    """The exact answer for scene `seed` under `do`."""
    check_do(do)
    noise = exogenous(seed)
    before, after = evaluate(noise), evaluate(noise, do)
    factual, exact = render(noise, before)[0], render(noise, after)[0]
    difference = np.abs(factual.astype(int) - exact.astype(int)).max(-1)
    return Truth(before, after, factual, exact, difference <= SAME_PIXEL)


@cache
def codec() -> Codec:
    """Town's autoencoder, without ComfyUI."""
    return Codec(part(checkpoint(), VAE))


@lru_cache(maxsize=64)
def _round_trip(seed: int) -> np.ndarray:
    noise = exogenous(seed)
    picture = render(noise, evaluate(noise))[0]
    return (codec()(images.to_tensor(picture).movedim(-1, 1))[0].permute(1, 2, 0) * 255).numpy()


def percent_error(a: np.ndarray, b: np.ndarray, where: np.ndarray | None = None) -> float:
    """Mean absolute error in per cent of the range, over the pixels of `where`."""
    error = np.abs(a.astype(float) - b.astype(float)).mean(-1)
    return float(error[where].mean() if where is not None else error.mean()) / 2.55


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of pictures, or of some of their pixels, in [0, 255]."""
    return images.psnr(*(torch.from_numpy(picture.astype(float) / 255).reshape(1, 1, 1, -1) for picture in (a, b)))


@dataclass(frozen=True)
class Score:
    """The four figures of an edit and the readings behind them.

    effectiveness: share of changed concepts read as in the exact counterfactual. untouched: share of the others read
    as before. excess_error: error on pixels that must not change, above the autoencoder's round trip, in points of
    per cent; None where every pixel changes. reconstruction_error: the same for a replay without edits, None without.
    """

    effectiveness: float
    untouched: float
    excess_error: float | None
    reconstruction_error: float | None
    psnr: float
    readings: Mapping[str, Mapping[str, str]]

    def to_json(self) -> str:
        """The figures as a JSON object."""
        return json.dumps(vars(self), indent=1, default=dict)


def check_picture(picture: np.ndarray) -> None:
    """Raise ValueError unless the picture is (256, 256, 3)."""
    if picture.shape != (SIZE, SIZE, 3):
        raise ValueError(f"The picture is {picture.shape}; Town's pictures are ({SIZE}, {SIZE}, 3). Do not scale them before scoring.")


def score(picture: np.ndarray, seed: int, do: Mapping[str, str], reconstruction: np.ndarray | None = None) -> Score:
    """Score an edited picture (256, 256, 3) uint8 of scene `seed` against `do`'s exact counterfactual."""
    check_picture(picture)
    scene = truth(seed, do)
    read = read_values(picture[None])[0]
    others = [n for n in NAMES if n not in scene.changed]
    floor = _round_trip(seed)
    return Score(
        _share([read[n] == scene.after[n] for n in scene.changed]),
        _share([read[n] == scene.before[n] for n in others]),
        _excess(picture, scene.factual, floor, scene.unchanged),
        None if reconstruction is None else _excess(reconstruction, scene.factual, floor, np.ones_like(scene.unchanged)),
        psnr(picture, scene.exact),
        {n: {"factual": scene.before[n], "expected": scene.after[n], "read": read[n]} for n in NAMES},
    )


def _share(hits: list[bool]) -> float:
    return float(np.mean(hits)) if hits else 1.0


def _excess(picture: np.ndarray, wanted: np.ndarray, floor: np.ndarray, where: np.ndarray) -> float | None:
    if where.sum() < ENOUGH_PIXELS:
        return None
    return percent_error(picture, wanted, where) - percent_error(floor, wanted, where)
