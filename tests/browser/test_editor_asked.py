"""Questions asked of a picture come back by a click, with their results; and where the editor's text is kept, or comes from."""

import json

from tests.browser.drawing import NODE, WEATHER
from tests.browser.test_editor_intervene import asked
from tests.browser.test_editor_run import close_up

THUMBNAILS = "() => [...document.querySelectorAll('.csg-strip .entries img')].every(image => image.complete && image.naturalWidth > 0)"


def questions(drawing):
    return [" ".join(text.split()) for text in drawing.page.locator(".csg-strip .entries button").all_inner_texts()]


def changed(ground):
    return {"csg_counterfactual": [json.dumps({
        "weather": {"factual": "sunny", "counterfactual": "rainy" if ground else "sunny", "role": "intervened" if ground else "preserved"},
        "house": {"factual": "red", "counterfactual": "red" if ground else "blue", "role": "preserved" if ground else "intervened"},
    })]}  # fmt: skip


def test_a_question_comes_back_by_a_click(drawing):
    drawing.start(WEATHER, ["CSG_GraphPreview"])
    drawing.press("Intervene")
    drawing.chip("weather", "rainy").click()
    drawing.report(("CSG_GraphPreview", changed(True)))
    drawing.card("weather").locator(".result").wait_for()
    assert drawing.page.locator(".csg-strip:visible").count() == 0, "nothing to go back to"
    drawing.press("Release all")
    drawing.chip("house", "blue").click()
    drawing.report(("CSG_GraphPreview", changed(False)))
    drawing.page.locator(".csg-strip .entries button").first.wait_for()
    assert questions(drawing) == ["weather = rainy", "house = blue"]
    drawing.picture("editor-asked")
    drawing.root.get_by_role("button", name="weather = rainy").click()
    assert asked(drawing)[0] == {"weather": "rainy"} and drawing.root.get_attribute("data-stale") == "false"
    drawing.card("weather").locator(".result", has_text="sunny → rainy").wait_for(state="attached")
    assert drawing.root.get_by_role("button", name="weather = rainy").get_attribute("aria-pressed") == "true"
    kept = drawing.page.evaluate("() => JSON.stringify(window.app.graph.serialize())")
    drawing.press("Undo")
    assert asked(drawing)[0] == {"house": "blue"}
    drawing.editor.load(json.loads(kept))
    drawing.page.locator(".csg-strip .entries button").first.wait_for()
    assert questions(drawing) == ["weather = rainy", "house = blue"], "the workflow's file has them"
    drawing.press("Edit")
    drawing.chip("house", "blue").click()
    assert drawing.page.locator(".csg-strip:visible").count() == 0, "another picture"


def test_two_runs_of_a_template_are_two_pictures(drawing):
    drawing.editor.open_template("town_counterfactual")
    close_up(drawing.editor)
    drawing.card("time").wait_for()
    drawing.press("Intervene")
    drawing.page.evaluate("""() => {
        window.seen = [];
        new MutationObserver(() => {
            const live = document.querySelector('.csg-live');
            if (live?.hidden === false) window.seen.push(live.textContent);
        }).observe(document.querySelector('.csg-live'), { subtree: true, childList: true, attributes: true, characterData: true });
    }""")
    assert drawing.editor.queue(timeout=600)["end"] == "execution_success"
    first = asked(drawing)
    drawing.press("Release all")
    drawing.chip("season", "winter").click()
    assert drawing.editor.queue(timeout=600)["end"] == "execution_success"
    drawing.page.locator(".csg-strip .entries img").nth(1).wait_for()
    drawing.page.wait_for_function(THUMBNAILS)
    drawing.editor.screenshot("editor_asked")
    sources = [image.get_attribute("src") for image in drawing.page.locator(".csg-strip .entries img").all()]
    assert len(set(sources)) == 2 and all("filename=counterfactual_" in source for source in sources), sources
    seen = drawing.page.evaluate("() => window.seen")
    assert any(" left" in text for text in seen) and drawing.page.locator(".csg-live:visible").count() == 0
    drawing.page.locator(".csg-strip .entries button").first.click()
    assert asked(drawing) == first and drawing.root.get_attribute("data-stale") == "false"


def test_a_text_that_comes_by_a_link_is_said_to(drawing):
    drawing.start(WEATHER)
    drawing.page.evaluate("""() => {
        const { graph } = window.app;
        const source = window.LiteGraph.createNode('PrimitiveStringMultiline') ?? window.LiteGraph.createNode('CSG_SaveGraph');
        graph.add(source);
        const editor = graph.nodes.find(node => node.type === 'CSG_GraphEditor');
        source.connect(0, editor, editor.inputs.findIndex(input => input.name === 'graph_json'));
    }""")
    drawing.root.get_by_text("The text comes in by a link").wait_for()
    drawing.picture("editor-linked")
    drawing.page.evaluate("""() => {
        const editor = window.app.graph.nodes.find(node => node.type === 'CSG_GraphEditor');
        editor.disconnectInput(editor.inputs.findIndex(input => input.name === 'graph_json'));
    }""")
    drawing.root.get_by_text("The text comes in by a link").wait_for(state="detached")


def test_an_editor_in_a_subgraph_sends_what_is_edited_there_though_its_text_is_promoted(drawing):
    drawing.start(WEATHER, ["CSG_SaveGraph"])
    drawing.page.evaluate("""() => {
        const { graph, canvas } = window.app;
        const editor = graph.nodes.find(node => node.type === 'CSG_GraphEditor');
        const { subgraph, node: host } = graph.convertToSubgraph(new Set([editor]));
        const inner = subgraph.nodes.find(node => node.type === 'CSG_GraphEditor');
        const place = inner.inputs.findIndex(input => input.name === 'graph_json');
        const made = subgraph.addInput('graph_json', 'STRING');
        made.connect(inner.inputs[place], inner);
        window.testHost = host;
        canvas.openSubgraph ? canvas.openSubgraph(subgraph, host) : canvas.setGraph(subgraph);
    }""")
    drawing.card("house").wait_for()
    drawing.press("Intervene")
    drawing.chip("house", "blue").click()
    drawing.page.wait_for_timeout(500)
    assert drawing.card("house").locator(".badge").text_content() == "do(house = blue)"
    prompt = drawing.page.evaluate("async () => (await window.app.graphToPrompt(window.app.rootGraph ?? window.app.graph)).output")
    sent = [json.loads(node["inputs"]["graph_json"]) for node in prompt.values() if node["class_type"] == NODE]
    assert [graph["interventions"] for graph in sent] == [{"house": "blue"}]
