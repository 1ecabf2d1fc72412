"""The most probable counterfactual under a given graph, against brute force over the noise."""

from collections import Counter
from graphlib import CycleError

import numpy as np
import pytest
import town_expected as expected
from town_expected import TRUE_EDGES, most_probable

from csg.town import world

SCENES = range(40)


def sampled(values, do, edges, rng, size=2000):
    """What becomes of each concept, by drawing noise until it fits the facts: no formula shared with the code."""
    after = dict(values) | do
    for name in world.NAMES:  # a topological order of every subset of the true edges
        if name in do:
            continue
        given = {c: (after if (c, name) in edges else values)[c] for c in world.BY_NAME[name].causes}
        if all(given[c] == values[c] for c in given):
            continue
        fitting = [u for u in rng.random(size) if world.MECHANISMS[name](values, u) == values[name]] or rng.random(size)
        counts = Counter(world.MECHANISMS[name](values | given, u) for u in fitting)
        after[name] = counts.most_common(1)[0][0]
    return after


@pytest.mark.parametrize("kept", [1.0, 0.6])
def test_it_is_what_drawing_the_noise_finds(kept):
    rng = np.random.default_rng(5)
    for scene in SCENES:
        edges = [edge for edge in TRUE_EDGES if rng.random() < kept]
        name = str(rng.choice(world.NAMES))
        do = {name: str(rng.choice(world.BY_NAME[name].domain))}
        values = world.factual(scene)
        assert most_probable(values, do, edges) == sampled(values, do, edges, rng), (scene, do, edges)


def test_doing_what_is_so_changes_nothing():
    for scene in SCENES:
        values = world.factual(scene)
        assert most_probable(values, values) == values


def test_only_what_the_given_edges_reach_may_change():
    for scene in SCENES:
        values = world.factual(scene)
        after = most_probable(values, {"season": "winter"}, [("season", "foliage"), ("weather", "ground")])
        assert {n for n in values if after[n] != values[n]} <= {"season", "foliage"}


def test_where_the_noise_decides_nothing_it_is_the_exact_counterfactual():
    for scene in SCENES:
        after, exact = most_probable(world.factual(scene), {"weather": "snowy"}), world.counterfactual(scene, {"weather": "snowy"})
        assert all(after[n] == exact[n] for n in ("weather", "ground", "foliage", "house", "car", "time", "headlights"))


def scene_with(**wanted):
    return next(v for v in map(world.factual, range(10_000)) if all(v[k] == value for k, value in wanted.items()))


def test_the_facts_tell_of_the_noise():
    """Somebody who is out at night is out by day; of those at home at night most go out by day."""
    out = scene_with(time="night", person="walking", weather="sunny")
    home = scene_with(time="night", person="none", weather="sunny")
    assert most_probable(out, {"time": "day"})["person"] == "walking"
    assert most_probable(home, {"time": "day"})["person"] == "walking"
    assert most_probable(scene_with(time="day", person="none"), {"time": "night"})["person"] == "none"


def test_a_missing_edge_leaves_its_cause_as_it_was():
    values = scene_with(weather="sunny", person="walking", time="day")
    without = [edge for edge in TRUE_EDGES if edge != ("weather", "person")]
    assert most_probable(values, {"weather": "rainy"}, without)["person"] == "walking"
    assert most_probable(values, {"weather": "rainy"})["person"] == "umbrella"


def test_an_edge_that_the_world_lacks_brings_no_mechanism():
    values = world.factual(3)
    assert most_probable(values, {"house": "red"}, [("house", "car")])["car"] == values["car"]


def test_a_reversed_edge_carries_nothing_back():
    values = scene_with(weather="sunny")
    turned = [edge for edge in TRUE_EDGES if edge != ("weather", "ground")] + [("ground", "weather")]
    assert most_probable(values, {"ground": "wet"}, turned)["weather"] == "sunny"


def test_values_settled_by_hand_are_passed_on_where_the_intervention_reaches():
    values = scene_with(season="summer", weather="sunny", snowman="none")
    after = most_probable(values, {"season": "winter"}, settled={"weather": "snowy", "lamp": "on"})
    assert (after["weather"], after["ground"], after["snowman"]) == ("snowy", "snow", "built")
    assert after["lamp"] == values["lamp"]


def test_facts_against_the_mechanism_tell_nothing():
    values = dict(world.factual(3)) | {"time": "day", "lamp": "on"}
    assert most_probable(values, {"time": "night"})["lamp"] == "on"
    assert expected.probable_value("foliage", values | {"foliage": "pink", "season": "winter"}, {"season": "summer"}) == "green"


def test_circles_and_unknown_values_are_refused():
    with pytest.raises(CycleError):
        most_probable(world.factual(1), {"season": "winter"}, [("weather", "ground"), ("ground", "weather")])
    with pytest.raises(ValueError, match="weather cannot be 'hail'"):
        most_probable(world.factual(1), {"weather": "hail"})
