"""Distances between pictures that need no trained network: mean error, PSNR, multi-scale SSIM.

Pictures are IMAGE tensors (B, H, W, C), float in [0, 1]; every figure is one number, the mean over the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import images

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli & Bovik 2003, section 3.2
WINDOW, DEVIATION = 11, 1.5
K1, K2 = 0.01, 0.03
SMALLEST = WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1)


def check_pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both pictures as (B, 3, H, W) float; raises ValueError when their sizes differ."""
    if a.shape[:3] != b.shape[:3] or a.ndim != 4:
        raise ValueError(
            f"The pictures are {tuple(a.shape)} and {tuple(b.shape)} (batch, height, width, channels); they must have "
            "the same batch and size. Scale one of them first."
        )
    return _planes(a), _planes(b.to(a.device))


def _planes(image: Tensor) -> Tensor:
    return image[..., :3].movedim(-1, 1).float().clamp(0, 1)


def mean_error(a: Tensor, b: Tensor) -> float:
    """Mean absolute error, in per cent of the range."""
    a, b = check_pair(a, b)
    return float((a - b).abs().mean()) * 100


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, at most 100."""
    return images.psnr(*check_pair(a, b))


def ms_ssim(a: Tensor, b: Tensor) -> float:
    """Multi-scale structural similarity (Wang, Simoncelli & Bovik 2003): 1 for the same picture.

    Raises ValueError for pictures under 176 pixels, whose fifth scale is smaller than the window.
    """
    a, b = check_pair(a, b)
    if min(a.shape[-2:]) < SMALLEST:
        size = f"{a.shape[-1]} x {a.shape[-2]}"
        raise ValueError(
            f"The pictures are {size}; multi-scale SSIM needs at least {SMALLEST} pixels a side. Enlarge both."
        )
    parts = []
    for scale in range(len(SCALE_WEIGHTS)):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        likeness, contrast = _terms(a, b)
        parts.append(likeness if scale == len(SCALE_WEIGHTS) - 1 else contrast)
    weights = torch.tensor(SCALE_WEIGHTS, device=a.device)
    values = torch.stack(parts, -1).clamp(min=0)  # negative structure has no real power
    return float(torch.prod(values**weights, -1).mean())


def _terms(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM and its contrast-structure term per picture, (B,) each."""
    mean_a, mean_b = _blur(a), _blur(b)
    var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    contrast = (2 * covariance + K2**2) / (var_a + var_b + K2**2)
    luminance = (2 * mean_a * mean_b + K1**2) / (mean_a**2 + mean_b**2 + K1**2)
    return (luminance * contrast).mean((1, 2, 3)), contrast.mean((1, 2, 3))


def _blur(x: Tensor) -> Tensor:
    """Gaussian windows that lie wholly inside the picture."""
    at = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    taps = torch.exp(-(at**2) / (2 * DEVIATION**2))
    kernel = (taps / taps.sum()).expand(x.shape[1], 1, WINDOW)
    x = F.conv2d(x, kernel[..., None], groups=x.shape[1])
    return F.conv2d(x, kernel[:, :, None], groups=x.shape[1])
