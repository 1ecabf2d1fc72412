"""The node library's one-node form: looked for, placed, asked by clicks inside, run; and what the search offers first."""

import json

TITLE = "What if (Town)"
WIRED = """title => {
    const { graph } = window.app;
    const called = type => graph.nodes.find(node => node.type === type);
    const [town, scene, score] = ["CSG_LoadTown", "CSG_TownScene", "CSG_TownScore"].map(called);
    const node = graph.nodes.find(each => each.title === title);
    const entry = (target, name) => target.inputs.findIndex(input => input.name === name);
    const set = (target, name, value) => { target.widgets.find(widget => widget.name === name).value = value; };
    for (const each of [scene, score]) {
        set(each, "seed", 3);
        set(each, "control_after_generate", "fixed");  // both runs are of the same scene
    }
    score.disconnectInput(0);
    ["model", "clip", "vae"].forEach((name, slot) => town.connect(slot, node, entry(node, name)));
    ["image", "graph", "caption"].forEach((name, slot) => scene.connect(slot, node, entry(node, name)));
    const exit = name => node.outputs.findIndex(output => output.name === name);
    node.connect(exit("image"), score, entry(score, "image"));
    node.connect(exit("counterfactual"), score, entry(score, "counterfactual"));
    return [node.inputs.filter(input => input.link != null).length, (node.widgets ?? []).map(widget => widget.name)];
}"""
INSIDE = """title => {
    const { canvas, graph } = window.app;
    const node = title && graph.nodes.find(each => each.title === title);
    canvas.setGraph(node ? node.subgraph : graph);
}"""
CLOSE = """() => {
    const { canvas } = window.app;
    const shown = canvas.graph.nodes.find(each => each.type === "CSG_GraphEditor");
    canvas.ds.scale = 1;
    canvas.ds.offset = [160 - shown.pos[0], 90 - shown.pos[1]];
    canvas.setDirty(true, true);
}"""


def search(editor, words):
    """Open the page's node search on empty ground and type; the names that it offers, in order."""
    page = editor.page
    page.evaluate("() => { const { ds } = window.app.canvas; ds.scale = 0.5; ds.offset = [200, 100]; }")
    page.keyboard.press("Escape")  # a search before this one closes
    for _ in range(20):  # a page that is not at rest misses a double click; before its box has the keys, letters are commands
        page.mouse.dblclick(500, 900)
        page.wait_for_timeout(800)
        if page.evaluate("() => document.activeElement?.tagName === 'INPUT'"):
            break
    page.keyboard.type(words)
    page.get_by_role("option").first.wait_for()
    page.wait_for_timeout(2000)
    return page.get_by_role("option").all_inner_texts()


def test_the_search_finds_first_what_a_beginner_needs(editor):
    """The page puts a name that holds the word before all others: Counterfactual as Text."""
    editor.set_up_nodes([])
    expected = {"what if": ["What if ("], "dag": ["Causal Graph Editor"], "inversion": ["Inversion (DPM-Solver++)"],
                "counterfactual": ["Counterfactual as Text", "Causal Graph Editor", "CSG Sampler"]}
    for words, first in expected.items():
        offered = [text.splitlines()[0] for text in search(editor, words)]
        assert all(name in own for name, own in zip(first, offered, strict=False)), (words, offered[:6])
        editor.page.keyboard.press("Escape")
        editor.page.wait_for_timeout(500)


def test_what_if_is_one_node_asked_by_clicks_inside(drawing, server):
    editor, page = drawing.editor, drawing.page
    editor.set_up_nodes(["CSG_LoadTown", "CSG_TownScene", "CSG_TownScore"])
    search(editor, TITLE)
    page.get_by_role("option").filter(has_text=TITLE).first.click()
    page.wait_for_timeout(1000)
    page.mouse.click(900, 700)
    page.wait_for_function("title => window.app.graph.nodes.some(node => node.title === title)", arg=TITLE)
    links, widgets = page.evaluate(WIRED, TITLE)
    assert links == 6 and {"steps", "skip", "seed", "scale", "threshold"} <= set(widgets)
    assert editor.queue(timeout=600)["end"] == "execution_success"
    page.evaluate(INSIDE, TITLE)
    drawing.card("weather").wait_for()
    page.wait_for_timeout(1500)  # the page fits what it enters into view
    page.evaluate(CLOSE)
    drawing.press("Intervene")
    drawing.chip("weather", "rainy").click()
    drawing.chip("ground", "wet").click()
    drawing.chip("person", "umbrella").click()
    editor.screenshot("blueprint_inside")
    page.evaluate(INSIDE, "")
    end = editor.queue(timeout=600)
    assert end["end"] == "execution_success", end
    outputs = server.client.get(f"/history/{end['detail']['prompt_id']}")[end["detail"]["prompt_id"]]["outputs"].values()
    score, = (json.loads(text) for output in outputs for text in output.get("text", []) if "excess_error" in text)
    assert score["effectiveness"] == 1 and score["readings"]["ground"]["expected"] == "wet"
    editor.screenshot("blueprint")
