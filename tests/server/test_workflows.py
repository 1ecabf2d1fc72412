"""The shipped workflows against a live server: what the canvas would send is what the API twin says."""

import importlib.util
import json
import re
import struct
from pathlib import Path

import pytest

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
PICTURES = sorted(WORKFLOWS.glob("*.json"))
PROMPTS = sorted((WORKFLOWS / "api").glob("*.json"))

def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


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


@pytest.fixture(scope="module")
def program():
    """The program that writes workflows/api/."""
    spec = importlib.util.spec_from_file_location("api_workflows", WORKFLOWS.parent / ".ci" / "workflows.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_canvas_workflow_has_its_twin(program):
    assert PICTURES and {path.stem for path in PICTURES} == set(program.TEMPLATES.values())
    assert {path.stem for path in PROMPTS} == set(program.TEMPLATES)


@pytest.mark.parametrize("twin", PROMPTS, ids=lambda path: path.stem)
def test_the_canvas_sends_what_the_twin_says(twin, infos, program):
    path = WORKFLOWS / f"{program.TEMPLATES[twin.stem]}.json"
    assert program.written(read(path), infos) == twin.read_text(encoding="utf-8"), "run `.venv/bin/python .ci/workflows.py`"


def test_templates_are_numbered_in_the_order_in_which_to_try_them(program):
    """ComfyUI shows them by their files' names, sorted where the system or the person sorts them."""
    names = list(program.TEMPLATES.values())
    assert [name[:3] for name in names] == [f"{number:02} " for number in range(1, len(names) + 1)]
    assert all(name.isascii() and name[3].isupper() for name in names)


def test_a_workflow_whose_widgets_do_not_fit_is_refused(program):
    """One value too many or too few shifts all that follow: it is never guessed."""
    infos = {"Scene": {"input": {"required": {"seed": ["INT", {"control_after_generate": True}], "do": ["STRING", {}]}}}}
    wrong = {"lacks its companion": [4, ""], "1 widget values too many": [4, "fixed", "", 1], "no value for do": [4, "fixed"]}
    for words, values in wrong.items():
        node = {"id": 1, "type": "Scene", "title": "Scene", "inputs": [], "widgets_values": values}
        with pytest.raises(ValueError, match=words):
            program.as_prompt({"links": [], "nodes": [node]}, infos)


def entry(name, kind, link=None):
    return {"name": name, "type": kind, "link": link}


@pytest.mark.parametrize("mode, fed", [(0, ["2", 0]), (2, None), (4, ["1", 1])], ids=["on", "muted", "bypassed"])
def test_a_node_that_is_off_is_sent_as_the_page_sends_it(program, mode, fed):
    """Bypassed it hands on what comes in of the same type; muted it gives nothing."""
    infos = {"Source": {"input": {}}, "Sink": {"input": {"required": {"edits": ["EDITS"], "picture": ["IMAGE"]}}},
             "Between": {"input": {"required": {"mask": ["MASK"], "edits": ["EDITS"], "other": ["EDITS"]}}}}
    outputs = [{"type": kind} for kind in ("MASK", "EDITS", "IMAGE")]
    nodes = [
        {"id": 1, "type": "Source", "inputs": [], "outputs": outputs},
        {"id": 2, "type": "Between", "mode": mode, "outputs": outputs[1:2],
         "inputs": [entry("mask", "MASK", 1), entry("edits", "EDITS", 2), entry("other", "EDITS")]},
        {"id": 3, "type": "Sink", "outputs": [], "inputs": [entry("edits", "EDITS", 3), entry("picture", "IMAGE", 4)]},
    ]
    links = [[1, 1, 0, 2, 0, "MASK"], [2, 1, 1, 2, 1, "EDITS"], [3, 2, 0, 3, 0, "EDITS"], [4, 1, 2, 3, 1, "IMAGE"]]
    prompt = program.as_prompt({"links": links, "nodes": [node | {"title": node["type"], "widgets_values": []} for node in nodes]}, infos)
    assert set(prompt) == ({"1", "3"} if mode else {"1", "2", "3"})
    assert prompt["3"]["inputs"] == ({"edits": fed} if fed else {}) | {"picture": ["1", 2]}


def test_the_painted_mask_counts_once_its_node_is_switched_on(infos, program):
    workflow = read(WORKFLOWS / f"{program.TEMPLATES['your_own_photo']}.json")
    off, = (node for node in workflow["nodes"] if node.get("mode"))
    off["mode"] = 0
    prompt = program.as_prompt(workflow, infos)
    by_kind = {entry["class_type"]: (name, entry["inputs"]) for name, entry in prompt.items()}
    name, confined = by_kind["CSG_MaskConcept"]
    assert confined["edits"] == [by_kind["CSG_EncodeEdits"][0], 0] and confined["mask"] == [by_kind["LoadImage"][0], 1]
    assert all(by_kind[kind][1]["edits"] == [name, 0] for kind in ("CSG_Sampler", "CSG_MaskOverlay", "CSG_BeforeAfter"))
    graph = json.loads(by_kind["CSG_GraphEditor"][1]["graph_json"])
    assert confined["concept"] in graph["effects"]


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
def test_sockets_are_those_of_the_live_node(path, infos, program):
    for node in read(path)["nodes"]:
        if node["type"] in program.NOTES:
            continue
        info = infos[node["type"]]
        assert {entry["name"] for entry in node["inputs"]} == {name for name, *_ in program.inputs_of(info, node)}, node["title"]
        assert [entry["type"] for entry in node["outputs"]] == info["output"], node["title"]


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_nodes_stand_apart_inside_titled_groups_with_a_note(path, program):
    workflow = read(path)
    assert any(node["type"] in program.NOTES for node in workflow["nodes"])
    boxes = [(*node["pos"], *node["size"], node) for node in workflow["nodes"]]
    for number, (x, y, w, h, node) in enumerate(boxes):
        for left, top, width, height, other in boxes[number + 1:]:
            apart = x + w <= left or left + width <= x or y + h <= top - 30 or top + height <= y - 30
            assert apart, f"{node['title']} overlaps {other['title']}"
        around = [group for group in workflow["groups"] if group["title"] and _holds(group["bounding"], x, y, w, h)]
        assert node["type"] in program.NOTES or len(around) == 1, f"{node['title']} stands in {len(around)} groups"


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_groups_are_numbered_without_a_gap(path):
    numbers = [group["title"].partition(" · ")[0] for group in read(path)["groups"]]
    assert sorted(numbers, key=int) == [str(number + 1) for number in range(len(numbers))]


def _holds(bounding, x, y, w, h):
    left, top, width, height = bounding
    return left <= x and top <= y - 30 and x + w <= left + width and y + h <= top + height


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_the_editor_has_room_for_twelve_cards_and_their_values(path):
    sizes = [node["size"] for node in read(path)["nodes"] if node["type"] == "CSG_GraphEditor"]
    assert all(width >= 700 and height >= 690 for width, height in sizes), sizes


@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: path.stem)
def test_the_question_is_written_once(path):
    """In the editor, where the graph stands in it; behind it only where a model reads the graph from a picture."""
    nodes = [(entry["class_type"], entry["inputs"]) for entry in read(path).values()]
    assert not [inputs for kind, inputs in nodes if kind in ("CSG_TownScene", "CSG_TownScore") and inputs["do"]]
    assert not [inputs for kind, inputs in nodes if kind == "CSG_Propagate" and inputs["values"]]
    behind = [kind for kind, _ in nodes if kind == "CSG_Intervene"]
    read_from_pictures = [kind for kind, _ in nodes if kind == "CSG_ExtractConcepts"]
    assert not behind or read_from_pictures
    asked_behind = read_from_pictures or [kind for kind, _ in nodes if kind == "CSG_Questions"]
    graphs = [inputs["graph_json"] for kind, inputs in nodes if kind == "CSG_GraphEditor"]
    assert all(json.loads(text)["interventions"] if text else asked_behind for text in graphs)


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_the_template_has_a_thumbnail(path):
    data = path.with_suffix(".jpg").read_bytes()
    width, height = jpeg_size(data)
    assert min(width, height) >= 256 and len(data) < 100_000


def test_the_template_for_any_editor_undoes_a_drift_and_passes_its_audit(server):
    """The stand-in zooms 256 to 268 pixels and cuts (4, 9) off: 4.7 %, 2 pixels right and 3 up of the middle."""
    prompt = read(WORKFLOWS / "api" / "any_editor.json")
    run = server.client.run(prompt)
    nodes = {entry["_meta"]["title"]: node for node, entry in prompt.items()}
    assert run.text(nodes["Ask any editor for this"]).startswith("Change the car from empty road to car painted red. As a consequence,")
    report = run.text(nodes["The drift, in words"])
    assert re.match(r"shifted (1\.9|2\.0)\d px right and (2\.9|3\.0)\d px up, zoomed \+4\.7%", report) and "bit by bit" in report
    assert run.text(nodes["Each answer"]).startswith("Effectiveness 1.00, preserved 1.00")
