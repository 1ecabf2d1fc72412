"""What a stranger's text may become: bounded in size, and read in proportion to its length."""

import time
from itertools import pairwise

import pytest

from csg.causal import dot_grammar
from csg.causal.counterfactual import propagate
from csg.causal.formats import read_graph
from csg.causal.graph import MAX_PROMPT, CausalGraph, Concept, Edge, GraphError, closest, normal, plainly, quoted
from tests.unit.work import calls_of


def test_groups_multiply_only_so_far():
    nodes = " ".join(f"n{i}" for i in range(60))
    with pytest.raises(GraphError, match="more than 4032 edges"):
        read_graph("digraph {" + " -> ".join([f"{{{nodes}}}"] * 3) + "}")


def test_data_of_one_edge_is_not_handed_to_many():
    data = 'csg="{}"'
    with pytest.raises(GraphError, match="belongs to one node or one edge"):
        read_graph(f"digraph {{ {{a b}} -> c [{data}] }}")
    edges = dot_grammar.parse(f"digraph {{ edge [{data}, dir=none, style=dashed, penwidth=2]; a -> b; c -> d [{data}] }}").edges
    assert [sorted(attributes) for attributes in edges.values()] == [["doubt"], ["csg", "doubt"]]


def test_an_attribute_without_a_meaning_here_is_not_kept():
    read = dot_grammar.parse('digraph { a [k=v, color=red, label="x"]; a -> b [k=v]; size=3 }')
    assert (read.graph, read.nodes, read.edges) == ({}, {"a": {"label": "x"}, "b": {}}, {("a", "b"): {}})
    long = dot_grammar.parse(f'digraph {{ a [style="{"x" * 5000}"] }}').nodes["a"]["style"]
    assert len(long) == dot_grammar.MAX_LOOKS


@pytest.mark.parametrize("fields", [
    {"name": "x" * 201}, {"value": "x" * 201, "values": {"x" * 201: "y"}}, {"values": {"v": "x" * 401}}, {"description": "x" * 4001},
    {"values": {"v": "v"} | {str(i): "x" for i in range(100)}},
])  # fmt: skip
def test_a_concept_holds_so_much_and_no_more(fields):
    with pytest.raises(GraphError) as error:
        Concept(**{"name": "a", "value": "v", "values": {"v": "w"}} | fields)
    assert "at most" in str(error.value) and len(str(error.value)) < 300


def test_the_prompt_of_an_intervention_does_not_grow_without_end():
    ground = Concept("ground", "dry", {"dry": "dry", "wet": "w" * 400})
    graph = CausalGraph("dry " * 4000, (ground,), interventions={"ground": "wet"})
    with pytest.raises(GraphError, match=f"more than {MAX_PROMPT} characters. Shorten the base prompt"):
        propagate(graph, {})
    with pytest.raises(GraphError, match="The base prompt has 20001 characters"):
        CausalGraph("x" * (MAX_PROMPT + 1))


def refused(text):
    def read():
        with pytest.raises(GraphError):
            read_graph(text)
    return read


@pytest.mark.parametrize("unit", [
    "a -> b; ", "edge [dir=none] ", "a [x=<<b>y</b>>] ", "/* c */ ", "{ a } -> { b } ", "a [k=v] ", '"a" ', "dag ", "```\n", "<", "a:b:c ",
])  # fmt: skip
def test_twice_the_text_is_twice_the_work(unit):
    work = [calls_of(refused("digraph {" + unit * (200 << k) + "]")) for k in range(4)]
    steps = [more - less for less, more in pairwise(work)]
    assert steps[-1] <= 2.6 * max(steps[-2], 50), work


@pytest.mark.parametrize(("head", "unit"), [
    ("x\n", "```\n"), ("x digraph", " "), ("", " \n"), ("x ", "digraph "), ("x dag {", '\\"'), ("x dag {", "/*"), ("{", '\\"'),
    ("from", "\t"), ("net", " "), ("dag {", "/**/"),
])  # fmt: skip
def test_a_graph_is_sought_in_time_in_proportion_to_the_text(head, unit):
    def seconds(size):
        begin = time.process_time()
        refused(head + unit * (size // len(unit)))()
        return time.process_time() - begin

    seconds(1_000)
    assert seconds(400_000) < 12 * max(seconds(100_000), 0.02)


@pytest.mark.parametrize("unit", ["k=v ", "; ", "[] ", '"a" + '])
def test_a_text_has_so_many_words_and_marks_and_no_more(unit):
    text = "digraph { a [" + unit * dot_grammar.MAX_TOKENS
    assert calls_of(refused(text)) < 40 * dot_grammar.MAX_TOKENS
    with pytest.raises(GraphError, match="more than 100000 words and marks"):
        read_graph("digraph { a [" + "k=v " * 90_000 + "] }")
    assert read_graph("digraph { a [" + "k=v " * 30_000 + "] }").names == ("a",)


def test_a_label_and_a_name_are_bounded_before_they_multiply():
    with pytest.raises(GraphError, match="a label has 20001 characters; at most 20000"):
        read_graph(f'digraph {{ node [label="{"x" * 20_001}"]; a }}')
    with pytest.raises(GraphError, match="the name 'xxx.*' has 201 characters"):
        read_graph(f'digraph {{ "{"x" * 201}" [label="{chr(92)}N"] }}')
    with pytest.raises(GraphError, match="65 concepts; at most 64"):
        read_graph('{"concepts": [' + ", ".join(['{"name": "a", "value": "b"}'] * 65) + "]}")


def test_marks_in_endless_rows_are_not_sorted():
    row = "a" + "\u0301\u0316" * 200_000
    assert normal(row) is row
    assert normal("a" + "\u0301\u0316" * 15) == "\xe1" + "\u0316" * 15 + "\u0301" * 14
    assert normal("e\u0301") == "\xe9" and Concept("e\u0301" * 200, "v").name == "\xe9" * 200


def test_phrases_are_exchanged_in_one_walk_however_many_nearly_match():
    concepts = tuple(Concept(f"c{i}", "v", {"v": "a " * 150 + f"b{i}", "w": "z"}) for i in range(60))
    graph = CausalGraph("a " * 9000, concepts, interventions={f"c{i}": "w" for i in range(60)})
    assert calls_of(lambda: propagate(graph, {}).prompt) < 500_000


def test_hints_are_for_words_that_may_be_misspelt():
    assert closest("wether", ["weather"]) == "Did you mean 'weather'?"
    assert calls_of(lambda: closest("x" * 100_000, ["y" * 100_000] * 64)) < 3000
    assert len(closest("x" * 100_000, ["y" * 100_000] * 64)) < 1000


def test_a_strangers_words_are_quoted_on_one_line_and_short():
    assert plainly("a\x1b[31m\nb\u202e") == "a [31m b " and len(plainly("x" * 10_000)) == 60
    assert quoted("wet") == "'wet'"
    name = "e\x1b[0m\n" * 40
    for make in (
        lambda: CausalGraph(concepts=(Concept(name, "v"),), edges=(Edge(name, "z" * 150),)),
        lambda: Concept(name, "v", {"w": "x"}), lambda: CausalGraph(concepts=(Concept(name, "v"),) * 2),
        lambda: Edge(name, name), lambda: CausalGraph(concepts=(Concept(name, "v"),))["q" * 5000],
    ):  # fmt: skip
        with pytest.raises(GraphError) as error:
            make()
        assert "\x1b" not in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 600


def test_captions_are_compared_in_a_normal_form():
    def exchanged(prompt, old, new):
        graph = CausalGraph(prompt, (Concept("c", "o", {"o": old, "n": new}),), interventions={"c": "n"})
        return propagate(graph, {}).prompt

    assert exchanged("a street with a dry\n  road", "dry road", "wet road") == "a street with a wet road"
    assert exchanged("a man\u2019s hat", "a man's hat", "a cap") == "a cap"
    assert exchanged("a cafe\u0301 by day", "caf\u00e9", "bar") == "a bar by day"
    assert exchanged("晴天的街道", "晴天", "雨天") == "雨天的街道"
    assert exchanged("the sundry things", "dry", "wet") == "the sundry things, wet"
    assert exchanged("Dry road, dry (road:1.2)", "dry", "wet") == "Wet road, wet (road:1.2)"


def test_a_link_to_itself_is_passed_over(tmp_path):
    from csg.causal.files import readable_files

    (tmp_path / "loop.dot").symlink_to(tmp_path / "loop.dot")
    (tmp_path / "street.gv").write_text("digraph { a -> b }")
    assert readable_files(tmp_path) == ["street.gv"]
