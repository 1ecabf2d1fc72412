"""Where a concept is in a picture, on the cells that the attention masks live on."""

from __future__ import annotations

import numpy as np

from .canvas import THING_ID, THINGS

CELLS = 8

# A phrase that names an absence ("empty road") points at the place that is empty. Season and time are everywhere.
REGIONS: dict[str, tuple[str, ...]] = {
    "house": ("house", "window"),
    "car": ("car",),
    "foliage": ("crown", "trunk"),
    "weather": ("sky",),
    "ground": ("lawn", "pavement", "road"),
    "lamp": ("lamp",),
    "windows": ("window",),
    "person": ("person",),
    "headlights": ("beam", "car"),
    "snowman": ("snowman",),
}
ABSENT = {("car", "none"): ("road",), ("person", "none"): ("pavement",), ("snowman", "none"): ("lawn",)}
LOCAL = tuple(REGIONS)


def things_of(concept: str, value: str) -> tuple[str, ...]:
    """The things whose pixels show that `concept` has `value`."""
    return ABSENT.get((concept, value), REGIONS[concept])


def occupancy(things: np.ndarray, cells: int = CELLS) -> np.ndarray:
    """Share of each cell covered by each thing: ids (S, S) -> (things, cells, cells) in [0, 1]."""
    side = things.shape[0] // cells
    tiles = things.reshape(cells, side, cells, side)
    return np.stack([(tiles == i).mean((1, 3)) for i in range(len(THINGS))])


def region(cover: np.ndarray, concept: str, value: str) -> np.ndarray:
    """Share of each cell that belongs to the concept: occupancy (..., things, c, c) -> (..., c, c)."""
    return cover[..., [THING_ID[t] for t in things_of(concept, value)], :, :].sum(-3)
