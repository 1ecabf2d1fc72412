"""Writes subgraphs/, the one-node forms of workflows that ComfyUI's node library offers as blueprints.

    .venv/bin/python .ci/blueprints.py

What stands in one is taken from the template of its model, settings and all; a test fails when they differ.
"""

import copy
import json
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE, TARGET = ROOT / "workflows", ROOT / "subgraphs"
BLUEPRINTS = {"Town": "01 First what-if (toy street)", "SDXL": "07 Your portrait (SDXL)", "SD3.5": "08 Your portrait (SD3.5)",
              "Flux.1": "09 Your portrait (Flux.1 dev)", "Qwen-Image": "10 Your portrait (Qwen-Image)",
              "Z-Image": "11 Your portrait (Z-Image)"}
INSIDE = ("Scale to one megapixel", "Encode the factual picture", "Source prompt", "Unconditional", "Invert",
          "Causal graph", "Propagate by hand", "Encode the edits", "Edit", "Decode the counterfactual", "Widen the masks by two cells",
          "Keep preserved pixels")
EDITOR = "Causal graph"
ORDER = {"IMAGE": "image", "MODEL": "model", "CLIP": "clip", "VAE": "vae", "CSG_GRAPH": "graph", "STRING": "caption"}
SHOWN = (("Invert", ("steps", "skip", "seed")), ("Encode the edits", ("scale", "threshold")))
ABOUT = ("Asks what if of a picture, in one node: open it, say in the causal graph what the picture shows, click a value on a cause and "
         "what follows from it. The picture and the model come in, the edited picture, the masks and what changed come out.")
WORDS = ["what if", "counterfactual", "causal", "do operator", "edit image", "csg"]
DOOR_IN, DOOR_OUT = -10, -20


class Blueprint:
    """A subgraph that grows link by link."""

    def __init__(self, model, workflow, sample):
        self.name, self.links, self.inputs, self.outputs = f"What if ({model})", [], [], []
        self.id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"csg/{self.name}"))
        self.nodes = {node["title"]: copy.deepcopy(node) for node in workflow["nodes"] if node["title"] in INSIDE}
        self.by_id = {node["id"]: node for node in self.nodes.values()}
        for node in self.nodes.values():
            node["properties"] = {"Node name for S&R": node["type"]}
            for socket in node["inputs"]:
                socket["link"] = None
            for socket in node["outputs"]:
                socket["links"] = None
        self.nodes[EDITOR]["widgets_values"] = [sample]

    def link(self, origin, slot, target, place, kind):
        """One link; the doors of the subgraph have negative numbers."""
        number = len(self.links) + 1
        self.links.append({"id": number, "origin_id": origin, "origin_slot": slot, "target_id": target, "target_slot": place, "type": kind})
        if target != DOOR_OUT:
            self.by_id[target]["inputs"][place]["link"] = number
        if origin != DOOR_IN:
            socket = self.by_id[origin]["outputs"][slot]
            socket["links"] = [*(socket["links"] or []), number]
        return number

    def join(self, links):
        """The links of the workflow among these nodes; what comes from elsewhere comes in by a door, in the doors' order."""
        outside = {kind: [] for kind in ORDER}
        for _, origin, slot, target, place, kind in links:
            if target in self.by_id and origin in self.by_id:
                self.link(origin, slot, target, place, kind)
            elif target in self.by_id:
                outside[kind].append((target, place))
        editor = self.nodes[EDITOR]
        outside["CSG_GRAPH"] = [(editor["id"], [socket["name"] for socket in editor["inputs"]].index("graph"))]
        for kind, ends in outside.items():
            if ends:
                self.enter(kind, ends)

    def enter(self, kind, ends):
        """A door for what comes in."""
        slot = len(self.inputs)
        numbers = [self.link(DOOR_IN, slot, target, place, kind) for target, place in ends]
        self.inputs.append({"id": str(uuid.uuid5(uuid.UUID(self.id), f"in {kind}")), "name": ORDER[kind], "type": kind, "linkIds": numbers,
                            "pos": [-160, 200 + 20 * slot]})

    def leave(self, name, title, slot):
        """A door for what goes out."""
        node = self.nodes[title]
        kind = node["outputs"][slot]["type"]
        number = self.link(node["id"], slot, DOOR_OUT, len(self.outputs), kind)
        self.outputs.append({"id": str(uuid.uuid5(uuid.UUID(self.id), f"out {name}")), "name": name, "type": kind, "linkIds": [number],
                             "pos": [3200, 200 + 20 * len(self.outputs)]})

    def outer_node(self):
        """The one node that stands for all."""
        widgets = [[str(self.nodes[title]["id"]), name] for title, names in SHOWN for name in names]
        inputs = [{"name": door["name"], "type": door["type"], "link": None} for door in self.inputs]
        for entry in inputs:
            if entry["name"] == "caption":
                entry["widget"] = {"name": "caption"}
        return {"id": 1, "type": self.id, "pos": [0, 0], "size": [340, 320], "flags": {}, "order": 0, "mode": 0, "inputs": inputs,
                "outputs": [{"name": door["name"], "type": door["type"], "links": None} for door in self.outputs],
                "title": self.name, "properties": {"proxyWidgets": widgets}, "widgets_values": []}

    def document(self):
        """The file."""
        last = max(self.by_id)
        subgraph = {
            "id": self.id, "version": 1, "revision": 0, "name": self.name, "category": "Causal Semantic Guidance", "description": ABOUT,
            "state": {"lastGroupId": 0, "lastNodeId": last, "lastLinkId": len(self.links), "lastRerouteId": 0}, "config": {},
            "inputNode": {"id": DOOR_IN, "bounding": [-280, 160, 120, 40 + 20 * len(self.inputs)]},
            "outputNode": {"id": DOOR_OUT, "bounding": [3180, 160, 120, 40 + 20 * len(self.outputs)]},
            "inputs": self.inputs, "outputs": self.outputs, "widgets": [], "nodes": list(self.nodes.values()), "groups": [],
            "links": self.links, "extra": {"workflowRendererVersion": "LG"},
        }
        about = {"BlueprintDescription": ABOUT, "BlueprintSearchAliases": WORDS}
        return {"revision": 0, "last_node_id": 1, "last_link_id": 0, "nodes": [self.outer_node()], "links": [], "groups": [],
                "definitions": {"subgraphs": [subgraph]}, "config": {}, "extra": about, "version": 0.4}


def blueprint(model, workflow, sample):
    """The one-node form of a workflow; `sample` is the editor's text before anybody edits it."""
    made = Blueprint(model, workflow, sample)
    made.join(workflow["links"])
    last = "Keep preserved pixels" if "Keep preserved pixels" in made.nodes else "Decode the counterfactual"
    for name, title, slot in (("image", last, 0), ("masks", "Edit", 1), ("edits", "Encode the edits", 0),
                              ("counterfactual", "Propagate by hand", 0), ("report", "Propagate by hand", 1)):
        made.leave(name, title, slot)
    return made.document()


def written(model, name, sample):
    """The file's text: a line per node, socket and link."""
    workflow = json.loads((SOURCE / f"{name}.json").read_text(encoding="utf-8"))
    return json.dumps(blueprint(model, workflow, sample), ensure_ascii=False).replace('}, {"id":', '},\n {"id":') + "\n"


def main():
    sys.path.insert(0, str(ROOT))
    from csg.causal.editor_text import sample_text

    TARGET.mkdir(exist_ok=True)
    for model, name in BLUEPRINTS.items():
        path = TARGET / f"What if ({model}).json"
        path.write_text(written(model, name, sample_text()), encoding="utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
