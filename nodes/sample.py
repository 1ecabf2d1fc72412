"""Nodes of abduction and prediction: inversions, Causal Semantic Guidance, and the baselines."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from comfy_api.latest import io

from ..csg.causal.graph import plainly
from ..csg.diffusion import guidance as csg
from ..csg.diffusion.edits import BASES, INTERVENTIONAL, SOURCE, UNCONDITIONAL, Base, Conditioning, Edits
from ..csg.diffusion.inversion import DDIM, DDPM, DPM, FLOWEDIT, Inversion
from ..csg.diffusion.run import Acted
from ..csg.diffusion.schedule import AUTHORS, SCHEDULES, ddpm_timesteps, ledits_levels, noise_levels, trailing_timesteps
from . import host, host_model, host_replay, sockets
from .host_lookback import patch_difference
from .host_space import given_levels, level_table
from .host_words import ClipText
from .inputs import MAX_SEED

CATEGORY = "CSG/sampling"

MODEL = io.Model.Input("model", tooltip="The diffusion model: a UNet (SDXL, SD1.5, SD2) or a flow transformer (SD3, Flux, Qwen-Image, Z-Image and others). It is never changed.")
LATENT = io.Latent.Input("latent", tooltip="The picture to edit, through VAE Encode. A noise mask is respected: outside it nothing changes.")
SEED = io.Int.Input(
    "seed", default=0, min=0, max=MAX_SEED, control_after_generate=True,
    tooltip="Seed of the independent noises of the path. Another seed gives another inversion of the same picture, as exact.",
)  # fmt: skip
SOURCE_PROMPT = io.Conditioning.Input(
    "source", optional=True,
    tooltip="Prompt that describes the picture as it is. Leave it open to invert without a prompt: cheapest, and exact for base = unconditional.",
)  # fmt: skip
NEGATIVE = io.Conditioning.Input(
    "negative", optional=True,
    tooltip="What unconditional means. Open: all zeros, SDXL's own. Needed for every other model: an encoded empty prompt.",
)  # fmt: skip
EMPTY_PROMPT = io.Clip.Input(
    "clip", optional=True,
    tooltip="In place of `negative`, for every model but SDXL: its text encoder, which then encodes the empty prompt. Guidance that is built into the model is set to 1.",
)  # fmt: skip
SIGMAS = io.Sigmas.Input(
    "sigmas", optional=True,
    tooltip="Noise levels of any scheduler (Basic Scheduler, SDTurboScheduler) in place of this node's own: its settings of steps then count for nothing, "
    "and no noise is zeroed. For models distilled to a few steps (Lightning, Turbo, Hyper, LCM, Z-Image-Turbo).",
)  # fmt: skip
EDITS = sockets.Edits.Input("edits", tooltip="The concept edits, from Encode Concept Edits or Concept Edit.")
INVERSION = sockets.Inversion.Input("inversion", tooltip="The inverted picture. One inversion serves any number of edits.")
MASK = io.Combo.Input(
    "mask", options=list(csg.MASKS), default=csg.INTERSECT,
    tooltip="Where a concept may act. intersect (paper): cross-attention and noise estimate agree. attention or noise: one of them. none: everywhere.",
)  # fmt: skip
BASE = io.Combo.Input(
    "base", options=list(BASES), default=UNCONDITIONAL,
    tooltip="What the concepts are added to. unconditional (LEDITS++): keeps the picture best with an inversion without source. "
    "source: the inversion's prompt and guidance. interventional (eq. 12 to the letter): `positive` everywhere, which erodes what should stay.",
)  # fmt: skip
POSITIVE = io.Conditioning.Input(
    "positive", optional=True, tooltip="The interventional prompt; only used by base = interventional."
)


def preserve(optional: bool = False) -> io.Combo.Input:
    """What happens where no concept acts."""
    return io.Combo.Input(
        "preserve", options=list(host_replay.PRESERVES), default=host_replay.OFF, optional=optional,
        tooltip="blend: outside the concepts' masks the picture returns to the inversion's own path, so what is preserved comes back exactly. "
        "concepts: blend, and the places of preserved concepts are taken out of the masks; their phrases must stand in the base prompt.",
    )  # fmt: skip


def contrast(optional: bool = False) -> io.Combo.Input:
    """What a concept's guidance is measured against."""
    return io.Combo.Input(
        "contrast", options=[UNCONDITIONAL, csg.FACTUAL, csg.CAPTIONS], default=UNCONDITIONAL, optional=optional, advanced=True,
        tooltip="What moves a concept. unconditional (paper): its phrase against no prompt. factual: its new phrase against its old one; one more row per concept. "
        "captions: the whole caption after against the one before, inside the concept's mask; two rows in all, for the edits of a counterfactual. With captions begin at scale 1 with Town, and at 3 to 8 with models that need guidance.",
    )  # fmt: skip


def cut(optional: bool = True) -> io.Combo.Input:
    """Where a mask ends."""
    return io.Combo.Input(
        "cut", options=[csg.QUANTILE, csg.OTSU], default=csg.QUANTILE, optional=optional, advanced=True,
        tooltip="Where an attention mask ends. quantile (paper): at the threshold's share of the picture, whatever is shown. otsu: where the map itself parts in two, so that a lamp gets a small mask and a sky a large one. The noise mask always ends at the threshold.",
    )  # fmt: skip


def mask_source(optional: bool = False) -> io.Combo.Input:
    """Whose attention makes M1."""
    return io.Combo.Input(
        "mask_source", options=[csg.EDIT, csg.FACTUAL, csg.BOTH], default=csg.EDIT, optional=optional, advanced=True,
        tooltip="Whose attention makes the mask. edit (paper): the new phrase in the new picture. factual: the old phrase in the original. both: their union.",
    )  # fmt: skip


def release(optional: bool = False) -> io.Float.Input:
    """How much of the picture's low frequencies is given up."""
    return io.Float.Input(
        "release", default=0.0, min=0.0, max=1.0, step=0.05, optional=optional, advanced=True,
        tooltip="Share of the picture's low frequencies taken out of the start. Helps models that cannot change the overall light; costs fidelity.",
    )  # fmt: skip


def release_below() -> io.Float.Input:
    """When the picture's low frequencies are given up."""
    return io.Float.Input(
        "release_below", default=0.0, min=0.0, max=1.0, step=0.01, optional=True, advanced=True,
        tooltip="0: release always. Else only when a global concept acts and the picture lets through less than this share of its change, measured at the start; the change then begins at the first step. Needs an inversion with little or no skip.",
    )  # fmt: skip


INVERSION_OUTPUTS = [
    sockets.Inversion.Output("inversion", tooltip="Path, noises and settings: everything an edit needs to replay the picture."),
    io.Latent.Output("reconstruction", tooltip="The picture replayed without any edit. Compare it with the original to judge the inversion."),
]  # fmt: skip


def _inversion_base(model: Any, source: Conditioning | None, negative: Conditioning | None, clip: Any, guidance: float) -> Base:  # noqa: ANN401
    """The reference ignores the guidance without a source prompt, and needs more than 1 for it to be guidance."""
    if negative is None and clip is not None:
        negative = host_model.empty_prompt(model, ClipText(clip), source)
    if source is None:
        return Base(UNCONDITIONAL, negative)
    return Base(SOURCE, negative, source, guidance)


def _invert(model: Any, latent: Mapping, sigmas: torch.Tensor, method: str, base: Base, settings: dict, **options: Any) -> io.NodeOutput:  # noqa: ANN401
    return io.NodeOutput(*host.run_inversion(model, latent, sigmas, method, base, settings, **options))


def _invert_at(model: Any, latent: Mapping, sigmas: torch.Tensor, method: str, base: Base, seed: int = 0, order: int = 0) -> io.NodeOutput:  # noqa: ANN401
    """The same at the levels of SIGMAS that some scheduler made; no noise is zeroed, so that the picture comes back exactly."""
    options = {} if method == DDIM else {"seed": seed}
    if order:
        options |= {"order": order, "zero_noise_steps": 0, "exact": True}
    levels = given_levels(model, sigmas)
    return _invert(model, latent, levels, method, base, {"steps": len(levels) - 1, "seed": seed}, **options)


class Invert(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_Invert",
            display_name="Inversion (DPM-Solver++)",
            category=CATEGORY,
            description="Abduction: finds the noises that make the model draw this very picture, so that an edit changes what it must and nothing else.",
            search_aliases=["inversion", "invert", "unsample", "ledits", "ledits++", "sega", "abduction", "noise", "edit friendly", "csg"],
            inputs=[
                MODEL, LATENT,
                io.Int.Input("steps", default=100, min=2, max=500, tooltip="Kept steps. Paper: 100. 50 is nearly as good, 20 is a fast draft."),
                io.Float.Input("skip", default=0.15, min=0.0, max=0.9, step=0.01,
                               tooltip="Share of extra noisy steps left out. Paper: 0.15. Higher keeps more of the picture and weakens large changes."),
                io.Float.Input("source_guidance", default=3.5, min=1.0, max=30.0, step=0.1,
                               tooltip="Guidance towards the source prompt. Paper: 3.5. Without a source prompt it has no effect."),
                SEED,
                io.Combo.Input("schedule", options=list(SCHEDULES), default=SCHEDULES[0], advanced=True,
                               tooltip="diffusers: as most people run LEDITS++, ends at zero noise. authors: as in the authors' repository, reconstructs exactly and never zeroes noises."),
                io.Int.Input("zero_noise_steps", default=3, min=0, max=50, advanced=True,
                             tooltip="The last noises are set to zero to avoid grain. Reference: 3. With schedule = authors none is zeroed."),
                SOURCE_PROMPT, NEGATIVE, EMPTY_PROMPT, SIGMAS,
            ],
            outputs=INVERSION_OUTPUTS,
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, latent: Mapping, steps: int, skip: float, source_guidance: float, seed: int,  # noqa: ANN401
                schedule: str = "diffusers", zero_noise_steps: int = 3, source: Any = None, negative: Any = None,  # noqa: ANN401
                clip: Any = None, sigmas: torch.Tensor | None = None) -> io.NodeOutput:  # noqa: ANN401  # fmt: skip
        base = _inversion_base(model, source, negative, clip, source_guidance)
        if sigmas is not None:
            return _invert_at(model, latent, sigmas, DPM, base, seed, order=2)
        levels = ledits_levels(level_table(model), steps, skip, schedule)
        zero = 0 if schedule == AUTHORS else min(zero_noise_steps, steps)
        settings = {"steps": steps, "skip": skip, "seed": seed, "schedule": schedule, "zero_noise_steps": zero}
        return _invert(model, latent, levels, DPM, base, settings, seed=seed, order=2, zero_noise_steps=zero)


def _kept(times: list[int], skip: int) -> list[int]:
    if skip > len(times) - 2:
        raise ValueError(f"skip_steps is {skip} of {len(times)} steps; leave at least 2 steps to sample.")
    return times[skip:]


class InvertDDPM(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_InvertDDPM",
            display_name="DDPM Inversion (baseline)",
            category=CATEGORY,
            description="Edit-friendly DDPM inversion (Huberman-Spiegelglas et al.): independent noises, first-order steps. A baseline of the paper.",
            search_aliases=["ddpm", "edit friendly", "invert", "unsample", "baseline", "csg"],
            inputs=[
                MODEL, LATENT,
                io.Int.Input("steps", default=100, min=2, max=500, tooltip="Steps over the whole noise range. Its paper: 100."),
                io.Int.Input("skip_steps", default=36, min=0, max=499, tooltip="Noisiest steps left out. Its paper: 36 of 100; 0 to 40 is useful."),
                io.Float.Input("source_guidance", default=3.5, min=1.0, max=30.0, step=0.1, tooltip="Guidance towards the source prompt. Its paper: 3.5."),
                SEED, SOURCE_PROMPT, NEGATIVE, EMPTY_PROMPT, SIGMAS,
            ],
            outputs=INVERSION_OUTPUTS,
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, latent: Mapping, steps: int, skip_steps: int, source_guidance: float, seed: int,  # noqa: ANN401
                source: Any = None, negative: Any = None, clip: Any = None, sigmas: torch.Tensor | None = None) -> io.NodeOutput:  # noqa: ANN401  # fmt: skip
        base = _inversion_base(model, source, negative, clip, source_guidance)
        if sigmas is not None:
            return _invert_at(model, latent, sigmas, DDPM, base, seed, order=1)
        times = _kept(ddpm_timesteps(steps), skip_steps)
        levels = noise_levels(level_table(model), times, to_zero=False)
        settings = {"steps": steps, "skip": skip_steps / steps, "seed": seed}
        return _invert(model, latent, levels, DDPM, base, settings, seed=seed, order=1, zero_noise_steps=1)


class InvertDDIM(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_InvertDDIM",
            display_name="DDIM Inversion (baseline)",
            category=CATEGORY,
            description="Deterministic DDIM inversion, as in prompt-to-prompt. Only approximately invertible, and it drifts under guidance: a baseline of the paper.",
            search_aliases=["ddim", "invert", "unsample", "baseline", "csg"],
            inputs=[
                MODEL, LATENT,
                io.Int.Input("steps", default=50, min=2, max=500, tooltip="Steps over the whole noise range. Usual: 50."),
                io.Float.Input("source_guidance", default=1.0, min=1.0, max=30.0, step=0.1,
                               tooltip="Guidance while inverting. Usual: 1, since more makes the inversion inexact."),
                SOURCE_PROMPT, NEGATIVE, EMPTY_PROMPT, SIGMAS,
            ],
            outputs=INVERSION_OUTPUTS,
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, latent: Mapping, steps: int, source_guidance: float, source: Any = None,  # noqa: ANN401
                negative: Any = None, clip: Any = None, sigmas: torch.Tensor | None = None) -> io.NodeOutput:  # noqa: ANN401  # fmt: skip
        base = _inversion_base(model, source, negative, clip, source_guidance)
        if sigmas is not None:
            return _invert_at(model, latent, sigmas, DDIM, base)
        levels = noise_levels(level_table(model), ddpm_timesteps(steps), to_zero=False)
        return _invert(model, latent, levels, DDIM, base, {"steps": steps, "skip": 0.0})


class InvertFlowEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_InvertFlowEdit",
            display_name="FlowEdit (baseline)",
            category=CATEGORY,
            description="FlowEdit (Kulikov et al.): no inversion at all. An edit walks the difference of two predictions, of the picture and of its target, under the same noise.",
            search_aliases=["flowedit", "flow edit", "rectified flow", "inversion free", "unsample", "baseline", "csg"],
            inputs=[
                MODEL, LATENT,
                io.Int.Input("steps", default=50, min=2, max=500, tooltip="Steps over the whole noise range. Its paper: 50 with SD3, 28 with Flux."),
                io.Int.Input("skip_steps", default=17, min=0, max=499, tooltip="Noisiest steps left out. Its paper: 17 of 50 with SD3, 4 of 28 with Flux."),
                io.Float.Input("source_guidance", default=3.5, min=1.0, max=30.0, step=0.1,
                               tooltip="Guidance towards the source prompt. Its paper: 3.5 with SD3, 1.5 with Flux."),
                SEED, SOURCE_PROMPT, NEGATIVE, EMPTY_PROMPT, SIGMAS,
            ],
            outputs=INVERSION_OUTPUTS,
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, latent: Mapping, steps: int, skip_steps: int, source_guidance: float, seed: int,  # noqa: ANN401
                source: Any = None, negative: Any = None, clip: Any = None, sigmas: torch.Tensor | None = None) -> io.NodeOutput:  # noqa: ANN401  # fmt: skip
        base = _inversion_base(model, source, negative, clip, source_guidance)
        if sigmas is not None:
            return _invert_at(model, latent, sigmas, FLOWEDIT, base, seed)
        times = _kept(trailing_timesteps(steps), skip_steps)
        levels = noise_levels(level_table(model), times, to_zero=True)
        settings = {"steps": steps, "skip": skip_steps / steps, "seed": seed}
        return _invert(model, latent, levels, FLOWEDIT, base, settings, seed=seed)


def edit_base(inversion: Inversion, kind: str, positive: Conditioning | None) -> Base:
    """The base of an edit: the inversion's own conditionings, or the interventional prompt."""
    if kind == SOURCE:
        return Base(kind, inversion.negative, inversion.source, inversion.source_guidance)
    return Base(kind, inversion.negative, positive if kind == INTERVENTIONAL else None)


class Sampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_Sampler",
            display_name="CSG Sampler",
            category=CATEGORY,
            description="Action and prediction: draws the inverted picture again while every concept of the counterfactual guides its own region.",
            search_aliases=["counterfactual", "what if", "inversion", "causal semantic guidance", "ledits", "ledits++", "sega", "edit", "csg"],
            inputs=[
                MODEL, INVERSION, EDITS, BASE, MASK,
                preserve(), contrast(), mask_source(), release(),
                POSITIVE, cut(), release_below(),
            ],
            outputs=[
                io.Latent.Output("latent", tooltip="The counterfactual picture; decode it with the VAE."),
                io.Mask.Output("masks", tooltip="Where each concept acted: one mask per concept, mean over its guided steps, 0 to 1."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, inversion: Inversion, edits: Edits, base: str, mask: str, preserve: str = "off",  # noqa: ANN401
                contrast: str = "unconditional", mask_source: str = "edit", release: float = 0.0, positive: Any = None,  # noqa: ANN401
                cut: str = "quantile", release_below: float = 0.0) -> io.NodeOutput:  # fmt: skip
        host_model.check_model(inversion, model)
        settings = csg.GuidanceSettings(mask, mask_source, contrast, cut)
        guider = host.CSGGuider(model, edit_base(inversion, base, positive), edits, settings)
        acted = Acted(len(edits.terms))
        latent = host_replay.run_replay(guider, inversion, preserve, host_replay.Release(release, release_below), acted)
        masks = pixel_masks(acted.mean.result(latent["samples"].shape), host_model.downscale(model))
        return io.NodeOutput(latent, masks, ui=notices(patch_notice(inversion, model), words_notice(edits, contrast, preserve)))


def patch_notice(inversion: Inversion, model: Any) -> str:  # noqa: ANN401
    """What to say when the model's LoRAs or patches are not those of the inversion; empty when they are."""
    return patch_difference(inversion.patched, model)


def words_notice(edits: Edits, contrast: str, preserve: str) -> str:
    """What to say when the caption lacks words that these options look for there; empty when it has them."""
    changed = {term.concept for term in edits.terms}
    missing = [name for name in edits.unspoken if (contrast == csg.CAPTIONS if name in changed else preserve == host_replay.CONCEPTS)]
    if not missing:
        return ""
    return f"The base prompt lacks the words of {', '.join(map(plainly, missing))}, so their places in the picture may not be found. Add each one's phrase to the base prompt."


def notices(*texts: str) -> dict[str, list[str]] | None:
    """What a node shows, and logs, of the texts that are not empty; None when all are."""
    shown = [text for text in texts if text]
    for text in shown:
        logging.warning("%s", text)
    return {"text": shown} if shown else None


def pixel_masks(masks: torch.Tensor, factor: int = 8) -> torch.Tensor:
    """Latent masks (K, B, h, w) -> MASK (K * B, factor * h, factor * w), concept by concept."""
    flat = masks.flatten(0, 1)[:, None]
    if not len(flat):
        return torch.zeros(1, masks.shape[-2] * factor, masks.shape[-1] * factor)
    return torch.nn.functional.interpolate(flat, scale_factor=factor, mode="nearest")[:, 0]


class EditWithPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSG_EditWithPrompt",
            display_name="Edit with Prompt (baseline)",
            category=CATEGORY,
            description="Replays an inversion under a whole new prompt with classifier-free guidance: how DDIM and DDPM inversion edit. No graph, no masks.",
            search_aliases=["baseline", "prompt", "ddpm", "ddim", "cfg", "csg"],
            inputs=[
                MODEL, INVERSION,
                io.Conditioning.Input("positive", tooltip="The whole prompt of the picture wanted: the interventional prompt."),
                io.Conditioning.Input("negative", optional=True, tooltip="What guidance leads away from. Open: the inversion's own unconditional."),
                io.Float.Input("cfg", default=7.5, min=1.0, max=30.0, step=0.1, tooltip="Guidance scale. DDIM: 7.5. DDPM inversion: 7.5 to 15."),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The edited picture; decode it with the VAE.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, inversion: Inversion, positive: Any, cfg: float, negative: Any = None) -> io.NodeOutput:  # noqa: ANN401
        host_model.check_model(inversion, model)
        base = Base(SOURCE, negative if negative is not None else inversion.negative, positive, cfg)
        return io.NodeOutput(host_replay.run_replay(host.CSGGuider(model, base), inversion), ui=notices(patch_notice(inversion, model)))
