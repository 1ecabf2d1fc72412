"""The training set: rendered scenes with their values and the share of each cell that each thing covers."""

from __future__ import annotations

import json
import logging
from multiprocessing import Pool
from pathlib import Path

import numpy as np

from csg.town.canvas import THINGS
from csg.town.regions import CELLS, occupancy
from csg.town.render import SIZE, render
from csg.town.world import NAMES, VARIABLES, Values, evaluate, exogenous

log = logging.getLogger(__name__)

TRAINING_SEEDS = 1_000_000
VALIDATION_SEEDS = 50_000_000
CHUNK = 200
RARE: tuple[Values, ...] = ({"person": "walking"}, {"person": "umbrella"}, {"snowman": "built"}, {"weather": "rainy"})


def training_do(rng: np.random.Generator, rare: float = 0.0) -> Values:
    """Half of the scenes are set by hand in one to five concepts, so that mechanisms are seen and not only habits.

    `rare`: share of all scenes in which, besides, something is set that is small or seldom seen.
    """
    do: Values = {}
    if rng.random() >= 0.5:
        chosen = rng.choice(len(VARIABLES), size=int(rng.integers(1, 6)), replace=False)
        do = {VARIABLES[i].name: str(rng.choice(VARIABLES[i].domain)) for i in chosen}
    return do | RARE[rng.integers(len(RARE))] if rare and rng.random() < rare else do


def sample(seed: int, cells: int = CELLS, rare: float = 0.0) -> tuple[np.ndarray, Values, np.ndarray]:
    """Picture, values and occupancy (things, cells, cells) of one training scene; headlights need a car to be seen."""
    noise = exogenous(seed)
    do = training_do(np.random.default_rng((seed, 1)), rare)
    values = evaluate(noise, do)
    if values["car"] == "none":
        values["headlights"] = "off"
    picture, things = render(noise, values)
    return picture, values, occupancy(things, cells)


def encode(values: Values) -> np.ndarray:
    """Index of each concept's value, (12,) int8."""
    return np.array([v.domain.index(values[v.name]) for v in VARIABLES], np.int8)


def decode(row: np.ndarray) -> Values:
    """Inverse of `encode`."""
    return {v.name: v.domain[int(i)] for v, i in zip(VARIABLES, row, strict=True)}


def _fill(job: tuple[str, int, int, int, int, float]) -> int:
    folder, first, start, stop, cells, rare = job
    pictures = np.load(Path(folder, "pictures.npy"), mmap_mode="r+")
    values = np.load(Path(folder, "values.npy"), mmap_mode="r+")
    covers = np.load(Path(folder, "occupancy.npy"), mmap_mode="r+")
    for i in range(start, stop):
        picture, chosen, cover = sample(first + i, cells, rare)
        pictures[i], values[i], covers[i] = picture, encode(chosen), np.round(cover * 255)
    return stop


def build(folder: Path, count: int, first_seed: int, workers: int, cells: int = CELLS, rare: float = 0.0) -> None:
    """Render `count` scenes into memory-mapped arrays under `folder`; does nothing when they are there already."""
    done = folder / "done.json"
    wanted = {"count": count, "first_seed": first_seed, "names": list(NAMES), "cells": cells, "rare": rare}
    if done.exists() and json.loads(done.read_text()) == wanted:
        return
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {"pictures": (SIZE, SIZE, 3), "values": (len(VARIABLES),), "occupancy": (len(THINGS), cells, cells)}
    for name, shape in shapes.items():
        dtype = np.int8 if name == "values" else np.uint8
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, (count, *shape))
    jobs = [(str(folder), first_seed, i, min(i + CHUNK, count), cells, rare) for i in range(0, count, CHUNK)]
    with Pool(workers) as pool:
        for stop in pool.imap(_fill, jobs):
            log.info("rendered %d of %d", stop, count)
    done.write_text(json.dumps(wanted))
