"""Graphs as people and other programs write them in JSON: a mapping, pairs, or networkx's nodes and links.

The same rules as `plainGraph` in `web/editor/json.mjs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .dot_meaning import UNDIRECTED

_OURS = ("concepts", "edges", "nodes", "links", "version", "base_prompt", "interventions", "effects", "extracted", "latest", "settled")
_ENDS = (("source", "target"), ("from", "to"), ("cause", "effect"))
_LARGEST = 2**53  # beyond it JavaScript knows no single whole number

Pair = tuple[str, str]


def plain_graph(data: Any) -> Any:
    """Return the data of a graph for `{"rain": ["street"]}`, `[["rain", "street"]]` or networkx's node-link data.

    Keys of a mapping are causes, its lists their effects. Anything else is returned as it is.
    """
    if isinstance(data, list):
        pairs = _all(map(_pair, data))
        return _graph([], pairs) if pairs else data
    if not isinstance(data, Mapping) or "concepts" in data:
        return data
    if isinstance(data.get("nodes"), list):
        links = data.get("links", data.get("edges", []))
        names, pairs = _all(map(_name, data["nodes"])), _all(map(_pair, links if isinstance(links, list) else [None]))
        return data if names is None or pairs is None else _graph(names, pairs, data.get("directed") is not False)
    if not data or any(key in data for key in _OURS) or not all(map(_are_texts, data.values())):
        return data
    return _graph(causes := sorted(data, key=_place), [(cause, effect) for cause in causes for effect in data[cause]])


def _place(key: str) -> tuple[bool, int]:
    """Where a key stands: JavaScript puts whole numbers before all others, in their order."""
    number = len(key) < 10 and key.isascii() and key.isdecimal() and key == str(int(key))
    return (not number, int(key) if number else 0)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _all(items: Iterable[Any]) -> list[Any] | None:
    """Return the items, or None when one of them could not be read."""
    items = list(items)
    return None if None in items else items


def _name(item: Any) -> str | None:
    if isinstance(item, Mapping):
        item = None if "value" in item or "values" in item else item.get("id", item.get("name"))
    if isinstance(item, (int, float)) and not isinstance(item, bool) and item // 1 == item and abs(item) <= _LARGEST:
        return str(int(item))
    return item if isinstance(item, str) else None


def _pair(item: Any) -> Pair | None:
    if isinstance(item, Mapping):
        item = next(([item[cause], item[effect]] for cause, effect in _ENDS if cause in item and effect in item), None)
    if not isinstance(item, list) or len(item) != 2:
        return None
    cause, effect = map(_name, item)
    return None if cause is None or effect is None else (cause, effect)


def _graph(names: Iterable[str], pairs: Iterable[Pair], directed: bool = True) -> dict[str, Any]:
    pairs = dict.fromkeys(pairs)
    names = dict.fromkeys([*names, *(end for pair in pairs for end in pair)])
    doubt = {} if directed else {"status": "proposed", "reason": UNDIRECTED}
    return {
        "concepts": [{"name": name, "value": "present", "values": {"present": name, "absent": ""}} for name in names],
        "edges": [{"cause": cause, "effect": effect, **doubt} for cause, effect in pairs],
    }
