"""Small random models in ComfyUI's own classes, with the topologies of SDXL, SD1.5 and SD2, made in an instant.

Call these only after the `comfy` fixture has prepared ComfyUI: its modules are imported inside.
"""

import torch

CONTEXT, POOLED, CHANNELS = 32, 32, 32
CPU = torch.device("cpu")

COMMON = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": CHANNELS, "context_dim": CONTEXT,
    "use_spatial_transformer": True, "legacy": False, "use_temporal_attention": False, "use_temporal_resblock": False,
}  # fmt: skip
THREE_LEVELS = {
    "num_res_blocks": [2, 2, 2], "channel_mult": [1, 2, 4], "transformer_depth": [0, 0, 1, 1, 1, 1],
    "transformer_depth_output": [0, 0, 0, 1, 1, 1, 1, 1, 1], "transformer_depth_middle": 1,
    "use_linear_in_transformer": True, "num_classes": "sequential", "adm_in_channels": POOLED + 6 * 256,
}  # fmt: skip
FOUR_LEVELS = {
    "num_res_blocks": [2, 2, 2, 2], "channel_mult": [1, 2, 4, 4], "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "transformer_depth_middle": 1,
    "adm_in_channels": None,
}  # fmt: skip
TOPOLOGIES = {
    "SDXL": ({**COMMON, **THREE_LEVELS}, {"num_heads": -1, "num_head_channels": 16}),
    "SD15": ({**COMMON, **FOUR_LEVELS, "use_linear_in_transformer": False}, {"num_heads": 2, "num_head_channels": -1}),
    "SD20": ({**COMMON, **FOUR_LEVELS, "use_linear_in_transformer": True},
             {"num_heads": -1, "num_head_channels": 16, "attn_precision": torch.float32}),
}  # fmt: skip
SAYS_V_PREDICTION = {"output_blocks.11.1.transformer_blocks.0.norm1.bias": torch.tensor([-1.0, 1.0])}


def fill(network, seed):
    """Random weights that keep activations near unit size, so that the network is neither wild nor dead."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 0
        parameter.data = (noise / fan_in**0.5 if fan_in else 0.1 * noise).to(parameter.dtype)
    for module in network.modules():
        if isinstance(module, (torch.nn.GroupNorm, torch.nn.LayerNorm)):
            module.weight.data += 1
    return network


def model(kind="SDXL", seed=0, dtype=torch.float32, v_prediction=False):
    """MODEL with random weights; every call makes a new checkpoint of its own."""
    import comfy.model_patcher
    import comfy.supported_models

    shape, heads = TOPOLOGIES[kind]
    tiny = type(f"Tiny{kind}", (getattr(comfy.supported_models, kind),), {"unet_extra_config": heads})
    config = tiny({key: list(value) if isinstance(value, list) else value for key, value in shape.items()})
    config.set_inference_dtype(dtype, None)
    made = config.get_model(SAYS_V_PREDICTION if v_prediction else {}, "", device=CPU)
    fill(made.diffusion_model, seed).out[2].weight.data *= 0.1  # or rounding errors grow from step to step
    patcher = comfy.model_patcher.ModelPatcher(made, CPU, CPU)
    patcher.cached_patcher_init = (model, (kind, seed, dtype, v_prediction))
    return patcher


def conditioning(seed, tokens=77):
    """CONDITIONING of a random text; its pooled vector is ignored where there is none."""
    generator = torch.Generator().manual_seed(1000 + seed)
    pooled = torch.randn(1, POOLED, generator=generator)
    return [[torch.randn(1, tokens, CONTEXT, generator=generator), {"pooled_output": pooled}]]


def latent(height=16, width=16, batch=1, seed=0):
    """LATENT of a random smooth picture, at the scale of the VAE."""
    generator = torch.Generator().manual_seed(2000 + seed)
    coarse = torch.randn(batch, 4, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return {"samples": 4 * smooth + torch.randn(batch, 4, height, width, generator=generator)}


def controlnet(seed=5):
    """CONTROL_NET of SDXL's topology with random weights, ComfyUI's own class."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.ops

    shape, heads = TOPOLOGIES["SDXL"]
    shape = {k: v for k, v in shape.items() if k not in ("out_channels", "transformer_depth_output")}
    network = comfy.cldm.cldm.ControlNet(**shape, **heads, hint_channels=3, operations=comfy.ops.disable_weight_init)
    return comfy.controlnet.ControlNet(fill(network, seed), load_device=CPU)


def lora(patcher, path, seed=9, rank=2):
    """Writes a LoRA file for every cross-attention projection of this model and returns its name."""
    from safetensors.torch import save_file

    generator, state = torch.Generator().manual_seed(seed), {}
    for key, weight in patcher.model.state_dict().items():
        if key.startswith("diffusion_model.") and key.endswith(("attn2.to_q.weight", "attn2.to_k.weight", "attn2.to_v.weight")):
            name = "lora_unet_" + key.removeprefix("diffusion_model.").removesuffix(".weight").replace(".", "_")
            state[f"{name}.lora_up.weight"] = torch.randn(weight.shape[0], rank, generator=generator) / 4
            state[f"{name}.lora_down.weight"] = torch.randn(rank, weight.shape[1], generator=generator) / 4
    save_file(state, str(path))
    return path.name
