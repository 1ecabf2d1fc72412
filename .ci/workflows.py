"""Writes workflows/api/, what the canvas sends for every workflow of workflows/, with the node types of a running ComfyUI.

    .venv/bin/python .ci/workflows.py

A test fails when a file there no longer says what its workflow on the canvas does.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "workflows"
TARGET = SOURCE / "api"
NOTES = {"Note", "MarkdownNote"}
GROWING = "COMFY_AUTOGROW_V3"
TYPED_IN = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
MUTED, BYPASSED = 2, 4
TEMPLATES = {
    "town_counterfactual": "01 First what-if (toy street)",
    "your_own_photo": "02 Your own photo (SDXL)",
    "town_day_to_night": "03 Day to night (toy street)",
    "town_two_interventions": "04 Two changes, one held (toy street)",
    "town_questions": "05 Three questions at once (toy street)",
    "town_from_image": "06 From the picture alone (toy street)",
    "sdxl_counterfactual": "07 Your portrait (SDXL)",
    "sd35_counterfactual": "08 Your portrait (SD3.5)",
    "flux_counterfactual": "09 Your portrait (Flux.1 dev)",
    "qwen_image_counterfactual": "10 Your portrait (Qwen-Image)",
    "z_image_counterfactual": "11 Your portrait (Z-Image)",
    "qwen_image_edit_counterfactual": "12 Your portrait (Qwen-Image-Edit)",
    "kontext_counterfactual": "13 Your portrait (Flux.1 Kontext)",
    "sdxl_qwen3_vl": "14 A model reads your photo (SDXL, Qwen3-VL)",
    "vlm_counterfactual": "15 A model on a server reads the street",
    "any_editor": "16 Any editor, held to the graph",
    "town_by_hand": "17 By hand, without a graph (toy street)",
    "town_transformer": "18 Drawn by a transformer (toy street)",
    "town_baselines": "19 Five methods compared (toy street)",
    "town_dial": "20 One question, six strengths (toy street)",
}
"""The canvas file of every file in workflows/api/. People see the names and order of templates, which may change; programs
call workflows by the names of their twins, which stay."""


def inputs_of(info, node):
    """(name, type, options) of a node's inputs as the page lists them: required first, then optional.

    Of inputs that grow with their links, those that the node has.
    """
    for group in ("required", "optional"):
        for name, (kind, *options) in info["input"].get(group, {}).items():
            if kind == GROWING:
                possible = {f"{name}.{letter}" for letter in options[0]["template"]["names"]}
                yield from ((entry["name"], "*", {}) for entry in node["inputs"] if entry["name"] in possible)
                continue
            yield name, "COMBO" if isinstance(kind, list) else kind, options[0] if options else {}


def widget_values(node, info):
    """A node's widget values by name. Seeds are followed by what happens to them after a run, uploads by their button."""
    values, by_name = list(node["widgets_values"]), {}
    for name, kind, options in inputs_of(info, node):
        if kind.split(",")[0] not in TYPED_IN or options.get("forceInput"):
            continue
        if not values:
            raise ValueError(f"{node['title']!r} has no value for {name}. Save the workflow again from the page.")
        by_name[name] = values.pop(0)
        follower = {"fixed", "randomize", "increment", "decrement"} if options.get("control_after_generate") else None
        follower = {"image"} if options.get("image_upload") else follower
        if follower and (not values or values.pop(0) not in follower):
            raise ValueError(f"{node['title']!r}: {name} lacks its companion value, one of {sorted(follower)}.")
    if values:
        raise ValueError(f"{node['title']!r} has {len(values)} widget values too many: {values}")
    return by_name


def passed_on(node, slot):
    """The link that a bypassed node hands on at an output: that of the input beside it, or else of the first of its type."""
    kind = node["outputs"][slot]["type"]
    return next((entry["link"] for entry in [*node["inputs"][slot:slot + 1], *node["inputs"]] if entry["type"] == kind), None)


def origin(number, links, nodes):
    """The [node, output] that feeds a link, through bypassed nodes; None behind a muted one, or where nothing comes in."""
    while number is not None:
        _, name, slot, *_ = links[number]
        node = nodes[name]
        if node.get("mode") not in (MUTED, BYPASSED):
            return [str(name), slot]
        number = passed_on(node, slot) if node["mode"] == BYPASSED else None
    return None


def as_prompt(workflow, infos):
    """What the page sends for a workflow: links where there are links, widget values elsewhere; nothing of nodes that are off."""
    links, nodes = {link[0]: link for link in workflow["links"]}, {node["id"]: node for node in workflow["nodes"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES or node.get("mode") in (MUTED, BYPASSED):
            continue
        info = infos[node["type"]]
        feeds = {entry["name"]: origin(entry["link"], links, nodes) for entry in node["inputs"]}
        given = widget_values(node, info) | {name: feed for name, feed in feeds.items() if feed}
        inputs = {name: given[name] for name, *_ in inputs_of(info, node) if name in given}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": node["title"]}}
    return prompt


def written(workflow, infos):
    """The file's text: a line per node."""
    nodes = [f"  {json.dumps(node)}: {json.dumps(entry, ensure_ascii=False)}" for node, entry in as_prompt(workflow, infos).items()]
    return "{\n" + ",\n".join(nodes) + "\n}\n"


def main():
    sys.path.insert(0, str(ROOT))
    from csg.evaluation.runner.comfy_client import ComfyServer

    with ComfyServer(threads=1) as server:
        infos = server.client.nodes()
    for name, template in TEMPLATES.items():
        text = written(json.loads((SOURCE / f"{template}.json").read_text(encoding="utf-8")), infos)
        (TARGET / f"{name}.json").write_text(text, encoding="utf-8")
        print(f"{(TARGET / name).relative_to(ROOT)}.json")


if __name__ == "__main__":
    main()
