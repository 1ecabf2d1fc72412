"""From the picture alone: the workflow `town_from_image` run by the demo, and how right the small model was.

The model reads the picture, carries the intervention through the graph it read, and judges the edited picture. Its
answers are set beside the renderer's values, the most probable counterfactual and the attribute readers.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from town_expected import TRUE_EDGES, most_probable

from csg.evaluation.runner import prompts
from csg.evaluation.runner.comfy_client import ComfyClient, Progress, Run
from csg.evaluation.runner.prompts import Prompt
from csg.town import world
from csg.town.readers import read_values

WORKFLOW = "town_from_image"
QUESTIONS = {"extract": "Ask for the causal graph", "propagate": "Let the VLM propagate", "judge": "Does the VLM see it?"}
SHARES = ("values_right", "graph_right", "propagation_right", "vlm_effectiveness", "readers_effectiveness", "agreement")
NOTE = (
    "A small model trained on Town alone. Its graph is memorised, not discovered: it is the same for every picture. "
    "vlm_effectiveness is the share of changed concepts that the model itself sees in its edit; agreement, how often its "
    "verdict is the attribute readers'."
)


class Stopwatch:
    """Seconds that each node of a running prompt was at work, from the server's progress."""

    def __init__(self, pass_on: Callable[[Progress], None] = lambda progress: None) -> None:
        self.seconds: dict[str, float] = {}
        self.pass_on = pass_on
        self.node, self.since = "", time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Count the time since the last news for the node that was at work."""
        now = time.monotonic()
        self.seconds[self.node] = self.seconds.get(self.node, 0.0) + now - self.since
        self.node, self.since = progress.node, now
        self.pass_on(progress)


@dataclass(frozen=True)
class Reply:
    """What the model said in one run: values read, edges drawn, values after the intervention, verdicts."""

    read: Mapping[str, str]
    edges: frozenset[tuple[str, str]]
    after: Mapping[str, str]
    verdicts: Mapping[str, bool]


def filled(template: Prompt, seed: int, do: Mapping[str, str]) -> Prompt:
    """The workflow for one scene and one intervention; nothing else is filled in."""
    ((concept, value),) = do.items()
    return prompts.filled(template, {"Factual scene": {"seed": seed}, "Intervention": {"concept": concept, "value": value}})


def reply_of(prompt: Prompt, run: Run) -> Reply:
    """What the nodes of a finished run have shown."""
    nodes = prompts.ids(prompt)
    shown = {kind: run.outputs[nodes[title]] for kind, title in QUESTIONS.items()}
    graph = json.loads(shown["extract"]["graph"][0])
    after = json.loads(shown["propagate"]["csg_counterfactual"][0])
    return Reply(
        {concept["name"]: concept["value"] for concept in graph["concepts"]},
        frozenset((edge["cause"], edge["effect"]) for edge in graph["edges"]),
        {name: change["counterfactual"] for name, change in after.items()},
        {verdict["concept"]: verdict["answer"] for verdict in shown["judge"]["csg_effectiveness"]},
    )


def figures(reply: Reply, picture: np.ndarray, seed: int, do: Mapping[str, str]) -> dict[str, float]:
    """How right a reply was; `picture` (256, 256, 3) uint8 is the edit.

    Propagation is measured against the graph and the values that the model itself had read.
    """
    truth = world.factual(seed)
    told = {name: reply.read[name] if reply.read.get(name) in world.BY_NAME[name].domain else value for name, value in truth.items()}
    wanted = most_probable(told, do, reply.edges & set(TRUE_EDGES))
    changed = [name for name, value in reply.after.items() if value != reply.read.get(name)]
    seen = read_values(picture[None])[0]
    readers = {name: seen[name] == reply.after[name] for name in changed if name in seen}
    return {
        "values_right": _share([reply.read.get(name) == value for name, value in truth.items()]),
        "graph_right": float(reply.edges == set(TRUE_EDGES)),
        "propagation_right": float(all(reply.after.get(name) == value for name, value in wanted.items())),
        "vlm_effectiveness": _share(list(reply.verdicts.values())),
        "readers_effectiveness": _share(list(readers.values())),
        "agreement": _share([reply.verdicts.get(name) == hit for name, hit in readers.items()]),
    }


def _share(hits: Sequence[bool]) -> float:
    return float(np.mean(hits)) if hits else 1.0


def run_scene(
    client: ComfyClient, template: Prompt, seed: int, do: Mapping[str, str], pass_on: Callable[[Progress], None]
) -> dict[str, Any]:
    """One scene from its picture to the judged edit: figures, what was said, and the seconds of each question."""
    prompt, watch = filled(template, seed, do), Stopwatch(pass_on)
    run = client.run(prompt, watch)
    nodes = prompts.ids(prompt)
    edited = np.array(Image.open(io.BytesIO(client.images(run, nodes["counterfactual"])[0])).convert("RGB"))
    reply = reply_of(prompt, run)
    seconds = {kind: round(watch.seconds.get(nodes[title], 0.0), 2) for kind, title in QUESTIONS.items()}
    return {
        "seed": seed, "do": dict(do), **figures(reply, edited, seed, do), "seconds": run.seconds, "seconds_by_question": seconds,
        "read": dict(reply.read), "after": dict(reply.after), "verdicts": dict(reply.verdicts),
    }  # fmt: skip


def summary(scenes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The report's part about the model: means and every scene."""
    means = {name: float(np.mean([scene[name] for scene in scenes])) for name in (*SHARES, "seconds")}
    slowest = {kind: max(scene["seconds_by_question"][kind] for scene in scenes) for kind in QUESTIONS}
    return {"note": NOTE, "mean": means, "slowest_reply_seconds": slowest, "scenes": list(scenes)}


def table(found: Mapping[str, Any]) -> str:
    """The means as text."""
    cells = [f"{name.replace('_', ' ')} {found['mean'][name]:.2f}" for name in SHARES]
    slowest = max(found["slowest_reply_seconds"].values())
    return (
        f"from the picture alone, {len(found['scenes'])} scenes: {', '.join(cells)}; slowest reply {slowest:.1f} s\n"
        "(the model knows Town's graph by heart: memorised, not discovered)"
    )
