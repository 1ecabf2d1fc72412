"""Small random transformers in ComfyUI's own classes, one for each family of rectified flow, made in an instant.

Call these only after the `comfy` fixture has prepared ComfyUI: its modules are imported inside.
"""

from dataclasses import dataclass, field
from functools import partial
from unittest import mock

import torch

CPU = torch.device("cpu")
FLUX = {
    "image_model": "flux", "patch_size": 2, "in_channels": 16, "out_channels": 16, "vec_in_dim": 768, "context_in_dim": 4096,
    "hidden_size": 64, "mlp_ratio": 4.0, "num_heads": 2, "depth": 2, "depth_single_blocks": 2, "axes_dim": [4, 14, 14],
    "theta": 10000, "qkv_bias": True, "guidance_embed": True, "txt_ids_dims": [],
}  # fmt: skip
LUMINA2 = {
    "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 64, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2,
    "n_kv_heads": 1, "multiple_of": 32, "qk_norm": True, "cap_feat_dim": 96, "axes_dims": [8, 12, 12], "axes_lens": [300, 512, 512],
}  # fmt: skip
COSMOS = {
    "image_model": "cosmos_predict2", "max_img_h": 64, "max_img_w": 64, "max_frames": 8, "in_channels": 16, "out_channels": 16,
    "patch_spatial": 2, "patch_temporal": 1, "model_channels": 64, "num_blocks": 4, "num_heads": 2, "crossattn_emb_channels": 96,
    "concat_padding_mask": True, "pos_emb_cls": "rope3d", "pos_emb_learnable": False, "pos_emb_interpolation": "crop",
    "min_fps": 1, "max_fps": 30, "use_adaln_lora": True, "adaln_lora_dim": 16, "rope_h_extrapolation_ratio": 4.0,
    "rope_w_extrapolation_ratio": 4.0, "rope_t_extrapolation_ratio": 1.0, "extra_per_block_abs_pos_emb": False,
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """How ComfyUI names a family, a configuration that makes it tiny, and the shape of its texts and latents."""

    config: str
    network: dict
    context: int
    pooled: int = 0
    channels: int = 16
    axes: int = 0
    more: dict = field(default_factory=dict)


FAMILIES = {
    "SD3": Family("SD3", {
        "in_channels": 16, "out_channels": 16, "input_size": None, "patch_size": 2, "depth": 1, "num_blocks": 4, "num_patches": 1024,
        "pos_embed_max_size": 32, "pos_embed_scaling_factor": None, "adm_in_channels": 2048, "qk_norm": "rms",
        "x_block_self_attn_layers": [0],
        "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 64}},
    }, 4096, 2048),
    "Flux": Family("Flux", FLUX, 4096, 768),
    "FluxSchnell": Family("FluxSchnell", FLUX | {"guidance_embed": False}, 4096, 768),
    "Flux2": Family("Flux2", FLUX | {
        "image_model": "flux2", "patch_size": 1, "in_channels": 128, "out_channels": 128, "vec_in_dim": None, "context_in_dim": 96,
        "mlp_ratio": 3.0, "axes_dim": [8, 8, 8, 8], "theta": 2000, "qkv_bias": False, "txt_ids_dims": [3], "global_modulation": True,
        "mlp_silu_act": True, "ops_bias": False, "default_ref_method": "index", "ref_index_scale": 10.0,
    }, 96, channels=128),
    "Chroma": Family("Chroma", {key: value for key, value in FLUX.items() if key != "guidance_embed"} | {
        "image_model": "chroma", "in_channels": 64, "out_channels": 64, "in_dim": 64, "out_dim": 64, "hidden_dim": 64, "n_layers": 2,
    }, 4096),
    "QwenImage": Family("QwenImage", {
        "image_model": "qwen_image", "in_channels": 64, "out_channels": 16, "num_layers": 4, "attention_head_dim": 32,
        "num_attention_heads": 2, "joint_attention_dim": 96, "axes_dims_rope": (4, 14, 14),
    }, 96, axes=1),
    "Lumina2": Family("Lumina2", LUMINA2, 96),
    "ZImage": Family("ZImage", LUMINA2 | {
        "dim": 256, "n_heads": 8, "n_kv_heads": 8, "pad_tokens_multiple": 32, "z_image_modulation": True, "time_scale": 1000.0,
    }, 96),
    "AuraFlow": Family("AuraFlow", {
        "cond_seq_dim": 96, "dim": 64, "n_layers": 4, "n_double_layers": 2, "n_heads": 2, "global_conddim": 64, "max_seq": 1024,
    }, 96, channels=4),
    "HiDream": Family("HiDream", {
        "image_model": "hidream", "patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 2, "num_single_layers": 2,
        "attention_head_dim": 32, "num_attention_heads": 2, "caption_channels": [96, 96], "text_emb_dim": 2048, "num_routed_experts": 2,
        "num_activated_experts": 1, "axes_dims_rope": (8, 12, 12), "llama_layers": [0, 1, 1, 1],
    }, 96, 2048, more={"conditioning_llama3": (2, 12, 96)}),
    "CosmosPredict2": Family("CosmosT2IPredict2", COSMOS, 96, axes=1),
    "Wan": Family("WAN21_T2V", {
        "image_model": "wan2.1", "model_type": "t2v", "patch_size": (1, 2, 2), "in_dim": 16, "out_dim": 16, "dim": 64, "ffn_dim": 128,
        "freq_dim": 64, "text_dim": 96, "num_heads": 2, "num_layers": 4, "qk_norm": True, "cross_attn_norm": True, "eps": 1e-6,
    }, 96, axes=1),
}  # fmt: skip
OTHERS = {  # an adapter rewrites Anima's texts; Chroma Radiance draws pixels, and has no layout
    "Anima": Family("Anima", COSMOS | {"image_model": "anima"}, 96, axes=1),
    "ChromaRadiance": Family("ChromaRadiance", FAMILIES["Chroma"].network | {
        "image_model": "chroma_radiance", "patch_size": 4, "in_channels": 3, "out_channels": 3, "nerf_hidden_size": 16, "nerf_mlp_ratio": 2,
        "nerf_depth": 1, "nerf_max_freqs": 2, "nerf_tile_size": 0, "nerf_final_head_type": "conv", "nerf_embedder_dtype": torch.float32,
        "use_x0": False, "use_sequential_txt_ids": False,
    }, 4096, channels=3),
}  # fmt: skip
ALL = FAMILIES | OTHERS
SMALL_ADAPTER = {"source_dim": 96, "target_dim": 96, "model_dim": 96, "num_layers": 1, "num_heads": 2}


def fill(network, seed):
    """Random weights; ComfyUI leaves them uninitialised."""
    generator = torch.Generator().manual_seed(seed)
    tensors = [*network.named_parameters(), *((name, b) for name, b in network.named_buffers() if b.is_floating_point() and b.numel())]
    for name, tensor in tensors:
        if name in ("pos_embedder.dim_spatial_range", "pos_embedder.dim_temporal_range", "pos_embedder.seq"):
            continue
        scale = 0.05 if tensor.ndim > 1 else 0.02
        noise = torch.randn(tensor.shape, generator=generator) * scale
        tensor.data = (noise + (1.0 if "norm" in name and name.endswith(("weight", "scale")) else 0.0)).to(tensor.dtype)
    return network


def model(family="SD3", seed=0, dtype=torch.float32, **changes):
    """MODEL with random weights; `changes` go into the network's configuration."""
    import comfy.ldm.anima.model
    import comfy.model_patcher
    import comfy.supported_models

    kind = ALL[family]
    config = getattr(comfy.supported_models, kind.config)(dict(kind.network) | changes)
    config.set_inference_dtype(dtype, None)
    adapter = comfy.ldm.anima.model.LLMAdapter
    with mock.patch.object(comfy.ldm.anima.model, "LLMAdapter", partial(adapter, **SMALL_ADAPTER)):  # Anima's own has 130 M weights
        made = config.get_model({}, "", device=CPU)
    network = fill(made.diffusion_model, seed)
    if family == "AuraFlow":  # its last layer is so narrow that its text would hardly show
        network.final_linear.weight.data *= 20
    if family == "Anima":  # as large as what its blocks add to them
        network.llm_adapter.embed.weight.data *= 20
    patcher = comfy.model_patcher.ModelPatcher(made, CPU, CPU)
    patcher.cached_patcher_init = (model, (family, seed, dtype))
    return patcher


def conditioning(family="SD3", seed=0, tokens=9, width=None, **more):
    """CONDITIONING of a random text of this family; `width` numbers per token, or as many as its tiny network reads."""
    kind, generator = ALL[family], torch.Generator().manual_seed(1000 + seed)
    extras = {"pooled_output": torch.randn(1, kind.pooled, generator=generator)} if kind.pooled else {}
    extras |= {name: torch.randn(1, *shape, generator=generator) for name, shape in kind.more.items()}
    if family == "Anima":  # T5's tokens, and some more of Qwen's
        ids = torch.randint(2, 32000, (tokens,), generator=generator, dtype=torch.int)
        extras = {"t5xxl_ids": ids, "t5xxl_weights": torch.ones(tokens)}
        tokens += 4
    return [[torch.randn(1, tokens, width or kind.context, generator=generator), extras | more]]


def latent(family="SD3", height=16, width=16, batch=1, seed=0):
    """LATENT of a random smooth picture, (B, C, h, w), with a time axis where the family has one."""
    kind, generator = ALL[family], torch.Generator().manual_seed(2000 + seed)
    coarse = torch.randn(batch, kind.channels, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    samples = smooth + 0.3 * torch.randn(batch, kind.channels, height, width, generator=generator)
    return {"samples": samples.unsqueeze(2) if kind.axes else samples}
