"""Town's structural causal model: twelve categorical concepts, their mechanisms and their exogenous noise.

Every scene is a pure function of its seed. Abduction is therefore exact (the noise is known), and a counterfactual is
the same noise pushed through mechanisms some of which ``do()`` has replaced (Pearl, Causality, 7.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Values = dict[str, str]


@dataclass(frozen=True)
class Variable:
    """One concept of the world: its causes, its domain with a noun phrase per value, and why its causes matter."""

    name: str
    causes: Mapping[str, str]
    phrases: Mapping[str, str]
    scope: str = "local"

    @property
    def domain(self) -> tuple[str, ...]:
        """The values in their fixed order."""
        return tuple(self.phrases)


# Nouns come before the words that qualify them: CLIP's text model is causal, so only a later token can know both.
VARIABLES: tuple[Variable, ...] = (
    Variable("season", {}, {"spring": "spring", "summer": "summer", "autumn": "autumn", "winter": "winter"}, "global"),
    Variable("time", {}, {"day": "daytime", "night": "night time"}, "global"),
    Variable("house", {}, {c: f"house painted {c}" for c in ("red", "blue", "yellow")}),
    Variable("car", {}, {"none": "empty road", "red": "car painted red", "blue": "car painted blue"}),
    Variable(
        "weather",
        {"season": "each season has its own odds of rain and snow"},
        {"sunny": "sunny weather", "rainy": "rainy weather", "snowy": "snowy weather"},
    ),
    Variable(
        "foliage",
        {"season": "trees blossom in spring and lose their leaves in winter"},
        {
            "pink": "tree with pink blossom",
            "green": "tree with green leaves",
            "orange": "tree with orange leaves",
            "bare": "tree with bare branches",
        },
    ),
    Variable(
        "ground",
        {"weather": "rain wets the ground and snow covers it"},
        {"dry": "dry ground", "wet": "wet ground with puddles", "snow": "ground covered in snow"},
    ),
    Variable(
        "lamp",
        {"time": "street lamps are lit at night"},
        {"off": "street lamp switched off", "on": "street lamp shining"},
    ),
    Variable("windows", {"time": "people light their rooms at night"}, {"dark": "windows dark", "lit": "windows lit"}),
    Variable(
        "person",
        {"weather": "people open umbrellas in the rain", "time": "fewer people are out at night"},
        {"none": "empty pavement", "walking": "person walking", "umbrella": "person under an umbrella"},
    ),
    Variable(
        "headlights",
        {"car": "only a car has headlights", "time": "drivers switch them on at night"},
        {"off": "headlights dark", "on": "headlights shining"},
    ),
    Variable(
        "snowman",
        {"ground": "a snowman needs snow on the ground"},
        {"none": "empty lawn", "built": "snowman with a hat"},
    ),
)
BY_NAME: Mapping[str, Variable] = {v.name: v for v in VARIABLES}
NAMES: tuple[str, ...] = tuple(BY_NAME)
CAPTION_ORDER = (
    "house", "car", "foliage", "season", "time", "weather", "ground", "lamp", "windows", "person", "headlights", "snowman",
)  # fmt: skip

WEATHER_GIVEN_SEASON = {
    "spring": (0.58, 0.38, 0.04),
    "summer": (0.70, 0.30, 0.00),
    "autumn": (0.42, 0.50, 0.08),
    "winter": (0.25, 0.15, 0.60),
}
FOLIAGE = {"spring": "pink", "summer": "green", "autumn": "orange", "winter": "bare"}
GROUND = {"sunny": "dry", "rainy": "wet", "snowy": "snow"}


def categorical(domain: tuple[str, ...], odds: tuple[float, ...], u: float) -> str:
    """Inverse-CDF draw: the value of `domain` that the uniform number `u` in [0, 1) selects under `odds`."""
    for value, edge in zip(domain, np.cumsum(odds), strict=True):
        if u < edge:
            return value
    return domain[-1]


def _uniform(name: str) -> Callable[[Values, float], str]:
    domain = BY_NAME[name].domain
    return lambda _, u: domain[min(int(u * len(domain)), len(domain) - 1)]


def _weather(v: Values, u: float) -> str:
    return categorical(BY_NAME["weather"].domain, WEATHER_GIVEN_SEASON[v["season"]], u)


def _person(v: Values, u: float) -> str:
    if u >= (0.5 if v["time"] == "night" else 0.8):
        return "none"
    return "umbrella" if v["weather"] == "rainy" else "walking"


MECHANISMS: Mapping[str, Callable[[Values, float], str]] = {
    "season": _uniform("season"),
    "time": lambda _, u: "day" if u < 0.6 else "night",
    "house": _uniform("house"),
    "car": _uniform("car"),
    "weather": _weather,
    "foliage": lambda v, _: FOLIAGE[v["season"]],
    "ground": lambda v, _: GROUND[v["weather"]],
    "lamp": lambda v, u: "on" if v["time"] == "night" and u < 0.95 else "off",
    "windows": lambda v, u: "lit" if v["time"] == "night" and u < 0.85 else "dark",
    "person": _person,
    "headlights": lambda v, _: "on" if v["time"] == "night" and v["car"] != "none" else "off",
    "snowman": lambda v, u: "built" if v["ground"] == "snow" and u < 0.6 else "none",
}


@dataclass(frozen=True)
class Exogenous:
    """Everything about a scene that no concept decides: one uniform number per mechanism, and the geometry."""

    seed: int
    u: Mapping[str, float]
    geometry: Mapping[str, np.ndarray]


GEOMETRY_SIZES = {
    "horizon": 1, "hills": 4, "house": 4, "side": 1, "roof": 1, "tree": 2, "crown": 12, "branches": 24, "slots": 5,
    "slot_jitter": 3, "car": 1, "sun": 2, "clouds": 15, "drops": 180, "puddles": 15, "stars": 40, "tint": 30, "coat": 1,
}  # fmt: skip


def exogenous(seed: int) -> Exogenous:
    """The exogenous noise of scene `seed`: independent uniform numbers in [0, 1)."""
    rng = np.random.default_rng(seed)
    u = {name: float(rng.random()) for name in NAMES}
    return Exogenous(seed, u, {name: rng.random(size) for name, size in GEOMETRY_SIZES.items()})


def check_do(do: Mapping[str, str]) -> None:
    """Raise ValueError unless every assignment names a concept of Town and one of its values."""
    for name, value in do.items():
        if name not in BY_NAME:
            raise ValueError(f"Town has no concept {name[:60]!r}; it has: {', '.join(NAMES)}.")
        if value not in BY_NAME[name].phrases:
            raise ValueError(
                f"{name} cannot be {value[:60]!r} in Town; its values are: {', '.join(BY_NAME[name].domain)}."
            )


def evaluate(noise: Exogenous, do: Mapping[str, str] | None = None) -> Values:
    """Push the noise through the mechanisms, those of `do` replaced by constants (action and prediction)."""
    check_do(do or {})
    values: Values = {}
    for name in NAMES:
        values[name] = (do or {}).get(name) or MECHANISMS[name](values, noise.u[name])
    return values


def factual(seed: int) -> Values:
    """The values of scene `seed` as it is."""
    return evaluate(exogenous(seed))


def counterfactual(seed: int, do: Mapping[str, str]) -> Values:
    """The values that scene `seed` would have had under `do`."""
    return evaluate(exogenous(seed), do)


def caption(values: Mapping[str, str], names: tuple[str, ...] = CAPTION_ORDER) -> str:
    """The phrases of `names` joined by commas: Town's base prompt."""
    return ", ".join(BY_NAME[name].phrases[values[name]] for name in names)


def graph_document(values: Mapping[str, str]) -> dict:
    """Town's true causal graph with these values, as the native JSON object (schema version 1)."""
    concepts = [
        {"name": v.name, "value": values[v.name], "values": dict(v.phrases), "scope": v.scope} for v in VARIABLES
    ]
    edges = [
        {"cause": cause, "effect": v.name, "reason": reason, "status": "confirmed"}
        for v in VARIABLES
        for cause, reason in v.causes.items()
    ]
    return {"version": 1, "base_prompt": caption(values), "concepts": concepts, "edges": edges}


def descendants(names: tuple[str, ...] | list[str]) -> set[str]:
    """All concepts that some concept of `names` causes, directly or through others."""
    reached = set(names)
    for variable in VARIABLES:  # VARIABLES is a topological order, so one pass suffices
        if reached & set(variable.causes):
            reached.add(variable.name)
    return reached - set(names)
