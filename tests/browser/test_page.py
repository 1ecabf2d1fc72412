"""A person's way through the page: choose our template, queue it, see the sheet; break the graph and read why."""

import json
from pathlib import Path

import pytest
from PIL import Image

API = Path(__file__).resolve().parents[2] / "workflows" / "api"
TOWN = "town_counterfactual"
# What each card of the graph editor tells of the run, and whether its colour is that of a tile of Concept Masks.
SHOWN = """async () => {
    const { graph, nodeOutputs, api } = window.app;
    const overlay = graph.nodes.find(node => node.type === 'CSG_MaskOverlay');
    const image = new Image();
    image.src = api.apiURL('/view?' + new URLSearchParams(nodeOutputs[overlay.id].images[0]));
    await image.decode();
    const context = Object.assign(document.createElement('canvas'), { width: image.width, height: image.height }).getContext('2d');
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, image.width, image.height);
    const seen = new Set();
    const hex = part => part.toString(16).padStart(2, '0');
    for (let at = 0; at < data.length; at += 4) seen.add([...data.slice(at, at + 3)].map(hex).join(''));
    return Object.fromEntries([...document.querySelectorAll('.csg-card')].filter(card => card.querySelector('.outcome')).map(card => [
        card.getAttribute('aria-label').split(':')[0], {
            outcome: card.querySelector('.outcome').textContent,
            masked: Boolean(card.querySelector('.thumb image')),
            inOverlay: seen.has(card.querySelector('.bar').getAttribute('fill').slice(1)),
        }]));
}"""
BROKEN = '{"concepts": [{"name": "weather", "value": "sunny"}, {"name": "weather", "value": "rainy"}]}'


@pytest.fixture
def infos(server):
    """The live nodes of a server that has, like a fresh ComfyUI, its sample picture and no models."""
    from csg.evaluation.runner.comfy_client import find_comfyui

    server.client.upload_image(find_comfyui() / "input" / "example.png")
    return server.client.nodes()


def lacking(nodes, infos):
    """Ids of nodes that choose a file which the server does not offer; the page marks them and shows where to get it."""
    def lacks(node):
        combos = infos.get(node["type"], {"input": {}})["input"].get("required", {}).items()
        offered = {name: kind if isinstance(kind, list) else options[0].get("options", []) for name, (kind, *options) in combos
                   if isinstance(kind, list) or kind == "COMBO"}  # fmt: skip
        chosen = {name: node["widgets"].get(name) for name in offered}
        return any(isinstance(value, str) and Path(value).suffix and value not in offered[name] for name, value in chosen.items())

    return {node["id"] for node in nodes if lacks(node)}


@pytest.mark.parametrize("name", sorted(path.stem for path in API.glob("*.json")))
def test_every_template_opens_with_nothing_red_but_absent_models(infos, editor, name):
    editor.open_template(name)
    assert editor.unknown_nodes() == []
    absent = lacking(editor.nodes(), infos)
    assert editor.red_nodes(once=absent) == absent
    for node in editor.nodes():
        if node["id"] in absent:
            assert node["models"], f"the page cannot say where the model of {node['title']} is to be had"
            assert {model["name"] for model in node["models"]} <= set(node["widgets"].values())


def test_the_template_browser_shows_each_template_with_its_own_picture(editor):
    editor.browse_templates()
    for name in (path.stem for path in API.glob("*.json")):
        picture = editor.template_card(name).locator("img").first
        with Image.open(editor.template_file(name, ".jpg")) as file:
            editor.page.wait_for_function("([img, size]) => `${[img.naturalWidth, img.naturalHeight]}` === `${size}`",
                                          arg=[picture.element_handle(), list(file.size)])  # fmt: skip
    editor.template_card("town_counterfactual")
    editor.screenshot("templates")


def test_a_node_of_ours_that_is_unknown_or_red_is_not_excused(infos, editor):
    workflow = json.loads(editor.template_file("sdxl_qwen3_vl").read_text(encoding="utf-8"))
    ours = next(node for node in workflow["nodes"] if node["type"] == "CSG_ExtractConcepts")
    editor.load({**workflow, "nodes": [{**node, "type": "CSG_Nothing"} if node is ours else node for node in workflow["nodes"]]})
    assert editor.unknown_nodes() == ["CSG_Nothing"]
    editor.load(workflow)
    editor.set_widget("CSG_ExtractConcepts", "max_concepts", 9999)
    assert editor.queue()["end"] == "refused"
    absent = lacking(editor.nodes(), infos)
    assert editor.red_nodes(once=absent) == absent | {str(ours["id"])}
    assert {node["title"] for node in editor.nodes() if node["id"] in absent} == {"Load SDXL", "Load Qwen3-VL"}


def joined(prompt):
    """Which outputs feed which inputs of a prompt."""
    return {node: {name: value for name, value in entry["inputs"].items() if isinstance(value, list)} for node, entry in prompt.items()}


def test_of_a_node_that_is_off_the_page_sends_what_the_twin_says(drawing):
    editor = drawing.editor
    editor.open_template("your_own_photo")
    sent = editor.page.evaluate("async () => (await window.app.graphToPrompt()).output")
    assert "CSG_MaskConcept" in {node["type"] for node in editor.nodes()} - {entry["class_type"] for entry in sent.values()}
    assert joined(sent) == joined(json.loads((API / "your_own_photo.json").read_text(encoding="utf-8")))
    editor.fit()
    editor.screenshot("your_own_photo")


@pytest.mark.core
def test_the_town_template_runs_to_the_sheet(editor):
    editor.open_template(TOWN)
    end = editor.queue(timeout=600)
    assert end["end"] == "execution_success", end
    editor.fit()
    editor.screenshot(TOWN)
    sheets = [node["title"] for node in editor.nodes() if node["type"] == "CSG_CompareSheet"]
    assert sheets and set(sheets) <= set(editor.pictures())
    shown = editor.page.evaluate(SHOWN)
    assert {name: told["outcome"] for name, told in shown.items()} == {
        "weather": "sunny → rainy", "ground": "dry → wet", "person": "walking → umbrella", "snowman": "stays none"}  # fmt: skip
    assert all(shown[name]["masked"] and shown[name]["inOverlay"] for name in ("weather", "ground", "person"))


@pytest.mark.core
def test_a_broken_graph_is_explained_and_kept(editor):
    editor.set_up_nodes(["CSG_GraphEditor", "CSG_GraphPreview", "PreviewImage"])
    editor.set_widget("CSG_GraphEditor", "graph_json", BROKEN)
    end = editor.queue()
    assert end["end"] == "refused"
    assert "weather" in str(end["detail"])
    red = [node for node in editor.nodes() if node["red"]]
    assert [node["type"] for node in red] == ["CSG_GraphEditor"]
    assert red[0]["widgets"]["graph_json"] == BROKEN
    editor.screenshot("broken_graph")


def test_the_graph_drawing_runs_from_scratch(editor):
    editor.set_up_nodes(["CSG_GraphEditor", "CSG_GraphPreview", "PreviewImage"])
    assert editor.queue()["end"] == "execution_success"
    assert "Preview Image" in editor.pictures()


FULL = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };"
DENIED = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('denied', 'SecurityError'); } });"


@pytest.mark.parametrize("store", [FULL, DENIED], ids=["full", "denied"])
def test_the_editor_comes_without_the_browsers_store(editor, store):
    """The page itself has started by then: it does not start without its store."""
    editor.page.evaluate(f"() => {{ {store} }}")  # bare, what it assigns would be taken for a function to call
    editor.set_up_nodes(["CSG_GraphEditor"])
    editor.page.locator(".csg-card").first.wait_for(timeout=60_000)
