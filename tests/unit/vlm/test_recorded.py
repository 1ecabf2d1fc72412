"""Good replies about a portrait, a street and a still life, in the packaging that models use, from picture to counterfactual."""
from pathlib import Path

import pytest
import torch

from csg.evaluation.effectiveness import effectiveness
from csg.vlm.extract import extract_concepts
from csg.vlm.manipulate import vlm_propagate
from csg.vlm.suggest import suggest_interventions
from tests.unit.vlm.scripted import GOOD, ScriptedVLM

REPLIES = Path(__file__).parent / "replies"
IMAGE = torch.rand(1, 64, 64, 3)
ACTIONS = {"portrait": {"weather": "rainy"}, "still_life": {"candle": "unlit"}, "street": {"weather": "rainy"}}
FOLLOWS = {
    "portrait": {"hair": "wet", "clothing": "raincoat", "expression": "frowning"},
    "still_life": {"candle light": "cold", "wax": "solid"},
    "street": {"ground": "wet", "umbrellas": "open"},
}


def recorded(call, scene):
    return (REPLIES / call / f"{scene}.txt").read_text(encoding="utf-8")


@pytest.fixture(params=sorted(GOOD))
def scene(request):
    return request.param


@pytest.fixture
def graph(scene):
    found = extract_concepts(ScriptedVLM(GOOD[scene]), IMAGE)
    assert not found.problems and not found.notes
    return found.graph


def test_a_recorded_propagation_is_carried_out_whole_at_the_first_asking(scene, graph):
    vlm = ScriptedVLM(recorded("propagate", scene))
    result = vlm_propagate(vlm, IMAGE, graph.do(ACTIONS[scene]))
    assert {c.concept: c.counterfactual for c in result.changed} == ACTIONS[scene] | FOLLOWS[scene]
    assert result.notes == () and all(change.reason for change in result.changed if change.role == "descendant")
    assert result.prompt != graph.base_prompt and result.prompt in recorded("propagate", scene)


def test_recorded_suggestions_are_three_and_carried_through(scene, graph):
    found = suggest_interventions(ScriptedVLM(recorded("suggest", scene)), IMAGE, graph)
    assert len({tuple(one.graph.interventions) for one in found.counterfactuals}) == 3 and found.notes == ()
    for one in found.counterfactuals:
        (note,) = one.notes
        assert note.startswith("Suggested because: ") and one.prompt in recorded("suggest", scene)
        assert {change.concept for change in one.changed} == set(one.graph.interventions) | one.graph.descendants_of_interventions()


def test_what_was_removed_or_changed_can_be_judged(scene, graph):
    result = vlm_propagate(ScriptedVLM(recorded("propagate", scene)), IMAGE, graph.do(ACTIONS[scene]))
    replies = ['{"answer": "yes"}', "Yes.", "<think>Hm, no puddle? There is one.</think>\n**Yes**, it is there.", "No."]
    judged = effectiveness(ScriptedVLM(*replies), IMAGE, result)
    count = len(result.changed)
    assert [verdict.concept for verdict in judged.verdicts] == [change.concept for change in result.changed]
    assert judged.score == pytest.approx(min(count, 3) / count)
