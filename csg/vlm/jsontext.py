"""Finding the JSON object in what a model wrote: thinking aloud, fences, prose, damage and all."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from .protocol import VLMError

MAX_CHARACTERS = 200_000
MAX_REPAIRED_CHARACTERS = 60_000
MAX_STARTS = 1000
MAX_SCANNED = 10 * MAX_CHARACTERS
MAX_DEPTH = 64

_THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_END_OF_THOUGHT = re.compile(r"\A.*</(?:think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"```[\w-]*[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_BRACKET = re.compile(r"[{\[]")
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\Z)|[{}\[\]]', re.DOTALL)


@dataclass(frozen=True)
class Found:
    """A JSON object found in a text; `broken_off` when the text ends before the object does."""

    data: dict[str, Any]
    broken_off: bool = False


def find_object(text: str, wanted: Collection[str]) -> Found | None:
    """Return the object in `text` that has most of the `wanted` keys, or None.

    Whole JSON is taken as it stands; where it lacks a key, a repair of the text from its first
    bracket on may have more. Of several that have as many, the last counts: models draft and then
    answer. A bare list counts as the value of the first wanted key. Raises VLMError only when
    json-repair is missing.
    """
    text = _without_thoughts(text[:MAX_CHARACTERS])
    found = [Found(data) for data in _whole_objects(text, wanted)][::-1]
    if not any(_score(each.data, wanted) == len(wanted) for each in found):
        found += _repaired(text, wanted)
    return max(found, key=lambda each: _score(each.data, wanted), default=None)


def spoken(text: str) -> str:
    """Return a reply without its closed thoughts."""
    return _END_OF_THOUGHT.sub("", _THOUGHT.sub(lambda match: "" if match[2] else match[0], text))


def _without_thoughts(text: str) -> str:
    """Drop the thoughts, unless the only brackets are in them: then they may hold the answer."""
    said = spoken(text)
    return said if "{" in said or "[" in said else text


def _score(data: dict[str, Any], wanted: Collection[str]) -> int:
    return sum(key in data for key in wanted)


def _whole_objects(text: str, wanted: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the outermost objects and lists of the text that are JSON already."""
    decoder, place = json.JSONDecoder(strict=False), 0  # models write line breaks inside strings
    scanned = 0
    for _ in range(MAX_STARTS):
        bracket = _BRACKET.search(text, place)
        if bracket is None or scanned > MAX_SCANNED:
            return
        try:
            data, place = decoder.raw_decode(text, bracket.start())
        except (ValueError, RecursionError) as error:
            place = bracket.end()
            scanned += getattr(error, "pos", place) - bracket.start()
        else:
            if _depths(text[bracket.start() : place])[1] <= MAX_DEPTH:
                yield from _as_object(data, wanted)


def _as_object(data: Any, wanted: Collection[str]) -> Iterator[dict[str, Any]]:
    if isinstance(data, list) and data and all(isinstance(item, dict) for item in data):
        first = data[0]
        data = first if _score(first, wanted) else {next(iter(wanted)): data}
    if isinstance(data, dict):
        yield {_key(key): value for key, value in data.items()}


def _key(key: Any) -> str:
    return str(key).strip().lower().replace(" ", "_").replace("-", "_")


def _repaired(text: str, wanted: Collection[str]) -> Iterator[Found]:
    """Yield what mending makes of the largest fenced part, else of everything from the first bracket on."""
    fenced = [part for part in _FENCE.findall(text) if "{" in part]
    body = max(fenced, key=len) if fenced else text
    bracket = _BRACKET.search(body)
    if bracket is None:
        return
    body = body[bracket.start() :][:MAX_REPAIRED_CHARACTERS]
    depth, deepest = _depths(body)
    if deepest <= MAX_DEPTH:
        yield from (Found(data, broken_off=depth > 0) for data in _as_object(_mended(body), wanted))


def _mended(body: str) -> Any:
    repair = _repair_function()
    try:
        return repair(body, return_objects=True, skip_json_loads=True)
    except Exception:  # whatever a third party's parser trips over, the reply is only unreadable
        return None


def _repair_function() -> Any:
    try:
        from json_repair import repair_json
    except ImportError:
        raise VLMError(
            "Reading a model's reply needs the package json-repair. Install it where ComfyUI runs: pip install json-repair"
        ) from None
    return repair_json


def _depths(text: str) -> tuple[int, int]:
    """Return how many brackets are open at the end of the text, and at its deepest point."""
    depth = deepest = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(match[0], 0)
        deepest = max(deepest, depth)
        if depth == 0 and match[0] in "}]":
            break
    return depth, deepest
