"""ComfyUI's own validation of every shipped API workflow, nothing executed."""

import asyncio
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = sorted((ROOT / "workflows" / "api").glob("*.json"))
EXTRAS = ("nodes_primitive", "nodes_post_processing")
FILES = {"CheckpointLoaderSimple": ("checkpoints", "ckpt_name"), "LoadImage": ("input", "image")}


@pytest.fixture(scope="module")
def known(comfy):
    """ComfyUI with the further core nodes that workflows use."""
    import folder_paths
    import nodes

    extras = [Path(folder_paths.base_path) / "comfy_extras" / f"{extra}.py" for extra in EXTRAS]

    async def load():
        return [await nodes.load_custom_node(str(extra), module_parent="comfy_extras") for extra in extras]

    assert all(asyncio.run(load()))
    return comfy


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Lays out empty files where ComfyUI looks for the models and pictures that a workflow names."""
    import folder_paths

    folders = {name: tmp_path / name for name in ("checkpoints", "input")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "checkpoints", ([str(folders["checkpoints"])], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "input_directory", str(folders["input"]))
    folder_paths.filename_list_cache.pop("checkpoints", None)
    yield folders
    folder_paths.filename_list_cache.pop("checkpoints", None)


def validated(prompt):
    import execution

    return asyncio.run(execution.validate_prompt("workflow", prompt, None))


@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: path.stem)
def test_comfyui_accepts_it(known, files, path):
    prompt = json.loads(path.read_text(encoding="utf-8"))
    for node in prompt.values():
        if node["class_type"] in FILES:
            folder, name = FILES[node["class_type"]]
            (files[folder] / node["inputs"][name]).touch()
    valid, error, outputs, node_errors = validated(prompt)
    assert valid, (error, node_errors)
    assert not node_errors
    assert outputs


@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: path.stem)
def test_every_node_is_needed(path):
    """Each node reaches an output node: nothing on the canvas is idle."""
    prompt = json.loads(path.read_text(encoding="utf-8"))
    read = {value[0] for node in prompt.values() for value in node["inputs"].values() if isinstance(value, list)}
    shown = {"SaveImage", "PreviewImage", "PreviewAny", "CSG_CompareSheet", "CSG_MaskOverlay", "CSG_TownScore", "CSG_GraphPreview"}
    assert not [node["_meta"]["title"] for name, node in prompt.items() if name not in read and node["class_type"] not in shown]


def test_a_missing_model_is_refused(known, files):
    prompt = json.loads((ROOT / "workflows" / "api" / "sdxl_counterfactual.json").read_text(encoding="utf-8"))
    valid, _, _, node_errors = validated(prompt)
    refused = {prompt[node]["class_type"] for node in node_errors}
    assert not valid and "CheckpointLoaderSimple" in refused
