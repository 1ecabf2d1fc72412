"""VLM-Eff: one question for each changed concept."""
import pytest
import torch

from csg.causal.counterfactual import propagate
from csg.evaluation.effectiveness import effectiveness
from tests.unit.causal.random_graphs import observed
from tests.unit.vlm.scripted import ScriptedVLM, street_graph

IMAGE = torch.rand(1, 64, 64, 3)
WET = propagate(street_graph().do({"weather": "rainy"}), {"ground": "wet", "reflections": "mirrored"})


def test_the_score_is_the_share_of_yes():
    vlm = ScriptedVLM({"answer": "yes"}, "No.", {"answer": "yes"})
    result = effectiveness(vlm, IMAGE, WET)
    assert [(v.concept, v.answer) for v in result.verdicts] == [("weather", True), ("ground", False), ("reflections", True)]
    assert result.score == pytest.approx(2 / 3)
    assert "rain from dark clouds" in vlm.prompts[0] and "wet road" in vlm.prompts[1]
    assert all(question.temperature == 0 and question.images for question in vlm.asked)
    assert result.report().splitlines()[0] == "Effectiveness 0.67: 2 of 3 changed concepts are seen."
    assert "no: ground: wet road is seen (the model wrote: No.)" in result.report()


def test_something_removed_is_asked_for_and_should_not_be_seen():
    graph = observed(street_graph(), reflections="mirrored")
    gone = propagate(graph.do({"reflections": "none"}), {})
    vlm = ScriptedVLM({"answer": "no"})
    result = effectiveness(vlm, IMAGE, gone)
    assert "reflections in puddles" in vlm.prompts[0] and result.score == 1


def test_an_answer_that_is_neither_counts_as_wrong_after_one_more_try():
    vlm = ScriptedVLM("perhaps", "who knows", *[{"answer": "yes"}] * 2)
    result = effectiveness(vlm, IMAGE, WET)
    assert [v.answer for v in result.verdicts] == [False, True, True]
    assert "who knows" in result.report()


def test_each_answer_is_one_line_of_the_report():
    vlm = ScriptedVLM("<think>Is it?\nIt is.</think>\n**Yes**,\nclearly.\u202e", "<think>no", "no", {"answer": "no"})
    lines = effectiveness(vlm, IMAGE, WET).report().splitlines()
    assert len(lines) == 4 and lines[1].endswith("(the model wrote: **Yes**, clearly.)") and "<think>no" in lines[2]


def test_nothing_changed_is_vacuously_effective():
    result = effectiveness(ScriptedVLM(), IMAGE, propagate(street_graph(), {}))
    assert result.score == 1 and result.verdicts == () and "nothing to ask" in result.report()
