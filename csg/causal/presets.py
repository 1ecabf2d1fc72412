"""A graph to begin with."""

from __future__ import annotations

from functools import cache

from .graph import CausalGraph, Concept, Edge


@cache
def street() -> CausalGraph:
    """Return the street of the built-in world in seven concepts, on a sunny day."""
    return CausalGraph(
        base_prompt=(
            "house painted yellow, car painted red, daytime, sunny weather, dry ground, "
            "street lamp switched off, windows dark"
        ),
        concepts=(
            Concept(
                "weather",
                "sunny",
                {"sunny": "sunny weather", "rainy": "rainy weather", "snowy": "snowy weather"},
                position=(40, 40),
            ),
            Concept(
                "ground",
                "dry",
                {"dry": "dry ground", "wet": "wet ground with puddles", "snow": "ground covered in snow"},
                position=(320, 40),
            ),
            Concept("time", "day", {"day": "daytime", "night": "night time"}, "global", position=(40, 180)),
            Concept(
                "lamp", "off", {"off": "street lamp switched off", "on": "street lamp shining"}, position=(320, 140)
            ),
            Concept("windows", "dark", {"dark": "windows dark", "lit": "windows lit"}, position=(320, 240)),
            Concept(
                "house",
                "yellow",
                {"red": "house painted red", "blue": "house painted blue", "yellow": "house painted yellow"},
                position=(40, 340),
            ),
            Concept(
                "car",
                "red",
                {"none": "empty road", "red": "car painted red", "blue": "car painted blue"},
                position=(320, 340),
            ),
        ),
        edges=(
            Edge("weather", "ground", "rain wets the ground and snow covers it"),
            Edge("time", "lamp", "street lamps are lit at night"),
            Edge("time", "windows", "people light their rooms at night"),
        ),
    )
