"""One measure of gpu.py in a process of its own: `python benchmarks/gpu_measures.py NAME --output FILE [--tiny]`.

Writes the figures as JSON: the type that ComfyUI chooses for this network on this device, the most memory that torch had in
use at once (GPU alone, weights included), and what the measure found.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import engine
import engine_families
import torch
from in_process import pack_module

LIMIT_GIB, CONCEPTS = 12, 8
SEED, SCENES = 5, 48
TINY_SDXL = engine.Subject("Tiny SDXL", engine.TINY, 16, 4, 1)


def device() -> torch.device:
    """Where it is measured."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def chosen(config: str) -> torch.dtype:
    """In which type ComfyUI computes a network of this kind (a class of its supported_models) on this device."""
    import comfy.model_management
    import comfy.supported_models

    supported = getattr(comfy.supported_models, config).supported_inference_dtypes
    return comfy.model_management.unet_dtype(device(), supported_dtypes=list(supported))


def sdxl_subject(tiny: bool, steps: int) -> engine.Subject:
    """SDXL in its full size at 1024 x 1024, or the tests' tiny one."""
    if tiny:
        return TINY_SDXL
    return engine.Subject("SDXL, full size", engine.FULL, 128, steps, steps // 10, chosen("SDXL"), device(), large=True)


def sdxl(tiny: bool) -> dict[str, Any]:
    """First and further edits and their memory beside diffusers' LEDITS++."""
    subject = sdxl_subject(tiny, 50)
    results = engine.measure(subject, 1 if tiny else 2, (1,) if tiny else engine.CONCEPTS)
    return {"subject": subject.title, "computed_in": str(subject.dtype), "results": results}


@torch.inference_mode()
def memory(tiny: bool) -> dict[str, Any]:
    """Whether an inversion and an edit of eight concepts stay below 12 GiB, VAE and text encoders aside: more is refused."""
    from parity_engine import load

    subject = sdxl_subject(tiny, 10)
    if device().type == "cuda":
        torch.cuda.set_per_process_memory_fraction(min(1.0, LIMIT_GIB * 2**30 / torch.cuda.mem_get_info()[1]))
    found = {"subject": subject.title, "computed_in": str(subject.dtype), "concepts": CONCEPTS, "limit_gib": LIMIT_GIB}
    try:
        unet, texts = engine.diffusers_unet(subject), engine.made_texts(subject)
        patcher = load(unet.state_dict(), engine.comfy_config(subject.shape), subject.shape["head_channels"])
        latent = torch.randn((1, 4, subject.side, subject.side), generator=torch.Generator().manual_seed(SEED))
        cost, _ = engine.once(subject, engine.Ours(subject, patcher, texts, latent), CONCEPTS, None, watch=True)
    except torch.cuda.OutOfMemoryError as error:
        return found | {"fits": False, "why": str(error)[:500]}
    return found | {"fits": True, **cost}


def family(name: str, tiny: bool) -> dict[str, Any]:
    """A flow transformer with random weights against its own bare rows."""
    subject, = engine_families.subjects(not tiny, 3 if tiny else 10, name)
    if not tiny:
        subject = replace(subject, dtype=chosen(engine_families.tiny_families().FAMILIES[name].config))
    found = engine_families.measure(subject, 1 if tiny else 2, engine.seconds, engine.peak_mib)
    return {"computed_in": str(subject.dtype), "pixels": subject.pixels, "steps": subject.steps, **found}


def training(tiny: bool) -> dict[str, Any]:
    """Steps per second of the training of Town's UNet, captions and checkpoints included, on random latents."""
    from town_training import denoiser

    steps = 2 if tiny else 200
    settings = replace(denoiser.Settings(), **({"batch": 2} if tiny else {}))
    with tempfile.TemporaryDirectory() as folder:
        _train(Path(folder) / "warm.ckpt", replace(settings, steps=max(1, steps // 10)))
        seconds = _train(Path(folder) / "timed.ckpt", replace(settings, steps=steps))
    return {"steps": steps, "batch": settings.batch, "seconds": seconds, "steps_per_second": steps / seconds}


def _train(checkpoint: Path, settings: Any) -> float:  # noqa: ANN401
    """Seconds of one training from nothing."""
    import numpy as np
    import train_town
    from town_training import batches, captions, data, denoiser

    attention, there = denoiser.RecordingAttention(), device()
    unet, *encoders = train_town.networks(attention)
    captioner = captions.Captioner(train_town.tokeniser(), settings.captions)
    text = captions.TextPair(*encoders, captioner.vocabulary())
    scenes = [data.sample(data.TRAINING_SEEDS + i) for i in range(max(settings.batch, SCENES if settings.batch > 2 else 2))]
    values, covers = np.stack([data.encode(one[1]) for one in scenes]), np.stack([np.round(one[2] * 255) for one in scenes])
    latents = torch.randn((len(scenes), 4, 32, 32), generator=torch.Generator().manual_seed(SEED))
    dataset = batches.Dataset(latents, values, covers.astype(np.uint8), captioner)
    _wait()
    begin = time.perf_counter()
    denoiser.train(unet.to(there), text.to(there), attention, dataset, checkpoint, settings)
    _wait()
    return time.perf_counter() - begin


def _wait() -> None:
    if device().type == "cuda":
        torch.cuda.synchronize()


MEASURES = {"sdxl": sdxl, "memory": memory, "training": training}


def peaks(found: Any) -> Iterator[float]:  # noqa: ANN401
    """Every peak with the weights that the engine's watch has noted, in MiB."""
    for key, value in found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ():
        if str(key).endswith(engine.WITH_WEIGHTS):
            yield value
        yield from peaks(value)


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=[*MEASURES, *engine_families.NAMES])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="tiny networks, on any device")
    options = parser.parse_args()
    engine.prepare()
    pack_module("nodes.sample")
    found = MEASURES[options.name](options.tiny) if options.name in MEASURES else family(options.name, options.tiny)
    highest = max([torch.cuda.max_memory_allocated() / engine.MIB, *peaks(found)]) if device().type == "cuda" else None
    kind = engine_families.tiny_families().FAMILIES[options.name].config if options.name in engine_families.NAMES else "SDXL"
    options.output.write_text(json.dumps({"comfyui_chooses": str(chosen(kind)), "peak_mib": highest} | found))


if __name__ == "__main__":
    main()
