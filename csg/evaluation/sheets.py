"""Contact sheets: pictures side by side with words, and the masks of concepts in the concepts' colours.

Pictures are IMAGE tensors (B, H, W, 3), float in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from ..causal.counterfactual import Counterfactual
from ..causal.lettering import fitted, font_for
from ..causal.palette import hex_to_rgb
from ..images import to_pictures, to_tensor

PAPER, INK, MUTED = (250, 246, 238), (61, 54, 46), (139, 129, 116)
GAP, TITLE, SMALL = 16, 20, 15
MINIMUM_TILE, SMALLEST_TILE = 256, 64
LONGEST_SIDE, MAX_PIXELS = 16384, 32e6
BROAD = 1.6
"""How many times as wide for its height as the first picture one is that gets a row of its own, such as a strip of masks."""


def tint(picture: Image.Image, mask: Tensor, colour: str) -> Image.Image:
    """The picture greyed where the mask (h, w) is 0 and washed in the colour where it is 1."""
    weight = F.interpolate(mask[None, None].float(), (picture.height, picture.width), mode="bilinear")[0, 0]
    weight = weight.clamp(0, 1)[..., None].numpy()
    base = np.asarray(picture).astype(np.float32)
    grey = base.mean(-1, keepdims=True) * 0.45 + 130
    washed = base * 0.55 + np.array(hex_to_rgb(colour), np.float32) * 0.45
    return Image.fromarray((grey * (1 - weight) + washed * weight).clip(0, 255).astype(np.uint8))


def natural_size(picture: Image.Image) -> tuple[int, int]:
    """Width and height of a picture's tile: small pictures grow to a readable one by a whole factor."""
    factor = max(1, math.ceil(MINIMUM_TILE / max(picture.size)))
    return picture.width * factor, picture.height * factor


def shrinkage(tile: tuple[int, int], columns: int, rows: int, words: int) -> float:
    """The factor, 1 at most, at which such tiles with `words` pixels of text per row make a sheet within its bounds."""
    width, height = tile
    across, down = LONGEST_SIDE - (columns + 1) * GAP, LONGEST_SIDE - rows * (words + GAP) - GAP
    factor = min(1.0, across / (columns * width), down / (rows * height), math.sqrt(MAX_PIXELS / (columns * rows * width * height)))
    if factor * max(tile) < SMALLEST_TILE:
        many = f"{columns * rows} pictures in {rows} rows"
        raise ValueError(f"{many} are too many for one sheet; lay them out in several, or in more columns.")
    return factor


def scaled_to(picture: Image.Image, factor: float) -> Image.Image:
    """The picture's tile, made smaller by the factor."""
    width, height = (max(1, round(side * factor)) for side in natural_size(picture))
    how = Image.Resampling.NEAREST if width >= picture.width and height >= picture.height else Image.Resampling.BOX
    return picture.resize((width, height), how)


def grid(
    pictures: Sequence[Image.Image], titles: Sequence[str], columns: int, notes: Sequence[str] = (), bars: Sequence[str] = (),
    heads: Sequence[str] = (),
) -> Image.Image:  # fmt: skip
    """Tiles with a title each (and a colour bar, and a note below), on warm paper; `heads` stand above the rows."""
    over, head, foot = (TITLE + 14 if any(heads) else 0), TITLE + 14, (SMALL + 10 if any(notes) else 0)
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    widths, heights = zip(*map(natural_size, pictures), strict=True)
    factor = shrinkage((max(widths), max(heights)), columns, rows, over + head + foot)
    tiles = [scaled_to(p, factor) for p in pictures]
    width, height = max(t.width for t in tiles), max(t.height for t in tiles)
    step = over + head + height + foot + GAP
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * step + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for row, text in enumerate(heads[:rows]):
        _write(pen, (GAP, GAP + row * step), text, TITLE + 2, sheet.width - 2 * GAP, INK)
    for i, tile in enumerate(tiles):
        x, y = GAP + (i % columns) * (width + GAP), GAP + (i // columns) * step + over
        _write(pen, (x, y), titles[i] if i < len(titles) else "", TITLE, width, INK)
        if i < len(bars):
            pen.rectangle([x, y + head - 7, x + width - 1, y + head - 3], fill=hex_to_rgb(bars[i]))
        sheet.paste(tile, (x + (width - tile.width) // 2, y + head))
        if i < len(notes):
            _write(pen, (x, y + head + height + 4), notes[i], SMALL, width, MUTED)
    return sheet


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, width: int, colour: tuple[int, int, int]) -> None:
    if text:
        pen.text(at, fitted(text, size, width), font=font_for(text, size), fill=colour)


def overlay_grid(image: Tensor, masks: Tensor, names: Sequence[str], colours: Sequence[str]) -> Tensor:
    """One tile per concept: masks (K * B, h, w), concept by concept, over the first picture of `image` -> (1, H, W, 3)."""
    picture = to_pictures(image)[0]
    if not names:
        return to_tensor(grid([picture], ["no concept was edited"], 1))
    batch = max(1, len(masks) // len(names))
    firsts = masks[::batch][: len(names)].cpu()
    tiles = [tint(picture, mask, colour) for mask, colour in zip(firsts, colours, strict=False)]
    shares = [f"{name}  {float(mask.mean()):.0%}" for name, mask in zip(names, firsts, strict=False)]
    return to_tensor(grid(tiles, shares, min(4, len(tiles)), bars=colours))


def asked(counterfactual: Counterfactual) -> str:
    """What is done, as `do(weather = rainy, house = blue)`."""
    done = [f"{c.concept} = {c.counterfactual}" for c in counterfactual.changed if c.role == "intervened"]
    return f"do({', '.join(done)})" if done else "nothing changes"


def legend(counterfactual: Counterfactual) -> str:
    """What is done and what follows, on one line."""
    followed = [f"{c.concept}: {c.factual} -> {c.counterfactual}" for c in counterfactual.changed if c.role != "intervened"]
    return "   ".join([asked(counterfactual), *followed])


def compare_sheet(
    images: Sequence[Tensor], titles: Sequence[str], counterfactuals: Sequence[Counterfactual], scores: Sequence[str], columns: int
) -> Tensor:
    """All pictures of all batches in one labelled grid, with the scores and each counterfactual's changes below -> (1, H, W, 3).

    Several counterfactuals of which every input has a picture are laid out interventions across, methods down: a title for
    each row, and the intervention above each picture. Else a picture much broader than the first, such as a strip of masks,
    has a row of its own, so that the others stay large.
    """
    pictures = [p for image in images for p in to_pictures(image)]
    across = len(counterfactuals)
    is_table = across > 1 and columns in (0, across) and len(titles) * across == len(pictures)
    columns = across if is_table else columns if columns > 0 else 4
    legends = [legend(counterfactual) for counterfactual in counterfactuals]
    named = [titles[i] if i < len(titles) else f"{i + 1}" for i in range(len(pictures))]
    if is_table:
        named = [asked(counterfactual) for counterfactual in counterfactuals] * len(titles)
    if is_table:
        cell = natural_size(pictures[0])
        return to_tensor(_with_footer(grid([_contained(p, cell) for p in pictures], named, columns, list(scores), heads=titles), legends))
    scores = [*scores, *[""] * (len(pictures) - len(scores))]
    broad = _broad(pictures)
    kept = [i for i in range(len(pictures)) if i not in broad]
    sheet = grid([pictures[i] for i in kept], [named[i] for i in kept], columns, [scores[i] for i in kept])
    for i in broad:
        sheet = _with_row(sheet, pictures[i], f"{named[i]}   {scores[i]}".strip())
    return to_tensor(_with_footer(sheet, legends))


def _broad(pictures: Sequence[Image.Image]) -> list[int]:
    """The places of pictures much broader than the first, where there are at least two others to compare."""
    shape = pictures[0].width / pictures[0].height
    broad = [i for i, picture in enumerate(pictures) if picture.width / picture.height > BROAD * shape]
    return broad if len(pictures) - len(broad) >= 2 else []


def _contained(picture: Image.Image, cell: tuple[int, int]) -> Image.Image:
    """The picture as large as it goes into a cell, where it is larger than that."""
    width, height = natural_size(picture)
    factor = min(1.0, cell[0] / width, cell[1] / height)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return picture if factor == 1 else picture.resize(size, Image.Resampling.LANCZOS)


def _with_row(sheet: Image.Image, picture: Image.Image, title: str) -> Image.Image:
    """The sheet and below it a row with one picture, as broad as the sheet."""
    width = sheet.width - 2 * GAP
    row = grid([picture.resize((width, max(1, round(picture.height * width / picture.width))), Image.Resampling.LANCZOS)], [title], 1)
    full = Image.new("RGB", (sheet.width, sheet.height + row.height - GAP), PAPER)
    full.paste(sheet, (0, 0))
    full.paste(row.crop((0, GAP, row.width, row.height)), (0, sheet.height))
    return full


def audit_sheet(original: Tensor, edited: Tensor, graph: Image.Image, lines: Sequence[str]) -> Tensor:
    """Both pictures above each other, the graph with its verdicts beside them, and lines below -> (1, H, W, 3)."""
    pair = grid([to_pictures(image)[0] for image in (original, edited)], ["original", "edited"], 1)
    height = max(pair.height, min(graph.height, 2 * pair.height))
    pair, graph = (_scaled(picture, height) for picture in (pair, graph))
    sheet = Image.new("RGB", (pair.width + graph.width, height), PAPER)
    sheet.paste(pair, (0, (height - pair.height) // 2))
    sheet.paste(graph, (pair.width, (height - graph.height) // 2))
    return to_tensor(_with_footer(sheet, lines))


def _scaled(picture: Image.Image, height: int) -> Image.Image:
    """The picture, made smaller where it is higher than `height`."""
    if picture.height <= height:
        return picture
    return picture.resize((max(1, round(picture.width * height / picture.height)), height), Image.Resampling.LANCZOS)


def _with_footer(sheet: Image.Image, lines: Sequence[str]) -> Image.Image:
    if not lines:
        return sheet
    full = Image.new("RGB", (sheet.width, sheet.height + len(lines) * (TITLE + 8) + GAP), PAPER)
    full.paste(sheet, (0, 0))
    pen = ImageDraw.Draw(full)
    for i, line in enumerate(lines):
        _write(pen, (GAP, sheet.height + i * (TITLE + 8)), line, TITLE, sheet.width - 2 * GAP, INK)
    return full
