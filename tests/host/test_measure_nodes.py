"""The measuring nodes, run by ComfyUI's own executor."""

import json
import math
from pathlib import Path

import pytest
import torch


def flat(colour, side=192):
    return {"class_type": "EmptyImage", "inputs": {"width": side, "height": side, "batch_size": 1, "color": colour}}


def measured(comfy, node, **inputs):
    """A prompt with two flat pictures, black and a dark grey, and the node that measures them."""
    return {"1": flat(0x000000), "2": flat(0x333333), "3": {"class_type": node, "inputs": inputs}}


@pytest.fixture
def lpips_folder(comfy, tmp_path, monkeypatch):
    """ComfyUI's models/lpips, for this test alone."""
    import folder_paths

    paths, suffixes = folder_paths.folder_names_and_paths["lpips"]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "lpips", ([str(tmp_path)], suffixes))
    comfy.forget()
    return tmp_path


def test_the_models_folder_is_registered(comfy):
    import folder_paths

    assert [Path(p).name for p in folder_paths.get_folder_paths("lpips")] == ["lpips"]


def test_lpips_without_weights_says_what_to_put_where(comfy, lpips_folder):
    outcome = comfy.run(measured(comfy, "CSG_LPIPS", image_a=["1", 0], image_b=["2", 0], net="vgg"))
    assert "vgg16-397923af.pth" in outcome.errors["3"] and str(lpips_folder) in outcome.errors["3"]


def test_lpips_with_weights_measures(comfy, lpips_folder):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    torch.save(models.alexnet(weights=None).state_dict(), lpips_folder / "alexnet-owt-7be5be79.pth")
    prompt = measured(comfy, "CSG_LPIPS", image_a=["1", 0], image_b=["2", 0], net="alex")
    outcome = comfy.run(prompt)
    distance = outcome.value("3")
    assert distance > 1e-4 and outcome.ui["3"]["text"] == [f"{distance:.4f}"]
    prompt["3"]["inputs"]["image_b"] = ["1", 0]
    assert comfy.run(prompt).value("3") == pytest.approx(0, abs=1e-7)


def test_ms_ssim(comfy):
    outcome = comfy.run(measured(comfy, "CSG_MSSSIM", image_a=["1", 0], image_b=["1", 0]))
    assert outcome.value("3") == pytest.approx(1)
    apart = comfy.run(measured(comfy, "CSG_MSSSIM", image_a=["1", 0], image_b=["2", 0]))
    assert apart.value("3") < 0.5 and apart.ui["3"]["text"]


def test_soundness_measures_what_is_connected(comfy):
    outcome = comfy.run(measured(comfy, "CSG_Soundness", factual=["1", 0], returned=["2", 0]))
    assert math.isnan(outcome.value("3", 0))
    assert outcome.value("3", 1) == pytest.approx(20, abs=0.01)
    assert outcome.value("3", 2).startswith("reversibility: mean error 20.00 %")


def test_soundness_wants_something_to_compare(comfy):
    outcome = comfy.run(measured(comfy, "CSG_Soundness", factual=["1", 0]))
    assert "connect `unedited`" in outcome.errors["3"]


def test_pictures_of_different_size_are_told(comfy):
    prompt = measured(comfy, "CSG_MSSSIM", image_a=["1", 0], image_b=["2", 0]) | {"2": flat(0, 200)}
    assert "Scale one of them first" in comfy.run(prompt).errors["3"]


def test_numbers_of_other_nodes_are_scores_of_a_sheet(comfy):
    """A sheet with a number below its picture is taller by that line, and otherwise the same."""
    sheet = {"1": flat(0x333333, 256), "2": {"class_type": "CSG_CompareSheet", "inputs": {"images": ["1", 0], "titles": "grey"}},
             "3": {"class_type": "CSG_MSSSIM", "inputs": {"image_a": ["1", 0], "image_b": ["1", 0]}}}  # fmt: skip
    plain = comfy.run(sheet, outputs=["2"]).value("2")
    sheet["2"]["inputs"]["scores"] = ["3", 0]
    outcome = comfy.run(sheet, outputs=["2"])
    assert outcome.errors == {}
    scored, height = outcome.value("2"), plain.shape[1]
    assert scored.shape[1] > height and torch.equal(scored[:, : height - 16], plain[:, : height - 16])
    assert scored[:, height - 16 :].std() > 0.02, "nothing is written there"


def test_a_counterfactual_comes_back_from_its_text(comfy):
    prompt = {
        "1": {"class_type": "CSG_TownScene", "inputs": {"seed": 3, "do": ""}},
        "2": {"class_type": "CSG_Intervene", "inputs": {"graph": ["1", 1], "concept": "weather", "value": "rainy"}},
        "3": {"class_type": "CSG_Propagate", "inputs": {"graph": ["2", 0], "values": "ground = wet"}},
        "4": {"class_type": "CSG_CounterfactualText", "inputs": {"counterfactual": ["3", 0]}},
    }
    outcome = comfy.run(prompt)
    first = outcome.value("3")
    kept = json.loads(outcome.value("4"))
    assert kept["values"] == {"ground": "wet"} and kept["prompt"] == first.prompt
    asked = "Change the weather from sunny weather to rainy weather. As a consequence, change the ground from"
    assert outcome.value("4", 1).startswith(asked)
    again = comfy.run({
        "1": {"class_type": "CSG_GraphEditor", "inputs": {"graph_json": json.dumps(kept["graph"])}},
        "2": {"class_type": "CSG_Propagate", "inputs": {
            "graph": ["1", 0], "values": "\n".join(f"{k} = {v}" for k, v in kept["values"].items())}},
        "3": {"class_type": "CSG_CounterfactualText", "inputs": {"counterfactual": ["2", 0]}},
    })  # fmt: skip
    assert again.value("2").changed == first.changed
    assert json.loads(again.value("3")) == kept
