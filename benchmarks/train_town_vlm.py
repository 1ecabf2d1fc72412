"""Train Town's small vision-language model: `python benchmarks/train_town_vlm.py --work FOLDER [--steps N] [--anneal N]`.

Renders the pictures, lets Town's autoencoder redraw some, trains on one core and writes the model's folder; every stage
goes on where it stopped. Questions and replies: `benchmarks/town_training/dialogues.py`; model: `benchmarks/town_training/vlm.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

import in_process  # noqa: F401  makes csg importable
import numpy as np
import torch
from town_training import data, roundtrips, vlm, words

TRAINING_SCENES, REDRAWN = 14_000, 768
FIRST_SCENE = 1_200_000
log = logging.getLogger("train_town_vlm")


def small_copy(source: Path, target: Path) -> np.ndarray:
    """All pictures of `source` at the size that the model sees, kept in `target`."""
    if not target.exists():
        pictures = np.load(source, mmap_mode="r")
        parts = [vlm.shrunk(np.array(pictures[i : i + 200])) for i in range(0, len(pictures), 200)]
        np.save(target, np.concatenate(parts))
    return np.load(target, mmap_mode="r")


def lessons(work: Path, tokenizer: object, settings: vlm.Settings) -> vlm.Lessons:
    """The training set, made where it is missing."""
    data.build(work / "train", TRAINING_SCENES, FIRST_SCENE, workers=1)
    roundtrips.build(np.load(work / "train/pictures.npy", mmap_mode="r"), work / "redrawn.npy", REDRAWN)
    pictures = small_copy(work / "train/pictures.npy", work / "small.npy")
    redrawn = small_copy(work / "redrawn.npy", work / "small_redrawn.npy")
    values = np.load(work / "train/values.npy")
    covers = np.load(work / "train/occupancy.npy", mmap_mode="r")
    return vlm.Lessons(vlm.Scenes(pictures, values, covers, redrawn), vlm.Packer(tokenizer), settings)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for data and checkpoints, 3.5 GB")
    parser.add_argument("--steps", type=int, default=vlm.Settings.steps)
    parser.add_argument("--anneal", type=int, default=vlm.Settings.anneal, help="steps in which the learning rate falls")
    parser.add_argument("--export", type=Path, help="write the model's folder here at the end")
    parser.add_argument("--sitting", default="", choices=("", "seeing", "reasoning"), help="what prevails among the questions")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Train, then export."""
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    form = "%(asctime)s %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, datefmt="%H:%M:%S",
                        handlers=[logging.StreamHandler(), logging.FileHandler(options.work / "vlm.log")])  # fmt: skip
    torch.set_num_threads(options.threads)
    settings = dataclasses.replace(vlm.Settings(), steps=options.steps, anneal=options.anneal, sitting=options.sitting)
    tokenizer = words.build()
    model = vlm.network(tokenizer, settings)
    log.info("%s; %.2f M parameters, %d tokens", settings, sum(p.numel() for p in model.parameters()) / 1e6, len(tokenizer))
    vlm.train(lessons(options.work, tokenizer, settings), model, options.work / "vlm.pt", settings)
    if options.export:
        vlm.save(model, tokenizer, options.export)


if __name__ == "__main__":
    main()
