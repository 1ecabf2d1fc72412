"""The question in one place: do() and what follows are clicked on the drawing, and the picture's words stand above it."""

import json

from tests.browser.drawing import EMPTY, WEATHER, enter
from tests.browser.test_editor_run import close_up

STREET = json.dumps({
    "base_prompt": "daytime, sunny weather, a street lamp",
    "concepts": [
        {"name": "time", "value": "day", "values": {"day": "daytime", "night": "night"}, "position": [0, 0], "scope": "global"},
        {"name": "lamp", "value": "off", "values": {"off": "a street lamp", "on": "a shining street lamp"}, "position": [280, 0]},
        {"name": "windows", "value": "dark", "values": {"dark": "dark windows", "lit": "lit windows"}, "position": [280, 130]},
        {"name": "weather", "value": "sunny", "values": {"sunny": "sunny weather", "rainy": "rain"}, "position": [0, 160]},
    ],
    "edges": [{"cause": "time", "effect": "lamp"}, {"cause": "time", "effect": "windows"}, {"cause": "lamp", "effect": "windows"}],
})  # fmt: skip


def asked(drawing):
    graph = drawing.graph()
    return graph["interventions"], graph.get("effects", {})


def test_what_follows_is_clicked_and_the_lock_cuts(drawing):
    drawing.start(STREET)
    drawing.press("Intervene")
    drawing.chip("time", "night").click()
    drawing.root.get_by_text("No value yet: lamp, windows").wait_for()
    assert drawing.card("lamp").locator(".badge").get_attribute("data-open") == "true"
    drawing.picture("editor-open-effects")
    drawing.chip("lamp", "on").click()
    drawing.root.get_by_text("No value yet: windows").wait_for()
    drawing.chip("windows", "lit").click()
    assert asked(drawing) == ({"time": "night"}, {"lamp": "on", "windows": "lit"})
    assert drawing.card("lamp").locator(".badge").text_content() == "then on"
    assert drawing.root.get_by_text("No value yet").count() == 0
    drawing.picture("editor-effects")
    drawing.card("lamp").locator(".lock").click()
    assert asked(drawing) == ({"time": "night", "lamp": "on"}, {"windows": "lit"})
    drawing.card("lamp").locator(".lock").click()
    assert asked(drawing) == ({"time": "night"}, {"lamp": "on", "windows": "lit"})
    drawing.press("Undo")
    drawing.press("Undo")
    assert asked(drawing) == ({"time": "night"}, {"lamp": "on", "windows": "lit"})
    drawing.chip("time", "night").click()
    assert asked(drawing) == ({}, {}), "what followed from it is let go"
    drawing.press("Undo")
    assert asked(drawing) == ({"time": "night"}, {"lamp": "on", "windows": "lit"})
    panel = drawing.details("windows")
    panel.locator(".choice.expected", has_text="dark").click()
    assert asked(drawing)[1]["windows"] == "dark"
    drawing.press("Details")


def test_the_pictures_words_stand_above_and_what_they_lack_is_mended_by_a_click(drawing):
    drawing.start(STREET)
    words = drawing.root.get_by_label("The picture:")
    assert words.input_value() == "daytime, sunny weather, a street lamp"
    assert [drawing.card(name).locator(".words").count() for name in ("time", "lamp", "windows")] == [0, 0, 1]
    drawing.picture("editor-words")
    drawing.card("windows").locator(".words").click()
    assert words.input_value() == drawing.graph()["base_prompt"] == "daytime, sunny weather, a street lamp, dark windows"
    drawing.card("windows").locator(".words").wait_for(state="detached")
    enter(words, "a street by day")
    assert drawing.graph()["base_prompt"] == "a street by day" and drawing.page.locator(".csg-card .words").count() == 4
    drawing.press("Undo")
    assert words.input_value().endswith("dark windows")
    drawing.menu("Empty the graph")
    assert (drawing.graph()["base_prompt"], drawing.names(), words.input_value()) == ("", [], "")
    drawing.press("Undo")
    assert len(drawing.names()) == 4


def test_nothing_to_see_has_no_words_and_each_value_tells_its_own(drawing):
    drawing.start(EMPTY)
    drawing.press("Concept")
    drawing.page.keyboard.type("glasses = none, reading, sunglasses")
    drawing.page.keyboard.press("Enter")
    assert drawing.graph()["concepts"][0]["values"] == {"none": "", "reading": "reading glasses", "sunglasses": "sunglasses"}
    titles = [drawing.chip("glasses", value).locator("title").text_content() for value in ("none", "reading")]
    assert titles[0].startswith("none\n") and titles[1] == "reading\nreading glasses"


def test_a_template_is_asked_another_question_by_clicks_alone(drawing, server):
    drawing.editor.open_template("town_counterfactual")
    close_up(drawing.editor)
    drawing.card("time").wait_for()
    drawing.press("Intervene")
    drawing.press("Release all")
    drawing.chip("time", "night").click()
    for name, value in (("lamp", "on"), ("windows", "lit"), ("headlights", "on")):
        drawing.chip(name, value).click()
    assert asked(drawing) == ({"time": "night"}, {"lamp": "on", "windows": "lit", "headlights": "on"})
    end = drawing.editor.queue(timeout=600)
    assert end["end"] == "execution_success", end
    outputs = server.client.get(f"/history/{end['detail']['prompt_id']}")[end["detail"]["prompt_id"]]["outputs"].values()
    texts = [text for output in outputs for text in output.get("text", [])]
    score, *_ = (json.loads(text) for text in texts if text.startswith("{") and "excess_error" in text)
    assert score["effectiveness"] == 1
    drawing.card("lamp").locator(".result", has_text="off → on").wait_for(state="attached")
    assert drawing.root.get_attribute("data-stale") == "false"
    drawing.editor.screenshot("editor_question")


def test_old_graphs_are_as_before(drawing):
    drawing.start(WEATHER)
    drawing.press("Intervene")
    drawing.chip("weather", "rainy").click()
    assert "effects" not in drawing.graph()
