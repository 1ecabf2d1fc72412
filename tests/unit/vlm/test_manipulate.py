"""The manipulator: the model proposes, the graph decides."""
import json
import random
from dataclasses import replace

import pytest

from csg.causal.graph import Concept, GraphError
from csg.vlm.manipulate import vlm_propagate
from tests.unit.vlm.scripted import ScriptedVLM, mutated, street_graph

PROMPT = "a yellow house by the wet road in the rain"
WET = {"concept": "ground", "value": "wet", "reason": "rain wets it"}
MIRRORED = {"concept": "reflections", "value": "mirrored", "reason": "puddles mirror"}


def rainy():
    return street_graph().do({"weather": "rainy"})


def propagated(*values, graph=None, by_hand=None, prompt=PROMPT):
    reply = {"values": list(values), "prompt": prompt}
    return vlm_propagate(ScriptedVLM(reply, reply), None, graph or rainy(), by_hand)


def values_of(result):
    return {change.concept: change.counterfactual for change in result.changes}


def test_descendants_get_their_values_reasons_and_prompt():
    result = propagated(WET, MIRRORED)
    assert values_of(result) == {"weather": "rainy", "ground": "wet", "reflections": "mirrored", "house": "yellow"}
    assert result["ground"].source == "vlm" and result["ground"].reason == "rain wets it"
    assert result["weather"].source == "intervention" and result["house"].source == "kept"
    assert result.prompt == PROMPT and result.notes == ()


def test_the_question_names_descendants_in_the_order_of_the_graph():
    vlm = ScriptedVLM({"values": [WET, MIRRORED], "prompt": PROMPT})
    vlm_propagate(vlm, None, rainy())
    (question,) = vlm.asked
    assert '["ground", "reflections"]' in question.prompt and '{"weather": "rainy"}' in question.prompt
    assert (question.temperature, question.max_tokens, question.images) == (0.2, 3072, ())


def test_what_changes_against_the_graph_is_put_back_and_reported():
    result = propagated(WET, {"concept": "house", "value": "blue"}, {"concept": "weather", "value": "sunny"})
    assert values_of(result) == {"weather": "rainy", "ground": "wet", "reflections": "none", "house": "yellow"}
    notes = " ".join(result.notes)
    assert "house was proposed as 'blue' but stays 'yellow'" in notes
    assert "weather was proposed as 'sunny' but stays 'rainy'" in notes
    assert "reflections has no proposal" in notes
    assert "prompt is not used" in notes and result.prompt != PROMPT and "wet road" in result.prompt


def test_several_interventions_at_once():
    vlm = ScriptedVLM({"values": [WET, MIRRORED], "prompt": PROMPT})
    result = vlm_propagate(vlm, None, rainy().do({"house": "blue"}))
    assert '{"weather": "rainy", "house": "blue"}' in vlm.prompts[0]
    assert values_of(result) == {"weather": "rainy", "ground": "wet", "reflections": "mirrored", "house": "blue"}
    assert [change.concept for change in result.changes if change.role == "intervened"] == ["weather", "house"]


def test_a_value_outside_the_domain_is_refused_and_reported():
    result = propagated({"concept": "ground", "value": "lava"}, MIRRORED)
    assert result["ground"].counterfactual == "dry" and not result["ground"].changed
    assert any("'lava', outside its domain" in note for note in result.notes)


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        ([WET], "'reflections' needs one of the values none, mirrored; it has none."),
        ([WET, {"concept": "reflections", "value": "lava"}], "'reflections' needs one of the values none, mirrored; 'lava' is outside"),
    ],
)
def test_a_descendant_without_a_value_of_its_domain_is_asked_for_again(first, complaint):
    vlm = ScriptedVLM({"values": first, "prompt": PROMPT}, {"values": [WET, MIRRORED], "prompt": PROMPT})
    result = vlm_propagate(vlm, None, rainy())
    assert complaint in vlm.prompts[1] and vlm.asked[1].temperature == 0
    assert result["reflections"].counterfactual == "mirrored" and result.notes == ()


@pytest.mark.parametrize("said", ["Wet", "wet road", "WET ROAD"])
def test_a_value_may_be_said_in_other_words(said):
    assert propagated({"concept": "Ground", "value": said}, MIRRORED)["ground"].counterfactual == "wet"


def test_a_domain_of_one_may_grow_by_a_phrased_value():
    graph = rainy()
    concepts = tuple(Concept("ground", "dry") if c.name == "ground" else c for c in graph.concepts)
    graph = replace(graph, concepts=concepts)
    grown = propagated({"concept": "ground", "value": "muddy", "phrase": "deep mud"}, MIRRORED, graph=graph)
    assert grown.graph["ground"].phrase("muddy") == "deep mud" and grown["ground"].counterfactual == "muddy"
    assert any("'muddy' (deep mud) was added" in note for note in grown.notes)
    assert propagated({"concept": "ground", "value": "muddy"}, MIRRORED, graph=graph)["ground"].counterfactual == "dry"


def test_values_set_by_hand_stand_and_are_told():
    vlm = ScriptedVLM({"values": [WET, MIRRORED], "prompt": PROMPT})
    result = vlm_propagate(vlm, None, rainy(), {"ground": "dry"})
    assert result["ground"].counterfactual == "dry" and result["ground"].source == "by hand"
    assert result["reflections"].source == "vlm"
    assert '{"ground": "dry"}' in vlm.prompts[0] and '["reflections"]' in vlm.prompts[0]


def test_a_held_mediator_stops_the_effect():
    result = propagated(WET, MIRRORED, graph=rainy().hold("ground"))
    assert values_of(result)["ground"] == "dry" and values_of(result)["reflections"] == "none"
    assert any("reflections was proposed as 'mirrored' but stays 'none': nothing" in note for note in result.notes)


def test_an_unreadable_reply_changes_nothing_below_and_says_so():
    result = vlm_propagate(ScriptedVLM("no", "never"), None, rainy())
    assert values_of(result) == {"weather": "rainy", "ground": "dry", "reflections": "none", "house": "yellow"}
    assert any("not fully readable: The reply has no JSON object" in note for note in result.notes)
    assert result.notes[-1] == "The model wrote: never"
    assert "rain from dark clouds" in result.prompt


def test_unknown_concepts_and_second_thoughts_are_left_out():
    result = propagated(WET, {"concept": "ground", "value": "dry"}, {"concept": "moon", "value": "full"}, MIRRORED)
    assert result["ground"].counterfactual == "wet"
    assert any("unknown concept 'moon'" in note for note in result.notes)
    assert any("gave ground a second value, 'dry'; the first counts" in note for note in result.notes)


def test_nothing_is_asked_without_an_intervention_or_after_a_bad_value_by_hand():
    vlm = ScriptedVLM()
    assert vlm_propagate(vlm, None, street_graph()).changed == ()
    with pytest.raises(GraphError):
        vlm_propagate(vlm, None, rainy(), {"ground": "lava"})
    assert vlm.asked == []


def test_no_damage_to_a_reply_moves_what_the_graph_holds():
    random_ = random.Random(3)
    good = json.dumps({"values": [WET, MIRRORED, {"concept": "house", "value": "yellow"}], "prompt": PROMPT}, indent=1)
    moved = 0
    for _ in range(1000):
        result = vlm_propagate(ScriptedVLM(mutated(good, random_), mutated(good, random_)), None, rainy())
        assert result["weather"].counterfactual == "rainy" and not result["house"].changed and result.prompt
        moved += result["reflections"].changed
    assert 100 < moved < 1000
