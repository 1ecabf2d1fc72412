"""The editor's life in ComfyUI: loading, running, saving, copying, undoing, being deleted."""

import json

import pytest

from csg.causal.palette import PALETTE
from tests.browser.drawing import EMPTY, NODE, WEATHER, enter

EXTRACTED = {
    "concepts": [
        {"name": "weather", "value": "sunny", "values": {"sunny": "sunny weather", "rainy": "rain", "foggy": "fog"}},
        {"name": "ground", "value": "dry", "values": {"dry": "dry ground", "wet": "wet ground"}},
    ],
    "edges": [{"cause": "weather", "effect": "ground"}],
}
# ComfyUI tells a tab that is shown again what its runs reported: nothing may come back after this
UNLINK_AS_IT_COMES = """() => new MutationObserver((_, observer) => {
    if (!document.querySelector('.csg-card[aria-label^="weather:"]')) return;
    observer.disconnect();
    window.app.graph.nodes.find(node => node.type === 'CSG_GraphEditor').disconnectInput('graph');
    window.unlinked = true;
}).observe(document.body, { childList: true, subtree: true })"""


@pytest.mark.core
def test_intervene_queue_and_find_the_result_after_a_reload(drawing):
    drawing.start(WEATHER, ["CSG_Propagate"])
    drawing.editor.set_widget("CSG_Propagate", "values", "ground = wet")
    drawing.page.evaluate("""() => {
        const { graph } = window.app;
        const preview = window.LiteGraph.createNode('PreviewAny');
        graph.add(preview);
        graph.nodes.find(node => node.type === 'CSG_Propagate').connect(1, preview, 0);
    }""")
    drawing.press("Intervene")
    drawing.chip("weather", "rainy").click()
    drawing.drafted()  # of the edits, before the results come
    assert drawing.editor.queue()["end"] == "execution_success"
    drawing.card("ground").locator(".result", has_text="dry → wet").wait_for()
    drawing.drafted()
    drawing.page.reload()
    drawing.editor.ready()
    drawing.card("ground").locator(".result", has_text="dry → wet").wait_for()
    assert drawing.root.get_attribute("data-stale") == "false"
    drawing.press("Intervene")
    drawing.chip("house", "blue").click()
    drawing.page.wait_for_function("root => root.dataset.stale === 'true'", arg=drawing.root.element_handle())


def test_an_audit_shows_its_verdict_on_what_had_to_stay_too(drawing):
    drawing.start(WEATHER, ["CSG_Propagate"])
    change = {"factual": "sunny", "counterfactual": "rainy", "role": "intervened", "reason": ""}
    still = {"factual": "red", "counterfactual": "red", "role": "preserved", "reason": ""}
    drawing.report(("CSG_Propagate", {"csg_counterfactual": [json.dumps({"weather": change, "house": still})]}))
    drawing.card("weather").locator(".result").wait_for()
    assert drawing.card("house").locator(".result").count() == 0
    verdicts = [{"concept": "weather", "answer": True}, {"concept": "house", "answer": False}]
    drawing.report(("CSG_Propagate", {"csg_effectiveness": verdicts}))
    drawing.card("house").locator(".tick[data-good=false]").wait_for()
    assert drawing.card("house").locator(".outcome").text_content() == "stays red"
    assert drawing.card("weather").locator(".tick").get_attribute("data-good") == "true"


def test_a_run_shows_reasons_masks_and_effectiveness_in_the_masks_colours(drawing, mask_file):
    drawing.start(WEATHER, ["CSG_Propagate"])
    drawing.report(("CSG_Propagate", {"csg_counterfactual": [json.dumps({
        "weather": {"factual": "sunny", "counterfactual": "rainy", "role": "intervened", "reason": ""},
        "ground": {"factual": "dry", "counterfactual": "wet", "role": "changed", "reason": "rain wets the ground"},
        "house": {"factual": "red", "counterfactual": "red", "role": "preserved", "reason": ""}})]}),
        ("CSG_Propagate", {
            "csg_masks": [{"concept": "ground", "image": mask_file},
                          {"concept": "weather", "image": {**mask_file, "filename": "gone.png"}}],
            "csg_effectiveness": [{"concept": "weather", "answer": True}, {"concept": "ground", "answer": False}]}))
    result = drawing.card("ground").locator(".result")
    result.locator("image").wait_for(state="attached")
    assert result.locator(".outcome").text_content() == "dry → wet" and "rain wets" in result.text_content()
    assert f"filename={mask_file['filename']}" in result.locator("image").get_attribute("href")
    drawing.card("weather").locator(".result .thumb").wait_for(state="detached")
    said = drawing.card("ground").get_attribute("aria-label")
    assert "Last run: dry became wet." in said and "Not visible in the picture." in said
    assert result.locator(".tick").get_attribute("data-good") == "false"
    assert drawing.card("weather").locator(".tick").get_attribute("data-good") == "true"
    assert drawing.card("house").locator(".result").count() == 0
    colours = [drawing.card(name).locator(".bar").get_attribute("fill") for name in ("weather", "ground", "house")]
    assert colours == list(PALETTE[:3])
    drawing.details("ground")
    drawing.page.locator(".csg-panel .mask img").wait_for()
    assert drawing.page.locator(".csg-panel .seen").inner_text() == "Not visible in the picture"
    drawing.press("Details")


def test_what_a_run_tells_before_its_graph_belongs_to_that_graph(drawing, mask_file):
    """ComfyUI tells what it has cached in any order."""
    drawing.start(WEATHER, ["CSG_Propagate"])
    drawing.press("Intervene")
    ground, weather = ({name: {"factual": old, "counterfactual": new, "role": "changed", "reason": ""}}
                       for name, old, new in (("ground", "dry", "wet"), ("weather", "sunny", "rainy")))
    for value, changes, masks in (("rainy", ground, []), ("sunny", weather, [{"concept": "weather", "image": mask_file}])):
        drawing.chip("weather", value).click()
        told = [("CSG_Propagate", {"csg_masks": masks}), (NODE, {"graph": [drawing.widget()]}),
                ("CSG_Propagate", {"csg_counterfactual": [json.dumps(changes)]})]
        drawing.report(*told, run=f"run {value}")
        drawing.page.locator(".csg-editor[data-stale=false] .csg-card .result").wait_for()
    drawing.card("weather").locator(".result .thumb").wait_for()
    drawing.press("Undo")
    drawing.card("ground").locator(".result", has_text="dry → wet").wait_for()
    assert drawing.page.locator(".csg-card .thumb").count() == 0 and drawing.root.get_attribute("data-stale") == "false"


def test_what_a_run_tells_without_its_graph_is_shown_at_its_end(drawing, mask_file):
    drawing.start(WEATHER, ["CSG_Propagate"])
    told = {"csg_counterfactual": [json.dumps({"ground": {"factual": "dry", "counterfactual": "wet", "role": "changed", "reason": ""}})]}
    drawing.report(("CSG_Propagate", told), run="partial")
    drawing.pulse(2)
    assert drawing.page.locator(".csg-card .result").count() == 0
    drawing.page.evaluate("() => window.app.api.dispatchCustomEvent('execution_success', { prompt_id: 'partial' })")
    drawing.card("ground").locator(".result", has_text="dry → wet").wait_for()


def connect_extraction(drawing, graph):
    """A node that makes a graph from a text, before the editor."""
    drawing.page.evaluate("""text => {
        const { graph } = window.app;
        const editor = graph.nodes.find(node => node.type === 'CSG_GraphEditor');
        const source = window.LiteGraph.createNode('CSG_ConceptsFromText');
        graph.add(source);
        source.pos = [80, 760];
        source.widgets[0].value = text;
        source.connect(0, editor, editor.inputs.findIndex(input => input.name === 'graph'));
    }""", json.dumps(graph))


def test_edits_survive_a_new_extraction_and_conflicts_are_decided(drawing):
    drawing.start(EMPTY, ["CSG_GraphPreview"])
    drawing.editor.set_widget(NODE, "graph_json", "")
    connect_extraction(drawing, EXTRACTED)
    assert drawing.editor.queue()["end"] == "execution_success"
    drawing.card("weather").wait_for()
    enter(drawing.details("weather").get_by_label("Name"), "sky")
    drawing.press("Details")
    drawing.chip("sky", "rainy").click()
    again = json.loads(json.dumps(EXTRACTED))
    again["concepts"][0]["value"] = "foggy"
    again["concepts"].append({"name": "lamp", "value": "off"})
    drawing.editor.set_widget("CSG_ConceptsFromText", "text", json.dumps(again))
    assert drawing.editor.queue()["end"] == "execution_success"
    drawing.card("lamp").wait_for()
    assert drawing.card("sky").get_attribute("aria-label").startswith("sky: rainy.")
    assert drawing.card("weather").count() == 0
    drawing.press("Decide")
    drawing.page.locator(".csg-panel .conflicts").wait_for()
    drawing.picture("editor-conflict")
    drawing.root.get_by_role("button", name="take the new foggy").click()
    assert {c["name"]: c["value"] for c in drawing.graph()["concepts"]} == {"sky": "foggy", "ground": "dry", "lamp": "off"}
    assert drawing.editor.queue()["end"] == "execution_success"
    drawing.pulse(2)
    assert drawing.root.get_by_role("button", name="Decide").count() == 0
    drawing.page.evaluate("() => window.app.graph.nodes.find(node => node.type === 'CSG_GraphEditor').disconnectInput('graph')")
    drawing.pulse(2)
    assert drawing.names() == ["sky", "ground", "lamp"]


def test_connecting_a_graph_to_an_untouched_editor_shows_that_graph_alone(drawing):
    drawing.editor.set_up_nodes([NODE, "CSG_GraphPreview"])
    drawing.card("car").wait_for()
    connect_extraction(drawing, EXTRACTED)
    assert drawing.editor.queue()["end"] == "execution_success"
    drawing.page.wait_for_function("() => document.querySelectorAll('.csg-card').length === 2")
    assert drawing.root.get_by_role("button", name="Decide").count() == 0


def extracted(drawing):
    """An editor that nobody has touched, over a graph that was extracted; and a node behind it."""
    drawing.start(EMPTY, ["CSG_GraphPreview"])
    drawing.editor.set_widget(NODE, "graph_json", "")
    connect_extraction(drawing, EXTRACTED)
    assert drawing.editor.queue()["end"] == "execution_success"
    drawing.card("weather").wait_for()


def test_an_extraction_is_no_edit_and_undo_does_not_remove_it(drawing):
    """Undone, it would be kept as the wish to have none of its concepts."""
    extracted(drawing)
    drawing.chip("ground", "wet").click()
    drawing.press("Undo")
    for _ in range(2):
        drawing.press("Undo")
        drawing.restored()
        text = drawing.widget() if drawing.editor.nodes() else ""
        assert not text or drawing.names() == ["weather", "ground"]
    drawing.editor.set_up_nodes([])


def test_a_run_that_extracts_the_same_again_adds_no_step_to_undo(drawing):
    extracted(drawing)
    drawing.chip("ground", "wet").click()
    drawing.editor.set_widget("CSG_ConceptsFromText", "text", json.dumps(EXTRACTED) + " ")
    assert drawing.editor.queue()["end"] == "execution_success"
    drawing.pulse(2)
    drawing.press("Undo")
    assert [concept["value"] for concept in drawing.graph()["concepts"]] == ["sunny", "dry"]


def test_an_edit_can_be_undone_that_came_before_the_editor_looked_for_a_link(drawing):
    """It looks five times a second; a short run and a quick hand are faster."""
    drawing.page.evaluate("""() => {
        const { setInterval } = window;
        window.looks = [];
        window.setInterval = (act, every, ...rest) => (every === 200 ? window.looks.push(act) : setInterval(act, every, ...rest));
        window.lookAgain = () => { window.setInterval = setInterval; };
    }""")
    try:
        drawing.place()
        drawing.card("car").wait_for()
        connect_extraction(drawing, EXTRACTED)
        drawing.report((NODE, {"graph": [json.dumps(EXTRACTED)], "extracted": [json.dumps(EXTRACTED)]}))
        drawing.card("car").wait_for(state="detached")
        drawing.chip("ground", "wet").click()
        drawing.page.wait_for_function(
            "() => window.app.graph.nodes.some(node => node.widgets[0].value.includes('extracted'))", timeout=20_000)
        assert drawing.page.evaluate("() => window.looks.map(look => look()).length") > 0
        drawing.press("Undo")
        drawing.editor.frames()
        assert [concept["value"] for concept in drawing.graph()["concepts"]] == ["sunny", "dry"]
    finally:
        drawing.page.evaluate("() => window.lookAgain()")


def test_an_extraction_is_there_again_after_a_reload_and_in_another_tab_of_the_page(drawing):
    extracted(drawing)
    drawing.drafted()
    drawing.page.reload()
    drawing.editor.ready()
    drawing.card("weather").wait_for(timeout=20_000)
    drawing.editor.command("Comfy.NewBlankWorkflow")
    drawing.card("weather").wait_for(state="detached")
    drawing.page.evaluate(UNLINK_AS_IT_COMES)
    drawing.editor.command("Workspace.PreviousOpenedWorkflow")
    drawing.page.wait_for_function("window.unlinked")
    drawing.card("weather").wait_for(state="detached")


@pytest.mark.core
@pytest.mark.parametrize("place", ["toolbar", "ground", "panel"])
def test_undo_by_keys_is_one_step_wherever_the_editor_has_the_keyboard(drawing, place):
    """ComfyUI's undo hears every key first."""
    drawing.start(WEATHER)
    drawing.press("Intervene")
    for name, value in (("weather", "rainy"), ("house", "blue"), ("ground", "wet")):
        drawing.chip(name, value).click()
    drawing.tracked()
    if place == "panel":
        drawing.press("Details")
        drawing.page.locator(".csg-panel").get_by_role("button", name="Hold", exact=False).focus()
    elif place == "ground":
        drawing.page.mouse.click(*drawing.ground_point(0.97, 0.97))
    else:
        drawing.press("Intervene")
    kept = {"weather": "rainy", "house": "blue", "ground": "wet"}
    for last in ("ground", "house"):
        del kept[last]
        drawing.page.keyboard.press("Control+z")
        drawing.pulse(2)
        drawing.restored()  # so would be a second one
        assert drawing.graph()["interventions"] == kept


@pytest.mark.core
def test_comfyuis_undo_takes_back_one_edit(drawing):
    drawing.start(WEATHER)
    drawing.press("Intervene")
    drawing.chip("weather", "rainy").click()
    drawing.chip("house", "blue").click()
    drawing.editor.command("Comfy.Undo")
    drawing.page.wait_for_function("""() => { const node = window.app.graph.nodes[0];
        return !JSON.parse(node.widgets[0].value).interventions.house; }""")
    assert drawing.graph()["interventions"] == {"weather": "rainy"}
    drawing.card("weather").locator("xpath=self::*[@data-role='intervened']").wait_for()


@pytest.mark.core
def test_undo_and_redo_by_keys_go_on_in_comfyuis_history(drawing):
    drawing.start(WEATHER)
    drawing.press("Intervene")
    drawing.chip("weather", "rainy").click()
    drawing.chip("house", "blue").click()
    done = []
    for key in ("Control+z", "Control+z", "Control+y", "Control+Shift+z"):
        drawing.page.keyboard.press(key)
        done.append(drawing.graph()["interventions"])
    assert done == [{"weather": "rainy"}, {}, {"weather": "rainy"}, {"weather": "rainy", "house": "blue"}]
    house = "JSON.parse(window.app.graph.nodes[0].widgets[0].value).interventions.house"
    drawing.editor.command("Comfy.Undo")
    drawing.page.wait_for_function(f"() => !{house}")
    drawing.editor.command("Comfy.Redo")
    drawing.page.wait_for_function(f"() => {house} === 'blue'")
    drawing.card("house").locator("xpath=self::*[@data-role='intervened']").wait_for()


def test_a_copied_node_carries_its_graph_and_lives_on_its_own(drawing):
    drawing.start(WEATHER)
    drawing.page.evaluate("""() => {
        const { canvas, graph } = window.app;
        canvas.selectItems(graph.nodes);
        canvas.copyToClipboard();
        canvas.pasteFromClipboard();
    }""")
    drawing.page.wait_for_function("() => document.querySelectorAll('.csg-editor').length === 2")
    drawing.page.wait_for_function("() => document.querySelectorAll('.csg-card').length === 6")
    drawing.root.last.get_by_role("button", name="Intervene", exact=True).click()
    assert [drawing.root.nth(place).get_attribute("data-mode") for place in (0, 1)] == ["edit", "intervene"]
    texts = [json.loads(node["widgets"]["graph_json"]) for node in drawing.editor.nodes()]
    assert [len(text["concepts"]) for text in texts] == [3, 3]
    drawing.page.evaluate("() => window.app.graph.remove(window.app.graph.nodes[1])")
    drawing.page.wait_for_function("() => document.querySelectorAll('.csg-editor').length === 1")


def test_a_graph_goes_into_a_subgraph_and_out_again(drawing):
    drawing.start(WEATHER, ["CSG_GraphPreview"])
    drawing.press("Intervene")
    drawing.chip("weather", "rainy").click()
    drawing.page.evaluate("""() => {
        const { canvas, graph } = window.app;
        const { subgraph } = graph.convertToSubgraph(new Set([graph.nodes.find(node => node.type === 'CSG_GraphEditor')]));
        canvas.openSubgraph ? canvas.openSubgraph(subgraph, graph.nodes.find(node => node.subgraph)) : canvas.setGraph(subgraph);
    }""")
    drawing.page.wait_for_function("() => document.querySelectorAll('.csg-card').length === 3")
    drawing.card("weather").locator("xpath=self::*[@data-role='intervened']").wait_for()
    inside = "() => JSON.parse(window.app.canvas.graph.nodes.find(node => node.type === 'CSG_GraphEditor').widgets[0].value)"
    assert drawing.page.evaluate(inside)["interventions"] == {"weather": "rainy"}
    drawing.press("Intervene")
    drawing.chip("house", "blue").click()
    assert drawing.page.evaluate(inside)["interventions"] == {"weather": "rainy", "house": "blue"}
    assert drawing.editor.queue()["end"] == "execution_success"
    drawing.editor.set_up_nodes(["CSG_GraphPreview"])
    drawing.page.wait_for_function("() => document.querySelectorAll('.csg-editor').length === 0")


def test_an_api_prompt_dropped_on_the_page_brings_the_graph_back(drawing):
    drawing.start(WEATHER, ["CSG_GraphPreview"])
    drawing.press("Intervene")
    drawing.chip("weather", "rainy").click()
    drawing.page.evaluate("""async () => {
        const { output } = await window.app.graphToPrompt();
        window.app.graph.clear();
        await window.app.loadApiJson(output, 'graph');
    }""")
    drawing.card("weather").locator("xpath=self::*[@data-role='intervened']").wait_for()
    assert drawing.graph()["interventions"] == {"weather": "rainy"}


@pytest.mark.parametrize("how", ["remove", "clear"])
def test_a_deleted_node_leaves_nothing_behind(drawing, how):
    """ComfyUI itself keeps the node that it drew last, with the element it was given: that one must be empty.

    Keys open the parts here, because Playwright keeps what it has clicked.
    """
    page, keys = drawing.start(WEATHER).page, drawing.page.keyboard
    page.evaluate("() => document.querySelector('.csg-card').focus()")
    drawing.at_rest()
    for key, part in (("Enter", "panel"), ("Escape", "card"), ("t", "text")):
        keys.press(key)
        page.wait_for_function("part => Boolean(document.querySelector(`.csg-${part}`))", arg=part)
    page.evaluate("""() => {
        const find = name => new WeakRef(document.querySelector(name));
        window.left = { editor: find('.csg-editor'), card: find('.csg-card'), panel: find('.csg-panel'), text: find('.csg-text') };
        window.host = new WeakRef(document.querySelector('.csg-host'));
    }""")
    page.evaluate("how => how === 'remove' ? window.app.graph.remove(window.app.graph.nodes[0]) : window.app.graph.clear()", how)
    session = drawing.page.context.new_cdp_session(drawing.page)
    alive = None
    for _ in range(60):
        drawing.editor.frames()
        session.send("HeapProfiler.collectGarbage")
        alive = drawing.page.evaluate("() => Object.keys(window.left).filter(name => window.left[name].deref())")
        if not alive:
            break
    assert alive == []
    assert drawing.page.evaluate("() => window.host.deref()?.childNodes.length ?? 0") == 0


def test_a_node_that_goes_before_its_editor_comes_gets_none(drawing):
    """As when a workflow is opened while the page still brings the last one back; the next node has the same id."""
    drawing.start(EMPTY)
    drawing.page.evaluate("""() => {
        const { graph } = window.app;
        const place = id => {
            graph.clear();
            const node = Object.assign(window.LiteGraph.createNode('CSG_GraphEditor'), { id, pos: [80, 120] });
            graph.add(node);
            return node;
        };
        window.testNodes += 100;
        const gone = place(window.testNodes);
        const node = place(window.testNodes);
        const next = Object.assign(window.LiteGraph.createNode('CSG_Propagate'), { pos: [980, 120] });
        graph.add(next);
        node.connect(0, next, 0);
        window.gone = gone.widgets.find(widget => widget.name === 'drawing').element;
    }""")
    drawing.write(WEATHER)  # seen: where this one has its editor, the one that was asked for before has been decided
    assert drawing.page.evaluate("() => window.gone.childNodes.length") == 0
    told = {"ground": {"factual": "dry", "counterfactual": "wet", "role": "changed", "reason": ""}}
    drawing.report(("CSG_Propagate", {"csg_counterfactual": [json.dumps(told)]}))
    drawing.card("ground").locator(".result", has_text="dry → wet").wait_for(timeout=5000)


def test_collapsing_keeps_one_editor_and_its_state(drawing):
    drawing.start(WEATHER)
    drawing.press("Intervene")
    drawing.page.evaluate("() => { window.kept = new WeakRef(document.querySelector('.csg-editor')); }")
    for _ in range(3):
        for state in ("hidden", "visible"):
            drawing.page.evaluate("() => window.app.graph.nodes[0].collapse(true)")
            drawing.page.locator(".csg-editor").wait_for(state=state)
    assert drawing.page.locator(".csg-editor").count() == 1
    assert drawing.page.evaluate("() => document.querySelector('.csg-editor') === window.kept.deref()")
    drawing.chip("weather", "rainy").click()
    assert drawing.graph()["interventions"] == {"weather": "rainy"}
