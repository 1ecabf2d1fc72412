"""How a latent at a noise level is shown to a network: the one place where kinds of diffusion differ.

Everything else of this package works in variance-exploding space: X = x0 + S * noise. A network of another kind sees
the same latent at another scale and its level under another name:

- variance preserving (SD, SDXL): x = X / sqrt(1 + S^2). ComfyUI scales by itself, so X and S are given to it as they are.
- rectified flow (SD3, Flux): x = (1 - s) x0 + s * noise = X / (1 + S) at s = S / (1 + S). Networks trained with
  noise of `noise_scale` see s = S / (S + noise_scale).
- rectified flow whose interface is variance exploding (Cosmos-Predict2): a flow network, but ComfyUI scales by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

PRESERVING, FLOW, EXPLODING_FLOW = "variance preserving", "rectified flow", "rectified flow, variance exploding"
SPACES = (PRESERVING, FLOW, EXPLODING_FLOW)
LARGEST_FLOW = 0.9999  # at s = 1 the picture is gone and S is infinite


@dataclass(frozen=True)
class Space:
    """A kind of network.

    `noise_scale`: what a flow's noise was multiplied by in training. `axes`: how many axes of length 1 the network's
    latents have between channels and height (video models: 1, for time).
    """

    kind: str = PRESERVING
    noise_scale: float = 1.0
    axes: int = 0

    def __post_init__(self) -> None:
        if self.kind not in SPACES:
            raise ValueError(f"The kind of a space is {self.kind[:60]!r}; it is one of {', '.join(SPACES)}.")

    def scale(self, sigma: float | Tensor) -> float | Tensor:
        """X / x at level S: how much larger a latent is here than the network sees it."""
        return (1 + sigma**2) ** 0.5 if self.kind == PRESERVING else 1 + sigma / self.noise_scale

    def to_network(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """X (B, C, h, w) and its levels S (B,) as ComfyUI's guiders take them for this kind of network."""
        if self.kind != FLOW:
            return self.restore(x), sigma
        return self.restore(x / self._over(self.scale(sigma), x)), self.shown(sigma)

    def shown(self, sigma: Tensor) -> Tensor:
        """Levels S under the network's name for them."""
        return sigma / (sigma + self.noise_scale) if self.kind == FLOW else sigma

    def level(self, shown: Tensor) -> Tensor:
        """The inverse of `shown`; a flow's s is taken as at most .9999."""
        if self.kind != FLOW:
            return shown
        s = shown.double().clamp(max=LARGEST_FLOW)
        return (self.noise_scale * s / (1 - s)).to(shown.dtype)

    def restore(self, x: Tensor) -> Tensor:
        """(B, C, h, w) with the extra axes that the network expects."""
        return restored(x, self.axes)

    @staticmethod
    def _over(scale: Tensor, x: Tensor) -> Tensor:
        return scale.reshape(-1, *(1,) * (x.ndim - 1)).to(x)


def squeezed(x: Tensor) -> Tensor:
    """A latent or its mask as (B, C, h, w), without axes between; ValueError if they hold more than one picture."""
    shape = x.shape
    if x.ndim <= 4:
        return x
    if any(n != 1 for n in shape[2:-2]):
        raise ValueError(
            f"The latent is {tuple(shape)}: a clip of {shape[2]} frames, and edits are of still pictures. A VAE for video takes a batch of "
            "pictures for a clip: put Rebatch Images (batch_size 1) before VAE Encode, and every picture is edited by itself."
        )
    return x.reshape(*shape[:2], *shape[-2:])


def restored(x: Tensor, axes: int) -> Tensor:
    """(B, C, h, w) with `axes` axes of length 1 before the height; any other latent as it is."""
    return x.reshape(*x.shape[:2], *(1,) * axes, *x.shape[-2:]) if axes and x.ndim == 4 else x


def flow_table(percent_to_sigma: object, space: Space, top: float | None = None) -> Tensor:
    """Levels S (1000,) of a flow, by training step, as noise schedules want them: table[t] belongs to percent 1 - (t + 1) / 1000.

    `percent_to_sigma(percent)` is the model's own; `top` is its largest level where it has one.
    """
    percents = [1 - (t + 1) / 1000 for t in range(1000)]
    shown = torch.tensor([min(float(percent_to_sigma(p)), top or float("inf")) for p in percents], dtype=torch.float64)
    return space.level(shown).float()
