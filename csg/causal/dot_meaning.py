"""What the attributes of DOT and DAGitty mean: the marks at an edge's two ends, and the words of a label.

The same rules, in the same order, as `web/editor/dot.mjs`.
Attributes: https://graphviz.org/docs/attr-types/arrowType/, .../dirType/, .../escString/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from .recognise import BLANKS

NONE, ARROW, CIRCLE = "none", "arrow", "circle"
# The marks at the first and at the second end of what is written between two nodes.
ARROWS = {
    "->": (NONE, ARROW), "<-": (ARROW, NONE), "--": (NONE, NONE), "<->": (ARROW, ARROW),
    "@->": (CIRCLE, ARROW), "<-@": (ARROW, CIRCLE), "@-@": (CIRCLE, CIRCLE), "@--": (CIRCLE, NONE), "--@": (NONE, CIRCLE),
    "\u2192": (NONE, ARROW), "\u2190": (ARROW, NONE), "\u2194": (ARROW, ARROW),
}  # fmt: skip
_NO_ALPHA = re.compile("#[0-9a-f]{6}00|#[0-9a-f]{3}0")
_DRAWN_ENDS = {"forward": (False, True), "back": (True, False), "both": (True, True), "none": (False, False)}
UNDIRECTED = "The text draws it without a direction."
TWO_HEADED = "The text draws it with two heads: a hidden common cause, or one causes the other."
OPEN_END = "The text leaves an end of it open: the direction is in doubt."


class Direction(NamedTuple):
    """Which way an edge points: `turned`, from the second node to the first; `doubt` is why it is no more than a proposal."""

    turned: bool
    doubt: str


def invisible(attributes: Mapping[str, str]) -> bool:
    """Whether a node or an edge is only there to lay out the others."""
    return "invis" in re.split(r"[ ,]+", attributes.get("style", ""))


def _transparent(colours: str) -> bool:
    """Whether every colour of a list such as `transparent:#ffffff00;0.5` shows nothing."""
    parts = [part.split(";", 1)[0].strip(" ").lower() for part in colours.split(":")]
    return all(part in ("transparent", "none", "invis") or _NO_ALPHA.fullmatch(part) for part in parts)


def direction(arrow: str, attributes: Mapping[str, str]) -> Direction | None:
    """Return which way an edge points; None for an invisible one."""
    if invisible(attributes) or _transparent(attributes.get("color", "")):
        return None
    backwards = arrow in ("<-", "\u2190")
    first, second = _marks("->" if backwards else arrow, attributes)
    turned = (first == ARROW and second != ARROW) != backwards
    if CIRCLE in (first, second):
        return Direction(turned, OPEN_END)
    if first == second:
        return Direction(backwards, UNDIRECTED if first == NONE else TWO_HEADED)
    return Direction(turned, "")


def _marks(arrow: str, attributes: Mapping[str, str]) -> tuple[str, str]:
    """Return the marks at both ends: those of the arrow, unless `dir`, `arrowtail` or `arrowhead` say otherwise."""
    first, second = ARROWS[arrow]
    usual = first != NONE, second != NONE
    shown = _DRAWN_ENDS.get(attributes.get("dir", "").strip(" ").lower(), usual)
    return (
        _mark(attributes.get("arrowtail", ""), first) if shown[0] else NONE,
        _mark(attributes.get("arrowhead", ""), second) if shown[1] else NONE,
    )


def _mark(shape: str, usual: str) -> str:
    shape = shape.strip(" ").lower()
    if not shape:
        return ARROW if usual == NONE else usual
    if "dot" in shape or "inv" in shape:
        return CIRCLE
    return ARROW if shape.replace("none", "") else NONE


# ------------------------------------------------------------------------------------------- labels

_ESCAPE = re.compile(r"\\(\r\n|[^\\]|\\)", re.DOTALL)
_RECORD = re.compile(r"\\.|<[^<>]*>|[|{}<>]", re.DOTALL)
_BREAK = re.compile(r"</?(?:br|tr|td|table|hr|vr|p|li)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<!--[^<>]*-->|<[^<>]*>")
_ENTITY = re.compile(r"&(?:(amp|lt|gt|quot|apos|nbsp)|#([0-9]{1,7})|#[xX]([0-9a-fA-F]{1,6}));")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "nbsp": " "}
_BLANKS = re.compile(f"[{BLANKS}]+")


def html_text(html: str) -> str:
    """Return the words of an HTML label, written as in a label in quotes."""
    return _TAG.sub("", _BREAK.sub(" ", html)).replace("\\", "\\\\")


def label_text(label: str, name: str, shape: str = "") -> str:
    """Return a label's words on one line; `name` stands for `\\N`."""
    if shape.lower() in ("record", "mrecord"):
        label = _RECORD.sub(lambda match: match[0] if match[0][0] == "\\" else " ", label)
    words = _ENTITY.sub(_character, _ESCAPE.sub(lambda match: _escaped(match[1], name), label))
    return _BLANKS.sub(" ", words).strip(" ")


def _escaped(char: str, name: str) -> str:
    if char == "N":
        return name
    return {"n": " ", "l": " ", "r": " ", "\n": "", "\r\n": ""}.get(char, "" if char in "GETHL" else char)


def _character(match: re.Match[str]) -> str:
    if match[1]:
        return _ENTITIES[match[1]]
    code = int(match[2]) if match[2] else int(match[3], 16)
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else match[0]
