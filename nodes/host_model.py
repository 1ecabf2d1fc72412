"""ComfyUI's side of models: conditionings, latents, and which model this is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from torch import Tensor

from ..csg.diffusion.edits import REFERENCES, Conditioning, TextEncoder
from ..csg.diffusion.inversion import Inversion
from ..csg.diffusion.space import restored, squeezed


def zeros_conditioning(patcher: comfy.model_patcher.ModelPatcher) -> Conditioning:
    """SDXL's unconditional: all-zero context and pooled vector (force_zeros_for_empty_prompt in the reference)."""
    config = patcher.model.model_config.unet_config
    pooled = (config.get("adm_in_channels") or 0) - 6 * 256
    if pooled <= 0 or not config.get("context_dim"):
        raise ValueError(
            "This model has no zero conditioning of its own (only SDXL has). Connect its CLIP to `clip` of the inversion. Or encode an empty "
            "prompt with CLIP Text Encode and connect it to `negative`."
        )
    return [[torch.zeros(1, 77, config["context_dim"]), {"pooled_output": torch.zeros(1, pooled)}]]


def empty_prompt(patcher: comfy.model_patcher.ModelPatcher, text: TextEncoder, source: Conditioning | None) -> Conditioning | None:
    """What a model's own text encoder makes of no words; None for SDXL, whose unconditional is zeros.

    Without a source prompt to carry it over from, guidance that is built into the model is 1: it is not to be counted twice.
    """
    with suppress(ValueError):
        zeros_conditioning(patcher)
        return None
    embedded = source is None and patcher.model.model_config.unet_config.get("guidance_embed")
    return [[context, more | {"guidance": 1.0} if embedded else more] for context, more in text.encode("")]


CONTROL = ("control", "control_apply_to_uncond")
CARRIED = ("guidance", *REFERENCES)  # what a model is given beside the text


def under(conditioning: Conditioning, base: Conditioning, negative: Conditioning | None) -> Conditioning:
    """The conditioning as the base's, but for its text: with its embedded guidance and reference pictures.

    With the ControlNet of the `negative`, where that is given. So the difference of two rows is the text's alone. What a
    conditioning brings itself, it keeps.
    """
    more = {k: v for k, v in base[0][1].items() if k in CARRIED}
    more |= {k: v for k, v in (negative or [[None, {}]])[0][1].items() if k in CONTROL}
    return [[context, more | extras] for context, extras in conditioning] if more else conditioning


def check_latent(latent: Mapping[str, Any], patcher: comfy.model_patcher.ModelPatcher) -> Tensor:
    """The samples of a LATENT in the shape that the model draws, or ValueError for one that its VAE did not make."""
    samples, kind = latent["samples"], patcher.model.latent_format
    wanted = (4, kind.latent_dimensions + 2)
    if samples.is_nested or samples.ndim not in wanted or samples.shape[1] != kind.latent_channels:
        shape, factor = "nested" if samples.is_nested else tuple(samples.shape), kind.spacial_downscale_ratio
        raise ValueError(
            f"The latent is {shape}; (batch, {kind.latent_channels}, height/{factor}, width/{factor}) is expected, which this model draws. "
            "Encode the picture with the VAE that belongs to it."
        )
    samples = restored(squeezed(samples), kind.latent_dimensions - 2)
    if not samples.count_nonzero():
        raise ValueError("The latent is empty. An inversion needs a picture: connect VAE Encode, not Empty Latent Image.")
    check_finite(samples, "The latent")
    return samples


def downscale(patcher: comfy.model_patcher.ModelPatcher) -> int:
    """Pixels of the picture per latent pixel and side."""
    return patcher.model.latent_format.spacial_downscale_ratio


def check_finite(values: Tensor, what: str) -> None:
    """Raise ValueError for values that are not numbers; waits for the device."""
    if not torch.isfinite(values).all():
        raise ValueError(
            f"{what} holds values that are not numbers. A VAE or a model in half precision overflows so (SDXL's own VAE in fp16 does): start "
            "ComfyUI with --fp32-vae or --force-fp32, or use another VAE. In an edit, a lower scale helps, too."
        )


def check_encoded(conditioning: Conditioning, patcher: comfy.model_patcher.ModelPatcher) -> None:
    """Raise ValueError for a prompt that was encoded for another kind of model."""
    wanted = patcher.model.model_config.unet_config.get("context_dim")
    for context, _ in conditioning:
        if wanted and torch.is_tensor(context) and context.shape[-1] != wanted:
            raise ValueError(
                f"A prompt was encoded with {context.shape[-1]} numbers per token, but this model reads {wanted}. Encode it with the CLIP "
                "that belongs to the model (both from the same Load Checkpoint)."
            )


def latent_like(latent: Mapping[str, Any], samples: Tensor) -> dict[str, Any]:
    """A LATENT with these samples and whatever else `latent` carried."""
    kept = {k: v for k, v in latent.items() if not k.startswith("downscale_ratio")}
    return kept | {"samples": samples.to(comfy.model_management.intermediate_device())}


# The networks' last weights, small and of no LoRA: UNets', SD3's and Flux's, Qwen-Image's, AuraFlow's, Wan's.
LAST = ("out.2.bias", "final_layer.linear.bias", "final_layer.linear.weight", "proj_out.bias", "final_linear.weight", "head.head.bias")


def model_identity(patcher: comfy.model_patcher.ModelPatcher) -> str:
    """A short hash of architecture, prediction type and one small weight; LoRAs and patches do not change it."""
    model = patcher.model
    parts = [type(model).__name__, str(model.model_type), repr(sorted((k, str(v)) for k, v in model.model_config.unet_config.items()))]
    network = patcher.object_patches_backup.get("diffusion_model", model.diffusion_model).state_dict()
    if name := next((name for name in LAST if name in network), None):
        backup = patcher.backup.get(f"diffusion_model.{name}")
        weight = backup.weight if backup is not None else network[name]
        if not weight.is_meta:
            parts.append(repr([round(float(w), 4) for w in weight.detach().flatten()[:1024].float().tolist()]))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def check_model(inversion: Inversion, patcher: comfy.model_patcher.ModelPatcher) -> None:
    """Raise ValueError when an inversion meets another model than its own."""
    made, now = inversion.model, model_identity(patcher)
    if made is not None and made != now:
        raise ValueError(
            f"This inversion was made with model {made}, but model {now} is connected. Invert the picture again with "
            "the model that edits it (LoRAs and patches may differ, the checkpoint may not)."
        )
    channels, wanted = inversion.path.shape[2], patcher.model.latent_format.latent_channels
    if channels != wanted:
        raise ValueError(f"This inversion is of a latent with {channels} channels, but the model draws {wanted}. Invert the picture again with this model.")


def check_levels(inversion: Inversion, sigmas: Tensor) -> None:
    """Raise ValueError unless `sigmas` are the inversion's own."""
    if len(sigmas) != len(inversion.sigmas) or not torch.allclose(sigmas.cpu().float(), inversion.space.shown(inversion.sigmas), rtol=1e-4):
        raise ValueError(
            f"The sampler got {len(sigmas)} noise levels that are not the {len(inversion.sigmas)} of this inversion. "
            "Use the sigmas that come out of Replay Inversion, unchanged."
        )


def check_size(inversion: Inversion, latent: Tensor) -> None:
    """Raise ValueError unless `latent` (B, C, h, w) has the inversion's size and batch."""
    made, now = tuple(inversion.path.shape[1:]), tuple(latent.shape)
    if made != now:
        raise ValueError(
            f"The sampler got a latent of {now}, but the inversion is of {made}. Use the latent that comes out of "
            "Replay Inversion, or invert the other picture."
        )
