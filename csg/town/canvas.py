"""A drawing surface that paints the picture and, alongside, a map of which thing each pixel shows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[float, float, float]
Point = tuple[float, float]

THINGS = (
    "sky", "hill", "lawn", "pavement", "road", "house", "window", "crown", "trunk", "lamp", "car", "beam", "person", "snowman",
)  # fmt: skip
THING_ID = {name: i for i, name in enumerate(THINGS)}


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with `share` in [0, 1] of `b`."""
    return tuple(x + (y - x) * share for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


class Canvas:
    """Square canvas with coordinates in [0, 1], x to the right and y down; colours are RGB in [0, 255].

    Every shape takes the name of the thing it belongs to, or None for decoration that leaves the map as it is.
    `light` scales what is painted (daylight or night) unless the paint shines by itself.
    """

    def __init__(self, size: int, light: Colour = (1.0, 1.0, 1.0)) -> None:
        self.size = size
        self.light = light
        self.image = Image.new("RGB", (size, size))
        self.map = Image.new("L", (size, size), THING_ID["sky"])
        self._paint = ImageDraw.Draw(self.image)
        self._label = ImageDraw.Draw(self.map)

    def paint(self, colour: Colour, shines: bool = False) -> tuple[int, int, int]:
        """The 8-bit colour under the scene's light."""
        lit = colour if shines else tuple(c * k for c, k in zip(colour, self.light, strict=True))
        return tuple(int(min(max(c, 0), 255)) for c in lit)  # type: ignore[return-value]

    def gradient(self, top: Colour, bottom: Colour, end: float, shines: bool = True) -> None:
        """Fill the whole canvas with a vertical gradient that reaches `bottom` at height `end`."""
        t = np.clip(np.linspace(0, 1, self.size)[:, None] / end, 0, 1)
        rows = np.array(self.paint(top, shines)) * (1 - t) + np.array(self.paint(bottom, shines)) * t
        column = Image.fromarray(rows.astype(np.uint8)[:, None, :])
        self.image.paste(column.resize((self.size, self.size), Image.Resampling.NEAREST))

    def polygon(self, points: Iterable[Point], colour: Colour, thing: str | None = None, shines: bool = False) -> None:
        """A filled polygon."""
        scaled = [(x * self.size, y * self.size) for x, y in points]
        self._paint.polygon(scaled, fill=self.paint(colour, shines))
        if thing:
            self._label.polygon(scaled, fill=THING_ID[thing])

    def box(
        self, x0: float, y0: float, x1: float, y1: float, colour: Colour, thing: str | None = None, shines: bool = False
    ) -> None:
        """A filled rectangle."""
        corners = [x0 * self.size, y0 * self.size, x1 * self.size, y1 * self.size]
        self._paint.rectangle(corners, fill=self.paint(colour, shines))
        if thing:
            self._label.rectangle(corners, fill=THING_ID[thing])

    def disc(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, thing: str | None = None, shines: bool = False
    ) -> None:
        """A filled ellipse around (x, y)."""
        bounds = [(x - rx) * self.size, (y - ry) * self.size, (x + rx) * self.size, (y + ry) * self.size]
        self._paint.ellipse(bounds, fill=self.paint(colour, shines))
        if thing:
            self._label.ellipse(bounds, fill=THING_ID[thing])

    def line(
        self, a: Point, b: Point, width: float, colour: Colour, thing: str | None = None, shines: bool = False
    ) -> None:
        """A straight stroke."""
        ends = [(a[0] * self.size, a[1] * self.size), (b[0] * self.size, b[1] * self.size)]
        pixels = max(1, int(width * self.size))
        self._paint.line(ends, fill=self.paint(colour, shines), width=pixels)
        if thing:
            self._label.line(ends, fill=THING_ID[thing], width=pixels)

    def result(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture (size, size, 3) uint8, box-filtered, and thing ids (size, size) uint8."""
        small = self.image.resize((size, size), Image.Resampling.BOX)
        return np.asarray(small), np.asarray(self.map.resize((size, size), Image.Resampling.NEAREST))
