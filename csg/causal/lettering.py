"""Text in drawings: Pillow's own font, and a font of the system for letters which that one lacks."""

from __future__ import annotations

from bisect import bisect_left
from functools import cache, lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont

_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
)
_NO_LETTER = "\uffff"
MAX_LETTERS = 400


@lru_cache(maxsize=1024)
def font_for(text: str, size: int) -> Font:
    """Return a font of `size` pixels that has the letters of `text`, or the built-in one."""
    built_in = _built_in_font(size)
    if _has_all(built_in, text):
        return built_in
    others = (_system_font(name, size) for name in _SYSTEM_FONTS)
    return next((font for font in others if font is not None and _has_all(font, text)), built_in)


@cache
def _built_in_font(size: int) -> Font:
    return ImageFont.load_default(size)


@cache
def _system_font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _has_all(font: Font, text: str) -> bool:
    return all(_has(font, letter) for letter in set(text))


def _has(font: Font, letter: str) -> bool:
    return letter.isascii() or bytes(font.getmask(letter)) != bytes(font.getmask(_NO_LETTER))


def one_line(text: str) -> str:
    """Return the text on one line, with a space for each letter that cannot be drawn."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:MAX_LETTERS])


def width_of(text: str, size: int) -> float:
    """Return how wide a line of text is, in pixels."""
    line = one_line(text)
    return font_for(line, size).getlength(line)


def fitted(text: str, size: int, width: float) -> str:
    """Return the text as one line no wider than `width` pixels, cut with dots where it is longer."""
    line = one_line(text)
    if width_of(line, size) <= width:
        return line
    fits = bisect_left(range(len(line)), True, key=lambda end: width_of(line[: end + 1] + "...", size) > width)
    return line[:fits].rstrip() + "..."
