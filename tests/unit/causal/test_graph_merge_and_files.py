"""Laying graphs over each other, and graphs as files."""

import pytest
from hypothesis import given

from csg.causal import files
from csg.causal.formats import write_json
from csg.causal.graph import CausalGraph, Concept, Edge, GraphError
from csg.causal.merge import edited, overlay, sample_text
from csg.causal.presets import street
from tests.unit.causal.random_graphs import graphs

BASE = CausalGraph(
    "a house",
    (Concept("sky", "blue", {"blue": "", "grey": ""}, position=(1, 2)), Concept("sea", "calm", scope="global")),
    (Edge("sky", "sea", "light", "proposed"),),
    {"sky": "grey"},
    {"author": "me", "tool": "x"},
)


def test_the_artists_word_wins_and_the_rest_stays():
    artist = CausalGraph(
        "",
        (
            Concept("sea", "wild", {"wild": "waves", "calm": "calm sea"}),
            Concept("sky", "pink"),
            Concept("ship", "none"),
        ),
        (Edge("sky", "sea", "wind"), Edge("sea", "ship")),
        {"sea": "calm", "sky": "pink"},
        {"tool": "y"},
    )
    merged = overlay(BASE, artist)
    assert merged.names == ("sky", "sea", "ship")
    assert merged.base_prompt == "a house"
    assert merged["sky"] == Concept("sky", "pink", position=(1, 2))
    assert merged["sea"] == artist["sea"]
    assert merged.edges == (Edge("sky", "sea", "wind"), Edge("sea", "ship"))
    assert merged.interventions == {"sky": "pink", "sea": "calm"}
    assert merged.extra == {"author": "me", "tool": "y"}


@given(graphs())
def test_a_graph_over_itself_is_itself(graph):
    assert overlay(graph, graph) == graph
    assert overlay(CausalGraph(), graph) == graph
    assert overlay(graph, CausalGraph()) == graph


def test_an_empty_or_untouched_text_leaves_the_connected_graph_alone():
    assert edited("  \n", BASE) == BASE
    assert edited(sample_text(), BASE) == BASE
    assert edited(sample_text()) == street()
    with pytest.raises(GraphError, match="The graph is empty"):
        edited(" ")


def test_a_changed_text_is_laid_over_the_connected_graph():
    text = write_json(CausalGraph("", (Concept("sea", "wild"),)))
    assert edited(text, BASE)["sea"].value == "wild"
    assert edited(text, BASE)["sky"] == BASE["sky"]


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


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(GraphError, match="There is no file 'none.json'"):
        files.load_graph(tmp_path, "none.json")


def test_saving_never_overwrites(tmp_path):
    (tmp_path / "g_00003_.json").write_text("mine")
    path = files.save_text("new", tmp_path, "g", 3, "json")
    assert path.name == "g_00004_.json" and path.read_text() == "new"
    assert (tmp_path / "g_00003_.json").read_text() == "mine"
