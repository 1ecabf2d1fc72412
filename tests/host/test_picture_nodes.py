"""Keep Preserved Pixels and Undo Drift inside ComfyUI: what passes, what is refused and how; and what help pages explain."""

from pathlib import Path

import pytest
import torch

EDITED = {
    "1": {"class_type": "CSG_TownScene", "inputs": {"seed": 1, "do": ""}},
    "2": {"class_type": "CSG_TownScene", "inputs": {"seed": 1, "do": "house = blue"}},
}
NODES = ("CSG_KeepPreserved", "CSG_UndoDrift", "CSG_Audit", "CSG_CounterfactualText")


def flat(width, height):
    return {"class_type": "EmptyImage", "inputs": {"width": width, "height": height, "batch_size": 1, "color": 0}}


def solid(value, side=256):
    return {"class_type": "SolidMask", "inputs": {"value": value, "width": side, "height": side}}


def kept(mask, **inputs):
    node = {"original": ["1", 0], "edited": ["2", 0], "masks": ["3", 0], "feather": 0.0, **inputs}
    return EDITED | {"3": mask, "4": {"class_type": "CSG_KeepPreserved", "inputs": node}}


def undone(**inputs):
    node = {"original": ["1", 0], "edited": ["3", 0], "align": True, "match_colour": True, "feather": 2.0, **inputs}
    larger = {"image": ["2", 0], "upscale_method": "bicubic", "width": 300, "height": 300, "crop": "disabled"}
    return EDITED | {"3": {"class_type": "ImageScale", "inputs": larger}, "4": {"class_type": "CSG_UndoDrift", "inputs": node}}


def test_masks_keep_what_they_do_not_reach(comfy):
    box = {"destination": ["8", 0], "source": ["9", 0], "x": 64, "y": 96, "operation": "add"}
    prompt = kept({"class_type": "MaskComposite", "inputs": box}) | {"8": solid(0.0), "9": solid(1.0, 64)}
    outcome = comfy.run(prompt, outputs=["1", "2", "4"])
    wanted = outcome.value(1).clone()
    wanted[:, 96:160, 64:128] = outcome.value(2)[:, 96:160, 64:128]
    assert torch.equal(outcome.value(4), wanted) and not torch.equal(wanted, outcome.value(1))


def test_an_empty_mask_keeps_everything_and_says_so(comfy, caplog):
    outcome = comfy.run(kept(solid(0.0)), outputs=["4", "1"])
    assert torch.equal(outcome.value(4), outcome.value(1)) and not outcome.value(4, 1).any()
    assert "the masks are empty" in caplog.text


def test_the_drift_of_an_exact_edit_is_undone(comfy):
    """Scaled to another size and fitted back: the report stands on the node, the rest is the original's."""
    outcome = comfy.run(undone())
    image, mask, report = (outcome.value(4, i) for i in range(3))
    original = comfy.run(EDITED, outputs=["1"]).value(1)
    assert image.shape == original.shape and torch.equal(image[mask == 0], original[mask == 0])
    assert 0.02 < (mask > 0).float().mean() < 0.2 and outcome.ui["4"]["text"] == [report] and "shows the edit" in report


@pytest.mark.parametrize(("prompt", "words"), [
    (kept(solid(1.0), edited=["5", 0]) | {"5": flat(64, 64)},
     "256 x 256 and the edited picture 64 x 64"),
    (undone(edited=["5", 0]) | {"5": flat(64, 32)},
     "their aspects differ by 100%"),
    (kept(solid(1.0), edited=["5", 0])
     | {"5": {"class_type": "JoinImageWithAlpha", "inputs": {"image": ["2", 0], "alpha": ["3", 0]}}}, "4 channels"),
], ids=["size", "aspect", "alpha"])  # fmt: skip
def test_what_does_not_fit_is_refused_in_words(comfy, prompt, words):
    assert words in comfy.run(prompt, outputs=["4"]).errors["4"]


@pytest.mark.parametrize(("change", "words"), [
    (lambda image: (image, torch.cat([image, image[..., :1]], -1)), "edited picture has 4 channels.*Split Image with Alpha"),
    (lambda image: (image / 0, image), "original picture has 192 values that are not numbers"),
    (lambda image: (image, image[:0]), "edited picture has the shape .*nothing empty"),
    (lambda image: (image[0], image), r"original picture has the shape \(8, 8, 3\)"),
], ids=["alpha", "not numbers", "no picture", "no batch"])  # fmt: skip
def test_an_audit_looks_at_no_broken_picture(comfy, change, words):
    """Nobody is asked: there is no model."""
    audit = comfy.module("nodes.evaluate").Audit
    with pytest.raises(ValueError, match=words):
        audit.execute(None, *change(torch.full((1, 8, 8, 3), 0.5)), None)


@pytest.mark.parametrize("name", NODES)
def test_every_help_page_explains_every_input_and_output(comfy, name):
    schema = comfy.nodes.NODE_CLASS_MAPPINGS[name].GET_SCHEMA()
    folder = Path(__file__).parents[2] / "web" / "docs"
    page = (folder / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {schema.display_name}\n") and "**When not to use it.**" in page and "## Example" in page
    explained = " ".join(line.split("|")[1] for line in page.splitlines() if line.startswith("|"))
    assert all(f"`{part.id}`" in explained and part.tooltip for part in (*schema.inputs, *schema.outputs))
    picture = page.partition("](images/")[2].partition(")")[0]
    assert (folder / "images" / picture).stat().st_size > 10_000
