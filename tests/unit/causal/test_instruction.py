"""A counterfactual as an instruction for edit models, on the editor's presets."""

import re
from pathlib import Path

import pytest

from csg.causal.counterfactual import propagate
from csg.causal.formats import read_json
from csg.causal.instruction import WORDING, as_it_is, instruction, row
from tests.unit.causal.random_graphs import observed

PRESETS = sorted((Path(__file__).parents[3] / "web" / "editor" / "presets").glob("*.json"))


def preset(name):
    return read_json(next(path for path in PRESETS if path.stem == name).read_text(encoding="utf-8"))


def test_rain_in_the_street_in_full():
    counterfactual = propagate(preset("street").do({"weather": "rainy"}), {"umbrellas": "open", "ground": "wet"})
    assert instruction(counterfactual) == (
        "Change the weather from a clear sunny sky to rain from dark clouds. "
        "As a consequence, change the ground from dry asphalt to wet asphalt with reflections. "
        "As a consequence, add the umbrellas: open umbrellas. "
        "Keep exactly as they are: bright afternoon light, a clear view, street lamps switched off, dark shop windows, "
        "people in light clothes, cars driving by. "
        "Change nothing else. Every other object keeps its place, size, shape and colour; do not crop, zoom or shift the picture."
    )


def test_what_disappears_is_removed():
    shown = observed(preset("street"), umbrellas="open")
    assert instruction(propagate(shown.do({"umbrellas": "none"}), {})).startswith("Remove the umbrellas: open umbrellas. Keep")


def test_a_global_change_may_bring_its_light():
    text = instruction(propagate(preset("street").do({"time": "night"}), {"street lamps": "on"}))
    assert "nothing else but the light" in text and "shape and colour" not in text


def test_nothing_to_do_is_said():
    assert instruction(propagate(preset("town"), {})) == "Leave the picture exactly as it is."


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_intervention_of_every_preset_names_each_change_once_in_the_order_of_causes(path):
    graph = read_json(path.read_text(encoding="utf-8"))
    for concept in graph.concepts:
        for value in concept.values:
            if value == concept.value:
                continue
            done = graph.do({concept.name: value})
            follow = [graph[name] for name in done.descendants_of_interventions() if len(graph[name].values) > 1]
            others = {each.name: next(v for v in each.values if v != each.value) for each in follow}
            counterfactual = propagate(done, others)
            text = instruction(counterfactual)
            names = [re.escape(change.concept) for change in counterfactual.changed]
            places = [re.search(rf"\b(change|add|remove) the {name}\b", text, re.IGNORECASE) for name in names]
            assert all(places) and [found.start() for found in places] == sorted(found.start() for found in places)
            assert text.count("As a consequence, ") == len(counterfactual.changed) - 1 and "$" not in text
            kept = text.partition("Keep exactly as they are: ")[2].partition(". Change nothing")[0]
            assert kept.split(", ") == ", ".join(each.factual_phrase for each in counterfactual.unchanged()).split(", ")


def test_words_of_strangers_stay_on_one_line_and_are_never_filled_in():
    graph = read_json('{"concepts": [{"name": "sign", "value": "a", "values": {"a": "a $phrase\\n\\nsign", "b": "$rest"}}]}')
    assert instruction(propagate(graph.do({"sign": "b"}), {})).startswith("Change the sign from a $phrase sign to $rest. Change nothing")


def test_every_change_is_an_instruction_of_its_own():
    graph = preset("street").do({"weather": "rainy"})
    rows = [row(edit) for edit in propagate(graph, {"umbrellas": "open", "ground": "wet"}).edits()]
    assert rows == [
        "Change the weather to rain from dark clouds.", "Change the ground to wet asphalt with reflections.",
        "Add the umbrellas: open umbrellas.",
    ]  # fmt: skip
    shown = observed(preset("street"), umbrellas="open")
    assert [row(edit) for edit in propagate(shown.do({"umbrellas": "none"}), {}).edits()] == ["Remove the umbrellas: open umbrellas."]


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_what_changes_nothing_names_everything_that_is_there(path):
    graph = read_json(path.read_text(encoding="utf-8"))
    text = as_it_is(propagate(graph.do({graph.names[0]: graph.concepts[0].value}), {}))
    assert text.startswith("Leave the picture exactly as it is: ")
    assert all(concept.phrase() in text for concept in graph.concepts)


def test_of_nothing_there_to_see_nothing_is_named():
    graph = read_json('{"concepts": [{"name": "car", "value": "none", "values": {"none": "", "red": "a red car"}}]}')
    counterfactual = propagate(graph.do({"car": "red"}), {})
    assert as_it_is(counterfactual) == "Leave the picture exactly as it is."
    assert [row(edit) for edit in counterfactual.edits()] == ["Add the car: a red car."]


def test_the_wording_is_one_file():
    names = re.findall(r"^([\w ]+): ", WORDING.read_text(encoding="utf-8"), re.MULTILINE)
    rows = {"row change", "row add", "row remove", "as it is"}
    assert sorted(names) == sorted({"change", "add", "remove", "follow", "keep", "rest", "light", "nothing"} | rows)
