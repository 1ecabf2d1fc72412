"""When one of our nodes fails, its sentence stands on it and in the editor before it, in the page of a real run."""

from tests.browser.drawing import WEATHER

SENTENCE = "The graph has no concept 'wether'. Did you mean 'weather'?"
# How high the node is drawn, in either mode.
HEIGHT = """() => {
    const node = window.app.graph.nodes[1];
    return document.querySelector(`[data-node-id="${node.id}"]`)?.offsetHeight ?? Math.round(node.size[1]);
}"""
SAYS = """type => window.app.graph.nodes.find(node => node.type === type).widgets.map(widget => String(widget.value))
    .filter(value => value.includes('wether') && value !== 'wether')"""


def test_the_sentence_stands_on_the_node_and_in_the_editor_until_the_next_run(drawing):
    drawing.start(WEATHER, ["CSG_Intervene", "CSG_GraphPreview"])
    drawing.editor.set_widget("CSG_Intervene", "concept", "wether")
    drawing.editor.at_rest(HEIGHT)
    height = drawing.page.evaluate(HEIGHT)
    assert drawing.editor.queue()["end"] == "execution_error"
    drawing.root.get_by_role("status").get_by_text(SENTENCE).wait_for()
    drawing.page.wait_for_function(f"type => ({SAYS})(type).length === 1", arg="CSG_Intervene")
    assert drawing.page.evaluate(SAYS, "CSG_Intervene") == [SENTENCE]
    drawing.editor.fit()
    drawing.editor.screenshot("editor_failure")
    drawing.page.get_by_text(SENTENCE, exact=True).first.wait_for()
    assert drawing.page.evaluate(HEIGHT) > height
    drawing.editor.set_widget("CSG_Intervene", "concept", "weather")
    assert drawing.editor.queue()["end"] == "execution_success"
    assert drawing.page.evaluate(SAYS, "CSG_Intervene") == []
    drawing.page.get_by_text(SENTENCE, exact=True).wait_for(state="detached")
    drawing.editor.at_rest(HEIGHT)
    assert drawing.page.evaluate(HEIGHT) == height
