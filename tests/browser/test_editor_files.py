"""Graphs as text and as files: the Text tab, import and export, presets, strangers' workflows."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from csg.causal.formats import read_graph
from tests.browser.drawing import EMPTY, HOSTILE, WEATHER


def test_a_hostile_workflow_is_only_text(drawing):
    concepts = [{"name": name, "value": name, "values": {name: name}, "description": name} for name in HOSTILE]
    edges = [{"cause": HOSTILE[0], "effect": HOSTILE[1], "reason": HOSTILE[1]}]
    drawing.start(json.dumps({"concepts": concepts, "edges": edges}))
    drawing.page.locator(".csg-card").first.dblclick(position={"x": 60, "y": 12})
    drawing.page.locator(".csg-panel").wait_for()
    drawing.picture("editor-hostile")
    assert drawing.page.evaluate("window.hacked") is None
    assert drawing.page.locator(".csg-editor :is(script, img[src='x'], iframe)").count() == 0
    assert drawing.page.locator(".csg-card title").first.text_content().startswith(HOSTILE[0])


def test_a_broken_text_is_kept_explained_and_mended(drawing):
    drawing.start(EMPTY)
    drawing.write('{"concepts": [')
    area = drawing.page.locator(".csg-text textarea")
    area.wait_for()
    assert area.input_value() == '{"concepts": ['
    assert "JSON" in drawing.page.locator(".csg-text .problem").inner_text()
    assert drawing.page.locator(".csg-text .wrong").inner_text() == "1"
    area.fill('{"concepts": [{"name": "mood", "value": "calm"}]}')
    drawing.press("Drawing")
    drawing.card("mood").wait_for()


def test_another_broken_text_is_shown_in_place_of_the_first(drawing):
    drawing.start(EMPTY)
    drawing.write('{"concepts": [')
    area = drawing.page.locator(".csg-text textarea")
    area.wait_for()
    area.fill('{"concepts": [}')
    drawing.write('{"concepts": 2')
    assert area.input_value() == drawing.widget() == '{"concepts": 2'
    drawing.press("Edit")
    drawing.page.keyboard.press("Control+z")
    drawing.page.keyboard.press("Control+y")
    drawing.pulse(2)
    drawing.restored()
    assert drawing.widget().startswith('{"concepts": '), "what was there before is ComfyUI's to bring back"
    drawing.write(WEATHER)
    drawing.press("Drawing")
    drawing.card("weather").wait_for()


def test_a_file_brings_no_memory_of_another_extraction(drawing, tmp_path):
    drawing.start(EMPTY)
    file = tmp_path / "edited.json"
    memory = {key: json.loads(WEATHER) for key in ("extracted", "latest")} | {"settled": ["x"]}
    file.write_text(json.dumps(json.loads(WEATHER) | memory | {"mine": 1}), encoding="utf-8")
    with drawing.page.expect_file_chooser() as chooser:
        drawing.menu("Open a file…")
    chooser.value.set_files(file)
    drawing.card("weather").wait_for()
    assert set(drawing.graph()) == {"version", "base_prompt", "concepts", "edges", "interventions", "mine"}


def test_the_text_and_the_drawing_say_the_same(drawing):
    drawing.start(WEATHER)
    drawing.press("Text")
    area = drawing.page.locator(".csg-text textarea")
    area.wait_for()
    text = area.input_value()
    area.fill(text.replace("}\n", "  house -> -> ground\n}\n"))
    line = text.count("\n")
    assert drawing.page.locator(".csg-text .wrong").inner_text() == str(line)
    assert area.evaluate("area => getComputedStyle(area).backgroundPositionY") == f"{10 + 20 * (line - 1)}px"
    assert "got ->" in drawing.page.locator(".csg-text .problem").inner_text()
    area.fill(text.replace("}\n", "  house -> ground [proposed]\n}\n"))
    assert drawing.edges() == [("weather", "ground"), ("house", "ground")]
    assert drawing.graph()["edges"][1]["status"] == "proposed"


def test_a_letter_typed_and_taken_back_costs_nothing_and_a_new_name_renames(drawing):
    drawing.start(WEATHER)
    drawing.press("Text")
    area = drawing.page.locator(".csg-text textarea")
    area.wait_for()
    text = area.input_value()
    area.fill(text.replace('"sunny"', '"sun"'))
    area.fill(text)
    values = [[concept["values"] for concept in graph["concepts"]] for graph in (drawing.graph(), json.loads(WEATHER))]
    assert values[0] == values[1]
    area.fill(text.replace("weather", "sky"))
    sky = drawing.graph()["concepts"][0]
    assert (sky["name"], sky["values"]["rainy"]) == ("sky", "rain")


@pytest.mark.parametrize("kept", [5, {"meaning": {}, "found": 7}, {"found": {"counterfactual": {"weather": None}, "masks": 3}},
                                  {"meaning": "x", "found": {"counterfactual": [1]}, "upstream": "{"}])
def test_results_in_a_strangers_workflow_may_be_anything(drawing, kept):
    drawing.start(WEATHER)
    drawing.page.evaluate("""async kept => {
        const data = window.app.graph.serialize();
        data.nodes[0].properties.csg_result = kept;
        await window.app.loadGraphData(data);
    }""", kept)
    drawing.card("weather").wait_for()
    drawing.pulse(2)
    drawing.chip("weather", "rainy").click()
    assert drawing.graph()["concepts"][0]["value"] == "rainy"


@pytest.mark.core
@pytest.mark.parametrize("form", ["JSON", "DAGitty", "DOT"])
def test_a_graph_is_saved_and_opened_again(drawing, form, tmp_path):
    drawing.start(WEATHER)
    before = drawing.graph()
    with drawing.page.expect_download() as download:
        drawing.menu(f"Save as {form}")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    assert read_graph(file.read_text(encoding="utf-8"), form.lower()) == read_graph(json.dumps(before))
    drawing.write(EMPTY)
    with drawing.page.expect_file_chooser() as chooser:
        drawing.menu("Open a file…")
    chooser.value.set_files(file)
    drawing.card("weather").wait_for()
    assert read_graph(json.dumps(drawing.graph())) == read_graph(json.dumps(before))
    drawing.press("Undo")
    assert drawing.names() == []


def test_the_drawing_is_saved_as_a_picture(drawing, tmp_path):
    drawing.start(WEATHER)
    for form, start in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        with drawing.page.expect_download() as download:
            drawing.menu(f"Save as {form}")
        file = tmp_path / download.value.suggested_filename
        download.value.save_as(file)
        assert file.read_bytes().startswith(start)
        if form == "SVG":
            text = file.read_text(encoding="utf-8")
            assert "weather" in text and "var(--" not in text and "<script" not in text


def test_any_name_can_be_saved_as_a_picture(drawing, tmp_path):
    names = ["\u0001", "half \ud800", "\u0000", "\ufffe", "</text>&amp;", *HOSTILE[:5]]
    drawing.start(json.dumps({"concepts": [{"name": f"{place} {name}", "value": "x"} for place, name in enumerate(names)]}))
    for form in ("SVG", "PNG"):
        with drawing.page.expect_download(timeout=20_000) as download:
            drawing.menu(f"Save as {form}")
        download.value.save_as(tmp_path / form)
    words = [each.text for each in ElementTree.parse(tmp_path / "SVG").iter() if each.text]
    assert "4 </text>&amp;" in words and any(each.startswith("0 \ufffd = x") for each in words)
    assert (tmp_path / "PNG").read_bytes().startswith(b"\x89PNG")


def test_words_in_a_saved_drawing_stay_inside_what_is_drawn_around_them(drawing, tmp_path):
    """The page's font is not where the file is seen."""
    drawing.start(WEATHER)
    drawing.press("Intervene")
    drawing.chip("weather", "rainy").click()
    with drawing.page.expect_download() as download:
        drawing.menu("Save as SVG")
    download.value.save_as(tmp_path / "drawing.svg")
    texts = [each for each in ElementTree.parse(tmp_path / "drawing.svg").iter() if each.tag.endswith("}text")]
    assert texts and all(float(each.get("textLength")) > 0 for each in texts)
    shown = drawing.card("weather").locator(".badge text").evaluate("text => text.getComputedTextLength()")
    badge = next(each for each in texts if each.text == "do(weather = rainy)")
    assert abs(float(badge.get("textLength")) - shown) < 0.1


def test_a_file_that_is_no_graph_is_refused_with_its_line(drawing, tmp_path):
    drawing.start(WEATHER)
    file = tmp_path / "broken.dot"
    file.write_text("digraph {\n a -> b\n b -> a\n}")
    with drawing.page.expect_file_chooser() as chooser:
        drawing.menu("Open a file…")
    chooser.value.set_files(file)
    drawing.page.wait_for_function("() => document.querySelector('.csg-status').dataset.kind === 'refused'")
    assert "a → b → a" in drawing.said() or "b → a → b" in drawing.said()
    assert drawing.names() == ["weather", "ground", "house"]


def test_an_empty_graph_offers_graphs_to_begin_with(drawing):
    drawing.start(EMPTY)
    drawing.root.locator(".csg-empty").get_by_role("button", name="Still life").click()
    drawing.card("candle").wait_for()
    assert drawing.root.locator(".csg-empty").is_hidden()
    drawing.menu("Empty the graph")
    assert drawing.names() == [] and drawing.root.locator(".csg-empty").is_visible()
    drawing.press("Undo")
    assert "candle" in drawing.names()


@pytest.mark.parametrize(("label", "concept"), [
    ("Portrait", "expression"), ("Street", "weather"), ("Landscape", "season"), ("Still life", "candle"), ("Town (toy world)", "snowman")])
def test_presets_fill_the_canvas_with_nothing_red(drawing, label, concept):
    drawing.start(EMPTY)
    drawing.menu(label)
    drawing.page.locator(".csg-card").first.wait_for()
    assert concept in drawing.names(), drawing.names()
    assert not [node for node in drawing.editor.nodes() if node["red"]]
