"""Several readings of one picture: shares of edges, proposals below a half, no cycle, and one graph whatever comes back."""

import json

import pytest
import torch

from csg.causal.formats import read_graph, write_dagitty, write_dot, write_json
from csg.causal.graph import CausalGraph, Concept, Edge
from csg.vlm.extract import extract_concepts
from csg.vlm.replies import INCOMPLETE
from csg.vlm.vote import SHARE, vote
from tests.unit.vlm.scripted import GOOD, ScriptedVLM

IMAGE = torch.rand(1, 64, 64, 3)


def graph(*edges, names=("weather", "ground", "car"), prompt="", **extra):
    """A graph over concepts of one value; an edge is "cause effect", and a proposal with a question mark."""
    drawn = []
    for text in edges:
        cause, effect, *rest = text.rstrip("?").split(" ", 2)
        drawn.append(Edge(cause, effect, " ".join(rest), "proposed" if text.endswith("?") else "confirmed"))
    return CausalGraph(prompt, tuple(Concept(name, "x", {"x": "y"}) for name in names), tuple(drawn), extra=extra)


def shares(voted):
    return {f"{edge.cause} {edge.effect}": (edge.extra[SHARE], edge.status) for edge in voted.edges}


def test_an_edge_has_the_share_of_readings_that_draw_it_and_below_a_half_it_is_a_proposal():
    voted, notes = vote([graph("weather ground", "car weather"), graph("weather ground"), graph("weather ground", "weather car"), graph()])
    assert shares(voted) == {"weather ground": (0.75, "confirmed"), "car weather": (0.25, "proposed"), "weather car": (0.25, "proposed")}
    assert notes[0].startswith("4 readings draw these edges") and "weather -> ground 0.75" in notes[0]


def test_half_of_the_readings_is_enough_and_an_edge_that_a_model_proposed_draws_nothing():
    voted, _ = vote([graph("weather ground", "weather car?"), graph("weather car?")])
    assert shares(voted) == {"weather ground": (0.5, "confirmed"), "weather car": (0.0, "proposed")}


def test_what_closes_a_cycle_becomes_a_proposal_the_less_shared_first():
    one, two = ["weather ground a", "ground car a"], ["car weather a"]
    voted, notes = vote([graph(*one), graph(*one), graph(*two, one[0]), graph(*two, one[1])])
    assert shares(voted)["car weather"] == (0.5, "proposed") and "The edge car -> weather would close a cycle" in notes[1]
    assert [status for name, (_, status) in shares(voted).items() if name in ("weather ground", "ground car")] == ["confirmed"] * 2
    even, _ = vote([graph("weather ground"), graph("ground weather")])
    assert sorted(status for _, status in shares(even).values()) == ["confirmed", "proposed"]


def test_names_are_matched_but_for_case_and_concepts_are_those_of_the_reading_that_agrees_best():
    odd = graph("mood sky", names=("mood", "sky"), prompt="odd")
    plain, loud = graph("weather ground", prompt="plain"), graph("Weather GROUND", names=("Weather", "GROUND", "Car"), prompt="loud")
    voted, _ = vote([odd, plain, loud])
    assert voted.base_prompt == "plain" and voted.names == ("weather", "ground", "car")
    assert shares(voted) == {"weather ground": (0.667, "confirmed")}


def test_readings_that_could_not_be_read_whole_count_only_where_none_could():
    damaged = graph("weather car", **{INCOMPLETE: ["base_prompt: missing"]})
    voted, notes = vote([damaged, graph("weather ground"), damaged])
    assert shares(voted) == {"weather ground": (1.0, "confirmed")} and INCOMPLETE not in voted.extra
    assert notes[0].endswith("2 more could not be read whole.")
    voted, _ = vote([damaged, damaged])
    assert shares(voted) == {"weather car": (1.0, "confirmed")} and voted.extra[INCOMPLETE]


def test_no_reading_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        vote([])


@pytest.mark.parametrize("write", [write_json, write_dagitty, write_dot])
def test_shares_survive_every_format(write):
    voted, _ = vote([graph("weather ground"), graph("weather ground", "weather car"), graph("weather ground")])
    again = read_graph(write(voted))
    assert shares(again) == shares(voted) == {"weather ground": (1.0, "confirmed"), "weather car": (0.333, "proposed")}


def without_last_edge():
    data = json.loads(GOOD["street"])
    return data | {"edges": data["edges"][:-1]}


def test_the_extractor_asks_with_one_seed_after_another_and_votes():
    vlm = ScriptedVLM(GOOD["street"], without_last_edge(), without_last_edge())
    found = extract_concepts(vlm, IMAGE, seed=2**64 - 1, temperature=0.7, readings=3)
    assert [question.seed for question in vlm.asked] == [2**64 - 1, 0, 1] and len(set(vlm.prompts)) == 1
    assert [edge.extra[SHARE] for edge in found.graph.edges] == [1.0, 1.0, 0.333]
    assert [edge.status for edge in found.graph.edges] == ["confirmed", "confirmed", "proposed"]
    assert "3 readings draw these edges" in found.report() and not found.problems and "alike" not in found.report()
    assert found.reply.count('"base_prompt"') == 3


def test_one_reading_is_as_before_and_readings_at_temperature_zero_are_said_to_be_alike():
    single = extract_concepts(ScriptedVLM(GOOD["street"]), IMAGE)
    assert not [edge for edge in single.graph.edges if SHARE in edge.extra] and single.report() == "Graph with 6 concepts, 3 edges."
    assert "all readings are alike" in extract_concepts(ScriptedVLM(*[GOOD["street"]] * 2), IMAGE, temperature=0.0, readings=2).report()


def test_only_damaged_readings_make_an_incomplete_graph():
    found = extract_concepts(ScriptedVLM(*["I am sorry."] * 4), IMAGE, readings=2)
    assert found.problems and found.graph.names == () and "Incomplete graph" in found.report()
