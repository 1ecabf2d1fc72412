"""Pictures as Town's autoencoder leaves them, so that a model that learns to see knows generated pictures too."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import torch

from csg.town.score import codec

log = logging.getLogger(__name__)
BATCH = 16


@torch.inference_mode()
def build(pictures: np.ndarray, path: Path, count: int, noise: float = 0.15, seed: int = 3) -> None:
    """Write the first `count` pictures (256, 256, 3) uint8 through the codec, up to `noise` on their latents, to `path`."""
    if path.exists():
        return
    model, generator = codec(), torch.Generator().manual_seed(seed)
    part = path.with_suffix(".part")
    made = np.lib.format.open_memmap(part, "w+", np.uint8, (count, *pictures.shape[1:]))
    for i in range(0, count, BATCH):
        x = torch.from_numpy(np.array(pictures[i : min(i + BATCH, count)])).permute(0, 3, 1, 2).float() / 255
        z = model.taesd_encoder(x)
        strength = noise * torch.rand(len(z), 1, 1, 1, generator=generator)
        y = model.taesd_decoder(z + strength * torch.randn(z.shape, generator=generator)).clamp(0, 1)
        made[i : i + len(y)] = (y * 255).round().byte().permute(0, 2, 3, 1).numpy()
        if i % (50 * BATCH) == 0:
            log.info("decoded %d of %d", i, count)
    made.flush()
    os.replace(part, path)
