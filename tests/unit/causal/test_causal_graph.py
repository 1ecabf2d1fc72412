"""Causal graphs: what is refused, and do(), surgery and descendants against networkx."""

import copy
from dataclasses import replace

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csg.causal.graph import CausalGraph, Concept, Edge, GraphError
from tests.unit.causal.random_graphs import confirmed, plain_graphs

WEATHER = Concept("weather", "sunny", {"sunny": "sunny weather", "rainy": "rain from dark clouds"})
GROUND = Concept("ground", "dry", {"dry": "dry ground", "wet": "wet ground"})
LAMP = Concept("lamp", "off")


def street(*edges, **more):
    return CausalGraph("a street", (WEATHER, GROUND, LAMP), edges, **more)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Concept("  ", "x"), "A concept has an empty name"),
        (lambda: Concept("lamp", " "), "Concept 'lamp' has an empty value"),
        (lambda: Concept("lamp", "blue", {"on": "a lit lamp"}), "'blue' is not a value of concept 'lamp'. Known: on."),
        (lambda: Concept("lamp", "onn", {"on": "a", "off": "b"}), "Did you mean 'on'?"),
        (
            lambda: Concept("lamp", "on", scope="sky"),
            "Concept 'lamp' has the scope 'sky'; expected 'local' or 'global'",
        ),
        (lambda: Concept("lamp", "on", position=(1, float("nan"))), "Concept 'lamp' has the position (1, nan)"),
        (lambda: Concept("lamp", "on", position=(1,)), "expected two finite numbers"),
        (lambda: Concept("lamp", "on", position=(10**400, 0)), "expected two finite numbers"),
        (lambda: Edge("lamp", "lamp"), "'lamp' is drawn as its own cause; remove the edge lamp -> lamp"),
        (lambda: Edge("a", "b", status="maybe"), "Edge a -> b has the status 'maybe'"),
        (lambda: CausalGraph(concepts=(LAMP, LAMP)), "Two concepts are called 'lamp'"),
        (
            lambda: street(Edge("wether", "lamp")),
            "Edge wether -> lamp ends at the unknown concept 'wether'. Did you mean 'weather'?",
        ),
        (
            lambda: street(Edge("lamp", "ground"), Edge("lamp", "ground", "twice")),
            "The edge lamp -> ground is drawn twice",
        ),
        (lambda: street().do({"moon": "full"}), "The graph has no concept 'moon'. Known: weather, ground, lamp."),
        (lambda: street().do({"weather": "hail"}), "'hail' is not a value of concept 'weather'"),
        (lambda: CausalGraph(concepts=[Concept(f"c{i}", "x") for i in range(65)]), "has 65 concepts; at most 64"),
    ],
)
def test_refusal_names_the_culprit(build, message):
    with pytest.raises(GraphError) as refusal:
        build()
    assert message in str(refusal.value)


def test_cycle_is_refused_with_its_path():
    with pytest.raises(GraphError, match="weather -> ground -> lamp -> weather"):
        street(Edge("weather", "ground"), Edge("ground", "lamp"), Edge("lamp", "weather"))


def test_a_proposed_edge_may_close_a_cycle_and_cannot_be_confirmed_then():
    edges = Edge("weather", "ground"), Edge("ground", "lamp"), Edge("lamp", "weather", "glow", "proposed")
    graph = street(*edges).do({"lamp": "off"})
    assert graph.topological_order() == ("weather", "ground", "lamp")
    assert graph.parents("weather") == () and street(*edges).descendants(["ground"]) == {"lamp"}
    assert graph.surgery().edges == (edges[0], edges[2])
    with pytest.raises(GraphError, match="weather -> ground -> lamp -> weather.*mark it as proposed"):
        replace(graph, edges=(*edges[:2], replace(edges[2], status="confirmed")))


def test_forward_edges_are_the_confirmed_and_the_first_proposed_that_close_no_cycle():
    maybe = [Edge("lamp", "ground", status="proposed"), Edge("ground", "lamp", status="proposed")]
    back, sure = Edge("ground", "weather", status="proposed"), Edge("weather", "ground")
    assert street(back, *maybe, sure).forward_edges() == (sure, maybe[0])


def test_64_concepts_are_accepted():
    assert len(CausalGraph(concepts=[Concept(f"c{i}", "x") for i in range(64)]).names) == 64


def test_a_lone_value_is_its_own_phrase():
    assert LAMP.phrase() == "off"


def test_graphs_do_not_follow_what_they_were_built_from():
    values, pending = {"on": "a lit lamp", "off": "a dark lamp"}, {"lamp": "on"}
    graph = CausalGraph("", [Concept("lamp", "off", values)], [], pending)
    values.clear()
    pending.clear()
    assert graph["lamp"].phrase("on") == "a lit lamp"
    assert graph.interventions == {"lamp": "on"}


def test_graphs_are_hashable_and_can_be_copied():
    graph = street(Edge("weather", "ground"), interventions={"weather": "rainy"}, extra={"tags": ["a", {}]})
    assert copy.deepcopy(graph) == graph
    assert hash(graph) == hash(
        street(Edge("weather", "ground"), interventions={"weather": "rainy"}, extra={"tags": ["a", {}]})
    )


def test_parents_and_children_are_the_confirmed_ones():
    graph = street(Edge("weather", "ground"), Edge("lamp", "ground"), Edge("weather", "lamp", status="proposed"))
    assert graph.parents("ground") == ("weather", "lamp")
    assert graph.children("weather") == ("ground",)


def test_proposed_edges_carry_no_effect():
    graph = street(Edge("weather", "ground", status="proposed"))
    assert graph.descendants(["weather"]) == frozenset()


def test_a_held_mediator_leaves_the_controlled_direct_effect():
    through, direct = Edge("weather", "ground"), Edge("ground", "lamp")
    assert street(through, direct).do({"weather": "rainy"}).descendants(["weather"]) == {"ground", "lamp"}
    held = street(through, direct).do({"weather": "rainy"}).hold("ground")
    assert held.interventions == {"weather": "rainy", "ground": "dry"}
    assert held.descendants(["weather"]) == frozenset()


def test_a_later_do_replaces_the_earlier_and_leaves_the_first_graph_alone():
    first = street().do({"weather": "rainy"})
    second = first.do({"weather": "sunny"})
    assert first.interventions == {"weather": "rainy"}
    assert second.interventions == {"weather": "sunny"}


@given(plain_graphs())
def test_surgery_cuts_exactly_the_edges_into_the_intervened(graph):
    cut = graph.surgery()
    expected = nx.DiGraph(confirmed(graph))
    expected.remove_edges_from(list(expected.in_edges(list(graph.interventions))))
    assert set(confirmed(cut).edges) == set(expected.edges)
    assert cut.surgery() == cut
    assert cut.concepts == graph.concepts and cut.interventions == graph.interventions


@given(plain_graphs(min_size=1), st.data())
def test_descendants_are_what_networkx_reaches_after_surgery(graph, data):
    sources = set(data.draw(st.lists(st.sampled_from(graph.names), max_size=3)))
    mutilated = confirmed(graph)
    mutilated.remove_edges_from(list(mutilated.in_edges(list(graph.interventions))))
    expected = {name for name in graph.names for source in sources if nx.has_path(mutilated, source, name)}
    assert graph.descendants(sources) == expected - sources


@given(plain_graphs())
def test_topological_order_puts_causes_first(graph):
    order = graph.topological_order()
    assert sorted(order) == sorted(graph.names)
    assert all(order.index(cause) < order.index(effect) for cause, effect in confirmed(graph).edges)


@given(plain_graphs())
def test_proposed_edges_change_nothing_but_the_drawing(graph):
    bare = replace(graph, edges=[edge for edge in graph.edges if edge.status == "confirmed"])
    assert graph.topological_order() == bare.topological_order()
    assert graph.descendants_of_interventions() == bare.descendants_of_interventions()
    for name in graph.names:
        assert graph.descendants([name]) == bare.descendants([name])
    assert nx.is_directed_acyclic_graph(nx.DiGraph([(e.cause, e.effect) for e in graph.forward_edges()]))
    assert set(bare.edges) <= set(graph.forward_edges()) <= set(graph.edges)


@given(plain_graphs(min_size=2), st.data())
def test_closing_any_path_is_refused_with_a_true_cycle(graph, data):
    sure = confirmed(graph)
    paths = [(a, b) for a in sure for b in nx.descendants(sure, a)]
    if not paths:
        return
    cause, effect = data.draw(st.sampled_from(sorted(paths)))
    others = [edge for edge in graph.edges if (edge.cause, edge.effect) != (effect, cause)]
    CausalGraph(concepts=graph.concepts, edges=(*others, Edge(effect, cause, status="proposed")))
    with pytest.raises(GraphError, match="cycle"):
        CausalGraph(concepts=graph.concepts, edges=(*others, Edge(effect, cause)))
