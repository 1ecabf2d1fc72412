"""Town's checkpoint as ComfyUI's own MODEL, CLIP and VAE, without touching any of ComfyUI's tables."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.supported_models
import comfy.supported_models_base
import torch

from ..csg.town import weights
from ..csg.town.architecture import TEXT_CONFIG_G, TEXT_CONFIG_L, TRANSFORMER_CONFIG, UNET_CONFIG
from ..csg.town.autoencoder import widen

log = logging.getLogger(__name__)

SPECIAL = (49406, 49407, 0)


def _encoder(config: dict, pad: int, device: object, dtype: torch.dtype | None, options: dict) -> comfy.sd1_clip.SDClipModel:
    """One of SDXL's two encoders in Town's size: the layer before the last, padding zeroed."""
    return comfy.sd1_clip.SDClipModel(
        device=device, dtype=dtype, layer="hidden", layer_idx=-2, textmodel_json_config=dict(config),
        special_tokens={"start": 49406, "end": 49407, "pad": pad}, layer_norm_hidden_state=False, zero_out_masked=True,
        return_projected_pooled=True, model_options=options,
    )  # fmt: skip


class TownLatent(comfy.latent_formats.SDXL):
    """SDXL's scale with the colours of Town's own latents, for ComfyUI's preview while a picture is drawn.

    The least-squares fit of the picture, 8 x 8 pixels averaged, in [-1, 1], to the latent of 96 scenes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.latent_rgb_factors = [[0.1561, 0.1922, 0.2218], [0.0404, 0.1388, 0.1037], [0.1430, 0.1815, 0.1075], [-0.0191, 0.0349, 0.2555]]
        self.latent_rgb_factors_bias = [-0.0659, -0.0057, 0.0008]


class TownClip(comfy.sdxl_clip.SDXLClipModel):
    """Two small text encoders where SDXL has its large ones."""

    def __init__(self, device: object = "cpu", dtype: torch.dtype | None = None, model_options: dict | None = None) -> None:
        torch.nn.Module.__init__(self)
        self.clip_l = _encoder(TEXT_CONFIG_L, 49407, device, dtype, model_options or {})
        self.clip_g = _encoder(TEXT_CONFIG_G, 0, device, dtype, model_options or {})
        self.dtypes = {dtype}


class UNetClip(TownClip):
    """The encoders with the empty prompt that Town's UNet was trained with."""

    def encode_token_weights(self, token_weight_pairs: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """An empty prompt is all zeros, the unconditional of Town's training (and of SDXL in the reference)."""
        context, pooled = super().encode_token_weights(token_weight_pairs)
        if all(token in SPECIAL for chunk in token_weight_pairs["g"] for token, *_ in chunk):
            return torch.zeros_like(context), torch.zeros_like(pooled)
        return context, pooled


def _load_strictly(module: torch.nn.Module, state: dict[str, torch.Tensor], what: str) -> None:
    missing, unexpected = module.load_state_dict(state, strict=False)
    missing = [k for k in missing if not k.endswith(("position_ids", "logit_scale"))]
    if missing or unexpected:
        raise weights.MissingWeights(
            f"Town's {what} does not fit: {len(missing)} tensors are missing, {len(unexpected)} are unknown "
            f"({(missing + unexpected)[0]}). Install the pack again, completely."
        )


def bf16_units() -> bool:
    """Whether this CPU multiplies bfloat16 natively; without, it is slower than float32."""
    asked = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(check is not None and check() for check in asked)


def _dtypes(device: torch.device, parameters: int) -> tuple[torch.dtype, torch.dtype | None]:
    """What the weights are kept in, and what they are cast to for computing (None: nothing else).

    ComfyUI's choice, except that ComfyUI never computes in bfloat16 on a CPU, which takes about half the time where
    the CPU has the units for it.
    """
    if comfy.model_management.is_device_cpu(device) and bf16_units():
        return torch.bfloat16, None
    kinds = [torch.float16, torch.bfloat16, torch.float32]
    dtype = comfy.model_management.unet_dtype(model_params=parameters, supported_dtypes=kinds)
    return dtype, comfy.model_management.unet_manual_cast(dtype, device)


def load_model() -> comfy.model_patcher.ModelPatcher:
    """MODEL: ComfyUI's SDXL class around Town's UNet."""
    config = comfy.supported_models.SDXL({k: list(v) if isinstance(v, list) else v for k, v in UNET_CONFIG.items()})
    config.unet_config["num_head_channels"] = UNET_CONFIG["num_head_channels"]  # the class sets SDXL's own 64
    config.latent_format = TownLatent()
    state = weights.part(weights.checkpoint(), weights.UNET)
    return _patcher(config, state, "denoiser", load_model)


def load_transformer(file: Path = weights.TRANSFORMER) -> comfy.model_patcher.ModelPatcher:
    """MODEL: ComfyUI's SD3 class around a transformer that draws Town, on the UNet's latents, with levels as in training."""
    config = comfy.supported_models.SD3(dict(TRANSFORMER_CONFIG))
    config.latent_format, config.sampling_settings = TownLatent(), {"shift": 1.0}
    state = weights.part(weights.read(file), weights.UNET)
    return _patcher(config, state, "transformer", load_transformer, file)


def _patcher(
    config: comfy.supported_models_base.BASE, state: dict[str, torch.Tensor], what: str, load: Callable, *given: object
) -> comfy.model_patcher.ModelPatcher:
    """The model of a configuration with these weights; `load(*given)` is how it was made."""
    load_device = comfy.model_management.get_torch_device()
    dtype, computed_in = _dtypes(load_device, sum(v.numel() for v in state.values()))
    config.set_inference_dtype(dtype, computed_in)
    offload_device = comfy.model_management.unet_offload_device()
    model = config.get_model({}, "", device=offload_device)
    _load_strictly(model.diffusion_model, {k: v.to(dtype) for k, v in state.items()}, what)
    patcher = comfy.model_patcher.CoreModelPatcher(model, load_device=load_device, offload_device=offload_device)
    patcher.cached_patcher_init = (load, given)  # how MultiGPU CFG Split makes its copies
    return patcher


def load_clip(kind: type[TownClip] = UNetClip) -> comfy.sd.CLIP:
    """CLIP: ComfyUI's SDXL tokenizer and two of its text models; TownClip itself is what the transformer was trained with."""
    state = weights.checkpoint()
    target = comfy.supported_models_base.ClipTarget(comfy.sdxl_clip.SDXLTokenizer, kind)
    clip = comfy.sd.CLIP(target, parameters=7_000_000)
    for prefix, encoder in ((weights.TEXT_L, clip.cond_stage_model.clip_l), (weights.TEXT_G, clip.cond_stage_model.clip_g)):
        tensors = weights.part(state, prefix)
        tensors[weights.TABLE] = weights.full_table(tensors[weights.TABLE], state[weights.VOCABULARY])
        kind = encoder.transformer.get_input_embeddings().weight.dtype
        _load_strictly(encoder.transformer, {k: v.to(kind) for k, v in tensors.items()}, "text encoder")
    return clip


def load_vae() -> comfy.sd.VAE:
    """VAE: the TAESD layout, which ComfyUI's VAE class recognises by itself."""
    state = weights.part(weights.checkpoint(), weights.VAE)
    return comfy.sd.VAE(sd={k: v.float() for k, v in widen(state).items()})
