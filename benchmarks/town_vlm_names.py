"""When a model's word means one of Town's: an explicit list, and nothing beyond it.

A name means a concept of Town if it is the concept's own or one that is listed for it here, but for case, spaces and hyphens. A
value means a value of Town if it, or the model's phrase for it, is Town's own word, Town's phrase, or listed here. There
is no likeness in spelling or meaning: what is not listed does not count, and a longer list is a change that one can read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from csg.causal.graph import CausalGraph, Concept
from csg.town.world import BY_NAME, NAMES
from csg.vlm.replies import matching_name

ABSENT = ("absent", "no", "not present", "missing", "not visible", "nobody", "nothing", "empty")
LIT = ("lit", "shining", "glowing", "switched on", "illuminated", "bright", "on")
UNLIT = ("unlit", "switched off", "dark", "off")

OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "season": ("time of year",),
    "time": ("time of day", "daytime", "day time", "day or night", "hour"),
    "house": ("house color", "house colour", "house paint", "house walls", "wall color", "wall colour", "building", "building color"),
    "car": ("vehicle", "car color", "car colour", "parked car"),
    "weather": ("weather condition", "weather conditions", "precipitation", "sky", "sky condition"),
    "foliage": ("tree", "tree foliage", "tree leaves", "leaves", "tree crown", "tree state", "blossom"),
    "ground": ("ground state", "ground condition", "ground cover", "road", "road state", "road condition", "road surface", "street"),
    "lamp": ("street lamp", "streetlamp", "street light", "streetlight", "lamp post", "lamppost", "lantern"),
    "windows": ("window", "house windows", "window light", "window lights", "windows light"),
    "person": ("pedestrian", "people", "human", "figure", "passer by"),
    "headlights": ("headlight", "car headlights", "car lights", "vehicle lights"),
    "snowman": ("snow man", "snow figure"),
}
OTHER_VALUES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "season": {"autumn": ("fall",)},
    "time": {
        "day": ("daytime", "daylight", "morning", "noon", "midday", "afternoon"),
        "night": ("nighttime", "midnight", "dark"),
    },
    "house": {colour: (f"{colour} house", f"{colour} walls", f"painted {colour}") for colour in BY_NAME["house"].domain},
    "car": {"none": (*ABSENT, "no car"), "red": ("red car",), "blue": ("blue car",)},
    "weather": {
        "sunny": ("clear", "sun", "sunshine", "fair", "clear sky"),
        "rainy": ("rain", "raining", "rainfall"),
        "snowy": ("snow", "snowing", "snowfall"),
    },
    "foliage": {
        "pink": ("blossom", "blossoming", "blooming", "in bloom", "flowering", "pink blossom"),
        "green": ("green leaves", "leafy", "lush"),
        "orange": ("orange leaves", "autumn", "autumnal", "autumn leaves", "fall leaves"),
        "bare": ("leafless", "none", "no leaves", "bare branches"),
    },
    "ground": {
        "wet": ("puddles", "wet with puddles", "rain soaked"),
        "snow": ("snowy", "snow covered", "covered in snow", "snow cover"),
    },
    "lamp": {"off": UNLIT, "on": LIT},
    "windows": {"dark": UNLIT, "lit": LIT},
    "person": {
        "none": (*ABSENT, "no person"),
        "walking": ("walker", "walking person", "present", "without umbrella"),
        "umbrella": ("with umbrella", "under umbrella", "under an umbrella", "holding umbrella", "walking with umbrella"),
    },
    "headlights": {"off": (*UNLIT, "none", "no car"), "on": LIT},
    "snowman": {"none": (*ABSENT, "no snowman"), "built": ("present", "visible", "standing")},
}


def concept_meant(name: str) -> str | None:
    """The concept of Town that a name means, or None."""
    return _meant(name, {town: (town, *OTHER_NAMES[town]) for town in NAMES})


def value_meant(name: str, concept: Concept) -> str | None:
    """The value of Town's concept `name` that a model's concept shows, by its value or by its phrase for that; or None."""
    listed = OTHER_VALUES.get(name, {})
    words = {value: (value, phrase, *listed.get(value, ())) for value, phrase in BY_NAME[name].phrases.items()}
    return _meant(concept.value, words) or _meant(concept.values.get(concept.value, ""), words)


def _meant(word: str, words: Mapping[str, Iterable[str]]) -> str | None:
    return next((town for town, own in words.items() if matching_name(word, own) is not None), None)


def concepts_meant(graph: CausalGraph) -> dict[str, str]:
    """A model's names -> Town's. Of several that mean the same concept the first counts, and the others mean none."""
    meant: dict[str, str] = {}
    for name in graph.names:
        town = concept_meant(name)
        if town and town not in meant.values():
            meant[name] = town
    return meant


def values_meant(graph: CausalGraph) -> dict[str, str | None]:
    """Town's concepts that a model has named -> the value of Town that it read, None for one that is not Town's."""
    return {town: value_meant(town, graph[own]) for own, town in concepts_meant(graph).items()}


def edges_meant(graph: CausalGraph, status: str) -> set[tuple[str, str]]:
    """The edges with a status between concepts of Town, as (cause, effect) in Town's names; the others cannot be judged."""
    meant = concepts_meant(graph)
    drawn = ((meant.get(edge.cause), meant.get(edge.effect)) for edge in graph.edges if edge.status == status)
    return {(cause, effect) for cause, effect in drawn if cause and effect}
