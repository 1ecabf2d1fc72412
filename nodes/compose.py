"""The same guidance in pieces, for ComfyUI's own samplers: a patched model, a guider, a replaying sampler."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..csg.diffusion.edits import UNCONDITIONAL, Base, Edits
from ..csg.diffusion.guidance import GuidanceSettings
from ..csg.diffusion.inversion import Inversion
from . import host, host_patch, host_replay
from .sample import (
    BASE,
    EDITS,
    INVERSION,
    MASK,
    MODEL,
    NEGATIVE,
    contrast,
    cut,
    mask_source,
    preserve,
    release,
    release_below,
)

CATEGORY = "CSG/sampling"


class ApplyToModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_ApplyToModel",
            display_name="Apply CSG to Model",
            category=CATEGORY,
            description="Adds concept edits to a model, so that any stock KSampler follows them: semantic guidance for text-to-image too.",
            search_aliases=["sega", "semantic guidance", "ledits", "patch model", "csg"],
            inputs=[MODEL, EDITS, MASK, contrast(optional=True), cut()],
            outputs=[io.Model.Output("model", tooltip="A patched clone; the model that came in stays as it is.")],
        )

    @classmethod
    def execute(cls, model: Any, edits: Edits, mask: str, contrast: str = "unconditional", cut: str = "quantile") -> io.NodeOutput:  # noqa: ANN401
        return io.NodeOutput(host_patch.patched(model, edits, GuidanceSettings(mask, contrast=contrast, cut=cut)))


class Guider(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_Guider",
            display_name="CSG Guider",
            category=CATEGORY,
            description="Causal Semantic Guidance as a guider for SamplerCustomAdvanced. With Replay Inversion it does what CSG Sampler does.",
            search_aliases=["guider", "custom sampler", "semantic guidance", "csg"],
            inputs=[
                MODEL, EDITS, BASE, MASK,
                io.Conditioning.Input("positive", optional=True, tooltip="base = source: the source prompt. base = interventional: the interventional prompt."),
                NEGATIVE,
                io.Float.Input("source_guidance", default=1.0, min=1.0, max=30.0, step=0.1, optional=True, advanced=True,
                               tooltip="Guidance of base = source; the same as at the inversion."),
                contrast(optional=True), mask_source(optional=True), cut(),
            ],
            outputs=[io.Guider.Output("guider", tooltip="For SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, edits: Edits, base: str, mask: str, positive: Any = None, negative: Any = None,  # noqa: ANN401
                source_guidance: float = 1.0, contrast: str = "unconditional", mask_source: str = "edit", cut: str = "quantile") -> io.NodeOutput:  # fmt: skip
        chosen = Base(base, negative, None if base == UNCONDITIONAL else positive, source_guidance)
        return io.NodeOutput(host.CSGGuider(model, chosen, edits, GuidanceSettings(mask, mask_source, contrast, cut)))


class ReplaySampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_ReplaySampler",
            display_name="Replay Inversion (sampler)",
            category=CATEGORY,
            description="An inversion as sampler, sigmas, noise and latent for SamplerCustomAdvanced. Connect all four.",
            search_aliases=["replay", "custom sampler", "unsample", "inversion", "csg"],
            inputs=[INVERSION, preserve(optional=True), release(optional=True), release_below()],
            outputs=[
                io.Sampler.Output("sampler", tooltip="Samples with the recorded noises; only with the sigmas beside it."),
                io.Sigmas.Output("sigmas", tooltip="The inversion's noise levels."),
                io.Noise.Output("noise", tooltip="No noise: the recorded ones are used."),
                io.Latent.Output("latent", tooltip="The inverted picture; decides size and batch."),
            ],
        )

    @classmethod
    def execute(cls, inversion: Inversion, preserve: str = "off", release: float = 0.0, release_below: float = 0.0) -> io.NodeOutput:
        latent = {"samples": inversion.samples}
        if inversion.noise_mask is not None:
            latent["noise_mask"] = inversion.noise_mask
        sampler = host_replay.ReplaySampler(inversion, preserve, host_replay.Release(release, release_below))
        return io.NodeOutput(sampler, inversion.space.shown(inversion.sigmas), NoNoise(), latent)


class NoNoise:
    """A NOISE that adds none."""

    seed = 0

    def generate_noise(self, latent: dict) -> torch.Tensor:
        """Zeros like the latent's samples."""
        return torch.zeros_like(latent["samples"])
