"""What the programs that measure the small model count: agreement beyond chance, shares, floors."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[3] / "benchmarks"))

import town_vlm
import town_vlm_eff
from town_vlm_eff import Verdict, cohens_kappa

from csg.town import world


def test_kappa_of_the_textbook():
    """20 of 50 yes from both, 15 no from both: agreement .7, by chance .5, kappa .4."""
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    assert cohens_kappa(pairs) == pytest.approx(0.4)


def test_kappa_knows_no_better_than_chance_and_its_own_limits():
    assert cohens_kappa([(True, True), (False, False)]) == 1.0
    assert cohens_kappa([(True, True), (True, False), (False, True), (False, False)]) == 0.0
    assert cohens_kappa([(True, True)] * 5) is None and cohens_kappa([]) is None


def test_the_references_need_no_judge():
    verdicts = [Verdict("exact", "weather", True, True), Verdict("exact", "car", False, True), Verdict("no edit", "car", False, False),
                Verdict("CSG", "car", True, False)]  # fmt: skip
    found = town_vlm_eff.figures(verdicts, ["CSG", "no edit", "exact"])
    assert found["methods"]["exact"]["model right"] == 0.5 and found["methods"]["exact"]["readers right"] == 1.0
    assert found["methods"]["no edit"]["model right"] == 1.0 and found["edits"]["n"] == 1
    assert found["concepts"]["car"]["VLM-Eff"] == pytest.approx(1 / 3) and found["concepts"]["house"]["kappa"] is None
    assert "| CSG | 1 | 1.00 | 0.00 | 0.00 |" in town_vlm_eff.report(found, 1)


def test_a_missed_floor_is_named_and_the_graph_is_said_to_be_memorised():
    tally = town_vlm.Tally()
    for name in world.NAMES:
        for hit in (True, name != "car"):
            tally.count(f"value: {name}", hit)
            tally.count(f"yes/no: {name}", True)
    for name in town_vlm.FLOORS:
        if not name.startswith("value accuracy"):
            tally.count(name, True)
    with tally.timed("extract"):
        pass
    found = town_vlm.figures(tally)
    assert found["shares"]["value accuracy, lowest concept"] == 0.5 and found["shares"]["value accuracy, mean"] == pytest.approx(23 / 24)
    assert found["floors missed"] == ["value accuracy, mean", "value accuracy, lowest concept"]
    text = town_vlm.report(found, 2, "here")
    assert "| value accuracy, lowest concept | 0.500 | 0.88 |" in text and "not discovered" in text


def test_questions_ask_after_every_concept_and_half_of_them_are_true():
    import numpy as np

    values, rng = world.factual(1), np.random.default_rng(0)
    asked = [town_vlm.questions(values, rng) for _ in range(20)]
    for graph, wanted in asked:
        assert dict(graph.interventions) == wanted and set(wanted) == set(world.NAMES)
        assert all(graph[name].value != value for name, value in wanted.items())
    true = [wanted[name] == values[name] for _, wanted in asked for name in world.NAMES]
    assert 0.35 < np.mean(true) < 0.65
