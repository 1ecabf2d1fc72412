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


def test_a_lines_strength_turns_every_concept_and_is_taken_off_its_end_alone():
    ground = {"name": "ground", "value": "dry", "strength": 2, "values": {"dry": "dry", "wet @ noon": "wet", "wet": "wet"}}
    graph = read_json(json.dumps({"concepts": [{"name": "weather", "value": "sunny", "values": {"sunny": "sun", "rainy": "it"}}, ground]}))
    lines = ("weather = rainy => ground = wet @ 0.5  # half", "weather = rainy @0", "weather = rainy @ .25", "ground = wet @ noon",
             "ground = wet @ noon @ 3")
    found = questions(graph, "\n".join(lines))
    assert [tuple(concept.strength for concept in one.concepts) for one in found] == [(0.5, 1), (0, 0), (0.25, 0.5), (1, 2), (3, 6)]
    assert found[0].effects == {"ground": "wet"} and found[3].interventions == found[4].interventions == {"ground": "wet @ noon"}


@pytest.mark.parametrize(("text", "words"), [
    ("", "There is no question"), ("# nothing\n", "There is no question"),
    ("weather = rainy\n=> ground = wet", "line 2: a question needs a do"),
    ("weather", "line 1: expected `concept = value`"), ("\nweather = hail", "line 2: .*'hail'"), ("snow = deep", "line 1: .*'snow'"),
    ("weather = rainy @ -1", "line 1: the strength after @ is -1; expected"), ("@ 0.5", "line 1: a question needs a do"),
    ("weather = rainy @ much", "line 1: .*'rainy @ much'"), ("weather = rainy @ 1e999", "line 1: the strength after @ is inf"),
    ("weather = rainy @ nan", "line 1: the strength after @ is nan"),
    ("weather = rainy => ground = wet, weather = sunny", "line 1: .*one assignment to a line"),
    ("weather = rainy\n" * (MAX_QUESTIONS + 1), f"expected at most {MAX_QUESTIONS}"),
])  # fmt: skip
def test_what_is_no_question_is_refused_by_its_line(text, words):
    with pytest.raises(GraphError, match=words):
        questions(GRAPH, text)
