"""The pictures of docs/how-it-works.md, from one real edit of a Town scene: `python benchmarks/how_it_works.py`.

A scene is inverted and edited by the pack's own nodes inside this process, with the paper's masks and reference, and
what the engine predicts and masks on the way is drawn as it is. Needs ComfyUI (make setup) and about two minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from in_process import ROOT, pack_module, start_comfyui

SCENE, DO, SEED = 3, {"weather": "rainy"}, 1
STEPS, SHOWN, AT = 22, (2, 6, 10, 15, 21), 8  # AT counts guided steps
TILE, GAP, HEAD, NAME = 152, 8, 26, 84
FOLDER = ROOT / "docs" / "how-it-works"


class Moment(NamedTuple):
    """What the engine had at one guided step: its terms, those that acted, its predictions, settings and what it made of them."""

    terms: Sequence[Any]
    active: Sequence[int]
    predictions: Any
    settings: Any
    guided: Any


class Page(NamedTuple):
    """Pictures in rows, by the rows' names, under the columns' heads."""

    heads: list[str]
    rows: dict[str, list[Any]]


class Edit(NamedTuple):
    """One edit with all that is drawn of it; pictures are IMAGEs (1, H, W, 3), `names` those of the world's concepts."""

    factual: Any
    edited: Any
    inversion: Any
    moments: list[Moment]
    names: list[str]
    decode: Callable[[Any], Any]


def edit() -> Edit:
    """Invert and edit the scene, and keep what the engine does at each step."""
    import torch
    from town_lab import Change, Lab
    from town_methods import shipped
    from town_networks import UNet

    from csg.images import to_tensor
    from csg.town import score, world

    known = score.truth(SCENE, DO)
    method = replace(shipped().with_steps(STEPS), contrast="unconditional", mask_source="edit", cut="quantile", threshold=0.7,
                     release=0.0, release_below=0.0, scale=4.0, preserve="off", strengths="")  # fmt: skip
    lab, change, moments = Lab(UNet()), Change(known.before, known.after, tuple(DO)), []
    guidance = pack_module("csg.diffusion.guidance")
    guide = guidance.guide

    def watched(terms: Sequence[Any], active: Sequence[int], predictions: Any, settings: Any, kept: Any = None) -> Any:  # noqa: ANN401
        guided = guide(terms, active, predictions, settings, kept)
        if active:  # neither the inversion's own steps nor those before the first term acts
            moments.append(Moment(terms, list(active), predictions, settings, guided))
        return guided

    guidance.guide = watched
    try:
        done = lab.edited(to_tensor(known.factual), change, method, SEED)
    finally:
        guidance.guide = guide
    (inversion, _), = lab._inversions.values()  # noqa: SLF001

    @torch.inference_mode()
    def decode(latent: Any) -> Any:  # noqa: ANN401
        return lab.vae.decode(lab.model.model.process_latent_out(latent.float())).clamp(0, 1)

    return Edit(to_tensor(known.factual), done.image, inversion, moments, list(world.NAMES), decode)


def path(made: Edit) -> Page:
    """The inversion's path and what the model makes of it, without and with the edits, from noise to picture."""
    sigmas, levels, first = made.inversion.sigmas, made.inversion.path, made.inversion.steps - len(made.moments)
    shown = [step for step in SHOWN if step >= first]
    noisy = [made.decode(levels[step] / (1 + sigmas[step] ** 2) ** 0.5) for step in shown]
    base = [made.decode(made.moments[step - first].predictions.base) for step in shown]
    guided = [made.decode(made.moments[step - first].guided.denoised) for step in shown]
    heads = [f"step {step + 1}" for step in shown] + ["the end"]
    return Page(heads, {
        "path": [*map(picture, noisy), picture(made.factual)],
        "prediction": [*map(picture, base), picture(made.factual)],
        "with edits": [*map(picture, guided), picture(made.edited)],
    })


def masks(made: Edit) -> Page:
    """At one step, for each concept: its words' attention, M1, how strong its guidance is, M2, and where both agree."""
    moment, size = made.moments[AT], made.moments[AT].predictions.base.shape[-2:]
    guidance, rows = pack_module("csg.diffusion.guidance"), {}
    for k in local(moment):
        term, predictions = moment.terms[k], moment.predictions
        psi = guidance.local_psi(term, k, predictions, moment.settings)
        attention = guidance.smoothed(predictions.attention[k], predictions.cell)
        first = guidance.attention_mask(predictions.attention[k], term.threshold, size, moment.settings.cut, predictions.cell)
        second = guidance.noise_mask(psi, term.threshold)
        maps = (attention[0], first[0, 0], psi.abs().sum(1)[0], second[0, 0], moment.guided.masks[k][0, 0])
        rows[term.concept] = [washed(made.factual, each, colour(made, term.concept)) for each in maps]
    return Page(["attention", "M1: its top", "guidance", "M2: its top", "M1 and M2"], rows)


def total(made: Edit) -> Page:
    """The sum at one step: the base prediction, each concept's term added to it in turn, and the end of the edit."""
    moment = made.moments[AT]
    guidance = pack_module("csg.diffusion.guidance")
    latent = moment.predictions.base.float()
    heads, row = ["base"], [picture(made.decode(latent))]
    for k in local(moment):
        latent = latent + guidance.local_psi(moment.terms[k], k, moment.predictions, moment.settings) * moment.guided.masks[k]
        heads.append(f"+ {moment.terms[k].concept}")
        row.append(picture(made.decode(latent)))
    return Page([*heads, "the end"], {"": [*row, picture(made.edited)]})


def local(moment: Moment) -> list[int]:
    """The terms that acted inside masks of their own."""
    return [k for k in moment.active if k in moment.predictions.attention]


def picture(image: Any) -> Any:  # noqa: ANN401
    """The first picture of an IMAGE, as large as it is drawn."""
    from csg.images import to_pictures

    return to_pictures(image)[0].resize((TILE, TILE))


def washed(image: Any, values: Any, tone: str) -> Any:  # noqa: ANN401
    """A picture greyed where a map (h, w) is low and washed in a colour where it is high."""
    from csg.evaluation.sheets import tint

    spread = (values - values.min()) / (values.max() - values.min()).clamp(min=1e-9)
    return tint(picture(image), spread.float(), tone)


def colour(made: Edit, concept: str) -> str:
    """A concept's colour, the same as in the editor."""
    from csg.causal.palette import PALETTE

    return PALETTE[made.names.index(concept) % len(PALETTE)]


def drawn(page: Page) -> Any:  # noqa: ANN401
    """A page as one picture."""
    from PIL import Image, ImageDraw

    from csg.causal.lettering import fitted, font_for
    from csg.evaluation.sheets import INK, MUTED, PAPER

    left = NAME if any(page.rows) else GAP
    sheet = Image.new("RGB", (left + len(page.heads) * (TILE + GAP), HEAD + len(page.rows) * (TILE + GAP)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, head in enumerate(page.heads):
        pen.text((left + column * (TILE + GAP) + TILE // 2, HEAD // 2), head, INK, font_for(head, 14), anchor="mm")
    for row, (name, pictures) in enumerate(page.rows.items()):
        top = HEAD + row * (TILE + GAP)
        words = fitted(name, 13, NAME - GAP)
        pen.text((GAP, top + TILE // 2), words, MUTED, font_for(words, 13), anchor="lm")
        for column, each in enumerate(pictures):
            sheet.paste(each, (left + column * (TILE + GAP), top))
    return sheet


def main() -> None:
    from csg.evaluation.runner.comfy_client import find_comfyui

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the pictures are written")
    options = parser.parse_args()
    start_comfyui(find_comfyui())
    made = edit()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, page in {"path": path(made), "masks": masks(made), "sum": total(made)}.items():
        drawn(page).save(options.folder / f"{name}.webp", quality=72, method=6)


if __name__ == "__main__":
    main()
