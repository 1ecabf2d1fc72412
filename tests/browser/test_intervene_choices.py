"""The fields of Intervene list what the graph before it has, by a click in the real page; and may be typed as ever."""

import json

from tests.browser.drawing import WEATHER

VALUES = "() => window.app.graph.nodes.filter(node => node.type === 'CSG_Intervene').map(node => node.widgets.map(widget => widget.value))"
# Where a field of the last Intervene stands on the page, in either mode.
PLACE = """name => {
    const { canvas, graph } = window.app;
    const node = graph.nodes.filter(node => node.type === 'CSG_Intervene').at(-1);
    const input = document.querySelector(`[data-node-id="${node.id}"] input[aria-label="${name}"]`);
    if (input) {
        const { left, top, width, height } = input.getBoundingClientRect();
        return [left + width / 2, top + height / 2];
    }
    const widget = node.widgets.find(each => each.name === name), { left, top } = canvas.canvas.getBoundingClientRect();
    const [x, y] = canvas.ds.convertOffsetToCanvas([node.pos[0] + node.size[0] / 2, node.pos[1] + widget.last_y + 10]);
    return [left + x, top + y];
}"""

ENTRIES = ".litecontextmenu .litemenu-entry"


def offered(drawing, field):
    """Click a field; the list's entries."""
    drawing.editor.frames()
    drawing.page.mouse.click(*drawing.page.evaluate(PLACE, field))
    entries = drawing.page.locator(ENTRIES)
    entries.first.wait_for()
    return entries.all_inner_texts()


def choose(drawing, field, choice):
    offered(drawing, field)
    drawing.page.locator(ENTRIES).get_by_text(choice, exact=True).click()
    drawing.page.locator(".litecontextmenu").wait_for(state="detached")


def start(drawing, types):
    drawing.start(WEATHER, types)
    drawing.editor.fit()


def test_concepts_and_values_of_the_graph_are_listed_and_chosen_by_clicks(drawing):
    start(drawing, ["CSG_Intervene", "CSG_Intervene", "CSG_GraphPreview"])
    assert offered(drawing, "concept") == ["weather", "ground", "house", "…"]
    drawing.page.locator(ENTRIES).get_by_text("house", exact=True).click()
    choose(drawing, "value", "blue")
    assert drawing.page.evaluate(VALUES) == [["weather", "rainy"], ["house", "blue"]]
    drawing.editor.screenshot("intervene_choices")
    other = json.loads(WEATHER)
    other["concepts"][2]["values"]["green"] = "a green house"
    drawing.write(json.dumps(other))
    assert offered(drawing, "value") == ["red", "blue", "green", "…"]
    drawing.page.locator(ENTRIES).get_by_text("green", exact=True).click()
    end = drawing.editor.queue()
    assert end["end"] == "execution_success", end
    assert drawing.page.evaluate(VALUES) == [["weather", "rainy"], ["house", "green"]]


def test_without_a_graph_before_it_the_field_is_typed(drawing):
    start(drawing, ["CSG_Intervene"])
    drawing.page.evaluate("window.app.graph.nodes[1].disconnectInput(0)")
    drawing.editor.frames()
    drawing.page.mouse.click(*drawing.page.evaluate(PLACE, "concept"))
    field = drawing.page.locator(".graphdialog input, [data-node-id] input[aria-label='concept']").first
    field.wait_for()
    field.fill("sky")
    field.press("Enter")
    drawing.page.wait_for_function(f"() => ({VALUES})()[0][0] === 'sky'")
    assert drawing.page.locator(".litecontextmenu").count() == 0


def open_by_keys(drawing, field):
    """By the down arrow where the field is an element of the page; ComfyUI's canvas gives its fields no keyboard, so by a click."""
    own = drawing.page.locator(f"[data-node-id] input[aria-label='{field}']")
    if not own.count():
        return offered(drawing, field)
    own.last.focus()
    drawing.page.keyboard.press("ArrowDown")
    drawing.page.locator(ENTRIES).first.wait_for()
    return drawing.page.locator(ENTRIES).all_inner_texts()


def press(drawing, *keys):
    for key in keys:
        drawing.page.keyboard.press(key)
    drawing.page.locator(".litecontextmenu").wait_for(state="detached")


def test_lists_are_walked_by_keys(drawing):
    start(drawing, ["CSG_Intervene"])
    assert open_by_keys(drawing, "concept") == ["weather", "ground", "house", "…"]
    press(drawing, "ArrowDown", "ArrowDown", "Enter")
    assert drawing.page.evaluate(VALUES) == [["house", "rainy"]]
    open_by_keys(drawing, "value")
    press(drawing, "ArrowUp", "ArrowUp", "Enter")
    assert drawing.page.evaluate(VALUES) == [["house", "blue"]]
    open_by_keys(drawing, "value")
    press(drawing, "Home", "Escape")
    assert drawing.page.evaluate(VALUES) == [["house", "blue"]]
    if drawing.page.locator("[data-node-id] input[aria-label='value']").count():
        assert drawing.page.evaluate("document.activeElement.ariaLabel") == "value", "the field has the keyboard again"


def test_without_an_editor_the_lists_come_from_the_last_run_though_it_failed(drawing):
    drawing.editor.set_up_nodes(["CSG_ConceptsFromText", "CSG_Intervene", "CSG_GraphPreview"])
    drawing.editor.set_widget("CSG_ConceptsFromText", "text", WEATHER)
    drawing.editor.set_widget("CSG_Intervene", "concept", "wether")
    drawing.editor.fit()
    assert drawing.editor.queue()["end"] == "execution_error"
    drawing.editor.fit()
    assert offered(drawing, "concept") == ["weather", "ground", "house", "…"]
    drawing.page.locator(ENTRIES).get_by_text("ground", exact=True).click()
    assert offered(drawing, "value") == ["dry", "wet", "…"]
    drawing.page.locator(ENTRIES).get_by_text("wet", exact=True).click()
    end = drawing.editor.queue()
    assert end["end"] == "execution_success", end
