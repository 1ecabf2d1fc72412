"""The audit: one question for each changed concept, one or two for each that had to stay."""

import pytest
import torch

from csg.causal.counterfactual import propagate
from csg.evaluation.audit import audit, slips
from tests.unit.causal.random_graphs import observed
from tests.unit.vlm.scripted import ScriptedVLM, street_graph

BEFORE, AFTER = torch.zeros(1, 64, 64, 3), torch.ones(1, 64, 64, 3)
RAIN = propagate(street_graph().do({"weather": "rainy"}), {"ground": "wet"})
YES, NO = {"answer": "yes"}, {"answer": "no"}


def asked(vlm):
    """(which picture, the prompt) of every question."""
    return [("before" if question.images[0].getpixel((0, 0)) == (0, 0, 0) else "after", question.prompt) for question in vlm.asked]


def test_a_good_edit_passes_with_one_question_for_each_concept():
    """Of reflections there is nothing to see before and after, so nothing is asked."""
    vlm = ScriptedVLM(YES, YES, YES)
    result = audit(vlm, BEFORE, AFTER, RAIN)
    assert result.verdicts() == {"weather": True, "ground": True, "house": True} and not result.slipped
    assert result.effectiveness == result.preserved == 1.0
    assert all(picture == "after" for picture, _ in asked(vlm)) and all(q.temperature == 0 for q in vlm.asked)
    assert [word in prompt for word, (_, prompt) in zip(("rain from dark clouds", "wet road", "yellow house"), asked(vlm))] == [True] * 3
    assert result.report().splitlines()[0] == "Effectiveness 1.00, preserved 1.00: 3 of 3 concepts do what the graph says."


def test_what_slipped_is_named():
    vlm = ScriptedVLM(YES, NO, NO, YES)
    result = audit(vlm, BEFORE, AFTER, RAIN)
    assert result.verdicts() == {"weather": True, "ground": False, "house": False}
    assert (result.effectiveness, result.preserved) == (0.5, 0.0)
    assert asked(vlm)[3][0] == "before", "whether the house was there at all is asked of the original"
    assert slips(result.slipped) == ["ground must change, but did not", "house must stay, but changed"]
    assert "NO: house must stay: yellow house is gone (the model wrote: no)" in result.report().replace('{"answer": "no"}', "no")


def test_what_is_not_seen_in_the_original_either_tells_nothing():
    result = audit(ScriptedVLM(YES, YES, NO, NO), BEFORE, AFTER, RAIN)
    assert "house" not in result.verdicts() and result.preserved == 1.0
    assert "unclear: house must stay: yellow house is not seen in the original either" in result.report()


def test_a_removal_is_right_when_nothing_is_seen():
    shown = observed(street_graph(), reflections="mirrored")
    gone = propagate(shown.do({"reflections": "none"}), {})
    assert audit(ScriptedVLM(NO, YES, YES, YES), BEFORE, AFTER, gone).verdicts()["reflections"]
    assert not audit(ScriptedVLM(YES, YES, YES, YES), BEFORE, AFTER, gone).verdicts()["reflections"]


def test_a_change_that_was_held_must_stay():
    """do(house = yellow) holds what is: the house is asked about as preserved."""
    held = propagate(street_graph().do({"house": "yellow"}), {})
    result = audit(ScriptedVLM(YES, YES, YES), BEFORE, AFTER, held)
    assert {finding.demand for finding in result.findings} == {"must stay"} and result.effectiveness == 1.0


@pytest.mark.parametrize("answers", [(NO, NO, YES), (YES, YES, NO, YES)])
def test_each_score_counts_its_own_concepts(answers):
    result = audit(ScriptedVLM(*answers), BEFORE, AFTER, RAIN)
    assert (result.effectiveness, result.preserved) == ((0.0, 1.0) if answers[0] is NO else (1.0, 0.0))
