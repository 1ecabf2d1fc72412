"""Town's painters as the benchmarks use them: the UNet that ships, or a transformer from `train_town_transformer.py`."""

from __future__ import annotations

import argparse
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from in_process import pack_module

from csg.town import weights

UNET, TRANSFORMER = "unet", "transformer"
SHIPPED = {UNET: weights.CHECKPOINT, TRANSFORMER: weights.TRANSFORMER}
Maps = dict[str, dict[str, np.ndarray]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that choose a painter."""
    parser.add_argument("--network", choices=(UNET, TRANSFORMER), default=UNET, help="which painter")
    parser.add_argument("--weights", type=Path, help="another transformer than the one that ships, as its training program exports it")


def check_arguments(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Fill in the file of the weights; end the program where the options contradict each other."""
    if options.network == UNET and options.weights is not None:
        parser.error("--weights goes with --network transformer; the UNet's are those that Town ships")
    options.weights = options.weights or SHIPPED[options.network]
    if not options.weights.is_file():
        parser.error(f"there is no file {options.weights}")


def digest(file: Path) -> str:
    """Which weights these are."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def opened(options: argparse.Namespace) -> Painter:
    """The painter that the options name."""
    return Transformer(options.weights) if options.network == TRANSFORMER else UNet()


class Painter(ABC):
    """MODEL, CLIP and VAE of one network, and what differs between them. `sampler`: ComfyUI's, for drawing from noise."""

    sampler: str

    def __init__(self, model: Any, clip: Any) -> None:  # noqa: ANN401
        self.model, self.clip, self.vae = model, clip, pack_module("nodes.host_town").load_vae()

    def encode(self, text: str) -> list:
        """CONDITIONING of a text."""
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    @abstractmethod
    def nothing(self) -> list:
        """CONDITIONING of the unconditional."""

    @abstractmethod
    def attention(self, latent: torch.Tensor, phrases: Sequence[str], seed: int) -> Maps:
        """By reading, by phrase: the map of each phrase encoded alone on its own cells, mean over three noise levels."""

    def words(self, phrase: str, length: int) -> Any:  # noqa: ANN401
        """A phrase's words in its own conditioning of `length` tokens."""
        positions = pack_module("nodes.host_words").ClipText(self.clip).positions(phrase, phrase)
        return pack_module("csg.diffusion.attention").Words(positions, length)


class UNet(Painter):
    """The denoiser that Town ships; its one reading is M1, the mean of five layers at 8 x 8."""

    sampler = "dpmpp_2m"
    LEVELS = (300, 500, 700)

    def __init__(self) -> None:
        town = pack_module("nodes.host_town")
        super().__init__(town.load_model(), town.load_clip())

    def nothing(self) -> list:
        """All zeros, as in training."""
        return pack_module("nodes.host_model").zeros_conditioning(self.model)

    @torch.inference_mode()
    def attention(self, latent: torch.Tensor, phrases: Sequence[str], seed: int) -> Maps:
        """See `Painter.attention`."""
        return {"M1": {phrase: self._attention(latent, phrase, seed) for phrase in phrases}}

    def _attention(self, latent: torch.Tensor, phrase: str, seed: int) -> np.ndarray:
        (context, more), = self.encode(phrase)  # fmt: skip
        inner, total = self.model.model, 0
        vector = inner.encode_adm(pooled_output=more["pooled_output"], width=256, height=256)
        for level in self.LEVELS:
            sigma = inner.model_sampling.sigmas[level][None].float()
            noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed + level))
            capture = pack_module("csg.diffusion.attention").AttentionCapture((8, 8), {"phrase": self.words(phrase, context.shape[1])})
            with capture.hooked([inner.diffusion_model]), capture.rows(["phrase"]):
                inner.apply_model(latent + sigma * noise, sigma, c_crossattn=context, y=vector, transformer_options={})
            total = total + capture.maps()["phrase"][0].numpy()
        return total


class Transformer(Painter):
    """A transformer by its file; a reading is one joint block, on 16 x 16 cells."""

    sampler = "euler"
    LEVELS = (0.3, 0.5, 0.7)

    def __init__(self, file: Path) -> None:
        town = pack_module("nodes.host_town")
        super().__init__(town.load_transformer(file), town.load_clip(town.TownClip))

    def nothing(self) -> list:
        """The encoded empty prompt, as in training."""
        return self.encode("")

    @cached_property
    def _network(self) -> Any:  # noqa: ANN401
        return pack_module("nodes.host_looker").network_of(self.model.model)

    @torch.inference_mode()
    def attention(self, latent: torch.Tensor, phrases: Sequence[str], seed: int) -> Maps:
        """See `Painter.attention`."""
        encoded = [self.encode(phrase)[0] for phrase in phrases]
        context, pooled = torch.cat([c for c, _ in encoded]), torch.cat([more["pooled_output"] for _, more in encoded])
        captures = self._captures({phrase: self.words(phrase, context.shape[1]) for phrase in phrases})
        for level in self.LEVELS:
            noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed + round(1000 * level)))
            x, override = ((1 - level) * latent + level * noise).expand(len(phrases), -1, -1, -1), None
            with ExitStack() as stack:
                for capture in captures.values():
                    override = capture.override(override)
                    stack.enter_context(capture.rows(list(phrases), (context.shape[1],)))
                options = {"optimized_attention_override": override}
                levels = torch.full((len(phrases),), level)
                self.model.model.apply_model(x, levels, c_crossattn=context, y=pooled, transformer_options=options)
        return {name: {phrase: one[0].numpy() for phrase, one in capture.maps().items()} for name, capture in captures.items()}

    def _captures(self, words: dict[str, Any]) -> dict[str, Any]:
        """One capture per joint block, each of which reads this block alone."""
        layout, counts = self._network.layout, self._network.counts
        make = pack_module("csg.diffusion.joint_attention").JointAttentionCapture
        return {
            f"block {i}": make(replace(layout, layers={tuple(counts): (i,)}), counts, layout.grid(32, 32), words)
            for i in range(sum(counts))
        }
