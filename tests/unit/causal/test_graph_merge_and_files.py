"""Laying graphs over each other, and graphs as files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csg.causal import files
from csg.causal.editor_text import Memory, edited, merge_again, remembered, sample_text
from csg.causal.formats import graph_from_data, graph_to_data, read_json, write_json
from csg.causal.graph import CausalGraph, Concept, Edge, GraphError
from csg.causal.merge import Conflict, merge, rename
from csg.causal.presets import street
from tests.unit.causal.random_graphs import graphs, plain_graphs

ROOT = Path(__file__).resolve().parents[3]
BASE = CausalGraph(
    "a house",
    (Concept("sky", "blue", {"blue": "", "grey": ""}, position=(1, 2)), Concept("sea", "calm", scope="global")),
    (Edge("sky", "sea", "light", "proposed"),),
    {"sky": "grey"},
    {"author": "me", "tool": "x"},
)


CASES = json.loads((ROOT / "tests" / "fixtures" / "graphs" / "merges.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_editor_and_the_node_merge_alike(case):
    base, mine, theirs = (graph_from_data(case[side]) for side in ("base", "mine", "theirs"))
    latest = graph_from_data(case["latest"]) if "latest" in case else base
    merged, conflicts = merge_again(Memory(base, latest, frozenset(case["settled"])), mine, theirs)
    assert json.dumps(graph_to_data(merged)) == json.dumps(case["merged"])
    assert [[c.kind, c.subject, c.mine, c.theirs] for c in conflicts] == case["conflicts"]


@given(graphs(), graphs())
def test_where_one_side_changed_nothing_the_other_stands(one, other):
    for graph, conflicts in (merge(one, one, other), merge(one, other, one)):
        assert conflicts == []
        assert (set(graph.names), graph.base_prompt) == (set(other.names), other.base_prompt)
        assert dict(graph.interventions) == dict(other.interventions)
        assert set(graph.edges) == set(other.edges)


def three(kind):
    return st.tuples(kind, kind, kind)


@given(three(graphs()) | three(plain_graphs(min_size=3)))
def test_merging_again_changes_nothing_and_what_is_settled_does_not_return(sides):
    base, mine, theirs = sides
    merged, conflicts = merge(base, mine, theirs)
    assert merge(base, merged, theirs) == (merged, conflicts)
    assert merge(base, merged, theirs, {conflict.key for conflict in conflicts})[1] == []


def test_a_conflict_says_whose_word_stands():
    said = str(Conflict("value", "weather", "rainy", None))
    assert said == "value weather: 'rainy' in the editor's text stands; the connected graph has nothing"
    assert "close a cycle with a → b" in str(Conflict("cycle", "b → a", "a → b", ""))


@pytest.mark.parametrize("kind", ["value", "cycle"])
def test_a_conflict_is_one_short_line_whatever_a_strangers_graph_calls_its_concepts(kind):
    words = str(Conflict(kind, *["a\x1b[31m\nb\u202e" * 40] * 3))
    assert words.isprintable() and len(words) < 300


def test_an_empty_or_untouched_text_leaves_the_connected_graph_alone():
    assert edited("  \n", BASE) == (BASE, [])
    assert edited(sample_text(), BASE) == (BASE, [])
    assert edited(sample_text()) == (street(), [])
    with pytest.raises(GraphError, match="The graph is empty"):
        edited(" ")


def text_over(extracted, mine, **memory):
    """The text that the editor stores for `mine` over an extraction."""
    return write_json(replace(mine, extra={**mine.extra, "extracted": graph_to_data(extracted), **memory}))


def test_an_edit_survives_a_new_extraction_and_the_conflict_is_told():
    mine = replace(
        BASE, concepts=(BASE["sky"], replace(BASE["sea"], value="wild", values={"wild": "waves", "calm": ""}))
    )
    again = replace(BASE, concepts=(replace(BASE["sky"], value="grey"), Concept("sea", "flat", scope="global")))
    graph, conflicts = edited(text_over(BASE, mine), again)
    assert (graph["sky"].value, graph["sea"].value) == ("grey", "wild")
    assert [(c.kind, c.subject, c.mine, c.theirs) for c in conflicts] == [("value", "sea", "wild", "flat")]
    assert edited(text_over(BASE, mine, settled=[conflicts[0].key]), again) == (graph, [])
    assert not {"extracted", "latest", "settled"} & set(graph.extra)


def test_a_memory_stays_out_of_the_graph_and_a_damaged_one_is_named():
    text = text_over(BASE, BASE, latest=graph_to_data(BASE), settled=["k"])
    assert edited(text) == (BASE, [])
    assert remembered(read_json(text)) == Memory(BASE, BASE, frozenset({"k"}))
    with pytest.raises(GraphError, match="'extracted' the text keeps the graph.*'concepts'"):
        edited(write_json(replace(BASE, extra={"extracted": {"edges": []}})))


def test_a_renamed_concept_takes_its_edges_and_its_do_along():
    renamed = rename(BASE, "sky", "heaven")
    assert renamed.names == ("heaven", "sea")
    assert (renamed.edges[0].cause, dict(renamed.interventions)) == ("heaven", {"heaven": "grey"})


def test_files_are_listed_read_and_hashed(tmp_path):
    (tmp_path / "b.dot").write_text("digraph { a -> b }")
    (tmp_path / "a.JSON").write_text("\ufeff" + write_json(BASE), encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "folder.json").mkdir()
    assert files.readable_files(tmp_path) == ["a.JSON", "b.dot"]
    assert files.load_graph(tmp_path, "a.JSON") == BASE
    assert files.load_graph(tmp_path, "b.dot").names == ("a", "b")
    before = files.content_hash(tmp_path, "b.dot")
    (tmp_path / "b.dot").write_text("digraph { a -> c }")
    assert files.content_hash(tmp_path, "b.dot") != before


def test_no_path_leaves_the_folder(tmp_path):
    inside = tmp_path / "input"
    inside.mkdir()
    (tmp_path / "secret.json").write_text(write_json(BASE))
    (inside / "link.json").symlink_to(tmp_path / "secret.json")
    for name in ("../secret.json", str(tmp_path / "secret.json"), "link.json", "a\0.json", "x/../../secret.json"):
        with pytest.raises(GraphError, match="lies outside|no file"):
            files.load_graph(inside, name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe{", r"The file 'g.json' is no UTF-8 text \(byte 0\)"),
        (b" " * 4_000_001, "larger than 4000000 bytes"),
        (b"{", "line 1, column 2: this is not JSON"),
    ],
)
def test_unreadable_files_are_refused(tmp_path, content, message):
    (tmp_path / "g.json").write_bytes(content)
    with pytest.raises(GraphError, match=message):
        files.load_graph(tmp_path, "g.json")


@pytest.mark.parametrize("name", ["x" * 5000, "../" + "x" * 5000, "a\0b", "x" * 250])
def test_a_name_that_no_file_has_is_refused_on_one_short_line(tmp_path, name):
    with pytest.raises(GraphError, match="There is no file|lies outside") as refused:
        files.load_graph(tmp_path, name)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 200


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(GraphError, match="There is no file 'none.json'"):
        files.load_graph(tmp_path, "none.json")


def test_saving_never_overwrites(tmp_path):
    (tmp_path / "g_00003_.json").write_text("mine")
    path = files.save_text("new", tmp_path, "g", 3, "json")
    assert path.name == "g_00004_.json" and path.read_text() == "new"
    assert (tmp_path / "g_00003_.json").read_text() == "mine"
