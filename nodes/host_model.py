"""ComfyUI's side of words and models: conditionings, word positions, latents, and which model this is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from torch import Tensor

from ..csg.diffusion.edits import Conditioning
from ..csg.diffusion.inversion import Inversion


def zeros_conditioning(patcher: comfy.model_patcher.ModelPatcher) -> Conditioning:
    """SDXL's unconditional: all-zero context and pooled vector (force_zeros_for_empty_prompt in the reference)."""
    config = patcher.model.model_config.unet_config
    pooled = (config.get("adm_in_channels") or 0) - 6 * 256
    if pooled <= 0 or not config.get("context_dim"):
        raise ValueError(
            "This model has no zero conditioning of its own (only SDXL has). Encode an empty prompt with CLIP Text "
            "Encode and connect it to `negative`."
        )
    return [[torch.zeros(1, 77, config["context_dim"]), {"pooled_output": torch.zeros(1, pooled)}]]


def with_control(conditioning: Conditioning, reference: Conditioning) -> Conditioning:
    """The conditioning under the ControlNet of its reference, so that their difference is the text's alone."""
    control = {k: v for k, v in reference[0][1].items() if k in ("control", "control_apply_to_uncond")}
    return [[context, control | more] for context, more in conditioning] if control else conditioning


def check_latent(latent: Mapping[str, Any]) -> Tensor:
    """The samples of a LATENT, or ValueError for one that no SD model made."""
    samples = latent["samples"]
    if samples.is_nested or samples.ndim != 4 or samples.shape[1] != 4:
        shape = "nested" if samples.is_nested else tuple(samples.shape)
        raise ValueError(f"The latent is {shape}; an SD or SDXL latent (batch, 4, height/8, width/8) is expected.")
    if not samples.count_nonzero():
        raise ValueError("The latent is empty. An inversion needs a picture: connect VAE Encode, not Empty Latent Image.")
    check_finite(samples, "The latent")
    return samples


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


class ClipText:
    """A CLIP of ComfyUI as a `csg.diffusion.edits.TextEncoder`; ValueError for none at all."""

    def __init__(self, clip: Any) -> None:  # noqa: ANN401
        if clip is None:
            raise ValueError("No CLIP is connected. Connect the CLIP of the checkpoint that edits the picture.")
        self.clip = clip

    def encode(self, text: str) -> Conditioning:
        """CONDITIONING of a text."""
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def positions(self, caption: str, phrase: str) -> tuple[int, ...]:
        """Columns of the phrase's tokens where it first stands in the caption's conditioning; none if it does not."""
        whole, sought = self._words(caption), [token for _, token in self._words(phrase)]
        for i in range(len(whole) - len(sought) + 1 if sought else 0):
            if [token for _, token in whole[i : i + len(sought)]] == sought:
                return tuple(column for column, _ in whole[i : i + len(sought)])
        return ()

    def _words(self, text: str) -> list[tuple[int, int]]:
        """(column, token) of the text's own tokens in its conditioning, begin, end and padding left out."""
        tokens = self.clip.tokenize(text)
        words, start = [], 0
        for chunk in tokens.get("g") or next(iter(tokens.values())):
            ids = [int(entry[0]) if isinstance(entry[0], int) else -1 for entry in chunk]
            end = ids.index(49407, 1) if 49407 in ids[1:] else len(ids)
            words += [(start + i, ids[i]) for i in range(1, end)]
            start += len(chunk)
        return words


def model_identity(patcher: comfy.model_patcher.ModelPatcher) -> str:
    """A short hash of architecture, prediction type and one small weight; LoRAs and patches do not change it."""
    model = patcher.model
    parts = [type(model).__name__, str(model.model_type), repr(sorted((k, str(v)) for k, v in model.model_config.unet_config.items()))]
    found = patcher.backup.get("diffusion_model.out.2.bias")
    network = patcher.object_patches_backup.get("diffusion_model", model.diffusion_model)
    weight = found.weight if found is not None else network.state_dict().get("out.2.bias")
    if weight is not None and not weight.is_meta:
        parts.append(repr([round(float(w), 4) for w in weight.detach().float().flatten().tolist()]))
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
    if len(sigmas) != len(inversion.sigmas) or not torch.allclose(sigmas.cpu().float(), inversion.sigmas, rtol=1e-4):
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


def sigma_table(patcher: comfy.model_patcher.ModelPatcher) -> Tensor:
    """The model's noise level per training step (1000,), object patches included."""
    sampling = patcher.get_model_object("model_sampling")
    if getattr(sampling, "sigmas", None) is None or len(sampling.sigmas) != 1000:
        raise ValueError(
            "This model has no table of 1000 noise levels (flow and distilled models have none); DPM-Solver++ "
            "inversion needs an SD1.5, SD2 or SDXL model."
        )
    return sampling.sigmas.float().cpu()
