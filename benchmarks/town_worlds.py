"""The scenes of the Town benchmark and what is asked of them."""

from __future__ import annotations

import numpy as np

from csg.town import world

INTERVENED_ON = {
    "weather": "weather",
    "ground": "ground",
    "time": "time",
    "season": "season",
    "house": "object",
    "car": "object",
}
FIRST_SCENE = 80_000_000  # training and validation take their scenes elsewhere


def interventions(scene: int) -> list[dict[str, str]]:
    """One do() on every root and inner concept, to a value that the scene does not have; fixed by the scene."""
    before, rng = world.factual(scene), np.random.default_rng((scene, 2))
    chosen = []
    for name in INTERVENED_ON:
        others = [value for value in world.BY_NAME[name].domain if value != before[name]]
        chosen.append({name: str(rng.choice(others))})
    return chosen
