"""ComfyUI's own validation of every shipped API workflow, nothing executed."""

import asyncio
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = sorted((ROOT / "workflows" / "api").glob("*.json"))
EXTRAS = (  # in the order in which they import each other
    "nodes_primitive", "nodes_string", "nodes_latent", "nodes_post_processing", "nodes_flux", "nodes_model_advanced", "nodes_qwen",
    "nodes_edit_model",
)  # fmt: skip
FILES = {
    "CheckpointLoaderSimple": {"ckpt_name": "checkpoints"},
    "CLIPLoader": {"clip_name": "text_encoders"},
    "DualCLIPLoader": {"clip_name1": "text_encoders", "clip_name2": "text_encoders"},
    "LoadImage": {"image": "input"},
    "UNETLoader": {"unet_name": "diffusion_models"},
    "VAELoader": {"vae_name": "vae"},
}


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

    folders = {name: tmp_path / name for fields in FILES.values() for name in fields.values()}
    for name, folder in folders.items():
        folder.mkdir()
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, ([str(folder)], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "input_directory", str(folders["input"]))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return folders


def validated(prompt):
    import execution

    return asyncio.run(execution.validate_prompt("workflow", prompt, None))


@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: path.stem)
def test_comfyui_accepts_it(known, files, path):
    prompt = json.loads(path.read_text(encoding="utf-8"))
    for node in prompt.values():
        for field, folder in FILES.get(node["class_type"], {}).items():
            (files[folder] / node["inputs"][field]).touch()
    valid, error, outputs, node_errors = validated(prompt)
    assert valid, (error, node_errors)
    assert not node_errors
    assert outputs


@pytest.mark.parametrize("path", PROMPTS, ids=lambda path: path.stem)
def test_every_node_is_needed(known, path):
    """Whatever is no output node is read by another node: nothing on the canvas is idle."""
    prompt = json.loads(path.read_text(encoding="utf-8"))
    read = {value[0] for node in prompt.values() for value in node["inputs"].values() if isinstance(value, list)}
    classes = {name: known.nodes.NODE_CLASS_MAPPINGS[node["class_type"]] for name, node in prompt.items()}
    idle = [name for name, kind in classes.items() if name not in read and not getattr(kind, "OUTPUT_NODE", False)]
    assert not [prompt[name]["_meta"]["title"] for name in idle]


def test_missing_files_are_refused_by_name(known, files):
    """The check above is one: without the files ComfyUI says no to exactly the nodes that name them."""
    prompt = json.loads((ROOT / "workflows" / "api" / "sdxl_counterfactual.json").read_text(encoding="utf-8"))
    *_, node_errors = validated(prompt)
    assert {prompt[node]["class_type"] for node in node_errors} == {"CheckpointLoaderSimple", "LoadImage"}


def test_another_question_is_asked_of_the_town_template_in_its_graph_alone(known):
    prompt = json.loads((ROOT / "workflows" / "api" / "town_counterfactual.json").read_text(encoding="utf-8"))
    nodes = {node["_meta"]["title"]: name for name, node in prompt.items()}
    assert not [node for node in prompt.values() if node["class_type"] == "CSG_Intervene"]
    editor = prompt[nodes["Causal graph"]]["inputs"]
    asked = {"interventions": {"time": "night"}, "effects": {"lamp": "on", "windows": "lit", "headlights": "on"}}
    editor["graph_json"] = json.dumps({**json.loads(editor["graph_json"]), **asked})
    outcome = known.run(prompt, outputs=[nodes["Score"]])
    assert outcome.value(int(nodes["Score"])) == 1
    readings = json.loads(outcome.value(int(nodes["Score"]), 2))["readings"]
    assert {name: readings[name]["expected"] for name in ("time", "lamp", "weather")} == {"time": "night", "lamp": "on", "weather": "sunny"}


def test_the_dial_goes_from_the_picture_as_it_is_to_what_is_asked_for(known):
    prompt = json.loads((ROOT / "workflows" / "api" / "town_dial.json").read_text(encoding="utf-8"))
    nodes = {node["_meta"]["title"]: name for name, node in prompt.items()}
    asked = prompt[nodes["One question, six strengths"]]["inputs"]
    lines, titles = asked["questions"].splitlines(), prompt[nodes["Compare"]]["inputs"]["titles"].splitlines()
    assert [float(line.rpartition("@")[2]) for line in lines] == [float(title.removeprefix("strength")) for title in titles]
    asked["questions"] = "\n".join(line for line in lines if line.endswith((" 0", " 0.5", " 1")))
    watched = ("Score", "Factual scene", "Decode the counterfactual", "Keep preserved pixels")
    outcome = known.run(prompt, outputs=[nodes[title] for title in watched])
    effects = outcome.values[nodes["Score"]][0]
    assert not outcome.errors and effects[0] == 0 and effects == sorted(effects) and effects[2] == 1
    pictures = outcome.values[nodes["Decode the counterfactual"]][0]
    far = [float((picture - pictures[0]).abs().mean()) for picture in pictures]
    assert far[0] == 0 < far[1] < far[2]
    kept = outcome.values[nodes["Keep preserved pixels"]][0][0]
    assert (kept == outcome.value(nodes["Factual scene"])).all(), "nothing acted, so nothing changed"
