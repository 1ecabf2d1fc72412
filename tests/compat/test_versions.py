"""Every node loads and the Town workflow runs, over HTTP, in every version of ComfyUI that the README names."""

import importlib.util
import json
from pathlib import Path

import pytest

from csg.evaluation.runner.comfy_client import ComfyServer, find_comfyui

ROOT = Path(__file__).resolve().parents[2]
CURRENT = "current"


def older():
    """The other versions that the set-up fetches."""
    spec = importlib.util.spec_from_file_location("project_setup", ROOT / ".ci" / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return sorted(module.OLDER_COMFYUIS)


@pytest.fixture(params=[*older(), CURRENT])
def server(request, tmp_path, monkeypatch):
    """A server of one version with this pack alone."""
    home = Path(request.config.getoption("--sources")) / f"ComfyUI-{request.param}"
    home = find_comfyui() if request.param == CURRENT else home
    if not (home / "main.py").is_file():
        pytest.fail(f"no ComfyUI lies in {home}: run `python3 .ci/setup.py --tests`, which fetches it once", pytrace=False)
    monkeypatch.setenv("COMFYUI_PATH", str(home))
    with ComfyServer(workspace=tmp_path, threads=1) as running:
        version = running.client.get("/system_stats")["system"]["comfyui_version"]
        assert request.param in (version, CURRENT), f"this is ComfyUI {version}"
        yield running


def test_the_town_workflow_runs(server):
    ours = {name for name in server.client.nodes() if name.startswith("CSG_")}
    assert ours == set(json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8")))
    prompt = json.loads((ROOT / "workflows" / "api" / "town_counterfactual.json").read_text(encoding="utf-8"))
    score = next(node for node, entry in prompt.items() if entry["class_type"] == "CSG_TownScore")
    sheet = next(node for node, entry in prompt.items() if entry["class_type"] == "CSG_CompareSheet")
    run = server.client.run(prompt)
    assert server.client.images(run, sheet)[0].startswith(b"\x89PNG")
    assert json.loads(run.outputs[score]["text"][0])["effectiveness"] > 0.5
