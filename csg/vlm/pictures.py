"""Pictures on their way to a vision-language model."""

from __future__ import annotations

import torch
from PIL import Image

from ..images import to_pictures

LONGEST_SIDE = 1024
SHORTEST_SIDE = 56
"""Two merged patches of the Qwen-VL family, the least that every supported model takes."""


def for_model(image: torch.Tensor, longest: int = LONGEST_SIDE) -> Image.Image:
    """Return the first picture of `image` (B, H, W, C) in [0, 1] as RGB, scaled for a model to read.

    The longer side is brought down to `longest` pixels, which costs a model about a thousand tokens
    at most; a picture is enlarged only when a side is under 56 pixels. Raises ValueError for a
    tensor that is no picture.
    """
    picture = _as_rgb(image)
    width, height = _reading_size(*picture.size, longest)
    return picture if (width, height) == picture.size else picture.resize((width, height), Image.Resampling.LANCZOS)


def _as_rgb(image: torch.Tensor) -> Image.Image:
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise ValueError(f"Got an image of shape {tuple(image.shape)}; expected (batch, height, width, 1, 3 or 4).")
    return to_pictures(image[:1])[0]


def _reading_size(width: int, height: int, longest: int) -> tuple[int, int]:
    scale = min(1.0, longest / max(width, height))
    return max(SHORTEST_SIDE, round(width * scale)), max(SHORTEST_SIDE, round(height * scale))
