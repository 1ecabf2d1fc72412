"""What Before and After tells the page."""

from pathlib import Path

from PIL import Image


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def test_both_pictures_and_a_mask_per_concept_reach_the_page(comfy):
    prompt = {
        "town": node("CSG_LoadTown"),
        "before": node("CSG_TownScene", seed=3, do=""),
        "after": node("CSG_TownScene", seed=3, do="weather = rainy"),
        "edit": node("CSG_ConceptEdit", clip=["town", 1], phrase="rainy weather", scale=1.0, threshold=0.5, warmup=0, cooldown=0,
                     remove=False, scope="local"),
        "mask": node("SolidMask", value=1.0, width=32, height=32),
        "plain": node("CSG_BeforeAfter", before=["before", 0], after=["after", 0]),
        "masked": node("CSG_BeforeAfter", before=["before", 0], after=["after", 0], masks=["mask", 0], edits=["edit", 0]),
    }  # fmt: skip
    outcome = comfy.run(prompt)
    assert not outcome.errors and set(outcome.ui["plain"]) == {"csg_before", "csg_after"}
    shown = outcome.ui["masked"]
    told, = shown["csg_masks"]
    assert told["concept"] == "rainy weather" and told["colour"].startswith("#") and opened(told["image"]).getpixel((5, 5))[0] == 255
    before, after = (opened(shown[name][0]) for name in ("csg_before", "csg_after"))
    assert before.size == after.size == (256, 256) and before.tobytes() != after.tobytes()


def opened(file):
    import folder_paths

    return Image.open(Path(folder_paths.get_temp_directory()) / file["subfolder"] / file["filename"]).convert("RGB")
