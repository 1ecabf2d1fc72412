"""Several questions about one graph, one to a line."""

import json

import pytest

from csg.causal.formats import read_json
from csg.causal.graph import GraphError
from csg.causal.questions import MAX_QUESTIONS, questions

GRAPH = read_json(json.dumps({
    "base_prompt": "sunshine, a dry street",
    "concepts": [{"name": "weather", "value": "sunny", "values": {"sunny": "sunshine", "rainy": "rain"}},
                 {"name": "ground", "value": "dry", "values": {"dry": "a dry street", "wet": "a wet street"}}],
    "edges": [{"cause": "weather", "effect": "ground"}], "interventions": {"ground": "wet"},
}))  # fmt: skip


def test_each_line_is_a_question_of_its_own_and_the_graphs_own_gives_way():
    rain, dry, both = questions(GRAPH, "weather = rainy => ground = wet\n\n# nothing here\nground = dry\nweather = rainy; ground = dry =>")
    assert (rain.interventions, rain.effects) == ({"weather": "rainy"}, {"ground": "wet"})
    assert (dry.interventions, dry.effects) == ({"ground": "dry"}, {})
    assert both.interventions == {"weather": "rainy", "ground": "dry"}
    assert rain.base_prompt == GRAPH.base_prompt and rain.edges == GRAPH.edges


@pytest.mark.parametrize(("text", "words"), [
    ("", "There is no question"), ("# nothing\n", "There is no question"),
    ("weather = rainy\n=> ground = wet", "line 2: a question needs a do"),
    ("weather", "line 1: expected `concept = value`"), ("\nweather = hail", "line 2: .*'hail'"), ("snow = deep", "line 1: .*'snow'"),
    ("weather = rainy => ground = wet, weather = sunny", "line 1: .*one assignment to a line"),
    ("weather = rainy\n" * (MAX_QUESTIONS + 1), f"expected at most {MAX_QUESTIONS}"),
])  # fmt: skip
def test_what_is_no_question_is_refused_by_its_line(text, words):
    with pytest.raises(GraphError, match=words):
        questions(GRAPH, text)
