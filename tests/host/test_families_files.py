"""Files with ComfyUI's own names and random weights, as small as its loaders recognise, through its stock loaders.

SD3 (a checkpoint with its VAE), Flux.1, Flux.2, Wan and Wan's VAE load small. Chroma, Qwen-Image, Lumina 2, Z-Image, AuraFlow,
HiDream, Cosmos-Predict2 and every text encoder do not: their loaders know one width alone, with hundreds of millions of weights.
"""

import pytest
import torch
from safetensors.torch import save_file

from tests.host import tiny_families
from tests.host.tiny_lab import gap

ONE_HEAD = {"hidden_size": 128, "num_heads": 1, "depth": 2, "depth_single_blocks": 2}
LOADABLE = {
    "Flux": ONE_HEAD | {"axes_dim": [16, 56, 56]},
    "FluxSchnell": ONE_HEAD | {"axes_dim": [16, 56, 56]},
    "Flux2": ONE_HEAD | {"axes_dim": [32, 32, 32, 32]},
    "Wan": {"dim": 128, "num_heads": 1, "num_layers": 2, "freq_dim": 256, "text_dim": 4096},
}  # fmt: skip


@pytest.fixture
def folders(comfy, tmp_path, monkeypatch):
    """Where ComfyUI looks for these files."""
    import folder_paths

    for name in ("checkpoints", "diffusion_models", "vae"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


def weights(module, prefix=""):
    return {f"{prefix}{key}": value.contiguous() for key, value in module.state_dict().items()}


def filled(vae):
    """Random weights of a size that keeps pictures apart."""
    generator = torch.Generator().manual_seed(4)
    for name, weight in vae.named_parameters():
        if name.endswith(("gamma", "bias")):
            weight.data = torch.full_like(weight, float(name.endswith("gamma")))
        elif weight.ndim > 2:
            weight.data = torch.randn(weight.shape, generator=generator) * (2 / weight[0].numel()) ** 0.5
    return vae


def pictures(count=1, side=64):
    generator = torch.Generator().manual_seed(6)
    return torch.nn.functional.interpolate(torch.rand(count, 3, 4, 4, generator=generator), side, mode="bilinear").movedim(1, -1)


def wan_vae(comfy):
    """Wan's VAE, which Qwen-Image uses, with few channels."""
    from comfy.ldm.wan.vae import WanVAE

    return filled(WanVAE(dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[], temperal_downsample=[False, True, True]))


@torch.inference_mode()
def edited(comfy, model, family, latent):
    """The reconstruction, and an edit with one concept, by this pack's nodes."""
    sample, edits = comfy.module("nodes.sample"), comfy.module("csg.diffusion.edits")
    width = 4096 if family == "Wan" else None
    phrase, negative = (tiny_families.conditioning(family, seed, width=width) for seed in (10, 90))
    term = edits.ConceptTerm("c", "phrase", 4.0, 0.7, 1, conditioning=phrase, tokens=(1, 2))
    inversion, rebuilt = sample.Invert.execute(model, latent, 4, 0.3, 1.0, 3, "authors", 0, None, negative).result
    out = sample.Sampler.execute(model, inversion, edits.Edits((term,)), "unconditional", "intersect", "blend").result[0]
    return rebuilt["samples"], out["samples"]


@torch.inference_mode()
def test_a_checkpoint_of_sd3(comfy, folders):
    """Model and VAE from one file, through Load Checkpoint."""
    from comfy.taesd.taesd import TAESD

    made = tiny_families.model("SD3", num_blocks=1, x_block_self_attn_layers=[])
    vae = filled(TAESD(latent_channels=16))
    parts = weights(made.model.diffusion_model, "model.diffusion_model.") | weights(vae, "first_stage_model.")
    save_file(parts, folders / "sd3.safetensors")
    model, clip, vae = comfy.nodes.CheckpointLoaderSimple().load_checkpoint("sd3.safetensors")[:3]
    assert clip is None and type(model.model).__name__ == "SD3"
    latent = comfy.nodes.VAEEncode().encode(vae, pictures())[0]
    rebuilt, out = edited(comfy, model, "SD3", latent)
    assert gap(rebuilt, latent["samples"]) < 1e-3 < 1e-2 < gap(out, rebuilt)
    assert comfy.nodes.VAEDecode().decode(vae, {"samples": out})[0].shape == (1, 64, 64, 3)


@pytest.mark.parametrize("family", LOADABLE)
def test_a_diffusion_model(comfy, folders, family):
    """The network alone, through Load Diffusion Model."""
    made = tiny_families.model(family, **LOADABLE[family])
    save_file(weights(made.model.diffusion_model), folders / "network.safetensors")
    model = comfy.nodes.UNETLoader().load_unet("network.safetensors", "default")[0]
    assert type(model.model) is type(made.model) and type(model.model.model_config) is type(made.model.model_config)
    picture = tiny_families.latent(family)
    rebuilt, out = edited(comfy, model, family, picture)
    assert gap(rebuilt, picture["samples"]) < 1e-4 < 1e-3 < gap(out, rebuilt)


def given(comfy, monkeypatch, **values):
    """Nodes that hand out these values, by their types in ComfyUI."""
    for kind, value in values.items():
        parts = {"INPUT_TYPES": classmethod(lambda cls: {"required": {}}), "RETURN_TYPES": (kind,), "FUNCTION": "give",
                 "CATEGORY": "test", "give": lambda self, value=value: (value,)}  # fmt: skip
        monkeypatch.setitem(comfy.nodes.NODE_CLASS_MAPPINGS, f"Given{kind}", type(f"Given{kind}", (), parts))


def workflow(parts):
    """Pictures through Wan's VAE, inverted, edited and decoded; `parts` makes one picture after the other of a batch."""
    after = {"pictures": {"class_type": "RebatchImages", "inputs": {"images": ["batch", 0], "batch_size": 1}}} if parts else {}
    return after | {
        "batch": {"class_type": "GivenIMAGE", "inputs": {}}, "model": {"class_type": "GivenMODEL", "inputs": {}},
        "negative": {"class_type": "GivenCONDITIONING", "inputs": {}}, "edits": {"class_type": "GivenCSG_EDITS", "inputs": {}},
        "vae": {"class_type": "VAELoader", "inputs": {"vae_name": "vae.safetensors"}},
        "encode": {"class_type": "VAEEncode", "inputs": {"pixels": ["pictures" if parts else "batch", 0], "vae": ["vae", 0]}},
        "invert": {"class_type": "CSG_Invert", "inputs": {
            "model": ["model", 0], "latent": ["encode", 0], "steps": 4, "skip": 0.3, "source_guidance": 1.0, "seed": 3,
            "schedule": "authors", "zero_noise_steps": 0, "negative": ["negative", 0]}},
        "edit": {"class_type": "CSG_Sampler", "inputs": {
            "model": ["model", 0], "inversion": ["invert", 0], "edits": ["edits", 0], "base": "unconditional", "mask": "intersect",
            "preserve": "blend", "contrast": "unconditional", "mask_source": "edit", "release": 0.0}},
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["edit", 0], "vae": ["vae", 0]}},
    }  # fmt: skip


def test_a_batch_through_a_vae_for_video_is_taken_one_picture_after_the_other(comfy, folders, monkeypatch):
    """Such a VAE takes a batch for a clip. Rebatch Images before it parts the pictures, and all nodes after it follow."""
    import asyncio

    extra = comfy.nodes.__file__.removesuffix("nodes.py") + "comfy_extras/nodes_rebatch.py"
    assert asyncio.run(comfy.nodes.load_custom_node(extra, module_parent="comfy_extras"))
    save_file(weights(wan_vae(comfy)), folders / "vae.safetensors")
    edits, batch = comfy.module("csg.diffusion.edits"), pictures(5)
    term = edits.ConceptTerm("c", "phrase", 4.0, 0.7, 1, conditioning=tiny_families.conditioning("Wan", 10), tokens=(1, 2))
    given(comfy, monkeypatch, IMAGE=batch, MODEL=tiny_families.model("Wan"), CONDITIONING=tiny_families.conditioning("Wan", 90),
          CSG_EDITS=edits.Edits((term,)))  # fmt: skip
    refused = comfy.run(workflow(parts=False), outputs=["decode"])
    assert "a clip of 2 frames" in refused.errors["invert"] and "Rebatch Images" in refused.errors["invert"]
    together = comfy.run(workflow(parts=True), outputs=["decode"])
    made = together.values["decode"][0]
    assert not together.errors and [tuple(one.shape) for one in made] == [(1, 64, 64, 3)] * 5
    given(comfy, monkeypatch, IMAGE=batch[3:4])
    comfy.forget()
    assert torch.equal(comfy.run(workflow(parts=False), outputs=["decode"]).value("decode"), made[3])
    assert all(gap(made[3], other) > 1e-3 for other in made[:3])
