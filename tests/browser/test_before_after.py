"""The slider between the original and the edited picture, and the masks of concepts that one points at."""

import pytest

LABEL = "Before and after"
STATE = """() => {
    const { graph } = window.app;
    const nodes = [graph, ...(graph.subgraphs?.values() ?? [])].flatMap(each => each.nodes);
    const node = nodes.find(each => each.type === "CSG_BeforeAfter");
    const { element } = node.widgets.find(widget => widget.name === "slider");
    const [before, after] = element.querySelectorAll("img");
    return { loaded: [before, after].map(image => image?.naturalWidth ?? 0), clip: after?.style.clipPath,
             label: element.querySelector("input")?.ariaLabel, alt: [before?.alt, after?.alt],
             names: [...element.querySelectorAll("button")].map(button => button.textContent) };
}"""
TOLD = """([before, after, mask]) => {
    const { graph, api } = window.app;
    const id = String(graph.nodes.find(each => each.type === "CSG_BeforeAfter").id);
    const masks = [["ground", "#4fb3a2"], ["<b>x</b>", "red;}"]].map(([concept, colour]) => ({ concept, colour, image: mask }));
    const output = { csg_before: [before], csg_after: [after], csg_masks: masks };
    api.dispatchCustomEvent("executed", { node: id, display_node: id, output });
}"""
RAIN = """() => {
    const { graph, canvas } = window.app;
    const [plain, rain] = graph.nodes.filter(each => each.type === "CSG_TownScene");
    const node = graph.nodes.find(each => each.type === "CSG_BeforeAfter");
    rain.widgets.find(widget => widget.name === "do").value = "weather = rainy";
    plain.connect(0, node, node.inputs.findIndex(input => input.name === "before"));
    rain.connect(0, node, node.inputs.findIndex(input => input.name === "after"));
    canvas.ds.scale = 1;
    canvas.ds.offset = [120 - node.pos[0], 60 - node.pos[1]];
    canvas.setDirty(true, true);
}"""

TAB = "() => window.app.extensionManager.workflow.activeWorkflow.path"
# Puts the node into a subgraph, and that one into another.
WRAPPED = """depth => {
    const { graph } = window.app;
    let node = graph.nodes.find(each => each.type === "CSG_BeforeAfter");
    for (let done = 0; done < depth; done += 1) ({ node } = graph.convertToSubgraph(new Set([node])));
}"""
OFFERED = """() => {
    const { app, LiteGraph } = window;
    const node = LiteGraph.createNode("CSG_Invert");
    app.graph.add(node);
    return app.canvas.getNodeMenuOptions(node).map(each => each?.content);
}"""


@pytest.fixture
def compared(workbench):
    workbench.errors.clear()
    workbench.set_up_nodes(["CSG_TownScene", "CSG_TownScene", "CSG_BeforeAfter"])
    workbench.page.evaluate(RAIN)
    yield workbench
    assert not workbench.errors, f"script errors on the page: {workbench.errors}"


def settled(page):
    page.wait_for_function(f"() => ({STATE})().loaded.every(Boolean)")
    return page.evaluate(STATE)


def test_the_mouse_moves_the_line_between_before_and_after(compared):
    page = compared.page
    assert compared.queue()["end"] == "execution_success"
    assert settled(page)["loaded"] == [256, 256]
    slider = page.get_by_label(LABEL)
    box = slider.bounding_box()
    assert box["width"] > 300 and box["height"] > 300
    for share in (0.25, 0.8):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
        place = float(page.evaluate(STATE)["clip"].split()[-1].rstrip("%)"))
        assert abs(place - 100 * share) < 2
    compared.screenshot("before_after")


def test_a_concept_that_is_pointed_at_shows_its_mask(compared, mask_file):
    page = compared.page
    page.evaluate(TOLD, [mask_file, mask_file, mask_file])
    assert settled(page)["names"] == ["ground", "<b>x</b>"]
    veil = page.get_by_label(LABEL).locator("xpath=preceding-sibling::div[2]")
    assert veil.evaluate("each => each.style.background") in ("", "none")
    page.get_by_role("button", name="ground", exact=True).hover()
    assert "79, 179, 162" in veil.evaluate("each => getComputedStyle(each).backgroundColor")
    assert mask_file["filename"] in veil.evaluate("each => getComputedStyle(each).maskImage")
    compared.screenshot("before_after_mask")
    page.mouse.move(5, 5)
    assert "79, 179, 162" not in veil.evaluate("each => getComputedStyle(each).backgroundColor")


@pytest.mark.parametrize("depth", [1, 2])
def test_a_slider_in_a_subgraph_is_there_again_in_its_tab(compared, depth):
    page = compared.page
    page.evaluate(WRAPPED, depth)
    assert compared.queue()["end"] == "execution_success"
    assert settled(page)["loaded"] == [256, 256]
    tab = page.evaluate(TAB)
    compared.command("Comfy.NewBlankWorkflow")
    page.wait_for_function(f"tab => ({TAB})() !== tab && !window.app.graph.nodes.length", arg=tab)
    while page.evaluate(TAB) != tab:
        other = page.evaluate(TAB)
        compared.command("Workspace.PreviousOpenedWorkflow")
        page.wait_for_function(f"other => ({TAB})() !== other", arg=other)
    page.wait_for_function("() => window.app.graph.nodes.length === 3")
    assert settled(page)["loaded"] == [256, 256]


def speak(editor, language):
    """Change the page's language; the page then opens the workflow anew."""
    editor.page.evaluate("() => { window.before = window.app.graph.nodes[0]; }")
    if editor.page.evaluate("window.app.extensionManager.setting.get('Comfy.Locale')") == language:
        return
    editor.set_setting("Comfy.Locale", language)
    editor.page.wait_for_function("() => window.app.graph.nodes[0] !== window.before")
    editor.at_rest("() => window.app.graph.nodes.map(node => node.id)")


def test_it_speaks_the_language_of_the_page_and_so_do_the_settings_offered(compared, mask_file):
    page = compared.page
    try:
        for language, label, alt, offered in (("zh", "前后对比", ["原图", "编辑后"], "论文：100 步"),
                                              ("ja", "編集前と編集後", ["編集前", "編集後"], "論文：100 ステップ"),
                                              ("en", LABEL, ["before", "after"], "Paper: 100 steps")):  # fmt: skip
            speak(compared, language)
            compared.set_up_nodes(["CSG_BeforeAfter"])
            page.evaluate(TOLD, [mask_file, mask_file, mask_file])
            page.wait_for_function(f"label => ({STATE})().label === label", arg=label)
            assert page.evaluate(STATE)["alt"] == alt
            assert offered in page.evaluate(OFFERED)
    finally:
        speak(compared, "en")
