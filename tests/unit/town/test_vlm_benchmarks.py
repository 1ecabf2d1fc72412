"""What the programs that measure the small model count: shares, floors."""

import pytest
import town_vlm

from csg.town import world


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
