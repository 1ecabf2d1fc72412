"""Finding the JSON object in what a model wrote: thinking aloud, fences, prose, damage and all."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .protocol import VLMError

MAX_CHARACTERS = 200_000
MAX_REPAIRED_CHARACTERS = 60_000
MAX_STRAY = 4_000_000  # quotes at odd places times letters: json-repair seeks the end of each of them anew
ESCAPED_SHARE = 0.1  # of a quote inside a string: some of them it takes for the string's end
MAX_NESTED = 200_000  # depth times letters: it reads what lies in brackets without keys once for each of them
MAX_STARTS = 1000
MAX_SCANNED = 10 * MAX_CHARACTERS
MAX_DEPTH = 64
MAX_ENVELOPES, MAX_INSIDE = 4, 200  # how deep an answer is looked for inside other objects, and in how many

_THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_END_OF_THOUGHT = re.compile(r"\A.*</(?:think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"```[\w-]*[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_CURLY = re.compile("[\u201c-\u201f]")
_PARAMETER = re.compile(r"<parameter(?:=([\w-]{1,60})|[ ]name=\"([\w-]{1,60})\")>([^<]*)</parameter>")
_BRACKET = re.compile(r"[{\[]")
_QUOTE = re.compile(r'[{\[(,:]\s*"|"(?=\s*(?:[}\]),:]|\Z))|\\(?P<escaped>")|\\.|(?P<stray>")', re.DOTALL)
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)


@dataclass(frozen=True)
class Found:
    """A JSON object found in a text; `broken_off` when the text ends before the object does.

    `aside`: how many further objects of the same form the text holds that say something else.
    """

    data: dict[str, Any]
    broken_off: bool = False
    aside: int = 0


def find_object(text: str, wanted: Collection[str]) -> Found | None:
    """Return the object in `text` that says most under the `wanted` keys, or None.

    It may lie in an envelope (`data`, the form's name, a schema filled in), be the arguments of a tool call, or be written
    as text inside another. Whole JSON is taken as it stands; where it says nothing under a key, a repair of the text from
    its first bracket on may say more. Of several that say as much, the last counts: models draft and then answer; what
    only the others say is merged in. A bare list counts as the value of the first wanted key. Raises VLMError only when
    json-repair is missing.
    """
    text = _without_thoughts(_unlisted(text[:MAX_CHARACTERS]))
    if '"' not in text:
        text = _CURLY.sub('"', text)
    objects = [Found(data) for data in _whole_objects(text, wanted)][::-1] + _parameters(text, wanted)
    if not _merged(objects, wanted) or _filled(_merged(objects, wanted).data, wanted) < len(wanted):
        objects += _repaired(text, wanted)
    return _merged(objects, wanted)


def _parameters(text: str, wanted: Collection[str]) -> list[Found]:
    """The arguments of a tool call that is written with a tag for each."""
    named = {tag[1] or tag[2]: decoded(tag[3]) or tag[3].strip() for tag in _PARAMETER.finditer(text)}
    return [Found(_normal(named, wanted))] if named else []


def _merged(objects: list[Found], wanted: Collection[str]) -> Found | None:
    best = max(objects, key=lambda each: (_filled(each.data, wanted), _score(each.data, wanted)), default=None)
    if best is None:
        return None
    data, whole = dict(best.data), [each for each in objects if not each.broken_off or each is best]
    for key in wanted:
        if _is_blank(data.get(key)):
            data |= next(({key: each.data[key]} for each in whole if not _is_blank(each.data.get(key))), {})
    others = {json.dumps(of, sort_keys=True, default=str) for each in whole if (of := _of(each.data, wanted)) and not _says(data, of)}
    return Found(data, best.broken_off, len(others))


def _of(data: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    return {key: data[key] for key in wanted if not _is_blank(data.get(key))}


def _says(data: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    return all(data.get(key) == value for key, value in part.items())


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, (str, list, dict)) and not value)


def _filled(data: Mapping[str, Any], wanted: Collection[str]) -> int:
    return len(_of(data, wanted))


def _unlisted(text: str) -> str:
    """The texts of a Python or JSON list of texts, which some nodes hand on in the place of their one text."""
    stripped = text.strip()
    for _ in range(MAX_ENVELOPES):
        if not stripped.startswith('"') or not stripped.endswith('"'):
            break
        with suppress(ValueError):
            text = stripped = json.loads(stripped, strict=False).strip()
    if stripped[:2] not in ("['", '["') or not stripped.endswith("]") or _depths(stripped)[1] > MAX_DEPTH:
        return text
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        texts = ast.literal_eval(stripped)
        if isinstance(texts, list) and all(isinstance(each, str) for each in texts):
            return "\n\n".join(texts)
    return text


def decoded(text: str) -> Any:
    """The list or object that a text is, strictly or mended; None for any other text."""
    text = text.strip()[:MAX_REPAIRED_CHARACTERS]
    if fence := _FENCE.search(text) if "```" in text else None:
        text = fence[1].strip()
    if text[:1] not in ("{", "[") or _depths(text)[1] > MAX_DEPTH:
        return None
    with suppress(ValueError, RecursionError):
        return json.loads(text, strict=False)
    return _mended(text)


def spoken(text: str) -> str:
    """Return a reply without its closed thoughts."""
    return _END_OF_THOUGHT.sub("", _THOUGHT.sub(lambda match: "" if match[2] else match[0], text))


def _without_thoughts(text: str) -> str:
    """Drop the thoughts, unless the only brackets are in them: then they may hold the answer."""
    answer = spoken(text)
    return answer if "{" in answer or "[" in answer else text


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
    """Yield the objects that a decoded value stands for: itself, or what lies in it where it has no wanted key."""
    if isinstance(data, list) and data and all(isinstance(item, dict) for item in data):
        if not any(_score(_normal(item, wanted), wanted) for item in data) and not any(_inside(item, wanted) for item in data):
            data = {next(iter(wanted)): data}
        else:
            for item in data[:MAX_INSIDE]:
                yield from _as_object(item, wanted)
            return
    if not isinstance(data, dict):
        return
    outer = _normal(data, wanted)
    inside = [] if _filled(outer, wanted) == len(wanted) else list(_inside(data, wanted))
    if not inside or _filled(outer, wanted):
        yield outer
    yield from inside


def _inside(data: dict[Any, Any], wanted: Collection[str]) -> list[dict[str, Any]]:
    """The nearest objects inside another that say more under the wanted keys than it does: of envelopes and tool calls."""
    enough, level, seen = _filled(_normal(data, wanted), wanted), [data], 0
    for _ in range(MAX_ENVELOPES):
        below = [each for outer in level for each in _contents(outer)][:MAX_INSIDE]
        objects = [_normal(each, wanted) for each in below]
        if better := [each for each in objects if _filled(each, wanted) > enough]:
            return better
        level, seen = below, seen + len(below)
        if not level or seen > MAX_INSIDE:
            break
    return []


def _contents(data: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
    for value in data.values():
        value = decoded(value) if isinstance(value, str) else value
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                yield each


def _normal(data: dict[Any, Any], wanted: Collection[str]) -> dict[str, Any]:
    """An object under the keys as they are wanted, without what is only the schema of a value."""
    named = {_key(key): value for key, value in data.items()}
    for other, key in _ALIASES.items():
        if key in wanted and key not in named and other in named:
            named[key] = named.pop(other)
    return {key: value for key, each in named.items() if (value := _content(each) if key in wanted else each) is not _NOTHING}


_NOTHING = object()
_ALIASES = {"nodes": "concepts", "variables": "concepts", "prompt": "base_prompt"} | dict.fromkeys(
    ("links", "relations", "relationships", "causal_edges", "causal_links", "causal_relations", "causal_relationships"), "edges"
)
_SCHEMA_TYPES = ("string", "array", "object", "number", "boolean")


def _content(value: Any) -> Any:
    """What stands in the place of a value: itself, or, of a schema that was filled in, what it was filled with."""
    if not isinstance(value, dict) or value.get("type") not in _SCHEMA_TYPES:
        return value
    return next((value[key] for key in ("value", "const", "default", "example", "content") if key in value), _NOTHING)


_CAPITAL = re.compile("(?<=[a-z])(?=[A-Z])")


def _key(key: Any) -> str:
    words = _CAPITAL.sub("_", str(key).replace("\\", "").strip())
    return words.lower().replace(" ", "_").replace("-", "_")


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
        return repair(_affordable(body), return_objects=True, skip_json_loads=True)
    except Exception:  # whatever a third party's parser trips over, the reply is only unreadable
        return None


def _affordable(body: str) -> str:
    """Return as much of a text from its start as can be mended in a second."""
    body, stray = body[: MAX_NESTED // max(1, _depths(body)[1])], 0.0
    for quote in _QUOTE.finditer(body):
        stray += {"stray": 1.0, "escaped": ESCAPED_SHARE}.get(quote.lastgroup or "", 0.0)
        if stray * quote.end() > MAX_STRAY:
            return body[: quote.end()]
    return body[: int(MAX_STRAY / stray)] if stray else body


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
