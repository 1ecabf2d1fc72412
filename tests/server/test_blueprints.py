"""The blueprints in a live server: offered, joined as the nodes are, and at work on Town."""

import importlib.util
import json
from pathlib import Path

import pytest

from csg.causal.editor_text import sample_text
from csg.town import world

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "subgraphs").glob("*.json"))


def program(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def subgraph(path):
    document = json.loads(path.read_text(encoding="utf-8"))
    outer, = document["nodes"]
    inner, = document["definitions"]["subgraphs"]
    assert outer["type"] == inner["id"]
    return outer, inner


@pytest.fixture(scope="module")
def infos(server):
    return server.client.nodes()


def test_they_are_what_their_workflows_are():
    blueprints = program("blueprints")
    expected = {f"What if ({model}).json": blueprints.written(model, name, sample_text()) for model, name in blueprints.BLUEPRINTS.items()}
    assert {path.name: path.read_text(encoding="utf-8") for path in FILES} == expected, "run `.venv/bin/python .ci/blueprints.py`"


def test_the_server_offers_them(server):
    offered = {entry["name"]: (number, entry["info"]["node_pack"]) for number, entry in server.client.get("/global_subgraphs").items()
               if entry["source"] == "custom_node"}  # fmt: skip
    assert set(offered) == {path.stem for path in FILES}
    number, pack = offered["What if (Town)"]
    assert pack == "custom_nodes.causal-semantic-guidance"
    data = json.loads(server.client.get(f"/global_subgraphs/{number}")["data"])
    assert data["extra"]["BlueprintSearchAliases"][0] == "what if"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_doors_and_links_join_sockets_of_the_same_type(path, infos):
    outer, inner = subgraph(path)
    nodes = {node["id"]: node for node in inner["nodes"]}
    doors = [(door["name"], door["type"]) for door in inner["inputs"]]
    assert [(entry["name"], entry["type"]) for entry in outer["inputs"]] == doors and {("image", "IMAGE"), ("model", "MODEL")} <= set(doors)
    assert [door["name"] for door in inner["outputs"]] == ["image", "masks", "edits", "counterfactual", "report"]
    for link in inner["links"]:
        (origin, slot), (target, place) = ((link[f"{end}_id"], link[f"{end}_slot"]) for end in ("origin", "target"))
        given = inner["inputs"][slot]["type"] if origin == -10 else infos[nodes[origin]["type"]]["output"][slot]
        taken = inner["outputs"][place]["type"] if target == -20 else nodes[target]["inputs"][place]["type"]
        assert link["type"] == given and given in taken.split(",")
    values = program("workflows").widget_values
    widgets = {(str(node["id"]), name) for node in nodes.values() for name in values(node, infos[node["type"]])}
    assert {tuple(shown) for shown in outer["properties"]["proxyWidgets"]} <= widgets
    taken = {link["target_id"] for link in inner["links"]} | {link["origin_id"] for link in inner["links"]}
    assert set(nodes) <= taken


def expanded(inner, infos, doors):
    """The API prompt of what is inside; `doors`: the link that comes in by each door."""
    workflows, links = program("workflows"), {link["id"]: link for link in inner["links"]}
    prompt = {}
    for node in inner["nodes"]:
        values = workflows.widget_values(node, infos[node["type"]])
        for entry in node["inputs"]:
            if entry["link"] is not None:
                origin, slot = links[entry["link"]]["origin_id"], links[entry["link"]]["origin_slot"]
                values[entry["name"]] = doors[inner["inputs"][slot]["name"]] if origin == -10 else [str(origin), slot]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": values}
    return prompt


def test_what_if_is_answered_on_town(server, infos):
    _, inner = subgraph(ROOT / "subgraphs" / "What if (Town).json")
    doors = {"image": ["scene", 0], "graph": ["scene", 1], "caption": ["scene", 2]}
    doors |= {"model": ["town", 0], "clip": ["town", 1], "vae": ["town", 2]}
    prompt = expanded(inner, infos, doors)
    scene = world.graph_document(world.factual(3))
    editor, = (entry for entry in prompt.values() if entry["class_type"] == "CSG_GraphEditor")
    assert editor["inputs"]["graph_json"] == sample_text()
    asked = {"interventions": {"weather": "rainy"}, "effects": {"ground": "wet", "person": "umbrella"}, "extracted": scene}
    editor["inputs"]["graph_json"] = json.dumps({**scene, **asked})
    links = {link["id"]: [str(link["origin_id"]), link["origin_slot"]] for link in inner["links"]}
    outs = {door["name"]: links[door["linkIds"][0]] for door in inner["outputs"]}
    score = {"image": outs["image"], "seed": 3, "do": "", "counterfactual": outs["counterfactual"]}
    prompt |= {"town": {"class_type": "CSG_LoadTown", "inputs": {}},
               "scene": {"class_type": "CSG_TownScene", "inputs": {"seed": 3, "do": ""}},
               "score": {"class_type": "CSG_TownScore", "inputs": score}}
    run = server.client.run(prompt)
    assert json.loads(run.text("score"))["effectiveness"] == 1
