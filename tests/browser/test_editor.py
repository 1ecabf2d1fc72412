"""Building a graph in the editor: by mouse, by keys, by touch, in the details."""

import json

import pytest

from tests.browser.drawing import EMPTY, TEXT, WEATHER, enter


def test_a_graph_from_nothing_by_mouse_alone(drawing):
    drawing.start(EMPTY)
    for right in (0.25, 0.75):
        drawing.page.mouse.dblclick(*drawing.ground_point(right, 0.4))
        drawing.page.locator(".csg-quick:not([hidden])").wait_for()
        drawing.page.mouse.click(*drawing.ground_point(0.5, 0.95))
    assert drawing.names() == ["concept", "concept 2"]
    drawing.drag_edge("concept", "concept 2")
    assert drawing.edges() == [("concept", "concept 2")]
    drawing.press("Intervene")
    drawing.chip("concept", "absent").click()
    assert drawing.graph()["interventions"] == {"concept": "absent"}
    assert drawing.card("concept 2").get_attribute("data-role") == "descendant"
    drawing.editor.screenshot("editor_by_mouse")


@pytest.mark.core
def test_a_graph_from_nothing_by_keys_alone(drawing):
    drawing.start(EMPTY)
    keys = drawing.page.keyboard
    drawing.focus(".csg-scene")
    for entry in ("weather = sunny, rainy", "ground = dry, wet"):
        keys.press("n")
        drawing.page.locator(".csg-quick:not([hidden])").wait_for()
        keys.type(entry)
        keys.press("Enter")
    assert drawing.names() == ["weather", "ground"]
    for key in ("ArrowLeft", "c", "ArrowRight", "Enter"):
        keys.press(key)
    assert drawing.edges() == [("weather", "ground")]
    for key in ("ArrowLeft", "i", "2"):
        keys.press(key)
    assert drawing.graph()["interventions"] == {"weather": "rainy"}
    for key in ("ArrowRight", "h"):
        keys.press(key)
    assert drawing.graph()["interventions"] == {"weather": "rainy", "ground": "dry"}
    keys.press("Control+z")
    assert drawing.graph()["interventions"] == {"weather": "rainy"}
    keys.press("Delete")
    assert drawing.names() == ["weather"]
    assert len(drawing.editor.nodes()) == 1, "Delete stayed inside the editor"


def test_a_name_is_asked_for_in_sight_and_escape_takes_the_concept_back(drawing):
    drawing.start(WEATHER)
    drawing.page.mouse.dblclick(*drawing.ground_point(0.97, 0.97))
    drawing.page.locator(".csg-quick:not([hidden])").wait_for()
    entry, stage = (drawing.page.locator(name).bounding_box() for name in (".csg-quick", ".csg-stage"))
    assert entry["x"] + entry["width"] <= stage["x"] + stage["width"] and entry["y"] + entry["height"] <= stage["y"] + stage["height"]
    assert len(drawing.names()) == 4
    drawing.page.keyboard.press("Escape")
    drawing.page.locator(".csg-quick").wait_for(state="hidden")
    assert drawing.names() == ["weather", "ground", "house"] and drawing.said() == "Cancelled."
    assert drawing.page.evaluate("document.activeElement.closest('.csg-scene') !== null")


def test_touch_moves_and_pinches(drawing, fingers):
    drawing.start(WEATHER)
    box = drawing.card("weather").locator(".body").bounding_box()
    fingers.drag((box["x"] + 60, box["y"] + 12), (box["x"] + 160, box["y"] + 112))
    drawing.page.wait_for_function(f"() => {TEXT}.concepts[0].position[0] > 0")
    drawing.at_rest()
    moved = drawing.card("weather").locator(".body").bounding_box()
    assert moved["x"] > box["x"] + 60 and moved["y"] > box["y"] + 60
    before = drawing.page.locator(".csg-scene .viewport").get_attribute("transform")
    x, y = drawing.ground_point(0.8, 0.8)
    fingers.touch("touchStart", (x - 40, y), (x + 40, y))
    fingers.touch("touchMove", (x - 120, y), (x + 120, y))
    fingers.touch("touchEnd")
    assert drawing.page.locator(".csg-scene .viewport").get_attribute("transform") != before


def test_a_cycle_is_refused_in_the_air_and_its_path_shown(drawing):
    drawing.start(WEATHER)
    drawing.drag_edge("ground", "weather", release=False)
    assert "ground → weather → ground" in drawing.said()
    assert drawing.page.locator(".csg-edge.refused").count() == 1
    drawing.page.mouse.up()
    assert drawing.edges() == [("weather", "ground")]


def test_the_wheel_is_the_canvass_until_the_editor_has_the_keyboard(drawing):
    drawing.start(WEATHER)
    scale = "() => [window.app.canvas.ds.scale, document.querySelector('.csg-scene .viewport').getAttribute('transform')]"
    drawing.page.evaluate("document.activeElement?.blur()")
    before = drawing.page.evaluate(scale)
    drawing.page.mouse.move(*drawing.ground_point())
    drawing.page.mouse.wheel(0, -240)
    drawing.page.wait_for_function("before => window.app.canvas.ds.scale > before", arg=before[0])
    drawing.at_rest()
    outside = drawing.page.evaluate(scale)
    assert outside[0] > before[0] and outside[1] == before[1]
    drawing.page.mouse.click(*drawing.ground_point())
    drawing.page.mouse.wheel(0, -240)
    drawing.page.wait_for_function(f"before => ({scale})()[1] !== before", arg=outside[1])
    drawing.at_rest()
    inside = drawing.page.evaluate(scale)
    assert inside[0] == outside[0] and inside[1] != outside[1]


def test_a_graph_from_nothing_by_touch_alone(drawing, fingers):
    drawing.start(EMPTY)
    for right, name in ((0.25, "concept"), (0.75, "concept 2")):
        fingers.tap_twice(*drawing.ground_point(right, 0.4), until=drawing.page.locator(".csg-quick:not([hidden])"))
        fingers.tap(*drawing.ground_point(0.5, 0.95))
        drawing.card(name).wait_for()
    start, end = (drawing.card(name).locator(".body").bounding_box() for name in ("concept", "concept 2"))
    fingers.drag((start["x"] + start["width"], start["y"] + start["height"] / 2), (end["x"] + 60, end["y"] + 20))
    assert drawing.edges() == [("concept", "concept 2")]
    fingers.tap_on(drawing.root.get_by_role("button", name="Intervene", exact=True))
    drawing.page.locator(".csg-editor[data-mode=intervene]").wait_for(timeout=5000)
    fingers.tap_on(drawing.chip("concept", "absent"))
    drawing.card("concept 2").locator("xpath=self::*[@data-role='descendant']").wait_for(timeout=5000)
    assert drawing.graph()["interventions"] == {"concept": "absent"}


@pytest.mark.parametrize("what", ["a concept", "the ground"])
def test_a_tap_at_once_after_a_flick_is_not_lost(drawing, fingers, what):
    """Where a browser lets the flicked thing glide on, it takes the next tap for a hand that stops it."""
    drawing.start(WEATHER)
    box = drawing.card("house").locator(".body").bounding_box()
    start = (box["x"] + 60, box["y"] + 12) if what == "a concept" else drawing.ground_point(0.9, 0.9)
    fingers.drag(start, (start[0] - 40, start[1] - 160))
    fingers.tap_on(drawing.root.get_by_role("button", name="Intervene", exact=True))
    drawing.page.locator(".csg-editor[data-mode=intervene]").wait_for(timeout=5000)


def test_details_by_mouse_rename_values_phrases_notes(drawing):
    panel = drawing.start(WEATHER).details("weather")
    enter(panel.get_by_label("Words for rainy"), "grey rain from dark clouds")
    enter(panel.get_by_label("Add a value"), "snowy")
    panel.get_by_label("snowy is the factual value").check()
    enter(panel.get_by_label("Notes"), "seen in the sky")
    panel.get_by_label("Whole picture").check()
    enter(panel.get_by_label("Name"), "sky")
    concept = drawing.graph()["concepts"][0]
    assert (concept["name"], concept["value"], concept["scope"]) == ("sky", "snowy", "global")
    assert concept["values"] == {"sunny": "sunny weather", "rainy": "grey rain from dark clouds", "snowy": "snowy"}
    assert concept["description"] == "seen in the sky" and drawing.edges() == [("sky", "ground")]
    panel.get_by_role("button", name="Remove rainy").click()
    assert list(drawing.graph()["concepts"][0]["values"]) == ["sunny", "snowy"]
    enter(panel.get_by_label("Name"), "house")
    assert "already a concept called house" in drawing.said()
    assert panel.get_by_label("Name").input_value() == "sky"
    panel.get_by_role("button", name="Remove this concept").click()
    assert drawing.names() == ["ground", "house"]


def test_a_click_right_after_a_new_name_is_meant_for_the_renamed_concept(drawing):
    """The name is left by pressing the button, which stays the one that was pressed."""
    panel = drawing.start(WEATHER).details("weather")
    panel.get_by_label("Name").fill("sky")
    panel.get_by_role("button", name="Remove rainy").click()
    assert drawing.names()[0] == "sky" and list(drawing.graph()["concepts"][0]["values"]) == ["sunny"], drawing.said()


def test_a_concept_renamed_with_enter_stays_the_one_in_the_details(drawing):
    panel = drawing.start(WEATHER).details("weather")
    name = panel.get_by_label("Name")
    name.fill("sky")
    name.press("Enter")
    drawing.card("sky").wait_for()
    assert drawing.page.locator(".csg-status[data-kind=refused]").count() == 0, drawing.said()
    assert panel.get_by_label("Name").input_value() == "sky"
    value = panel.get_by_label("Add a value")
    for each in ("foggy", "snowy"):
        value.fill(each)
        value.press("Enter")
    assert list(drawing.graph()["concepts"][0]["values"]) == ["sunny", "rainy", "foggy", "snowy"]
    assert drawing.page.locator(".csg-status[data-kind=refused]").count() == 0, drawing.said()
    panel.get_by_role("button", name="Remove this concept").click()
    assert drawing.names() == ["ground", "house"]


def test_values_are_chosen_and_concepts_deleted_on_the_drawing(drawing):
    drawing.start(WEATHER)
    drawing.chip("ground", "wet").click()
    assert drawing.graph()["concepts"][1]["value"] == "wet"
    drawing.page.keyboard.press("Delete")
    drawing.card("ground").wait_for(state="detached")
    assert drawing.names() == ["weather", "house"] and drawing.edges() == []
    drawing.press("Undo")
    assert drawing.names() == ["weather", "ground", "house"] and drawing.edges() == [("weather", "ground")]
    drawing.press("Redo")
    assert drawing.names() == ["weather", "house"]


def test_proposed_edges_are_dashed_and_decided_on_the_drawing(drawing):
    edges = [("weather", "ground"), ("weather", "house")]
    graph = json.loads(WEATHER) | {"edges": [{"cause": c, "effect": e, "status": "proposed"} for c, e in edges]}
    drawing.start(json.dumps(graph))
    assert drawing.edge("weather", "ground").locator(".line").evaluate("line => getComputedStyle(line).strokeDasharray") != "none"
    drawing.chip("weather", "sunny").click()
    drawing.point_at("weather", "ground")
    drawing.edge("weather", "ground").locator(".confirm").click()
    assert [edge["status"] for edge in drawing.graph()["edges"]] == ["confirmed", "proposed"]
    drawing.point_at("weather", "house")
    drawing.edge("weather", "house").locator(".reject").click()
    assert drawing.edges() == [("weather", "ground")]


def test_do_cuts_lights_up_and_dims_and_a_descendant_is_held(drawing):
    graph = json.loads(WEATHER)
    graph["concepts"] += [{"name": name, "value": "no", "values": {"no": "", "yes": name}} for name in ("season", "reflection")]
    graph["edges"] += [{"cause": "season", "effect": "weather"}, {"cause": "ground", "effect": "reflection"}]
    drawing.start(json.dumps(graph))
    drawing.press("Intervene")
    drawing.chip("weather", "rainy").click()
    roles = {name: drawing.card(name).get_attribute("data-role") for name in drawing.names()}
    assert roles == {"weather": "intervened", "ground": "descendant", "house": "preserved", "season": "preserved",
                     "reflection": "descendant"}
    assert drawing.edge("season", "weather").get_attribute("data-cut") == "true"
    assert drawing.card("weather").locator(".badge").text_content() == "do(weather = rainy)"
    assert drawing.card("ground").locator(".badge").text_content() == "may change"
    drawing.card("ground").locator(".lock").click()
    assert drawing.card("ground").get_attribute("data-role") == "held"
    assert drawing.card("reflection").get_attribute("data-role") == "preserved"


def test_panning_zooming_fitting_and_arranging(drawing):
    drawing.start(WEATHER)
    view = drawing.page.locator(".csg-scene .viewport")
    fitted = view.get_attribute("transform")
    x, y = drawing.ground_point(0.9, 0.9)
    drawing.page.mouse.move(x, y)
    drawing.page.mouse.down()
    drawing.page.mouse.move(x - 80, y - 50, steps=4)
    drawing.page.mouse.up()
    panned = view.get_attribute("transform")
    assert panned != fitted
    drawing.page.mouse.wheel(0, -240)
    drawing.page.wait_for_function("([view, panned]) => view.getAttribute('transform') !== panned", arg=[view.element_handle(), panned])
    drawing.press("Show everything")
    assert view.get_attribute("transform") == fitted
    drawing.press("Arrange: causes before effects")
    places = {concept["name"]: concept["position"] for concept in drawing.graph()["concepts"]}
    assert places["weather"] != places["house"] and "position" in drawing.graph()["concepts"][1]


def test_keys_alone_reach_everything_by_tab_and_say_what_happens(drawing):
    drawing.start(WEATHER)
    page, keys = drawing.page, drawing.page.keyboard
    assert page.locator(".csg-scene [tabindex='0']").count() == 1
    drawing.root.get_by_role("button", name="Presets, files and help").focus()
    keys.press("Tab")
    assert page.evaluate("document.activeElement.value") == "a street on a sunny day"
    keys.press("Tab")
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert focused.startswith("weather: sunny. Values: sunny, rainy.") and "Effects: ground." in focused
    drawing.at_rest()
    keys.press("e")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("weather causes ground.")
    assert "rain wets the ground" in drawing.said()
    keys.press("Enter")
    assert drawing.graph()["edges"][0]["status"] == "proposed"
    keys.press("Delete")
    assert drawing.edges() == []
    keys.press("Enter")
    page.locator(".csg-panel").wait_for()
    page.wait_for_function("document.activeElement.dataset.field === 'name'")
    keys.type("sky")
    keys.press("Enter")
    assert drawing.names()[0] == "sky"
    keys.press("Escape")
    keys.press("Escape")
    page.locator(".csg-panel").wait_for(state="hidden")
    assert page.locator(".csg-status").get_attribute("aria-live") == "polite"
    assert len(drawing.editor.nodes()) == 1
