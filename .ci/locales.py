"""Writes locales/en/nodeDefs.json, the English strings of every node, from the schemas of a running ComfyUI.

    python .ci/locales.py

Translators start from that file; a test fails when it no longer says what the schemas say, and one when a language lacks
a sentence. Names of inputs and outputs stay English: workflows, help pages and errors call them so.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "locales" / "en" / "nodeDefs.json"
PREFIX = "CSG_"


def definitions(object_info):
    """The strings of this pack's nodes, in the form that ComfyUI's page translates from."""
    return {name: _node(info) for name, info in sorted(object_info.items()) if name.startswith(PREFIX)}


def _node(info):
    inputs = {key: _named(key, spec[1] if len(spec) > 1 else {})
              for group in ("required", "optional") for key, spec in info["input"].get(group, {}).items()}
    tips = info.get("output_tooltips") or [None] * len(info["output"])
    outputs = {str(place): {"name": name, "tooltip": tip or ""}
               for place, (name, tip) in enumerate(zip(info["output_name"], tips))}
    return {"display_name": info["display_name"], "description": info["description"], "inputs": inputs,
            "outputs": outputs}


def _named(key, options):
    return {"name": options.get("display_name") or key, "tooltip": options.get("tooltip") or ""}


def written(object_info):
    """The file's text."""
    return json.dumps(definitions(object_info), indent=2, ensure_ascii=False) + "\n"


def main():
    sys.path.insert(0, str(ROOT))
    from csg.evaluation.runner.comfy_client import ComfyServer

    with ComfyServer(threads=1) as server:
        text = written(server.client.nodes())
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text, encoding="utf-8")
    print(f"{TARGET.relative_to(ROOT)}: {len(json.loads(text))} nodes")


if __name__ == "__main__":
    main()
