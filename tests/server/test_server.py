"""The pack on a running server: every node is offered, explained and translated, and its files are served."""

import importlib.util
import json
from pathlib import Path

import pytest

from csg.evaluation.runner.comfy_client import ComfyError, Progress

ROOT = Path(__file__).resolve().parents[2]
PROMISED = {
    "CSG_GraphEditor", "CSG_Intervene", "CSG_Propagate", "CSG_LoadGraph", "CSG_SaveGraph", "CSG_GraphPreview",
    "CSG_EncodeEdits", "CSG_ConceptEdit", "CSG_Invert", "CSG_Sampler", "CSG_MaskOverlay", "CSG_CompareSheet",
    "CSG_LoadTown", "CSG_TownScene", "CSG_TownScore",
}
GRID = {"1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 8, "batch_size": 1, "color": 255}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "grid"}}}


def locales():
    spec = importlib.util.spec_from_file_location("locales", ROOT / ".ci" / "locales.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ours(server):
    return {name: info for name, info in server.client.nodes().items() if name.startswith("CSG_")}


def test_every_promised_node_is_there(ours):
    assert PROMISED - set(ours) == set()


def test_every_input_and_output_has_a_tooltip(ours):
    bare = [f"{name}.{key}" for name, info in ours.items() for group in ("required", "optional")
            for key, spec in info["input"].get(group, {}).items() if not (len(spec) > 1 and spec[1].get("tooltip"))]
    bare += [f"{name} -> {output}" for name, info in ours.items()
             for output, tip in zip(info["output_name"], info["output_tooltips"] or [None] * 99) if not tip]
    assert not bare


def test_every_node_says_what_it_does(ours):
    assert not [name for name, info in ours.items() if not info["description"]]
    assert not [name for name, info in ours.items() if not info["category"].startswith("CSG")]


def test_every_node_has_a_help_page(ours, server):
    missing = [name for name in ours if not (ROOT / "web" / "docs" / f"{name}.md").is_file()]
    assert not missing
    name = next(iter(ours))
    assert server.client.fetch(f"/extensions/causal-semantic-guidance/docs/{name}.md").startswith(b"#")


def test_english_strings_are_up_to_date(ours):
    path = ROOT / "locales" / "en" / "nodeDefs.json"
    assert path.read_text(encoding="utf-8") == locales().written(ours), "run `.venv/bin/python .ci/locales.py`"


def test_english_strings_are_served(server, ours):
    served = server.client.get("/i18n")["en"]["nodeDefs"]
    assert set(ours) <= set(served)


def test_workflows_are_offered_as_templates(server):
    offered = server.client.get("/workflow_templates")["causal-semantic-guidance"]
    assert set(offered) == {path.stem for path in (ROOT / "workflows").glob("*.json")}


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").rglob("*.json")), ids=lambda path: path.stem)
def test_workflows_use_nodes_that_exist(path, server):
    document = json.loads(path.read_text())
    if "nodes" in document:
        scopes = [document, *document.get("definitions", {}).get("subgraphs", ())]
        own = {scope.get("id") for scope in scopes}
        used = {node["type"] for scope in scopes for node in scope["nodes"]} - own - {"Note", "MarkdownNote", "Reroute"}
    else:
        used = {node["class_type"] for node in document.values()}
    assert used <= set(server.client.nodes())


def test_progress_and_pictures_come_back(server):
    seen: list[Progress] = []
    run = server.client.run(GRID, seen.append)
    assert seen[-1].overall == 1.0
    assert [one.overall for one in seen] == sorted(one.overall for one in seen)
    assert server.client.images(run, "2")[0].startswith(b"\x89PNG")


def test_a_refused_prompt_is_told_readably(server):
    wrong = {"1": GRID["1"] | {"inputs": {"width": 0}}, "2": GRID["2"]}
    with pytest.raises(ComfyError, match=r"node 1 \(EmptyImage\).*min of 1"):
        server.client.run(wrong)


def test_a_failing_node_is_told_readably(server, tmp_path):
    (tmp_path / "broken.png").write_text("no image")
    name = server.client.upload_image(tmp_path / "broken.png")
    prompt = {"7": {"class_type": "LoadImageMask", "inputs": {"image": name, "channel": "red"}},
              "8": {"class_type": "MaskPreview", "inputs": {"mask": ["7", 0]}}}
    with pytest.raises(ComfyError, match=r"node 7 \(LoadImageMask\) failed: .*identify image"):
        server.client.run(prompt)


def test_an_unknown_node_is_named(server):
    with pytest.raises(ComfyError, match="Nowhere"):
        server.client.run({"1": {"class_type": "Nowhere", "inputs": {}}})
