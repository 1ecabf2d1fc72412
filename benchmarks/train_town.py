"""Train Town from nothing: `python benchmarks/train_town.py --comfyui PATH --work FOLDER [--stage NAME] [--steps N]`.

Stages, each resumable where it stopped: data, autoencoder, latents, denoiser, listening, decoder, readers, export. The networks are
ComfyUI's own classes; what is trained, and how, stands in `benchmarks/town_training`.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
from pathlib import Path

from in_process import ROOT, start_comfyui

STAGES = ("data", "shipped", "autoencoder", "latents", "denoiser", "listening", "decoder", "readers", "export")
TRAINING_SCENES, HELD_OUT_SCENES = 20_000, 384
log = logging.getLogger("train_town")


def networks(attention: object) -> tuple:
    """Fresh UNet and text encoders of ComfyUI's classes, made trainable: own initialisation and attention."""
    import comfy.clip_model as clip_model
    import comfy.ldm.modules.attention as unet_attention
    import comfy.ops
    import torch
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    from csg.town.architecture import TEXT_CONFIG_G, TEXT_CONFIG_L, UNET_CONFIG

    unet_attention.optimized_attention = attention
    clip_model.optimized_attention_for_device = lambda *_, **__: attention
    clip_model.CLIPLayer.forward = out_of_place_layer
    operations = comfy.ops.disable_weight_init
    unet = UNetModel(**UNET_CONFIG, dtype=torch.float32, device="cpu", operations=operations)
    text = [clip_model.CLIPTextModel(dict(c), torch.float32, "cpu", operations) for c in (TEXT_CONFIG_L, TEXT_CONFIG_G)]
    for module in (unet, *text):
        initialise(module)
    return unet, *text


def out_of_place_layer(self: object, x: object, mask: object = None, optimized_attention: object = None) -> object:
    """ComfyUI's CLIP layer adds in place, which autograd refuses; the same sums out of place."""
    x = x + self.self_attn(self.layer_norm1(x), mask, optimized_attention)
    return x + self.mlp(self.layer_norm2(x))


def initialise(module: object) -> None:
    """Fill the weights that ComfyUI leaves uninitialised; residual branches start at zero."""
    from torch import nn

    kinds = (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.LayerNorm)
    for name, part in module.named_modules():
        for kind in kinds:
            if isinstance(part, kind):
                kind.reset_parameters(part)
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=0.05)
        if name == "out.2" or name.endswith(("out_layers.3", "proj_out")):
            nn.init.zeros_(part.weight)
            nn.init.zeros_(part.bias)
    module.requires_grad_(True)


def tokeniser() -> object:
    """Phrase -> CLIP token ids without begin and end, with the vocabulary that ComfyUI brings."""
    from comfy.sdxl_clip import SDXLTokenizer

    clip = SDXLTokenizer()

    def ids(text: str) -> list[int]:
        tokens = [token for token, _ in clip.tokenize_with_weights(text)["l"][0]]
        return tokens[1 : tokens.index(49407)]

    return ids


def train_autoencoder(work: Path, steps: int | None) -> None:
    """Stage `autoencoder`."""
    import numpy as np
    import torch
    from town_training import vae

    pictures = np.load(work / "train/pictures.npy", mmap_mode="r")
    settings = vae.Settings() if steps is None else dataclasses.replace(vae.Settings(), steps=steps)
    model = vae.train(pictures, work / "vae.pt", settings)
    torch.save(model.state_dict(), work / "autoencoder.pt")
    held_out = np.load(work / "val/pictures.npy", mmap_mode="r")
    log.info("held-out PSNR %.2f dB over 96 pictures", vae.evaluate(model, held_out[:96]))


def encode_latents(work: Path, in_bfloat16: bool = True) -> None:
    """Stage `latents`: what the denoiser learns on."""
    import numpy as np
    import torch
    from town_training import vae

    from csg.town.autoencoder import Autoencoder

    model = Autoencoder()
    model.load_state_dict(torch.load(work / "autoencoder.pt", weights_only=True))
    kind = torch.bfloat16 if in_bfloat16 else torch.float32
    vae.encode_all(model.eval(), np.load(work / "train/pictures.npy", mmap_mode="r"), work / "latents.pt", kind)


def train_denoiser(work: Path, steps: int | None, listening: bool) -> None:
    """Stage `denoiser`, or its second phase `listening`, which starts from the first one's weights."""
    import numpy as np
    import torch
    from town_training import batches, captions, denoiser

    torch.manual_seed(0)
    settings = denoiser.LISTENING if listening else denoiser.Settings()
    settings = settings if steps is None else dataclasses.replace(settings, steps=steps)
    attention = denoiser.RecordingAttention()
    unet, encoder_l, encoder_g = networks(attention)
    captioner = captions.Captioner(tokeniser(), settings.captions)
    vocabulary = captioner.vocabulary()
    text = captions.TextPair(encoder_l, encoder_g, vocabulary)
    if listening:
        before = torch.load(work / "denoiser.pt", weights_only=True)
        unet.load_state_dict(before["unet"])
        text.load_state_dict(before["text"])
    arrays = (np.load(work / "train" / f"{name}.npy", mmap_mode="r") for name in ("values", "occupancy"))
    data = batches.Dataset(torch.load(work / "latents.pt", weights_only=True), *arrays, captioner)
    parameters = sum(p.numel() for p in [*unet.parameters(), *text.parameters()])
    log.info("%d token ids in use, %.2f M parameters", len(vocabulary), parameters / 1e6)
    name = "listening" if listening else "denoiser"
    weights = denoiser.train(unet, text, attention, data, work / f"{name}.ckpt", settings)
    torch.save({"unet": weights, "text": text.state_dict(), "vocabulary": vocabulary}, work / f"{name}.pt")


def unpack_shipped(work: Path) -> None:
    """Stage `shipped`: the shipped weights as the starting point of more training, on a machine that has no other."""
    import torch

    from csg.town import weights
    from csg.town.autoencoder import Autoencoder

    state = {k: v.float() if v.is_floating_point() else v for k, v in weights.checkpoint().items()}
    codec = weights.part(state, weights.VAE)
    model = Autoencoder()  # its normalisation is folded in already: mean 0 and variance 1 are what is left
    halves = {k.replace("taesd_", ""): v for k, v in codec.items()}
    model.load_state_dict(halves | {f"norm.{k}": v for k, v in model.norm.state_dict().items()})
    torch.save(model.state_dict(), work / "autoencoder.pt")
    text = {f"l.{k}": v for k, v in weights.part(state, weights.TEXT_L).items()}
    text |= {f"g.{k}": v for k, v in weights.part(state, weights.TEXT_G).items()}
    vocabulary = state[weights.VOCABULARY].tolist()
    trained = {"unet": weights.part(state, weights.UNET), "text": text, "vocabulary": vocabulary}
    torch.save(trained, work / "denoiser.pt")


def refine_decoder(work: Path, steps: int | None) -> None:
    """Stage `decoder`: a better decoder for the latents as they are."""
    import numpy as np
    import torch
    from town_training import vae

    from csg.town.autoencoder import Autoencoder

    model = Autoencoder()
    model.load_state_dict(torch.load(work / "autoencoder.pt", weights_only=True))
    pictures = np.load(work / "train/pictures.npy", mmap_mode="r")
    settings = vae.DecoderSettings() if steps is None else dataclasses.replace(vae.DecoderSettings(), steps=steps)
    latents = torch.load(work / "latents.pt", weights_only=True)
    model = vae.refine_decoder(model, latents, pictures, work / "decoder.ckpt", settings)
    torch.save(model.state_dict(), work / "autoencoder.pt")
    held_out = np.load(work / "val/pictures.npy", mmap_mode="r")
    log.info("held-out PSNR %.2f dB over 96 pictures", vae.evaluate(model, held_out[:96]))


def train_readers(work: Path) -> None:
    """Stage `readers`: written to the pack's weights at once."""
    import numpy as np
    import torch
    from safetensors.torch import save_file
    from town_training import readers

    from csg.town.autoencoder import Autoencoder
    from csg.town.weights import FOLDER, READERS

    settings = readers.Settings()
    autoencoder = Autoencoder()
    autoencoder.load_state_dict(torch.load(work / "autoencoder.pt", weights_only=True))
    pictures, values = (np.load(work / "train" / f"{n}.npy", mmap_mode="r") for n in ("pictures", "values"))
    again = work / "decoded.npy"
    if not again.exists():
        np.save(again, readers.decoded_pictures(autoencoder.eval(), pictures, settings))
    model = readers.train(pictures, values, np.load(again), work / "readers.ckpt", settings)
    held_out, truth = (np.load(work / "val" / f"{n}.npy") for n in ("pictures", "values"))
    log.info("readers on held-out renders: %s", readers.accuracy(model, held_out, truth))
    decoded = readers.decoded_pictures(autoencoder, held_out, dataclasses.replace(settings, decoded=256, latent_noise=0.0))
    log.info("readers on their reconstructions: %s", readers.accuracy(model, decoded, truth[: len(decoded)]))
    FOLDER.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, READERS)


def export(work: Path) -> None:
    """Stage `export`: the shipped checkpoint, in half precision."""
    import torch

    from csg.town import weights
    from csg.town.autoencoder import Autoencoder, fold

    autoencoder = Autoencoder()
    autoencoder.load_state_dict(torch.load(work / "autoencoder.pt", weights_only=True))
    trained = torch.load(work / "listening.pt", weights_only=True)
    notes = {"title": "Town", "licence": "GPL-3.0-or-later", "about": "A toy world; see csg/town/MODEL_CARD.md"}
    weights.save_checkpoint(trained["unet"], trained["text"], trained["vocabulary"], fold(autoencoder), notes)
    log.info("%s: %.1f MB", weights.CHECKPOINT.name, weights.CHECKPOINT.stat().st_size / 1e6)


def main() -> None:
    """Run the stages asked for, in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comfyui", type=Path, default=ROOT / ".comfy" / "ComfyUI", help="ComfyUI's folder")
    parser.add_argument("--work", type=Path, default=ROOT / ".comfy" / "town", help="data and checkpoints go here")
    parser.add_argument("--stage", choices=STAGES, action="append", help="only these stages (default: all)")
    parser.add_argument("--steps", type=int, help="steps of the one stage named, instead of its default")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    start_comfyui(options.comfyui)
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    stages = options.stage or [stage for stage in STAGES if stage != "shipped"]
    if "data" in stages:
        from town_training import data

        data.build(options.work / "train", TRAINING_SCENES, data.TRAINING_SEEDS, os.cpu_count() or 1)
        data.build(options.work / "val", HELD_OUT_SCENES, data.VALIDATION_SEEDS, os.cpu_count() or 1)
    if "shipped" in stages:
        unpack_shipped(options.work)
    if "autoencoder" in stages:
        train_autoencoder(options.work, options.steps)
    if "latents" in stages:
        encode_latents(options.work)
    for stage in ("denoiser", "listening"):
        if stage in stages:
            train_denoiser(options.work, options.steps, stage == "listening")
    if "decoder" in stages:
        refine_decoder(options.work, options.steps)
    if "readers" in stages:
        train_readers(options.work)
    if "export" in stages:
        export(options.work)


if __name__ == "__main__":
    main()
