"""Another picture under an editor, and what ComfyUI's page does around it: the editor shows what is, and nothing else."""

import json

from tests.browser.drawing import EMPTY, NODE, WEATHER
from tests.browser.test_editor_life import EXTRACTED, connect_extraction

OTHER = {
    "concepts": [
        {"name": "weather", "value": "foggy", "values": {"sunny": "sunny weather", "foggy": "fog"}},
        {"name": "lamp", "value": "on", "values": {"on": "a lit lamp", "off": ""}},
    ],
    "edges": [{"cause": "weather", "effect": "lamp"}],
}

OPEN = "() => window.app.extensionManager.workflow.activeWorkflow.path"


def labels(drawing):
    """Each card's concept and value."""
    return {tuple(label.split(".")[0].split(": ")) for label in drawing.page.evaluate(
        "() => [...document.querySelectorAll('.csg-card')].map(card => card.getAttribute('aria-label'))")}  # fmt: skip


def untouched(drawing, after):
    """An editor over an extraction that has run, its text never edited."""
    drawing.start(EMPTY, after)
    drawing.editor.set_widget(NODE, "graph_json", "")
    connect_extraction(drawing, EXTRACTED)
    assert drawing.editor.queue()["end"] == "execution_success"
    drawing.card("ground").wait_for()


def take_other(drawing):
    drawing.editor.set_widget("CSG_ConceptsFromText", "text", json.dumps(OTHER))


def test_an_untouched_editor_shows_the_new_picture_and_asks_nothing(drawing):
    untouched(drawing, ["CSG_GraphPreview"])
    told = {"csg_counterfactual": [json.dumps({"ground": {"factual": "dry", "counterfactual": "wet", "role": "descendant"}})]}
    drawing.report(("CSG_GraphPreview", told))
    drawing.card("ground").locator(".result").wait_for()
    assert drawing.root.get_attribute("data-stale") == "false"
    take_other(drawing)
    assert drawing.editor.queue()["end"] == "execution_success"
    drawing.card("lamp").wait_for()
    assert labels(drawing) == {("weather", "foggy"), ("lamp", "on")}
    assert drawing.root.get_by_role("button", name="Decide").count() == 0 and drawing.widget() == ""
    assert drawing.root.get_attribute("data-stale") == "true"


def test_a_run_that_ends_while_another_tab_is_shown_is_there_on_return(drawing):
    untouched(drawing, ["CSG_GraphPreview"])
    take_other(drawing)
    drawing.page.evaluate("""() => {
        window.over = new Promise(done => window.app.api.addEventListener('execution_success', done, { once: true }));
        window.app.queuePrompt(0, 1);
        return new Promise(done => window.app.api.addEventListener('promptQueued', done, { once: true }));
    }""")
    drawing.editor.command("Comfy.NewBlankWorkflow")
    drawing.page.evaluate("() => window.over")
    drawing.card("weather").wait_for(state="detached")
    drawing.editor.command("Workspace.PreviousOpenedWorkflow")
    drawing.card("lamp").wait_for(timeout=20_000)
    assert labels(drawing) == {("weather", "foggy"), ("lamp", "on")}


def test_a_copy_of_a_workflow_begins_as_any_new_one(drawing):
    drawing.start(WEATHER)
    drawing.press("Intervene")
    workflow = drawing.page.evaluate("() => window.app.graph.serialize()")
    copied = drawing.page.evaluate(OPEN)
    drawing.editor.load(workflow)
    drawing.page.wait_for_function(f"copied => ({OPEN})() !== copied", arg=copied)
    drawing.page.wait_for_function("() => document.querySelector('.csg-editor')?.dataset.mode === 'edit'", timeout=20_000)
    before = drawing.page.evaluate(OPEN)
    while drawing.page.evaluate(OPEN) != copied:
        drawing.editor.command("Workspace.PreviousOpenedWorkflow")
        drawing.page.wait_for_function(f"before => ({OPEN})() !== before", arg=before)
        before = drawing.page.evaluate(OPEN)
    drawing.page.wait_for_function("() => document.querySelector('.csg-editor')?.dataset.mode === 'intervene'", timeout=20_000)


def test_the_properties_panel_leaves_the_editor_its_width(drawing):
    drawing.start(WEATHER)
    wide = drawing.root.bounding_box()["width"]
    drawing.card("weather").click()
    drawing.page.evaluate("() => { const { canvas, graph } = window.app; canvas.selectItems([graph.nodes[0]]); }")
    toggle = drawing.page.get_by_role("button", name="properties panel")
    toggle.first.click()
    drawing.page.get_by_test_id("properties-panel").wait_for()
    drawing.at_rest()
    drawing.editor.screenshot("editor_properties")
    drawing.press("Intervene")
    drawing.pulse(2)
    drawing.at_rest()
    assert drawing.root.bounding_box()["width"] > wide - 2
    toggle.last.click()
    drawing.page.get_by_test_id("properties-panel").wait_for(state="hidden")
    assert drawing.root.bounding_box()["width"] > wide - 2


def test_a_bypassed_editor_looks_bypassed(drawing):
    drawing.start(WEATHER)
    drawing.page.evaluate("() => { window.app.graph.nodes[0].mode = 4; }")
    drawing.page.wait_for_function("() => Number(getComputedStyle(document.querySelector('.csg-editor')).opacity) < 0.6")
    drawing.page.evaluate("() => { window.app.graph.nodes[0].mode = 0; }")
    drawing.page.wait_for_function("() => getComputedStyle(document.querySelector('.csg-editor')).opacity === '1'")


def test_a_do_that_a_node_behind_adds_is_shown(drawing):
    drawing.start(WEATHER, ["CSG_Intervene", "CSG_Propagate", "PreviewAny"])
    drawing.press("Intervene")
    drawing.chip("house", "blue").click()
    assert drawing.editor.queue()["end"] == "execution_success"
    drawing.card("weather").locator(".badge[data-behind=true]", has_text="do(weather = rainy)").wait_for()
    assert "Set by a node after this one." in drawing.card("weather").get_attribute("aria-label")
    assert drawing.graph()["interventions"] == {"house": "blue"}
    drawing.picture("editor-do-behind")
    drawing.press("Release all")
    drawing.card("weather").locator(".badge").wait_for(state="detached")
