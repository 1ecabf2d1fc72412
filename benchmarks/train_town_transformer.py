"""Train Town's transformer: `python benchmarks/train_town_transformer.py --work FOLDER [--steps N] [--out FILE]`.

Stages, each resumable where it stopped: data, latents, training, export. Text encoders and autoencoder are the shipped ones;
the network is ComfyUI's own SD3 class. What is trained, and how, stands in `benchmarks/town_training/transformer.py`. Made to
run in the background for hours on one core; `--steps` may be another number when it goes on, and moves the end of the schedule.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from in_process import ROOT, pack_module, start_comfyui
from train_town import encode_latents, tokeniser, unpack_shipped

if TYPE_CHECKING:
    from town_training import transformer

STAGES = ("data", "latents", "training", "export")
SCENES, FIRST_SCENE = 12_000, 1_400_000
log = logging.getLogger("train_town_transformer")


def network(attention: transformer.RecordingAttention) -> torch.nn.Module:
    """A fresh network of ComfyUI's class with DiT's initialisation, its attention recorded."""
    import comfy.ldm.modules.diffusionmodules.mmdit as mmdit
    import comfy.ops

    from csg.town.architecture import TRANSFORMER_CONFIG

    mmdit.optimized_attention = attention
    operations = comfy.ops.disable_weight_init
    made = mmdit.OpenAISignatureMMDITWrapper(**TRANSFORMER_CONFIG, dtype=torch.float32, device="cpu", operations=operations)
    for name, part in made.named_modules():
        if isinstance(part, (torch.nn.Linear, torch.nn.Conv2d)):
            initialise(name, part)
        elif isinstance(part, mmdit.RMSNorm):
            torch.nn.init.ones_(part.weight)
    return made.requires_grad_(True)


@torch.no_grad()
def initialise(name: str, layer: torch.nn.Linear | torch.nn.Conv2d) -> None:
    """Xavier, as in DiT; each block begins as the identity and the last layer at zero."""
    torch.nn.init.zeros_(layer.bias)
    if "adaLN_modulation" in name or name == "final_layer.linear":
        torch.nn.init.zeros_(layer.weight)
    elif "t_embedder" in name:
        torch.nn.init.normal_(layer.weight, std=0.02)
    else:
        torch.nn.init.xavier_uniform_(layer.weight.flatten(1))


def shipped_text(town: ModuleType) -> transformer.FrozenText:
    """The text encoders that Town ships, by the pack's own loader."""
    from town_training.captions import TextPair
    from town_training.transformer import FrozenText

    clip = town.load_clip().cond_stage_model
    models = (clip.clip_l.transformer.float(), clip.clip_g.transformer.float())
    return FrozenText(TextPair(*models, range(49408)))


def train(work: Path, settings: transformer.Settings, town: ModuleType) -> None:
    """Stage `training`."""
    from town_training import batches, captions, transformer

    torch.manual_seed(settings.seed)
    attention = transformer.RecordingAttention()
    made = network(attention)
    captioner = captions.Captioner(tokeniser(), settings.captions)
    arrays = (np.load(work / "train" / f"{name}.npy", mmap_mode="r") for name in ("values", "occupancy"))
    data = batches.Dataset(torch.load(work / "latents.pt", weights_only=True), *arrays, captioner)
    log.info("%.2f M parameters, %s", sum(p.numel() for p in made.parameters()) / 1e6, settings)
    kind = torch.bfloat16 if town.bf16_units() else torch.float32
    weights = transformer.train(made, shipped_text(town), attention, data, work / "transformer.ckpt", settings, kind)
    torch.save(weights, work / "transformer.pt")


def export(work: Path, path: Path) -> None:
    """Stage `export`: what could be shipped, in half precision."""
    from csg.town import weights

    notes = {"title": "Town, transformer", "licence": "GPL-3.0-or-later", "about": "A toy world; see csg/town/MODEL_CARD.md"}
    weights.save_transformer(torch.load(work / "transformer.pt", weights_only=True), path, notes)
    log.info("%s: %.1f MB", path, path.stat().st_size / 1e6)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--comfyui", type=Path, default=ROOT / ".comfy" / "ComfyUI", help="ComfyUI's folder")
    parser.add_argument("--work", type=Path, default=ROOT / ".comfy" / "town-transformer", help="data and checkpoints go here")
    parser.add_argument("--stage", choices=STAGES, action="append", help="only these stages (default: all)")
    parser.add_argument("--scenes", type=int, default=SCENES, help="training scenes to render")
    parser.add_argument("--steps", type=int, help="steps of the training, instead of its default")
    parser.add_argument("--out", type=Path, help="file of the export (default: town_transformer.safetensors in the work folder)")
    return parser.parse_args()


def main() -> None:
    """Run the stages asked for, in order."""
    options = arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    start_comfyui(options.comfyui)
    from town_training import data, transformer

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    stages, work, town = options.stage or STAGES, options.work, pack_module("nodes.host_town")
    if "data" in stages:
        data.build(work / "train", options.scenes, FIRST_SCENE, os.cpu_count() or 1, transformer.GRID, transformer.RARE)
    if "latents" in stages:
        unpack_shipped(work)
        encode_latents(work, town.bf16_units())
    settings = transformer.Settings()
    if "training" in stages:
        train(work, dataclasses.replace(settings, steps=options.steps or settings.steps), town)
    if "export" in stages:
        export(work, options.out or work / "town_transformer.safetensors")


if __name__ == "__main__":
    main()
