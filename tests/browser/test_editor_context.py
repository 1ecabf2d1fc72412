"""The menu at the pointer: on cards, edges, several cards and the ground; by mouse and by keys."""

from tests.browser.drawing import WEATHER
from tests.browser.test_editor_intervene import STREET, asked


def items(drawing):
    drawing.page.locator(".csg-context button").first.wait_for()
    return drawing.page.locator(".csg-context:visible button").all_inner_texts()


def choose(drawing, label, role="menuitem"):
    drawing.page.locator(".csg-context").get_by_role(role, name=label, exact=True).click()
    assert drawing.page.locator(".csg-context:visible").count() == 0


def on_card(drawing, name):
    drawing.card(name).locator(".body").click(button="right", position={"x": 60, "y": 14})
    return items(drawing)


def test_a_cards_menu_says_what_is_and_changes_it(drawing):
    drawing.start(WEATHER)
    values, mend = ["dry", "wet"], ["Add these words to the picture's"]
    assert on_card(drawing, "ground") == values + mend + ["Details", "Rename…", "Draw an edge from here", "Duplicate", "Remove"]
    assert drawing.page.locator(".litecontextmenu, [data-testid=node-context-menu], .p-contextmenu:visible").count() == 0
    drawing.picture("editor-context-card")
    choose(drawing, "wet", "menuitemradio")
    assert drawing.graph()["concepts"][1]["value"] == "wet"
    on_card(drawing, "house")
    choose(drawing, "Duplicate")
    assert drawing.names() == ["weather", "ground", "house", "house 2"]
    on_card(drawing, "house 2")
    choose(drawing, "Remove")
    assert drawing.names() == ["weather", "ground", "house"]


def test_in_intervene_it_asks_the_question(drawing):
    drawing.start(STREET)
    drawing.press("Intervene")
    on_card(drawing, "time")
    choose(drawing, "night", "menuitemradio")
    on_card(drawing, "lamp")
    drawing.picture("editor-context-question")
    choose_first = drawing.page.locator(".csg-context").get_by_role("group", name="What becomes of lamp").get_by_text("on", exact=True)
    choose_first.click()
    assert asked(drawing) == ({"time": "night"}, {"lamp": "on"})
    on_card(drawing, "time")
    choose(drawing, "Release")
    assert asked(drawing) == ({}, {})


def test_edges_several_cards_and_the_ground_have_their_own(drawing):
    drawing.start(WEATHER)
    drawing.point_at("weather", "ground")
    drawing.page.mouse.down(button="right")
    drawing.page.mouse.up(button="right")
    assert items(drawing) == ["Mark as proposed", "Turn round", "Details", "Remove this edge"]
    choose(drawing, "Turn round")
    assert drawing.edges() == [("ground", "weather")]
    drawing.card("weather").locator(".body").click(position={"x": 60, "y": 14})
    drawing.card("house").locator(".body").click(position={"x": 60, "y": 14}, modifiers=["Shift"])
    assert on_card(drawing, "house") == ["Duplicate", "Remove"]
    choose(drawing, "Remove")
    assert drawing.names() == ["ground"]
    drawing.press("Undo")
    drawing.page.mouse.click(*drawing.ground_point(0.9, 0.9), button="right")
    assert items(drawing)[:2] == ["Add a concept here", "Intervene"]
    drawing.picture("editor-context-ground")
    choose(drawing, "Add a concept here")
    drawing.page.keyboard.type("lamp = off, on")
    drawing.page.keyboard.press("Enter")
    assert "lamp" in drawing.names()


def test_it_opens_by_keys_and_stays_inside(drawing):
    drawing.start(WEATHER)
    drawing.card("house").locator(".body").click(position={"x": 60, "y": 14})
    drawing.page.keyboard.press("Shift+F10")
    assert items(drawing)[:2] == ["red", "blue"]
    menu, whole = drawing.page.locator(".csg-context").bounding_box(), drawing.root.bounding_box()
    assert menu["x"] >= whole["x"] and menu["y"] + menu["height"] <= whole["y"] + whole["height"] + 1
    drawing.page.keyboard.press("ArrowDown")
    drawing.page.keyboard.press("Enter")
    assert drawing.graph()["concepts"][2]["value"] == "blue"
    drawing.page.keyboard.press("ContextMenu")
    items(drawing)
    drawing.page.keyboard.press("Escape")
    assert drawing.page.locator(".csg-context:visible").count() == 0
    drawing.page.keyboard.press("1")
    assert drawing.graph()["concepts"][2]["value"] == "red", "the keyboard is back on the card"
