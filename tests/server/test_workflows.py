"""The shipped workflows against a live server: what the canvas would send is what the API twin says."""

import json
import re
import struct
from pathlib import Path

import pytest

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
PICTURES = sorted(WORKFLOWS.glob("*.json"))
PROMPTS = sorted((WORKFLOWS / "api").glob("*.json"))
NOTES = {"Note", "MarkdownNote"}
GROWING = "COMFY_AUTOGROW_V3"
TYPED_IN = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def inputs_of(info, node):
    """(name, type, options) of a node's inputs as the page lists them: required first, then optional.

    Of inputs that grow with their links, those that the node has.
    """
    for group in ("required", "optional"):
        for name, (kind, *options) in info["input"].get(group, {}).items():
            if kind == GROWING:
                known = {f"{name}.{letter}" for letter in options[0]["template"]["names"]}
                yield from ((entry["name"], "*", {}) for entry in node["inputs"] if entry["name"] in known)
                continue
            yield name, "COMBO" if isinstance(kind, list) else kind, options[0] if options else {}


def values_by_name(node, info):
    """The node's widget values. Seeds are followed by what happens to them after a run, uploads by their button."""
    left, found = list(node["widgets_values"]), {}
    for name, kind, options in inputs_of(info, node):
        if kind.split(",")[0] in TYPED_IN and not options.get("forceInput"):
            found[name] = left.pop(0)
            follower = {"fixed", "randomize", "increment", "decrement"} if options.get("control_after_generate") else None
            follower = {"image"} if options.get("image_upload") else follower
            assert not follower or left.pop(0) in follower, f"{node['title']}: {name} lacks its companion value"
    assert not left, f"{node['title']} has {len(left)} widget values too many"
    return found


def as_prompt(workflow, infos):
    """What the page sends for a workflow: links where there are links, widget values elsewhere."""
    links = {link[0]: link for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        inputs = values_by_name(node, infos[node["type"]])
        inputs |= {entry["name"]: [str(links[entry["link"]][1]), links[entry["link"]][2]]
                   for entry in node["inputs"] if entry["link"] is not None}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": node["title"]}}
    return prompt


def jpeg_size(data):
    """Width and height of a JPEG, from its first start-of-frame marker."""
    place = 2
    while place < len(data):
        marker, length = struct.unpack(">xBH", data[place:place + 4])
        if 0xC0 <= marker <= 0xC3:
            return struct.unpack(">HH", data[place + 5:place + 9])[::-1]
        place += 2 + length
    raise ValueError("no picture in this file")


@pytest.fixture(scope="module")
def infos(server):
    return server.client.nodes()


def test_every_canvas_workflow_has_its_twin():
    assert PICTURES and {path.name for path in PICTURES} <= {path.name for path in PROMPTS}


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_the_canvas_sends_what_the_twin_says(path, infos):
    assert as_prompt(read(path), infos) == read(WORKFLOWS / "api" / path.name)


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_links_join_sockets_of_the_same_type(path, infos):
    workflow = read(path)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for number, source, output, target, slot, kind in workflow["links"]:
        entry = nodes[target]["inputs"][slot]
        given = infos[nodes[source]["type"]]["output"][output]
        assert entry["link"] == number and number in nodes[source]["outputs"][output]["links"]
        assert kind == given and {given, "*"} & set(entry["type"].split(",")), f"{nodes[target]['title']}.{entry['name']}"


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_sockets_are_those_of_the_live_node(path, infos):
    for node in read(path)["nodes"]:
        if node["type"] in NOTES:
            continue
        info = infos[node["type"]]
        assert {entry["name"] for entry in node["inputs"]} == {name for name, *_ in inputs_of(info, node)}, node["title"]
        assert [entry["type"] for entry in node["outputs"]] == info["output"], node["title"]


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_nodes_stand_apart_inside_titled_groups_with_a_note(path):
    workflow = read(path)
    assert any(node["type"] in NOTES for node in workflow["nodes"])
    boxes = [(*node["pos"], *node["size"], node) for node in workflow["nodes"]]
    for number, (x, y, w, h, node) in enumerate(boxes):
        for left, top, width, height, other in boxes[number + 1:]:
            apart = x + w <= left or left + width <= x or y + h <= top - 30 or top + height <= y - 30
            assert apart, f"{node['title']} overlaps {other['title']}"
        around = [group for group in workflow["groups"] if group["title"] and _holds(group["bounding"], x, y, w, h)]
        assert node["type"] in NOTES or len(around) == 1, f"{node['title']} stands in {len(around)} groups"


def _holds(bounding, x, y, w, h):
    left, top, width, height = bounding
    return left <= x and top <= y - 30 and x + w <= left + width and y + h <= top + height


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_the_template_has_a_thumbnail(path):
    data = path.with_suffix(".jpg").read_bytes()
    width, height = jpeg_size(data)
    assert min(width, height) >= 256 and len(data) < 300_000


def test_the_template_for_any_editor_undoes_a_drift_and_passes_its_audit(server):
    """The stand-in zooms 256 to 268 pixels and cuts (4, 9) off: 4.7 %, 2 pixels right and 3 up of the middle."""
    prompt = read(WORKFLOWS / "api" / "any_editor.json")
    run = server.client.run(prompt)
    nodes = {entry["_meta"]["title"]: node for node, entry in prompt.items()}
    assert run.text(nodes["Ask any editor for this"]).startswith("Change the car from empty road to car painted red. As a consequence,")
    report = run.text(nodes["The drift, in words"])
    assert re.match(r"shifted (1\.9|2\.0)\d px right and (2\.9|3\.0)\d px up, zoomed \+4\.7%", report) and "bit by bit" in report
    assert run.text(nodes["Each answer"]).startswith("Effectiveness 1.00, preserved 1.00")
