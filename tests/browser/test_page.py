"""A person's way through the page: choose our template, queue it, see the sheet; break the graph and read why."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOWN = "town_counterfactual"
BROKEN = '{"concepts": [{"name": "weather", "value": "sunny"}, {"name": "weather", "value": "rainy"}]}'


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "workflows").glob("*.json")))
def test_every_template_opens_with_nothing_red(editor, name):
    editor.open_template(name)
    assert editor.unknown_nodes() == []
    assert not [node["title"] for node in editor.nodes() if node["red"]]


def test_the_town_template_runs_to_the_sheet(editor):
    editor.open_template(TOWN)
    end = editor.queue(timeout=600)
    assert end["end"] == "execution_success", end
    editor.fit()
    editor.screenshot(TOWN)
    sheets = [node["title"] for node in editor.nodes() if node["type"] == "CSG_CompareSheet"]
    assert sheets and set(sheets) <= set(editor.pictures())


def test_a_broken_graph_is_explained_and_kept(editor):
    editor.set_up_nodes(["CSG_GraphEditor", "CSG_GraphPreview", "PreviewImage"])
    editor.set_widget("CSG_GraphEditor", "graph_json", BROKEN)
    end = editor.queue()
    assert end["end"] == "refused"
    assert "weather" in str(end["detail"])
    red = [node for node in editor.nodes() if node["red"]]
    assert [node["type"] for node in red] == ["CSG_GraphEditor"]
    assert red[0]["widgets"]["graph_json"] == BROKEN
    editor.screenshot("broken_graph")


def test_the_graph_drawing_runs_from_scratch(editor):
    editor.set_up_nodes(["CSG_GraphEditor", "CSG_GraphPreview", "PreviewImage"])
    assert editor.queue()["end"] == "execution_success"
    assert "Preview Image" in editor.pictures()
