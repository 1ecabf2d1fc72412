"""Counterfactuals: propagation, clamping, edits and the interventional prompt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csg.causal.counterfactual import DESCENDANTS_ONLY, INTERVENED_ONLY, Proposal, propagate
from csg.causal.graph import CausalGraph, Concept, Edge, GraphError
from tests.unit.causal.random_graphs import plain_graphs

STREET = CausalGraph(
    "Sunny weather, dry ground and a red car in front of a yellow house",
    (
        Concept("ground", "dry", {"dry": "dry ground", "wet": "wet ground"}),
        Concept("weather", "sunny", {"sunny": "sunny weather", "rainy": "rain"}),
        Concept("puddles", "none", {"none": "", "many": "puddles"}),
        Concept("car", "red", {"red": "a red car", "gone": ""}),
        Concept("light", "day", {"day": "daylight", "dusk": "dusk"}, scope="global"),
    ),
    (Edge("weather", "ground"), Edge("ground", "puddles"), Edge("weather", "light", status="proposed")),
)
RAINY = STREET.do({"weather": "rainy"})


def test_roles_sources_and_order():
    result = propagate(RAINY, {"ground": Proposal("wet", "rain wets it")})
    assert [(c.concept, c.role, c.source) for c in result.changes] == [
        ("weather", "intervened", "intervention"),
        ("ground", "descendant", "by hand"),
        ("puddles", "descendant", "kept"),
        ("car", "preserved", "kept"),
        ("light", "preserved", "kept"),
    ]
    assert result["ground"].reason == "rain wets it"
    assert [change.concept for change in result.changed] == ["weather", "ground"]
    assert result.notes == ("puddles has no proposal and keeps its value 'none'.",)


def test_a_proposal_for_a_non_descendant_is_clamped_back():
    result = propagate(RAINY, {"ground": "wet", "puddles": "many", "light": "dusk"}, source="vlm")
    assert not result["light"].changed
    assert result.notes == ("light was proposed as 'dusk' but stays 'day': it is no descendant of the intervention.",)


def test_a_proposal_against_the_intervention_is_clamped_back():
    result = propagate(RAINY.hold("puddles"), {"ground": "wet", "weather": "sunny", "puddles": "none"})
    assert result["weather"].counterfactual == "rainy"
    assert result.notes == ("weather was proposed as 'sunny' but stays 'rainy': do(weather = rainy) fixes it.",)


def test_a_held_mediator_keeps_what_follows_from_it_alone():
    result = propagate(RAINY.hold("ground"), {"puddles": "many"})
    assert (result["ground"].role, result["puddles"].role) == ("intervened", "preserved")
    assert [change.concept for change in result.changed] == ["weather"]
    assert result.notes == (
        "puddles was proposed as 'many' but stays 'none': it is no descendant of the intervention.",
    )


@pytest.mark.parametrize(
    ("proposals", "message"),
    [({"grund": "wet"}, "Did you mean 'ground'?"), ({"ground": "icy"}, "'icy' is not a value of concept 'ground'")],
)
def test_proposals_must_fit_the_graph(proposals, message):
    with pytest.raises(GraphError) as refusal:
        propagate(RAINY, proposals)
    assert message in str(refusal.value)


def test_edits_carry_both_phrases_the_scope_and_the_role():
    edits = propagate(STREET.do({"light": "dusk"}), {}).edits()
    assert len(edits) == 1
    edit = edits[0]
    assert (edit.concept, edit.phrase, edit.factual_phrase, edit.scope) == ("light", "dusk", "daylight", "global")
    assert edit.role == "intervened" and not edit.removes


def test_what_keeps_its_value_and_can_be_seen_is_preserved():
    """Global concepts have no place, and what is not there has none either; a descendant that stays counts."""
    names = [phrase.concept for phrase in propagate(RAINY, {"puddles": "many"}).preserved()]
    assert names == ["ground", "car"]
    assert [p.factual_phrase for p in propagate(RAINY, {"ground": "wet"}).preserved()] == ["a red car"]


def test_the_papers_edits_leave_the_intervened_out_unless_nothing_else_changed():
    moved, alone = propagate(RAINY, {"ground": "wet"}), propagate(RAINY, {})
    assert [edit.concept for edit in moved.edits()] == ["weather", "ground"]
    assert [edit.concept for edit in moved.edits(DESCENDANTS_ONLY)] == ["ground"]
    assert [edit.concept for edit in alone.edits(DESCENDANTS_ONLY)] == ["weather"]
    with pytest.raises(ValueError, match="Got the selection 'all'"):
        moved.edits("all")


def test_an_edit_that_knows_no_causes_is_of_the_intervened_alone():
    moved, alone = propagate(RAINY, {"ground": "wet"}), propagate(RAINY, {})
    assert [edit.concept for edit in moved.edits(INTERVENED_ONLY)] == [edit.concept for edit in alone.edits(INTERVENED_ONLY)] == ["weather"]


def test_prompt_exchanges_whole_phrases_and_appends_the_rest():
    result = propagate(RAINY, {"ground": "wet", "puddles": "many"})
    assert result.prompt == "Rain, wet ground and a red car in front of a yellow house, puddles"


def test_a_removed_thing_leaves_the_prompt_and_asks_for_removal():
    graph = CausalGraph("a house, a red car, a tree", (STREET["car"],), interventions={"car": "gone"})
    result = propagate(graph, {})
    assert result.prompt == "a house, a tree"
    assert result.edits()[0].removes


def test_prompt_leaves_parts_of_words_alone_and_exchanges_all_at_once():
    graph = CausalGraph(
        "art in a cart, a cat",
        (
            Concept("what", "art", {"art": "art", "cat": "a cat"}),
            Concept("pet", "cat", {"cat": "a cat", "dog": "a dog"}),
        ),
        interventions={"what": "cat", "pet": "dog"},
    )
    assert propagate(graph, {}).prompt == "A cat in a cart, a dog".replace("A", "a", 1)


def test_two_concepts_with_one_phrase_are_both_told():
    values = {"red": "red paint", "blue": "blue paint", "green": "green paint"}
    graph = CausalGraph("red paint", (Concept("door", "red", values), Concept("gate", "red", values)))
    assert propagate(graph.do({"door": "blue", "gate": "green"}), {}).prompt == "blue paint, green paint"


def test_a_prompt_can_be_given():
    assert propagate(RAINY, {}, prompt="a wet street").prompt == "a wet street"


def test_report_tells_the_whole_story():
    report = propagate(RAINY, {"ground": Proposal("wet", "rain wets it"), "car": "gone"}).report()
    assert report.splitlines() == [
        "do(weather = rainy)",
        "intervened: weather: sunny -> rainy, intervention",
        "descendant: ground: dry -> wet, by hand (rain wets it)",
        "descendant: puddles: stays none, kept",
        "preserved: car, light",
        "note: puddles has no proposal and keeps its value 'none'.",
        "note: car was proposed as 'gone' but stays 'red': it is no descendant of the intervention.",
        "note: the base prompt lacks the words of light ('daylight'); an edit may not find them. Add them to it.",
        "prompt: Rain, wet ground and a red car in front of a yellow house",
    ]


@given(plain_graphs(), st.data())
def test_only_the_intervened_and_their_descendants_ever_change(graph, data):
    proposals = {
        concept.name: data.draw(st.sampled_from(list(concept.values)))
        for concept in graph.concepts
        if data.draw(st.booleans())
    }
    result = propagate(graph, proposals)
    moving = [name for name, value in graph.interventions.items() if value != graph[name].value]
    allowed = set(moving) | graph.descendants(moving)
    assert {change.concept for change in result.changed} <= allowed
    assert [change.concept for change in result.changes] == list(graph.topological_order())
    for name, value in graph.interventions.items():
        assert result[name].counterfactual == value


@pytest.mark.parametrize(
    ("prompt", "missing"),
    [
        ("a red house, dry ground", []),
        ("A RED HOUSE on Dry Ground", []),
        ("a red houseboat", ["house ('a red house')", "ground ('dry ground')"]),
        ("a red house on sand", ["ground ('dry ground')"]),
        ("  ", []),
    ],
)
def test_the_report_names_what_the_base_prompt_leaves_out(prompt, missing):
    concepts = (
        Concept("house", "red", {"red": "a red house", "blue": "a blue house"}),
        Concept("ground", "dry", {"dry": "dry ground"}),
        Concept("car", "none", {"none": "", "red": "a red car"}),
    )
    graph = CausalGraph(prompt, concepts, interventions={"house": "blue"})
    notes = [line for line in propagate(graph, {}).report().splitlines() if line.startswith("note: the base prompt")]
    assert [note.split("words of ")[1].split(";")[0] for note in notes] == ([", ".join(missing)] if missing else [])
