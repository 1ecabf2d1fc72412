"""Python and the editor's JavaScript read and write the same files; tests/web reads them too."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from csg.causal import formats
from csg.causal.graph import GraphError
from csg.causal.palette import PALETTE
from csg.town import world

ROOT = Path(__file__).resolve().parents[2]
GRAPHS = ROOT / "tests" / "fixtures" / "graphs"
PRESETS = ROOT / "web" / "editor" / "presets"


def text(name):
    return (GRAPHS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["weather", "hostile", "empty", "circle", "earlier", "expected"])
@pytest.mark.parametrize("form", formats.FORMATS)
def test_a_fixture_is_read_whole_and_written_byte_for_byte(name, form):
    graph = formats.read_graph(text(f"{name}.{form}"))
    assert graph == formats.read_json(text(f"{name}.json"))
    assert formats.write_graph(graph, form) == text(f"{name}.{form}")


@pytest.mark.parametrize("form", formats.FORMATS)
def test_a_proposed_edge_that_closes_a_cycle_comes_with_every_form_and_stays_a_proposal(form):
    graph = formats.read_graph(text(f"circle.{form}"))
    back = next(edge for edge in graph.edges if (edge.cause, edge.effect) == ("puddles", "clouds"))
    assert (back.status, back.reason) == ("proposed", "water rises again")
    assert graph.topological_order() == ("clouds", "rain", "puddles")
    assert graph.descendants_of_interventions() == {"puddles"}
    confirmed = [replace(edge, status="confirmed") if edge is back else edge for edge in graph.edges]
    with pytest.raises(GraphError, match="rain -> puddles -> clouds -> rain"):
        replace(graph, edges=confirmed)


def test_a_file_from_before_with_proposals_under_a_key_of_their_own_keeps_that_key():
    graph = formats.read_json(text("earlier.json"))
    assert len(graph.edges) == 1
    assert graph.extra["proposed_edges"] == [{"cause": "puddles", "effect": "rain", "reason": ""}]


def test_a_model_drawn_on_dagitty_net_is_read_as_the_editor_reads_it():
    assert formats.write_json(formats.read_dagitty(text("foreign.dagitty"))) == text("foreign.json")


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.json")), ids=lambda path: path.stem)
def test_every_preset_of_the_editor_is_a_graph(path):
    graph = formats.read_json(path.read_text(encoding="utf-8"))
    assert graph.base_prompt and graph.edges and not graph.interventions


def test_the_editors_town_is_the_town():
    drawn = json.loads((PRESETS / "town.json").read_text(encoding="utf-8"))
    true = world.graph_document({concept["name"]: concept["value"] for concept in drawn["concepts"]})
    assert {c["name"]: c["values"] for c in drawn["concepts"]} == {c["name"]: c["values"] for c in true["concepts"]}
    ends = [{(edge["cause"], edge["effect"]) for edge in graph["edges"]} for graph in (drawn, true)]
    assert ends[0] == ends[1]
    assert drawn["base_prompt"] == true["base_prompt"]


def test_the_editors_colours_are_the_masks_colours():
    source = (ROOT / "web" / "editor" / "card.mjs").read_text(encoding="utf-8")
    assert tuple(re.findall(r'"(#[0-9a-f]{6})"', source)) == tuple(PALETTE)
