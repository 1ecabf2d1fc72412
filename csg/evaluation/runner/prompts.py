"""Workflows in ComfyUI's API format, `{node id: {"class_type": ..., "inputs": ...}}`, read by the titles of their nodes."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .comfy_client import REPOSITORY

FOLDER = REPOSITORY / "workflows" / "api"
Prompt = dict[str, dict[str, Any]]


def read(workflow: str | Path) -> Prompt:
    """A shipped workflow by its name, or the file at a path."""
    path = workflow if isinstance(workflow, Path) else FOLDER / f"{workflow}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def ids(prompt: Prompt) -> dict[str, str]:
    """Node ids by the titles that the workflow gives them."""
    return {entry["_meta"]["title"]: node for node, entry in prompt.items()}


def inputs(prompt: Prompt, title: str) -> dict[str, Any]:
    """The inputs of the node with this title, links among them."""
    return prompt[ids(prompt)[title]]["inputs"]


def filled(prompt: Prompt, settings: Mapping[str, Mapping[str, Any]]) -> Prompt:
    """A copy of the workflow with these inputs set, by the titles of their nodes."""
    changed = copy.deepcopy(prompt)
    for title, values in settings.items():
        inputs(changed, title).update(values)
    return changed


def of_class(prompt: Prompt, kind: str) -> list[dict[str, Any]]:
    """The inputs of every node of this class."""
    return [entry["inputs"] for entry in prompt.values() if entry["class_type"] == kind]
