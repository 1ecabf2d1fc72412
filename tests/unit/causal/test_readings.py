"""What texts of other programs mean; `tests/web/readings.test.mjs` reads the same ones."""

import json
from pathlib import Path

import pytest

from csg.causal.formats import read_graph
from csg.causal.graph import GraphError

READINGS = json.loads((Path(__file__).parents[2] / "fixtures" / "graphs" / "readings.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", READINGS, ids=[case["what"] for case in READINGS])
def test_a_text_is_read_as_it_is_meant(case):
    for text in case.get("texts", [case.get("text")]):
        graph = read_graph(text)
        assert [f"{edge}{' ?' if edge.status == 'proposed' else ''}" for edge in graph.edges] == case["edges"]
        assert all(edge.reason or "proposed" in text for edge in graph.edges if edge.status == "proposed"), "a doubt says why"
        assert dict(graph.interventions) == case.get("interventions", {})
        assert {name: graph[name].value for name in case.get("values", {})} == case.get("values", {})
        assert {name: graph[name].phrase() for name in case.get("phrases", {})} == case.get("phrases", {})
        assert {name: list(graph[name].values) for name in case.get("domains", {})} == case.get("domains", {})
        positions = {name: place and tuple(place) for name, place in case.get("positions", {}).items()}
        assert {name: graph[name].position for name in positions} == positions


REFUSALS = json.loads((Path(__file__).parents[2] / "fixtures" / "graphs" / "refusals.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", REFUSALS, ids=[case["what"] for case in REFUSALS])
def test_what_is_not_read_is_refused_in_words(case):
    with pytest.raises(GraphError, match=case["words"]) as refusal:
        read_graph(case["text"])
    assert len(str(refusal.value)) < 300 and str(refusal.value).isprintable()
    assert case["code"] != "text_neighbour" or "is not read here. Save it as DOT" in str(refusal.value)


def test_a_complaint_names_the_line_of_the_whole_text():
    with pytest.raises(GraphError, match="^line 5: "):
        read_graph("Look:\n\n```\ndigraph {\n a -> ;\n}\n```\n")


def test_what_is_ours_and_damaged_is_refused_not_guessed():
    with pytest.raises(GraphError, match="has no 'value'"):
        read_graph('digraph { a [csg="{}"] }')
    with pytest.raises(GraphError, match="stands twice"):
        read_graph('{"concepts": [], "concepts": []}')
    assert read_graph('{"version": 1.0, "concepts": []}').concepts == ()
    with pytest.raises(GraphError, match="nested too deeply"):
        read_graph('{"concepts": [], "x": ' + "[" * 101 + "]" * 101 + "}")
