"""What the engine adds to a transformer's bare rows, for every family: used by engine.py, which says how.

Per family one edit of three concepts on its own inversion, twice: with masks from the words' attention (intersect) and
without (noise). Both ask the network for the same rows, so the difference is what reading the attention costs, the masks made
of it included. Bare is those rows again, in the same batches, and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from in_process import ROOT, pack_module

NO_GPU = "There is no GPU here. SD3.5 medium, Flux.1 dev, Qwen-Image and Z-Image in their real sizes are measured on a GPU alone."
OVERRIDE = "optimized_attention_override"
CONCEPTS, WORDS = 3, (2, 3)
TINY_SIDE, FULL_PIXELS = 64, 1024
FULL: dict[str, tuple[str, int, dict[str, Any]]] = {  # family, tokens of a text, and what makes the tiny configuration the real one
    "SD3.5 medium": ("SD3", 154, {
        "depth": 24, "num_blocks": 24, "num_patches": 384**2, "pos_embed_max_size": 384, "x_block_self_attn_layers": list(range(13)),
        "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 1536}}}),
    "Flux.1 dev": ("Flux", 256, {"hidden_size": 3072, "num_heads": 24, "depth": 19, "depth_single_blocks": 38, "axes_dim": [16, 56, 56]}),
    "Qwen-Image": ("QwenImage", 64, {
        "num_layers": 60, "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 3584,
        "axes_dims_rope": (16, 56, 56)}),
    "Z-Image": ("ZImage", 64, {
        "dim": 3840, "n_layers": 30, "n_refiner_layers": 2, "n_heads": 30, "n_kv_heads": 30, "multiple_of": 256, "cap_feat_dim": 2560,
        "axes_dims": [32, 48, 48], "axes_lens": [1536, 512, 512], "rope_theta": 256.0, "ffn_dim_multiplier": 8 / 3}),
}  # fmt: skip


@dataclass(frozen=True)
class FamilySubject:
    """A transformer, and the settings of its edits."""

    name: str
    family: str
    steps: int = 10
    tokens: int = 9
    changes: dict[str, Any] = field(default_factory=dict)
    pixels: int = 8 * TINY_SIDE
    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")


def tiny_families() -> Any:  # noqa: ANN401
    """The tests' tiny networks."""
    sys.path.append(str(ROOT / "tests" / "host"))
    import tiny_families as module

    return module


NAMES = tuple(tiny_families().FAMILIES)


def subjects(full: bool, steps: int, only: str = "") -> list[FamilySubject]:
    """Every family as a tiny network, or some in their real sizes, on a GPU; `only` one of them by its family's name."""
    if not full:
        return [FamilySubject(f"{name}, tiny", name, steps or 10) for name in NAMES if only in ("", name)]
    device = torch.device("cuda")
    return [FamilySubject(name, family, steps or 20, tokens, changes, FULL_PIXELS, torch.bfloat16, device)
            for name, (family, tokens, changes) in FULL.items() if only in ("", family)]  # fmt: skip


def network(subject: FamilySubject) -> Any:  # noqa: ANN401
    """MODEL with random weights, made in their place, so that the full sizes fit into memory once."""
    import comfy.model_patcher
    import comfy.supported_models

    kind = tiny_families().FAMILIES[subject.family]
    config = getattr(comfy.supported_models, kind.config)(dict(kind.network) | subject.changes)
    config.set_inference_dtype(subject.dtype, None)
    made = config.get_model({}, "", device=subject.device)
    if subject.device.type == "cpu":
        tiny_families().fill(made.diffusion_model, 0)
        return comfy.model_patcher.ModelPatcher(made, subject.device, subject.device)
    for name, weight in made.diffusion_model.named_parameters():
        weight.data.normal_(0, weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.02)
        if "norm" in name and weight.ndim == 1:
            weight.data += 1
    return comfy.model_patcher.ModelPatcher(made, subject.device, torch.device("cpu"))


class FamilyEdits:
    """This pack's nodes on one transformer, and the network's calls, noted while they run."""

    def __init__(self, subject: FamilySubject) -> None:
        self.subject, self.patcher = subject, network(subject)
        self.sample, self.edits = (pack_module(name) for name in ("nodes.sample", "csg.diffusion.edits"))
        side = subject.pixels // self.patcher.model.latent_format.spacial_downscale_ratio
        self.picture = tiny_families().latent(subject.family, side, side)
        self.network, self.calls = self.patcher.model.diffusion_model, []

    def text(self, seed: int) -> Any:  # noqa: ANN401
        """A random text as wide as this network reads."""
        width = next((n for name, n in self.subject.changes.items() if name in ("joint_attention_dim", "cap_feat_dim")), None)
        return tiny_families().conditioning(self.subject.family, seed, self.subject.tokens, width)

    def invert(self) -> Any:  # noqa: ANN401
        """An inversion."""
        settings = (self.subject.steps, 0.3, 1.0, 7, "diffusers", 0)
        return self.sample.Invert.execute(self.patcher, self.picture, *settings, None, self.text(0)).result[0]

    def edit(self, inversion: Any, mask: str) -> Any:  # noqa: ANN401
        """The edited latent."""
        terms = tuple(
            self.edits.ConceptTerm(f"concept {k}", f"concept {k}", 5.0, 0.7, 1, conditioning=self.text(k + 1), tokens=WORDS)
            for k in range(CONCEPTS)
        )
        return self.sample.Sampler.execute(self.patcher, inversion, self.edits.Edits(terms), "unconditional", mask).result[0]["samples"]

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Forget the calls of before, and note those made inside, without what reads their attention."""
        self.calls, forward = [], self.network.forward

        def noted(*inputs: Any, **more: Any) -> torch.Tensor:  # noqa: ANN401
            options = {k: v for k, v in more.get("transformer_options", {}).items() if k != OVERRIDE}
            self.calls.append((inputs, more | {"transformer_options": options}))
            return forward(*inputs, **more)

        self.network.forward = noted
        try:
            yield
        finally:
            del self.network.forward

    def bare(self) -> None:
        """The noted calls again."""
        for inputs, more in self.calls:
            self.network(*inputs, **more)

    def rows(self) -> int:
        """How many rows the noted calls hold."""
        return sum(len(inputs[0]) for inputs, _ in self.calls)


@torch.inference_mode()
def measure(subject: FamilySubject, repeats: int, seconds: Any, peak_mib: Any) -> dict[str, Any]:  # noqa: ANN401
    """Seconds of the best of `repeats` runs by turns, peak MiB of a run of its own, and the ratios."""
    run, best, device = FamilyEdits(subject), {}, subject.device
    inversion = run.invert()
    with run.noting():
        run.edit(inversion, "intersect")
    for _ in range(repeats):
        for name, part in (("intersect", lambda: run.edit(inversion, "intersect")), ("noise", lambda: run.edit(inversion, "noise")),
                           ("bare", run.bare)):  # fmt: skip
            best[name] = min(seconds(device, part)[0], best.get(name, float("inf")))
    for name, part in (("peak", lambda: run.edit(inversion, "intersect")), ("peak_bare", run.bare)):
        with peak_mib(device, best, name):
            part()
    ratios = {"overhead": best["noise"] / best["bare"] - 1, "reading": best["intersect"] / best["noise"] - 1}
    return {"name": subject.name, "rows": run.rows(), "calls": len(run.calls), **best, **ratios}


TABLE = """
## {title}

{machine}, torch {torch}, best of {repeats}. Three concepts, {pixels} x {pixels}, {kind}, {steps} steps.

| family | rows in calls | bare rows | edit, mask = noise | edit, mask = intersect | engine over bare rows \
| reading the attention | peak MiB: bare, edit |
|---|---|---|---|---|---|---|---|
"""
LINE = (
    "| {name} | {rows} in {calls} | {bare:.2f} s | {noise:.2f} s | {intersect:.2f} s | **{overhead:+.1%}** | **{reading:+.1%}** "
    "| {peak_bare:.1f}, {peak:.1f} |\n"
)


def written(title: str, one: dict[str, Any]) -> str:
    """The results of these families as Markdown."""
    return TABLE.format(title=title, **one) + "".join(LINE.format(**row) for row in one["families"])


def described(some: list[FamilySubject], repeats: int, machine: str) -> tuple[str, dict[str, Any]]:
    """The title of these subjects' table, and what it says above its lines."""
    first = some[0]
    kind = str(first.dtype).removeprefix("torch.")
    common = {"machine": machine, "torch": torch.__version__, "repeats": repeats}
    common |= {"pixels": first.pixels, "kind": kind, "steps": first.steps}
    return f"Transformers, {'full size' if first.changes else 'tiny'}, {first.device.type}", common
