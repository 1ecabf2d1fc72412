"""Undo Drift on photographs: `python benchmarks/photographs.py`, after `pip install scikit-image scikit-learn`.

The photographs are those that scikit-image, scikit-learn and matplotlib bring along, in the public domain or under
Creative Commons; none is kept here. Each is edited in one place, drifts in a way that is known, and is laid back. The right
answer is the edit without the drift. The table goes to benchmarks/results/photographs.md.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from in_process import ROOT
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

sys.path.append(str(ROOT))

from csg.evaluation.runner.tables import line  # noqa: E402
from csg.evaluation.similarity import psnr  # noqa: E402
from csg.images import to_pictures, to_tensor  # noqa: E402
from csg.pictures.align import Drift  # noqa: E402
from csg.pictures.changes import Colour  # noqa: E402
from csg.pictures.drift import undo_drift  # noqa: E402

TARGET = ROOT / "benchmarks" / "results" / "photographs.md"
SIDE = 384
EXACT = 100.0  # dB of equal pictures
FILES: Mapping[str, tuple[str, ...]] = {
    "skimage": tuple(f"data/{name}" for name in (
        "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "gravel.png", "rocket.jpg")),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
}  # fmt: skip
CAST = Colour((1.06, 0.97, 0.92), (-0.02, 0.01, 0.03))
WHOLE = Drift((2.3, -1.6), (1.015, 1.015), 0.3)


def drifted(image: Tensor, drift: Drift, size: tuple[int, int] | None = None) -> Tensor:
    """What an editor with this drift would return: the original's point p lies at drift(p)."""
    height, width = image.shape[1:3]
    back = np.linalg.inv(drift.matrix())
    scale = np.diag([2 / width, 2 / height])
    theta = np.concatenate([scale @ back @ np.linalg.inv(scale), (scale @ -back @ np.array(drift.shift))[:, None]], 1)
    grid = F.affine_grid(torch.as_tensor(theta, dtype=torch.float32)[None], [1, 1, *(size or (height, width))], align_corners=False)
    return F.grid_sample(image.movedim(-1, 1), grid, "bicubic", "reflection", align_corners=False).movedim(1, -1).clamp(0, 1)


def cast(image: Tensor) -> Tensor:
    """With a drift of the colours."""
    return (image * torch.tensor(CAST.gain) + torch.tensor(CAST.offset)).clamp(0, 1)


def jpeg(image: Tensor, quality: int = 88) -> Tensor:
    """Saved as JPEG and read again."""
    file = io.BytesIO()
    to_pictures(image)[0].save(file, "JPEG", quality=quality)
    return to_tensor(Image.open(file))


def noisy(image: Tensor) -> Tensor:
    """What a VAE does to a photograph: detail a little soft, and grain of some pixels' width."""
    soft = 0.5 * image + 0.5 * F.avg_pool2d(image.movedim(-1, 1), 3, 1, 1, count_include_pad=False).movedim(1, -1)
    grain = torch.randn(1, 3, *(side // 2 for side in image.shape[1:3]), generator=torch.Generator().manual_seed(0)) * 0.015
    return (soft + F.interpolate(grain, image.shape[1:3], mode="bilinear").movedim(1, -1)).clamp(0, 1)


KINDS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "none": lambda image: image,
    "shift by 2.3 and 1.6 px": lambda image: drifted(image, Drift((2.3, -1.6))),
    "shift by 7.5 and 4.25 px": lambda image: drifted(image, Drift((-7.5, 4.25))),
    "zoom by 1.5 %": lambda image: drifted(image, Drift((0, 0), (1.015, 1.015))),
    "zoom out by 5 %": lambda image: drifted(image, Drift((0, 0), (0.95, 0.95))),
    "turn by 0.3 degrees": lambda image: drifted(image, Drift((0, 0), (1, 1), 0.3)),
    "colour cast": cast,
    "JPEG, quality 75": lambda image: jpeg(image, 75),
    "VAE noise": noisy,
    "shift, zoom, turn, cast, JPEG 88": lambda image: jpeg(cast(drifted(image, WHOLE))),
    "shift, zoom, turn, VAE noise": lambda image: noisy(drifted(image, WHOLE)),
}


def photographs() -> Iterator[tuple[str, Tensor]]:
    """(name, IMAGE of SIDE x SIDE) of every photograph; ends the program where a library is missing."""
    missing = [package for package in FILES if find_spec(package) is None]
    if missing:
        sys.exit(f"{', '.join(missing)} is not there: pip install scikit-image scikit-learn matplotlib")
    for package, names in FILES.items():
        folder = Path(next(iter(find_spec(package).submodule_search_locations)))
        for name in names:
            picture = Image.open(folder / name).convert("RGB")
            side = min(picture.size)
            left, top = ((length - side) // 2 for length in picture.size)
            square = picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            yield Path(name).stem, to_tensor(square)


def edited(image: Tensor) -> Tensor:
    """The picture with a disc of other colours: the edit that somebody asked for."""
    y, x = torch.meshgrid(*(torch.arange(side) for side in image.shape[1:3]), indexing="ij")
    disc = (x - 0.6 * image.shape[2]) ** 2 + (y - 0.6 * image.shape[1]) ** 2 < (0.125 * image.shape[1]) ** 2
    result = image.clone()
    result[0][disc] = result[0][disc][:, [2, 0, 1]] * 0.7 + 0.2
    return result


def measured(original: Tensor, trouble: Callable[[Tensor], Tensor]) -> tuple[float, float, float]:
    """PSNR to the right answer before and after, dB, and the share of pixels that are the original's own, bit by bit."""
    wanted = edited(original)
    given = trouble(wanted)
    image, _, _ = undo_drift(original, given, feather=2.0)
    return psnr(given, wanted), psnr(image, wanted), float((image == original).all(-1).float().mean())


def table(found: Mapping[str, list[tuple[float, float, float]]], names: Sequence[str]) -> str:
    """A row per kind of drift: means over the photographs of these names, and the worst of them."""
    titles = ["drift", "PSNR before, dB", "after", "worst after", "least gain", "pixels that are the original's own", "worst"]
    head, rows = [line(titles), line(["---", *["---:"] * 5, "---"])], []
    for kind, figures in found.items():
        before, after, kept = (np.array(column) for column in zip(*figures))
        shown = [before.mean(), after.mean(), after.min(), (after - before).min()]
        told = ["exact" if value >= EXACT else f"{value:.1f}" for value in shown]
        rows.append(line([kind, *told, f"{kept.mean():.0%}", names[after.argmin()]]))
    return "\n".join(head + rows)


def main() -> None:
    """Measure every photograph under every drift, and write the table."""
    torch.set_num_threads(1)
    pictures = dict(photographs())
    found = {kind: [measured(image, trouble) for image in pictures.values()] for kind, trouble in KINDS.items()}
    text = table(found, list(pictures))
    parts = ["# Undo Drift on photographs", "", "`python benchmarks/photographs.py`", "",
             f"{len(pictures)} photographs of {SIDE} x {SIDE} ({', '.join(pictures)}), each with one recoloured disc, 5 % of the picture. "
             "The right answer is that edit without the drift. Means over the photographs; *worst*: of the photograph with the least.",
             "", text, ""]  # fmt: skip
    TARGET.write_text("\n".join(parts), encoding="utf-8")
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
