"""Suggestions: each on another concept, each carried through the graph."""
import json
import random

import pytest

from csg.vlm.protocol import VLMError
from csg.vlm.suggest import suggest_interventions
from tests.unit.vlm.scripted import ScriptedVLM, mutated, street_graph

RAIN = {
    "concept": "weather", "value": "rainy", "reason": "puddles", "prompt": "a yellow house by the wet road in the rain",
    "values": [{"concept": "ground", "value": "wet"}, {"concept": "reflections", "value": "mirrored"}],
}  # fmt: skip
WET = {"concept": "ground", "value": "wet", "reason": "", "prompt": "p", "values": [{"concept": "reflections", "value": "mirrored"}]}
BLUE = {"concept": "house", "value": "blue", "reason": "", "prompt": "a blue house", "values": []}


def suggested(*items, graph=None, count=3):
    reply = {"interventions": list(items)}
    return suggest_interventions(ScriptedVLM(reply, reply), None, graph or street_graph(), count)


def test_three_propagated_counterfactuals():
    found = suggested(RAIN, WET, BLUE)
    assert [dict(one.graph.interventions) for one in found.counterfactuals] == [
        {"weather": "rainy"}, {"ground": "wet"}, {"house": "blue"},
    ]  # fmt: skip
    rain, wet, blue = found.counterfactuals
    assert rain["ground"].counterfactual == "wet" and rain["reflections"].counterfactual == "mirrored"
    assert wet["weather"].counterfactual == "sunny" and blue.prompt == "a blue house"
    assert found.notes == () and found.report().count("do(") == 3
    assert rain.notes == ("Suggested because: puddles",)


def test_a_suggestion_that_is_not_carried_through_is_asked_for_again():
    dry, lava = {**RAIN, "values": []}, {**WET, "values": [{"concept": "reflections", "value": "lava"}]}
    vlm = ScriptedVLM({"interventions": [dry, lava, BLUE]}, {"interventions": [RAIN, WET, BLUE]})
    found = suggest_interventions(vlm, None, street_graph())
    assert "do(weather = rainy): values: 'ground' needs one of the values dry, wet" in vlm.prompts[1]
    assert "do(ground = wet): values: 'reflections' needs" in vlm.prompts[1]
    assert found.counterfactuals[1]["reflections"].counterfactual == "mirrored" and found.notes == ()


def test_the_question_offers_only_what_can_change():
    blue = {**BLUE, "values": RAIN["values"]}
    vlm = ScriptedVLM({"interventions": [WET, blue]})
    found = suggest_interventions(vlm, None, street_graph().do({"weather": "rainy"}), 2)
    assert found.counterfactuals[1]["ground"].counterfactual == "wet" and found.counterfactuals[1]["house"].changed
    assert "Suggest 2 interventions" in vlm.prompts[0]
    offered = vlm.prompts[0].split("Choose only among: ")[1].split("</data>")[0]
    assert '"ground"' in offered and '"weather"' not in offered
    assert '{"weather": "rainy"}' in vlm.prompts[0]


def test_what_a_model_changes_against_the_graph_is_put_back_and_reported():
    found = suggested(RAIN, WET, {**BLUE, "values": [{"concept": "weather", "value": "rainy"}]})
    assert not found.counterfactuals[2]["weather"].changed
    assert "weather was proposed as 'rainy' but stays 'sunny'" in found.report()


def test_repeated_factual_and_unknown_suggestions_are_asked_again_and_then_dropped():
    odd = [RAIN, {**RAIN, "value": "Rainy"}, {**BLUE, "value": "yellow"}, {"concept": "moon", "value": "full"}, {"concept": 3}]
    found = suggested(*odd)
    assert [dict(one.graph.interventions) for one in found.counterfactuals] == [{"weather": "rainy"}]
    assert any("do(house = yellow) changes nothing" in note for note in found.notes)
    assert any("expected 3 on different concepts, got 1" in note for note in found.notes)
    assert found.notes[-1].startswith('The model wrote: {"interventions"') and '"moon"' in found.report()


def test_bad_values_inside_a_suggestion_lose_only_themselves():
    rain = {**RAIN, "values": [7, {"concept": "ground", "value": "wet"}]}
    found = suggested(rain, WET, BLUE)
    assert len(found.counterfactuals) == 3 and found.counterfactuals[0]["ground"].counterfactual == "wet"
    assert any("interventions[0].values[0]" in note for note in found.notes)


def test_a_suggestion_without_a_readable_prompt_or_reason_still_counts():
    found = suggested({**RAIN, "prompt": ["rain"], "reason": {"why": "puddles"}}, WET, BLUE)
    rain = found.counterfactuals[0]
    assert rain["ground"].counterfactual == "wet" and "rain from dark clouds" in rain.prompt
    assert any("interventions[0].reason: Input should be a valid string" in note for note in found.notes)


def test_fewer_candidates_than_asked_for_is_no_problem():
    held = street_graph().hold("weather", "ground", "reflections")
    assert len(suggested(BLUE, graph=held).counterfactuals) == 1


@pytest.mark.parametrize("replies", [("?", "?"), ('{"interventions": []}',) * 2])
def test_no_usable_suggestion_is_an_error_that_shows_the_reply(replies):
    with pytest.raises(VLMError, match="no usable intervention.*The model wrote"):
        suggest_interventions(ScriptedVLM(*replies), None, street_graph())


def test_a_graph_that_cannot_change_is_refused_before_asking():
    with pytest.raises(VLMError, match="No concept of the graph can be changed"):
        suggest_interventions(ScriptedVLM(), None, street_graph().hold(*street_graph().names))


def test_no_damage_to_a_reply_escapes_as_anything_but_one_clear_error():
    random_ = random.Random(4)
    good = json.dumps({"interventions": [RAIN, WET, BLUE]}, indent=1)
    usable = 0
    for _ in range(1000):
        vlm = ScriptedVLM(mutated(good, random_), mutated(good, random_))
        try:
            found = suggest_interventions(vlm, None, street_graph())
        except VLMError as failure:
            assert "no usable intervention" in str(failure)
            continue
        names = [tuple(one.graph.interventions) for one in found.counterfactuals]
        assert len(set(names)) == len(names) and all(one.changed for one in found.counterfactuals)
        usable += 1
    assert usable > 300
