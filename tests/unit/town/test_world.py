"""Town's causal model and renderer: mechanisms, exactness of counterfactuals, regions, shipped files."""

import numpy as np
import pytest

from csg.town import world
from csg.town.canvas import THING_ID
from csg.town.regions import LOCAL, occupancy, region
from csg.town.render import picture, render

SEEDS = range(300, 340)


def first_seed(**wanted):
    return next(s for s in range(10_000) if all(world.factual(s)[k] == v for k, v in wanted.items()))


def test_causes_stand_before_their_effects_and_roots_have_none():
    seen = set()
    for variable in world.VARIABLES:
        assert set(variable.causes) <= seen
        seen.add(variable.name)
    assert not world.BY_NAME["house"].causes and not world.BY_NAME["car"].causes
    assert set(world.BY_NAME["person"].causes) == {"weather", "time"}
    assert len(world.NAMES) >= 10


def test_a_chain_of_three_edges_reaches_the_snowman():
    assert {"weather", "ground", "snowman", "foliage", "person"} == world.descendants(["season"])


@pytest.mark.parametrize("do", [{"weather": "rainy"}, {"time": "night"}, {"season": "winter"}, {"car": "none"}])
def test_an_intervention_changes_nothing_but_itself_and_its_descendants(do):
    allowed = set(do) | world.descendants(list(do))
    for seed in SEEDS:
        before, after = world.factual(seed), world.counterfactual(seed, do)
        assert {n for n in world.NAMES if before[n] != after[n]} <= allowed
        assert all(after[n] == v for n, v in do.items())


def test_doing_what_is_already_so_changes_nothing():
    for seed in SEEDS:
        values = world.factual(seed)
        assert world.counterfactual(seed, {"weather": values["weather"]}) == values


def test_rain_opens_umbrellas_and_wets_the_ground():
    seed = first_seed(weather="sunny", person="walking", time="day")
    after = world.counterfactual(seed, {"weather": "rainy"})
    assert (after["ground"], after["person"]) == ("wet", "umbrella")


def test_unknown_concepts_and_values_are_named():
    with pytest.raises(ValueError, match="'moon'.*it has: season"):
        world.counterfactual(1, {"moon": "full"})
    with pytest.raises(ValueError, match="weather cannot be 'hail'.*sunny, rainy, snowy"):
        world.counterfactual(1, {"weather": "hail"})


def test_pictures_are_a_function_of_the_seed():
    assert np.array_equal(picture(5), picture(5))
    assert not np.array_equal(picture(5), picture(6))


def test_what_rain_does_not_cause_stays_identical_to_the_pixel():
    seed = first_seed(weather="sunny", time="day", person="none")  # an umbrella may cover the house
    noise = world.exogenous(seed)
    before, things = render(noise, world.evaluate(noise))
    after, _ = render(noise, world.evaluate(noise, {"weather": "rainy"}))
    kept = np.isin(things, [THING_ID["house"], THING_ID["window"]])
    inner = kept & np.roll(kept, 2, 0) & np.roll(kept, -2, 0) & np.roll(kept, 2, 1) & np.roll(kept, -2, 1)
    same = np.abs(before.astype(int) - after.astype(int)).max(-1)[inner] == 0
    assert inner.sum() > 2000 and same.all()
    assert not np.array_equal(before, after)


def test_a_removed_car_takes_shadow_and_headlights_with_it():
    seed = first_seed(car="blue", time="night")
    noise = world.exogenous(seed)
    with_car = world.evaluate(noise)
    without = world.evaluate(noise, {"car": "none"})
    assert with_car["headlights"] == "on" and without["headlights"] == "off"
    never = render(noise, with_car | {"car": "none", "headlights": "off"})[0]
    assert np.array_equal(render(noise, without)[0], never)


def test_every_value_shows():
    noise = world.exogenous(first_seed(car="red", time="night", person="walking"))
    values = world.evaluate(noise)
    for variable in world.VARIABLES:
        drawn = {render(noise, values | {variable.name: v})[0].tobytes() for v in variable.domain}
        assert len(drawn) == len(variable.domain), variable.name


def test_regions_lie_where_the_things_are():
    noise = world.exogenous(first_seed(car="red", person="walking"))
    values = world.evaluate(noise)
    cover = occupancy(render(noise, values)[1])
    assert np.allclose(cover.sum(0), 1)
    assert region(cover, "weather", values["weather"])[:3].mean() > region(cover, "weather", values["weather"])[5:].mean()
    assert region(cover, "car", "red")[6:].sum() > 0 and region(cover, "car", "red")[:4].sum() == 0
    assert all(region(cover, name, values[name]).max() <= 1 + 1e-9 for name in LOCAL)


def test_captions_hold_every_phrase_and_fit_the_text_encoder():
    for seed in SEEDS:
        values = world.factual(seed)
        text = world.caption(values)
        assert all(world.BY_NAME[n].phrases[values[n]] in text for n in world.NAMES)
        assert len(text.replace(",", " ,").split()) <= 75
