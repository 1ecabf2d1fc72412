"""How good Town's model is: `python benchmarks/town_model.py`. Writes benchmarks/results/town_model.{md,json,jpg}.

`--network transformer` measures the transformer, and writes town_model_transformer.{md,json,jpg}.

Three things, on scenes that training never saw: does the picture show what the caption says (stock sampling, read by
the attribute readers), how well does the autoencoder reproduce a render, and does a phrase's attention find its place.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path

import numpy as np
import torch
from in_process import ROOT, start_comfyui
from PIL import Image
from town_networks import UNET, Painter, add_arguments, check_arguments, digest, opened

RESULTS = ROOT / "benchmarks" / "results"
CAPTION_SEEDS, SCENE_SEEDS = 60_000_000, 80_000_000
STEPS, CFG, BATCH = 20, 4.0, 16
KINDS = ("true phrase", "new phrase")
SUPERVISION = (
    "Training supervised blocks 1 and 2 with the renderer's own regions and left the others alone: the table says that supervision works, "
    "and nothing about the blocks of other models."
)
log = logging.getLogger("town_model")


def captions(count: int) -> list[dict[str, str]]:
    """Values of held-out scenes, from the same mixture of habit and intervention as training."""
    from town_training.data import training_do

    from csg.town.world import evaluate, exogenous

    found = []
    for seed in range(CAPTION_SEEDS, CAPTION_SEEDS + count):
        values = evaluate(exogenous(seed), training_do(np.random.default_rng((seed, 1))))
        found.append(values | ({"headlights": "off"} if values["car"] == "none" else {}))
    return found


def joined(conditionings: list) -> list:
    """Several prompts as one batch."""
    pooled = torch.cat([c[0][1]["pooled_output"] for c in conditionings])
    return [[torch.cat([c[0][0] for c in conditionings]), {"pooled_output": pooled}]]


def draw(painter: Painter, prompts: list[str], seed: int) -> np.ndarray:
    """Stock sampling on the normal schedule; (B, 256, 256, 3) uint8."""
    import comfy.sample

    latent = torch.zeros(len(prompts), 4, 32, 32)
    positive, negative = joined([painter.encode(p) for p in prompts]), painter.nothing()
    noise = comfy.sample.prepare_noise(latent, seed)
    out = comfy.sample.sample(
        painter.model, noise, STEPS, CFG, painter.sampler, "normal", positive, negative, latent,
        denoise=1.0, seed=seed, disable_pbar=True,
    )  # fmt: skip
    return (painter.vae.decode(out).clamp(0, 1) * 255).round().byte().numpy()


def prompt_following(painter: Painter, count: int) -> tuple[dict[str, float], np.ndarray]:
    """Share of captions whose value is read from the picture, per concept, and the first pictures."""
    from csg.town.readers import read_values
    from csg.town.world import NAMES, caption

    wanted, hits, first = captions(count), {name: [] for name in NAMES}, []
    for i in range(0, count, BATCH):
        batch = wanted[i : i + BATCH]
        pictures = draw(painter, [caption(v) for v in batch], i)
        first += list(pictures) if i < 32 else []
        for read, values in zip(read_values(pictures), batch, strict=True):
            for name in NAMES:
                hits[name].append(read[name] == values[name])
        log.info("%d of %d captions, mean %.3f", i + len(batch), count, np.mean([np.mean(h) for h in hits.values()]))
    return {name: float(np.mean(h)) for name, h in hits.items()}, np.stack(first[:32])


@torch.inference_mode()
def reconstruction(vae: object, count: int) -> float:
    """PSNR in dB of the shipped autoencoder on held-out renders."""
    from csg.town.render import picture
    from csg.town.score import psnr

    values = []
    for i in range(0, count, 8):
        batch = np.stack([picture(s) for s in range(SCENE_SEEDS + i, SCENE_SEEDS + i + 8)])
        again = vae.decode(vae.encode(torch.from_numpy(batch).float() / 255)).clamp(0, 1) * 255
        values += [psnr(a, b) for a, b in zip(again.numpy(), batch, strict=True)]
    return float(np.mean(values))


def area_under_curve(attention: np.ndarray, cover: np.ndarray) -> float | None:
    """AUC of attention against the cells that the concept covers (half, or a fifth for thin things); None if all or none."""
    inside = cover > 0.5
    if inside.sum() < 2:
        inside = cover > 0.2
    if not inside.any() or inside.all():
        return None
    a, b = attention[inside][:, None], attention[~inside][None]
    return float((a > b).mean() + 0.5 * (a == b).mean())


def localisation(painter: Painter, count: int) -> dict[str, dict[str, dict[str, float]]]:
    """Mean AUC by reading and concept, with the phrase that is true in the picture and with another value's."""
    from csg.town.regions import LOCAL, occupancy, region
    from csg.town.render import render
    from csg.town.world import BY_NAME, evaluate, exogenous

    found: dict[str, dict[str, dict[str, list]]] = {}
    for seed in range(SCENE_SEEDS, SCENE_SEEDS + count):
        noise = exogenous(seed)
        values = evaluate(noise, SHOWN[seed % len(SHOWN)])
        picture, things = render(noise, values)
        latent = painter.model.model.process_latent_in(painter.vae.encode(torch.from_numpy(picture)[None].float() / 255))
        asked = {(name, "true phrase"): BY_NAME[name].phrases[values[name]] for name in LOCAL}
        for name in LOCAL:
            others = [v for v in BY_NAME[name].domain if v not in (values[name], "none")]
            if others:
                asked[name, "new phrase"] = BY_NAME[name].phrases[others[seed % len(others)]]
        for reading, maps in painter.attention(latent, list(dict.fromkeys(asked.values())), seed).items():
            for (name, kind), phrase in asked.items():
                cover = region(occupancy(things, len(maps[phrase])), name, values[name])
                kinds = found.setdefault(reading, {}).setdefault(name, {"true phrase": [], "new phrase": []})
                kinds[kind].append(area_under_curve(maps[phrase], cover))
        log.info("attention in %d of %d scenes", seed - SCENE_SEEDS + 1, count)
    return {reading: {name: means(kinds) for name, kinds in names.items()} for reading, names in found.items()}


def means(kinds: dict[str, list]) -> dict[str, float]:
    """The mean of each list, over what is not None."""
    return {kind: float(np.mean([a for a in values if a is not None])) for kind, values in kinds.items()}


# Interventions that make every thing visible in turn, so that each has a place to be found.
SHOWN = (
    {"car": "red", "person": "walking"},
    {"car": "blue", "time": "night", "person": "walking"},
    {"weather": "snowy", "snowman": "built", "car": "red"},
    {"weather": "rainy", "person": "umbrella", "car": "blue"},
)


def sample_sheet(pictures: np.ndarray, path: Path) -> None:
    """The first pictures, at most 32, as one sheet of whole rows of 8."""
    rows = [np.concatenate(list(pictures[i : i + 8]), 1) for i in range(0, len(pictures) - len(pictures) % 8, 8)]
    Image.fromarray(np.concatenate(rows)).resize((1024, 128 * len(rows)), Image.Resampling.LANCZOS).save(path, quality=88)


def table(report: dict) -> str:
    """The report as Markdown."""
    accuracy, readings = report["accuracy"], report["localisation"]
    heads = [f"{kind}, {reading}" for reading in readings for kind in KINDS]
    lines = [
        "# Town's model, measured",
        "",
        f"`{report['command']}`, torch {report['torch']}, {report['seconds']:.0f} s. {report['weights']}.",
        "",
        f"Autoencoder on {report['renders']} held-out renders: **{report['psnr']:.1f} dB**.",
        "",
        f"Prompt following: {report['captions']} held-out captions, stock `{report['sampler']}`, {STEPS} steps, CFG {CFG:g}, read by the",
        f"attribute readers. Localisation, on {report['scenes']} scenes: area under the curve of a phrase's attention, encoded alone, over",
        "the cells of each reading." + (f" {SUPERVISION}" if "M1" not in readings else ""),
        "",
        f"| concept | read as the caption says | {' | '.join(heads)} |",
        f"|---|---{'|---' * len(heads)}|",
    ]
    for name, share in accuracy.items():
        cells = [f"{places[name][kind]:.2f}" if name in places else "everywhere" for places in readings.values() for kind in KINDS]
        lines.append(f"| {name} | {share:.3f} | {' | '.join(cells)} |")
    mean = [f"**{np.mean([p[kind] for p in places.values()]):.2f}**" for places in readings.values() for kind in KINDS]
    return "\n".join([*lines, f"| **mean** | **{np.mean(list(accuracy.values())):.3f}** | {' | '.join(mean)} |"]) + "\n"


def write(report: dict, pictures: np.ndarray, name: Path) -> None:
    """The report as JSON and Markdown and the sheet of pictures, under this name."""
    name.parent.mkdir(parents=True, exist_ok=True)
    name.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    name.with_suffix(".md").write_text(table(report))
    sample_sheet(pictures, name.with_suffix(".jpg"))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--comfyui", type=Path, default=ROOT / ".comfy" / "ComfyUI")
    parser.add_argument("--captions", type=int, default=256)
    parser.add_argument("--scenes", type=int, default=24, help="scenes for the attention maps")
    parser.add_argument("--renders", type=int, default=96, help="renders for the autoencoder, a multiple of 8")
    parser.add_argument("--out", type=Path, help="name of the files (default: town_model or town_model_transformer in benchmarks/results)")
    options = parser.parse_args()
    check_arguments(parser, options)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    start_comfyui(options.comfyui)
    painter, start = opened(options), time.monotonic()
    places = localisation(painter, options.scenes)
    accuracy, pictures = prompt_following(painter, options.captions)
    report = {
        "command": " ".join(["python benchmarks/town_model.py", *sys.argv[1:]]),
        "weights": f"{options.weights.name}, {digest(options.weights)}",
        "sampler": painter.sampler, "captions": options.captions, "scenes": options.scenes, "accuracy": accuracy, "localisation": places,
        "psnr": reconstruction(painter.vae, options.renders), "renders": options.renders,
        "torch": torch.__version__, "seconds": time.monotonic() - start,
    }  # fmt: skip
    write(report, pictures, options.out or RESULTS / ("town_model" if options.network == UNET else "town_model_transformer"))
    log.info("\n%s", table(report))


if __name__ == "__main__":
    main()
