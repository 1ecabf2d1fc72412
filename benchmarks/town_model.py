"""How good Town's model is: `python benchmarks/town_model.py`. Writes benchmarks/results/town_model.{md,json,jpg}.

Three things, on scenes that training never saw: does the picture show what the caption says (stock sampling, read by
the attribute readers), how well does the autoencoder reproduce a render, and does a phrase's attention find its place.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path

import numpy as np
import torch
from in_process import ROOT, pack_module, start_comfyui
from PIL import Image

RESULTS = ROOT / "benchmarks" / "results"
CAPTION_SEEDS, SCENE_SEEDS = 60_000_000, 80_000_000
STEPS, CFG, BATCH = 20, 4.0, 16
LEVELS = (300, 500, 700)
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


def draw(model: object, clip: object, vae: object, prompts: list[str], seed: int) -> np.ndarray:
    """Stock sampling: dpmpp_2m on the normal schedule; (B, 256, 256, 3) uint8."""
    import comfy.sample

    host = pack_module("nodes.host_model")
    latent = torch.zeros(len(prompts), 4, 32, 32)
    positive = joined([host.ClipText(clip).encode(p) for p in prompts])
    noise = comfy.sample.prepare_noise(latent, seed)
    out = comfy.sample.sample(
        model, noise, STEPS, CFG, "dpmpp_2m", "normal", positive, host.zeros_conditioning(model), latent,
        denoise=1.0, seed=seed, disable_pbar=True,
    )  # fmt: skip
    return (vae.decode(out).clamp(0, 1) * 255).round().byte().numpy()


def prompt_following(model: object, clip: object, vae: object, count: int) -> tuple[dict[str, float], np.ndarray]:
    """Share of captions whose value is read from the picture, per concept, and the first pictures."""
    from csg.town.readers import read_values
    from csg.town.world import NAMES, caption

    wanted, hits, first = captions(count), {name: [] for name in NAMES}, []
    for i in range(0, count, BATCH):
        batch = wanted[i : i + BATCH]
        pictures = draw(model, clip, vae, [caption(v) for v in batch], i)
        first += list(pictures) if i < 32 else []
        for read, values in zip(read_values(pictures), batch, strict=True):
            for name in NAMES:
                hits[name].append(read[name] == values[name])
        log.info("%d of %d captions, mean %.3f", i + len(batch), count, np.mean([np.mean(h) for h in hits.values()]))
    return {name: float(np.mean(h)) for name, h in hits.items()}, np.stack(first[:32])


@torch.inference_mode()
def reconstruction(vae: object, count: int = 96) -> float:
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


def phrase_attention(model: object, clip: object, latent: torch.Tensor, phrase: str, seed: int) -> np.ndarray:
    """M1's raw map (8, 8) of a phrase encoded alone, mean over three noise levels."""
    text, attention = pack_module("nodes.host_model").ClipText(clip), pack_module("csg.diffusion.attention")
    conditioning, words = text.encode(phrase), text.positions(phrase, phrase)
    inner, total = model.model, 0
    vector = inner.encode_adm(pooled_output=conditioning[0][1]["pooled_output"], width=256, height=256)
    for level in LEVELS:
        sigma = inner.model_sampling.sigmas[level][None].float()
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed + level))
        capture = attention.AttentionCapture((8, 8), {"phrase": attention.Words(words, 77)})
        with torch.inference_mode(), capture.hooked([inner.diffusion_model]), capture.rows(["phrase"]):
            inner.apply_model(
                latent + sigma * noise, sigma, c_crossattn=conditioning[0][0], y=vector, transformer_options={}
            )
        total = total + capture.maps()["phrase"][0].numpy()
    return total


def localisation(model: object, clip: object, vae: object, count: int) -> dict[str, dict[str, float]]:
    """Mean AUC per concept, with the phrase that is true in the picture and with another value's."""
    from csg.town.regions import LOCAL, occupancy, region
    from csg.town.render import render
    from csg.town.world import BY_NAME, evaluate, exogenous

    found = {name: {"true phrase": [], "new phrase": []} for name in LOCAL}
    for seed in range(SCENE_SEEDS, SCENE_SEEDS + count):
        noise = exogenous(seed)
        values = evaluate(noise, SHOWN[seed % len(SHOWN)])
        picture, things = render(noise, values)
        latent = model.model.process_latent_in(vae.encode(torch.from_numpy(picture)[None].float() / 255))
        cover = occupancy(things)
        for name in LOCAL:
            others = [v for v in BY_NAME[name].domain if v not in (values[name], "none")]
            for kind, value in (
                ("true phrase", values[name]),
                ("new phrase", others[seed % len(others)] if others else None),
            ):
                if value is not None:
                    heat = phrase_attention(model, clip, latent, BY_NAME[name].phrases[value], seed)
                    found[name][kind].append(area_under_curve(heat, region(cover, name, values[name])))
    return {
        n: {k: float(np.mean([a for a in v if a is not None])) for k, v in kinds.items()} for n, kinds in found.items()
    }


# Interventions that make every thing visible in turn, so that each has a place to be found.
SHOWN = (
    {"car": "red", "person": "walking"},
    {"car": "blue", "time": "night", "person": "walking"},
    {"weather": "snowy", "snowman": "built", "car": "red"},
    {"weather": "rainy", "person": "umbrella", "car": "blue"},
)


def sample_sheet(pictures: np.ndarray, path: Path) -> None:
    """The first 32 pictures as one sheet."""
    rows = [np.concatenate(list(pictures[i : i + 8]), 1) for i in range(0, 32, 8)]
    Image.fromarray(np.concatenate(rows)).resize((1024, 512), Image.Resampling.LANCZOS).save(path, quality=88)


def table(report: dict) -> str:
    """The report as Markdown."""
    accuracy, places = report["accuracy"], report["localisation"]
    kinds = ("true phrase", "new phrase")
    lines = [
        "# Town's model, measured",
        "",
        f"`python benchmarks/town_model.py --captions {report['captions']}`, torch {report['torch']}, {report['seconds']:.0f} s.",
        "",
        f"Autoencoder on 96 held-out renders: **{report['psnr']:.1f} dB**.",
        "",
        f"Prompt following: {report['captions']} held-out captions, stock `dpmpp_2m`, {STEPS} steps, CFG {CFG:g}, read by the",
        "attribute readers. Localisation: area under the curve of a phrase's attention, encoded alone, over 8 x 8 cells.",
        "",
        "| concept | read as the caption says | AUC of M1, true phrase | AUC of M1, new phrase |",
        "|---|---|---|---|",
    ]
    for name, share in accuracy.items():
        found = " | ".join(f"{places[name][k]:.2f}" for k in kinds) if name in places else "everywhere | everywhere"
        lines.append(f"| {name} | {share:.3f} | {found} |")
    means = " | ".join(f"**{np.mean([p[k] for p in places.values()]):.2f}**" for k in kinds)
    return "\n".join([*lines, f"| **mean** | **{np.mean(list(accuracy.values())):.3f}** | {means} |"]) + "\n"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--comfyui", type=Path, default=ROOT / ".comfy" / "ComfyUI")
    parser.add_argument("--captions", type=int, default=256)
    parser.add_argument("--scenes", type=int, default=24, help="scenes for the attention maps")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    start_comfyui(options.comfyui)
    town, start = pack_module("nodes.host_town"), time.monotonic()
    model, clip, vae = town.load_model(), town.load_clip(), town.load_vae()
    places = localisation(model, clip, vae, options.scenes)
    accuracy, pictures = prompt_following(model, clip, vae, options.captions)
    report = {
        "captions": options.captions, "accuracy": accuracy, "localisation": places, "psnr": reconstruction(vae),
        "torch": torch.__version__, "seconds": time.monotonic() - start,
    }  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "town_model.json").write_text(json.dumps(report, indent=1) + "\n")
    (RESULTS / "town_model.md").write_text(table(report))
    sample_sheet(pictures, RESULTS / "town_model.jpg")
    log.info("\n%s", table(report))


if __name__ == "__main__":
    main()
