"""The forms of a picture: IMAGE tensors (B, H, W, C) in [0, 1], arrays of uint8, Pillow pictures, PNG; and how far two are apart."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SAME = 1e-10  # mean squared error below which two pictures are the same: 100 dB


def to_tensor(picture: Image.Image | np.ndarray) -> Tensor:
    """Return a Pillow picture, or an array (H, W, 3) in [0, 255], as (1, H, W, 3) float in [0, 1]."""
    pixels = picture if isinstance(picture, np.ndarray) else np.asarray(picture.convert("RGB"))
    return torch.from_numpy(pixels.astype(np.float32) / 255)[None]


def to_array(image: Tensor) -> np.ndarray:
    """Return a batch (B, H, W, 1, 3 or 4) as (B, H, W, 3) uint8, rounded, without transparency; NaN is black."""
    colours = image[..., :3].detach().float().nan_to_num().clamp(0, 1)
    return (colours * 255).round().byte().expand(*image.shape[:3], 3).cpu().numpy()


def to_pictures(image: Tensor) -> list[Image.Image]:
    """Return a batch (B, H, W, 1, 3 or 4) as one RGB picture each."""
    return [Image.fromarray(pixels) for pixels in to_array(image)]


def to_data_url(picture: Image.Image) -> str:
    """Return a picture as a PNG in a data URL."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def psnr(a: Tensor, b: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB of two batches in [0, 1], the mean over the batch, at most 100."""
    return float((-10 * ((a - b) ** 2).mean((1, 2, 3)).clamp(min=SAME).log10()).mean())
