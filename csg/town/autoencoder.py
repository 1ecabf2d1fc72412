"""Town's autoencoder: factor 8, four channels, in the layout of TAESD, which ComfyUI's VAE class loads natively.

It is trained with few channels where the picture is large, and widened with zeros to the layout's fixed 64 channels:
the same function exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

ENCODER_WIDTHS = (16, 24, 48, 64)
DECODER_WIDTHS = (20, 32, 48, 64)
FULL_WIDTH = 64
SDXL_SCALE = 0.13025
LATENT_CHANNELS = 4


def conv(inputs: int, outputs: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """3x3 convolution that keeps the size (or halves it)."""
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias)


class Block(nn.Module):
    """Residual block of three convolutions; starts as the identity."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(conv(c, c), nn.ReLU(), conv(c, c), nn.ReLU(), conv(c, c))
        nn.init.zeros_(self.conv[4].weight)
        nn.init.zeros_(self.conv[4].bias)
        self.fuse = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, c, h, w)."""
        return self.fuse(self.conv(x) + x)


class Clamp(nn.Module):
    """Soft limit of the latent to (-3, 3), as in TAESD."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return torch.tanh(x / 3) * 3


def encoder(widths: tuple[int, ...] = ENCODER_WIDTHS) -> nn.Sequential:
    """Picture (B, 3, H, W) in [0, 1] -> latent (B, 4, H/8, W/8), before normalisation."""
    layers: list[nn.Module] = [conv(3, widths[0]), Block(widths[0])]
    for narrow, wide in zip(widths, widths[1:], strict=False):
        layers += [conv(narrow, wide, 2, bias=False), Block(wide), Block(wide), Block(wide)]
    return nn.Sequential(*layers, conv(widths[-1], LATENT_CHANNELS))


def decoder(widths: tuple[int, ...] = DECODER_WIDTHS) -> nn.Sequential:
    """Normalised latent (B, 4, h, w) -> picture (B, 3, 8h, 8w), about [0, 1]."""
    a, b, c, d = widths
    layers: list[nn.Module] = [Clamp(), conv(LATENT_CHANNELS, d), nn.ReLU()]
    for wide, narrow in ((d, c), (c, b), (b, a)):
        layers += [*(Block(wide) for _ in range(3)), nn.Upsample(scale_factor=2), conv(wide, narrow, bias=False)]
    return nn.Sequential(*layers, Block(a), conv(a, 3))


class Autoencoder(nn.Module):
    """Narrow TAESD whose latents are normalised to mean 0 and variance 1 per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = encoder()
        self.decoder = decoder()
        self.norm = nn.BatchNorm2d(LATENT_CHANNELS, affine=False, momentum=0.02, eps=1e-6)

    def encode(self, picture: Tensor) -> Tensor:
        """Picture (B, 3, H, W) in [0, 1] -> latent (B, 4, H/8, W/8), unit variance."""
        return self.norm(self.encoder(picture).float())

    def decode(self, latent: Tensor) -> Tensor:
        """Latent (B, 4, h, w), unit variance -> picture (B, 3, 8h, 8w), about [0, 1]."""
        return self.decoder(latent)


def fold(model: Autoencoder) -> dict[str, Tensor]:
    """State dict in TAESD's key layout, still narrow, the normalisation folded into the encoder's last layer."""
    model = model.eval()
    state = {f"taesd_encoder.{k}": v.detach().clone() for k, v in model.encoder.state_dict().items()}
    state |= {f"taesd_decoder.{k}": v.detach().clone() for k, v in model.decoder.state_dict().items()}
    last = f"taesd_encoder.{len(model.encoder) - 1}"
    deviation = (model.norm.running_var + model.norm.eps).sqrt()
    state[f"{last}.weight"] /= deviation[:, None, None, None]
    state[f"{last}.bias"] = (state[f"{last}.bias"] - model.norm.running_mean) / deviation
    return state


def widen(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pad a narrow TAESD state dict with zeros to the 64 channels that ComfyUI's TAESD class has."""
    ends = (3, LATENT_CHANNELS)
    wide = {}
    for key, value in state.items():
        shape = [n if n in ends else FULL_WIDTH for n in value.shape[:2]] + list(value.shape[2:])
        padded = torch.zeros(shape, dtype=value.dtype)
        padded[tuple(slice(n) for n in value.shape)] = value
        wide[key] = padded
    return wide | {"vae_scale": torch.tensor(SDXL_SCALE), "vae_shift": torch.tensor(0.0)}


class Codec(nn.Module):
    """The folded autoencoder, for use without ComfyUI."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.taesd_encoder, self.taesd_decoder = encoder(), decoder()
        self.load_state_dict({k: v.float() for k, v in state.items()})
        self.eval().requires_grad_(False)

    def forward(self, picture: Tensor) -> Tensor:
        """There and back again: (B, 3, H, W) in [0, 1] -> the same, as the codec leaves it."""
        return self.taesd_decoder(self.taesd_encoder(picture)).clamp(0, 1)
