"""The methods that the Town benchmark compares, and the ablations of Causal Semantic Guidance."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from csg.evaluation.runner import prompts

ALL, DESCENDANTS, INTERVENED = "intervened + descendants", "descendants only", "intervened only"
CSG, PAPER, FLOWEDIT, NO_EDIT = "CSG", "CSG (paper)", "FlowEdit", "no edit"
FIELDS = ("model", "measure", "settings", "scene", "do", "seed")  # what identifies a line of results
LATER = ("release_below", "strengths", "scheduler", "curve")
SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "early": lambda done: 2 * (1 - done), "late": lambda done: 2 * done, "cosine": lambda done: 1 - math.cos(2 * math.pi * done),
}  # fmt: skip
"""Factors on the guidance scale by the share of the steps that is done; the mean of each over a run is 1, as without."""
BEGIN_LOW = ("late", "cosine")  # they need no warm-up


@dataclass(frozen=True)
class Method:
    """How a picture is inverted and edited; every field decides the result, so together they identify it.

    editor: "csg" (concept edits), "prompt" (the whole new prompt), "nothing" (the autoencoder's round trip of the
    factual picture) or "truth" (of the exact counterfactual). `source`: invert with the factual caption. `scoped`:
    global concepts act on the whole picture; without it every concept is masked. `scheduler`: ComfyUI's, whose SIGMAS
    are inverted in place of the node's own levels. `curve`: one of SCHEDULES; without, the scale stays the same.
    """

    inverter: str = "dpm++"
    editor: str = "csg"
    steps: int = 50
    skip: float = 0.15
    source: bool = True
    source_guidance: float = 1.0
    zero_noise_steps: int = 0
    concepts: str = ALL
    scoped: bool = True
    scale: float = 5.0
    threshold: float = 0.7
    global_scale: float = 2.0
    warmup: float = 0.1
    base: str = "source"
    mask: str = "intersect"
    mask_source: str = "edit"
    contrast: str = "unconditional"
    cut: str = "quantile"
    preserve: str = "off"
    release: float = 0.0
    cfg: float = 2.0
    release_below: float = 0.0
    strengths: str = ""
    scheduler: str = ""
    curve: str = ""

    @property
    def settings(self) -> str:
        """All fields as one line of text; those that came later only where they are set, so that older lines still count."""
        fields = asdict(self)
        return json.dumps({name: value for name, value in fields.items() if name not in LATER or value}, sort_keys=True)

    @property
    def inversion(self) -> tuple:
        """The fields that an inversion depends on: edits that share them share it."""
        return (self.inverter, self.steps, self.skip, self.source, self.source_guidance, self.zero_noise_steps, self.scheduler)

    def with_steps(self, steps: int) -> Method:
        """The same with another number of steps; the warm-up is a share of them."""
        return replace(self, steps=steps)


def shipped() -> Method:
    """Causal Semantic Guidance as the Town workflow has it."""
    workflow = prompts.read("town_counterfactual")
    invert, encode, edit = (prompts.inputs(workflow, title) for title in ("Invert", "Encode the edits", "Edit"))
    own = ("base", "mask", "mask_source", "contrast", "cut", "preserve", "release", "release_below")
    return Method(
        steps=invert["steps"], skip=invert["skip"], source="source" in invert, source_guidance=invert["source_guidance"],
        zero_noise_steps=invert["zero_noise_steps"], concepts=ALL if encode["concepts"] == ALL else DESCENDANTS,
        scale=encode["scale"], threshold=encode["threshold"], warmup=encode["warmup"] / invert["steps"],
        global_scale=encode["global_scale"], strengths=encode.get("strengths", ""), **{name: edit[name] for name in own if name in edit},
    )  # fmt: skip


def keeping() -> tuple[int, float]:
    """By how many pixels the Town workflow widens the masks before it keeps preserved pixels, and its soft edge."""
    workflow = prompts.read("town_counterfactual")
    grow, keep = prompts.inputs(workflow, "Widen the masks by two cells"), prompts.inputs(workflow, "Keep preserved pixels")
    return grow["expand"], keep["feather"]


def methods(csg: Method) -> dict[str, Method]:
    """The paper's comparison: whole prompts under DDIM and DDPM inversion, LEDITS++ on the intervened concept, CSG.

    The prompts know what follows from the intervention, as in the paper; the variants `direct` are told the
    intervened concept alone, and so is LEDITS++. Of the guidance scales 1, 2 and 3 the prompts have the one at which
    DDPM inversion did best on scenes apart. FlowEdit, for flows, has its paper's steps, and of the guidance what the
    others have: none of its own was sought. "CSG (paper)" is LEDITS++ told of every change, with the paper's masks and
    reference; "CSG" has what was added to that.
    """
    ddim = Method("ddim", "prompt", skip=0.0)
    ddpm = Method("ddpm", "prompt", skip=0.16)
    flowedit = Method("flowedit", "prompt", skip=0.34)
    ledits = Method(source=False, base="unconditional", concepts=INTERVENED, scoped=False)
    return {
        "DDIM": ddim,
        "DDPM": ddpm,
        "LEDITS++ direct": ledits,
        PAPER: replace(ledits, concepts=ALL),
        CSG: csg,
        "DDIM direct": replace(ddim, concepts=INTERVENED),
        "DDPM direct": replace(ddpm, concepts=INTERVENED),
        FLOWEDIT: flowedit,
        NO_EDIT: Method(editor="nothing"),
        "exact": Method(editor="truth"),
    }


BASELINES = ("DDIM", "DDPM", "LEDITS++ direct", FLOWEDIT)
COMPARED = ("DDIM", "DDPM", "LEDITS++ direct", PAPER, CSG)  # with a flow, FlowEdit too
DIRECT = ("DDIM direct", "DDPM direct", "LEDITS++ direct")  # never see the graph
REFERENCES = (NO_EDIT, "exact")

OF_PROMPTS, OF_CONCEPTS = ("cfg",), (
    "scoped", "scale", "threshold", "global_scale", "warmup", "base", "mask", "mask_source", "contrast", "cut", "preserve", "release",
    "release_below", "zero_noise_steps", "strengths", "curve",
)  # fmt: skip
UNUSED = {"csg": OF_PROMPTS, "prompt": OF_CONCEPTS}  # fields that mean nothing to the editor

AXES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "base": ({"base": "unconditional", "source": False}, {"base": "source"}, {"base": "interventional"}),
    "concepts": ({"concepts": ALL}, {"concepts": DESCENDANTS}, {"concepts": INTERVENED}),
    "mask": tuple({"mask": kind} for kind in ("intersect", "attention", "noise", "none")),
    "mask_source": tuple({"mask_source": kind} for kind in ("edit", "factual", "both")),
    "global_concepts": ({"scoped": True}, {"scoped": False}),
    "contrast": tuple({"contrast": kind} for kind in ("unconditional", "factual", "captions")),
    "scale": tuple({"scale": scale} for scale in (1.0, 1.25, 1.5, 2.0)),
    "global_scale": tuple({"global_scale": scale} for scale in (0.75, 1.0, 1.25)),
    "strengths": ({"strengths": ""}, {"strengths": "snowman = 1.2"}),
    "cut": ({"cut": "quantile"}, {"cut": "otsu"}),
    "release": ({"release": 0.0}, {"release": 1.0, "release_below": 0.0}, {"release": 1.0, "release_below": 0.75}),
    "preserve": tuple({"preserve": kind} for kind in ("off", "blend", "concepts")),
    "frontier": tuple({"scale": s, "threshold": t, "cut": "quantile"} for s in (1.0, 1.5, 2.0, 3.0) for t in (0.0, 0.4, 0.7, 0.85)),
    "steps": tuple({"steps": steps} for steps in (20, 50, 100)),
    "schedule": tuple({"curve": curve, "scale": scale, "global_scale": scale / 1.5} | ({"warmup": 0.0} if curve in BEGIN_LOW else {})
                      for curve in ("", *SCHEDULES) for scale in (1.0, 1.5, 2.0)),
    "few_steps": ({"scheduler": ""}, *({"scheduler": "sgm_uniform", "steps": steps} for steps in (4, 6, 8))),
}


def ablation(csg: Method, axis: str) -> dict[str, Method]:
    """The variants of one axis by their label, such as `base = source`; all without strengths of single concepts but for theirs."""
    return {label(change): replace(csg, **{"strengths": ""} | change) for change in AXES[axis]}


def label(change: Mapping[str, Any]) -> str:
    """A variant in words; an inversion without source only accompanies its base."""
    shown = {name: value for name, value in change.items() if name != "source"}
    return ", ".join(f"{name} = {plain(value)}" for name, value in shown.items())


def plain(value: object) -> str:
    """A setting in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, (int, float)) else str(value) or "none"
