"""The shapes of Town's networks, as configurations of ComfyUI's classes. The UNet has SDXL's topology and layer names."""

from __future__ import annotations

from typing import Any

UNET_CONFIG: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 2],
    "transformer_depth": [0, 0, 1, 1, 1, 1],
    "transformer_depth_output": [0, 0, 0, 1, 1, 1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": 128,
    "adm_in_channels": 64 + 6 * 256,
    "num_classes": "sequential",
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "num_head_channels": 32,
    "legacy": False,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
}

# SD3's joint attention: hidden size and heads follow from the depth (64 each), and there is no T5.
TRANSFORMER_CONFIG: dict[str, Any] = {
    "input_size": 32,
    "patch_size": 2,
    "in_channels": 4,
    "depth": 4,
    "num_blocks": 4,
    "pos_embed_max_size": 16,
    "num_patches": None,
    "qk_norm": "rms",
    "adm_in_channels": 64,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 128, "out_features": 256}},
}

TEXT_CONFIG_L: dict[str, Any] = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "hidden_act": "quick_gelu",
    "max_position_embeddings": 77,
    "eos_token_id": 49407,
    "vocab_size": 49408,
}
TEXT_CONFIG_G: dict[str, Any] = TEXT_CONFIG_L | {"hidden_act": "gelu"}
