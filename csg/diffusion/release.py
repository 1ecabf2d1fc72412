"""Release: giving up the picture's own light where it keeps a global change from happening.

Even at the noisiest level usual schedules leave a trace of the picture, and its low frequencies can be read from it (Lin
et al. 2023, Common Diffusion Noise Schedules and Sample Steps are Flawed, 3.1). A model that sees a dark sky there
believes in a night whatever the caption says. This is not in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def low_frequencies(latent: Tensor, cells: int = 4) -> Tensor:
    """The part of a latent (B, C, h, w) that `cells` x `cells` averages can hold, bilinearly enlarged."""
    small = F.adaptive_avg_pool2d(latent, cells)
    return F.interpolate(small, latent.shape[-2:], mode="bilinear", align_corners=False)


def change_let_through(pictured: Tensor, free: Tensor) -> Tensor:
    """How much of a change of captions the picture lets through, per picture (B,): about 1 when it does not resist.

    `pictured` and `free` are D(new caption) - D(old caption), (B, C, h, w), at the noisiest level: with the picture under the
    noise, and for the same noise alone. Compared are their means over the picture, as lengths over the channels: a change
    of light is a change of the mean.
    """
    lengths = [difference.float().mean((2, 3)).norm(dim=1) for difference in (pictured, free)]
    return lengths[0] / lengths[1].clamp(min=1e-12)


def share_released(share: float, remaining: Tensor, below: float) -> Tensor:
    """The share of low frequencies to take out of each picture, (B, 1, 1, 1): `share` where less than `below` is left."""
    return torch.where(remaining < below, share, 0.0)[:, None, None, None]
