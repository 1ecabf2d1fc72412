"""A sheet of paper and a pen: shapes and words in drawing units, smooth at the edges."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

from .curves import Point
from .lettering import font_for
from .palette import RGB

SUPERSAMPLING = 4.0
MAX_PIXELS = 32e6
LONGEST_SIDE = 4096


@dataclass(frozen=True)
class Sheet:
    """The part of the plane that a drawing covers, in drawing units."""

    left: float
    top: float
    width: float
    height: float

    @property
    def pixel(self) -> float:
        """A pixel of the finished picture in drawing units: one, and more where the longer side would pass 4096 pixels."""
        return max(1.0, max(self.width, self.height) / LONGEST_SIDE)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the finished picture in pixels."""
        return max(1, round(self.width / self.pixel)), max(1, round(self.height / self.pixel))


class Canvas:
    """Draws several times as large as the finished picture, within a budget of pixels."""

    def __init__(self, sheet: Sheet, paper: RGB) -> None:
        self._sheet = sheet
        width, height = sheet.size
        self._scale = min(SUPERSAMPLING, math.sqrt(MAX_PIXELS / (width * height))) * width / sheet.width
        size = math.ceil(sheet.width * self._scale), math.ceil(sheet.height * self._scale)
        self._image = Image.new("RGB", size, paper)
        self._pen = ImageDraw.Draw(self._image)

    def finished(self) -> Image.Image:
        """Return the picture at its final size."""
        return self._image.resize(self._sheet.size, Image.Resampling.LANCZOS)

    def _at(self, point: Point) -> Point:
        return (point[0] - self._sheet.left) * self._scale, (point[1] - self._sheet.top) * self._scale

    def _px(self, size: float) -> int:
        return max(1, round(size * self._scale))

    def _corners(self, centre: Point, size: Point) -> tuple[Point, Point]:
        (x, y), (width, height) = centre, size
        return self._at((x - width / 2, y - height / 2)), self._at((x + width / 2, y + height / 2))

    def words(self, point: Point, text: str, size: int, colour: RGB, anchor: str = "lm") -> None:
        """Write one line; `anchor` as Pillow has it, by default the middle of the left side."""
        self._pen.text(self._at(point), text, fill=colour, font=font_for(text, self._px(size)), anchor=anchor)

    def stroke(self, points: Sequence[Point], colour: RGB, width: float) -> None:
        """Draw a line through points."""
        self._pen.line([self._at(point) for point in points], fill=colour, width=self._px(width), joint="curve")

    def head(self, tip: Point, direction: Point, colour: RGB, size: float) -> None:
        """Draw an arrowhead that points along the unit vector `direction`."""
        (x, y), (dx, dy), half = tip, direction, size * 0.45
        x, y = x - dx * size, y - dy * size
        corners = [tip, (x - dy * half, y + dx * half), (x + dy * half, y - dx * half)]
        self._pen.polygon([self._at(corner) for corner in corners], fill=colour)

    def disc(self, centre: Point, diameter: float, colour: RGB) -> None:
        """Fill a circle."""
        self._pen.ellipse(self._corners(centre, (diameter, diameter)), fill=colour)

    def card(
        self, centre: Point, size: Point, radius: float, fill: RGB, outline: RGB | None = None, width: float = 1.0
    ) -> None:
        """Fill a box with rounded corners, with an outline if one is given."""
        line = self._px(width) if outline else 0
        self._pen.rounded_rectangle(
            self._corners(centre, size), self._px(radius), fill=fill, outline=outline, width=line
        )

    def shadows(self, centres: Iterable[tuple[Point, int]], size: Point, radius: float, colour: RGB) -> None:
        """Lay soft shadows under boxes; each comes with its depth, 0 to 255."""
        shade = Image.new("L", self._image.size, 0)
        pen = ImageDraw.Draw(shade)
        for centre, depth in centres:
            pen.rounded_rectangle(self._corners(centre, size), self._px(radius), fill=depth)
        self._image.paste(colour, mask=shade.filter(ImageFilter.GaussianBlur(self._px(6))))
