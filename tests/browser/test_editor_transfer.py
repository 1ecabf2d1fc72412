"""Several concepts at once, the clipboard, and what is dropped on the editor."""

import pytest

from tests.browser.drawing import NODE, WEATHER

DROP = """([target, name, text]) => {
    const data = new DataTransfer();
    if (name) data.items.add(new File([text], name));
    else data.setData('text/plain', text);
    for (const type of ['dragenter', 'dragover', 'drop'])
        document.querySelector(target).dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
}"""
TEXTS = {
    "graph.dot": "digraph { rain -> puddles; rain -> umbrella }",
    "graph.gv": "digraph { rain -> puddles }",
    "graph.dagitty": "dag { rain -> puddles }",
    "causal-graph.json": WEATHER,
}


def selected(drawing):
    return drawing.page.evaluate(
        "() => [...document.querySelectorAll('.csg-card.selected')].map(card => card.getAttribute('aria-label').split(':')[0])")


def test_several_are_selected_by_shift_and_by_a_frame_and_deleted_at_once(drawing):
    drawing.start(WEATHER)
    drawing.card("weather").locator(".body").click(position={"x": 60, "y": 14})
    drawing.card("house").locator(".body").click(position={"x": 60, "y": 14}, modifiers=["Shift"])
    assert selected(drawing) == ["weather", "house"]
    drawing.page.keyboard.press("Delete")
    assert drawing.names() == ["ground"]
    drawing.press("Undo")
    first, last = (drawing.card(name).locator(".body").bounding_box() for name in ("weather", "ground"))
    mouse = drawing.page.mouse
    mouse.click(*drawing.ground_point(0.97, 0.97))
    drawing.page.keyboard.down("Shift")
    mouse.move(first["x"] - 8, first["y"] - 8)
    mouse.down()
    mouse.move(last["x"] + 20, last["y"] + 20, steps=4)
    assert drawing.page.locator(".csg-scene .frame[visibility=visible]").count() == 1
    drawing.picture("editor-frame")
    mouse.up()
    drawing.page.keyboard.up("Shift")
    assert sorted(selected(drawing)) == ["ground", "weather"]
    drawing.page.keyboard.press("Delete")
    assert drawing.names() == ["house"]


def test_concepts_are_copied_pasted_and_doubled(drawing):
    drawing.start(WEATHER)
    drawing.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    drawing.card("weather").locator(".body").click(position={"x": 60, "y": 14})
    drawing.card("ground").locator(".body").click(position={"x": 60, "y": 14}, modifiers=["Shift"])
    drawing.page.keyboard.press("Control+c")
    drawing.page.keyboard.press("Control+v")
    drawing.card("ground 2").wait_for()
    assert drawing.edges() == [("weather", "ground"), ("weather 2", "ground 2")]
    assert selected(drawing) == ["weather 2", "ground 2"]
    drawing.page.keyboard.press("Control+d")
    drawing.card("ground 3").wait_for()
    assert len(drawing.editor.nodes()) == 1, "ComfyUI copies no node"
    drawing.press("Undo")
    drawing.press("Undo")
    assert drawing.names() == ["weather", "ground", "house"]


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_that_is_dropped_is_the_graph(drawing, name):
    drawing.start(WEATHER)
    drawing.page.evaluate(DROP, [".csg-scene", name, TEXTS[name]])
    drawing.page.wait_for_function("name => document.querySelector('.csg-status').textContent.includes(name)", arg=name)
    assert [node["type"] for node in drawing.editor.nodes()] == [NODE]
    if name.endswith("json"):
        assert drawing.names() == ["weather", "ground", "house"]
    else:
        assert drawing.names()[:2] == ["rain", "puddles"]
        assert drawing.graph()["concepts"][0]["values"] == {"present": "rain", "absent": ""}
    assert drawing.page.get_by_text("Unable to find workflow").count() == 0


def test_a_text_that_is_dropped_joins_and_one_that_is_no_graph_is_refused(drawing):
    drawing.start(WEATHER)
    drawing.page.evaluate(DROP, [".csg-scene", "", "dag { rain -> ground }"])
    drawing.card("ground 2").wait_for()
    assert drawing.edges() == [("weather", "ground"), ("rain", "ground 2")]
    before = drawing.widget()
    drawing.page.evaluate(DROP, [".csg-scene", "", "what a nice day"])
    drawing.page.locator(".csg-status[data-kind=refused]").wait_for()
    assert drawing.widget() == before
