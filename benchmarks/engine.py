"""How fast and how lean the engine is: `python benchmarks/engine.py [--families] [--full]`. Writes benchmarks/results/engine.{md,json}.

Against diffusers' LEDITS++ pipeline on the same weights and settings, and against the bare UNet calls that the same
edit needs: first edit (with the inversion), further edit, peak memory, for 1, 3 and 8 concepts. Both sides run in this
process by turns; the best of their runs counts. On the CPU the time is that of the process, on one thread. Peak memory is
that of the tensors above the model's weights, by torch's own account: of the inversion, and of the edit above the
inversion that is kept. (On a CPU this pack inverts a small picture's levels in batches, since that is faster: more memory
than diffusers, who goes level by level.) All weights are random; in half precision the masks of such a model part on
rounding, so that the two sides' latents agree in float32 only. `--full` measures SDXL in its full size instead of the
small models: 1024 x 1024 on a GPU, 512 x 512 else. Needs what the parity tests need (diffusers).

`--families` measures transformers instead, against their own bare rows: every family of the tests as a tiny network, of which a
call is so short that Python shows; with `--full` SD3.5 medium, Flux.1 dev, Qwen-Image and Z-Image in their real sizes with random
weights in bfloat16, on a GPU alone. Goal in real sizes: at most 5 % over bare rows, and at most 2 % for reading the attention.
No machine with a GPU has measured them yet; `python benchmarks/gpu.py` takes all of it to one without network.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import engine_families
import torch
from in_process import ROOT, pack_module, processor, start_comfyui

from csg.evaluation.runner.comfy_client import find_comfyui

RESULTS = ROOT / "benchmarks" / "results"
PARITY = ROOT / "tests" / "parity"
CONCEPTS, WORDS = (1, 3, 8), 3
SKIP, SCALE, THRESHOLD, ZERO, SEED = 0.15, 8.0, 0.7, 3, 7
MIB, WITH_WEIGHTS = 2**20, "_with_weights"

TINY = {"block_out_channels": (32, 64, 128), "attention_head_dim": (2, 4, 8), "transformer_layers_per_block": (1, 2, 3),
        "cross_attention_dim": 64, "pooled": 32, "head_channels": 16}  # fmt: skip
TOWN = {"block_out_channels": (64, 128, 128), "attention_head_dim": (2, 4, 4), "transformer_layers_per_block": (1, 1, 1),
        "cross_attention_dim": 128, "pooled": 64, "head_channels": 32}  # fmt: skip
FULL = {"block_out_channels": (320, 640, 1280), "attention_head_dim": (5, 10, 20), "transformer_layers_per_block": (1, 2, 10),
        "cross_attention_dim": 2048, "pooled": 1280, "head_channels": 64}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A model, the latent's side, and the settings of its edits."""

    name: str
    shape: dict[str, Any]
    side: int
    steps: int
    warmup: int
    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")
    large: bool = False

    @property
    def zero_noise_steps(self) -> int:
        """The reference's 3, but none of a run so short that little else would be left."""
        return ZERO if self.steps > 2 * ZERO else 0

    @property
    def title(self) -> str:
        """What was measured, for a table's head."""
        pixels, kind = 8 * self.side, str(self.dtype).removeprefix("torch.")
        return f"{self.name}, {pixels} x {pixels}, {kind}, {self.steps} steps, warm-up {self.warmup}"


Cost = dict[str, float]  # seconds of a first and a further edit, peak MiB of the inversion and of the edit


def diffusers_unet(subject: Subject) -> torch.nn.Module:
    """A UNet of SDXL's kind with random weights, made in place so that the full size fits into memory once."""
    from diffusers import UNet2DConditionModel

    shape = {k: v for k, v in subject.shape.items() if k not in ("pooled", "head_channels")}
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=subject.side, layers_per_block=2, use_linear_projection=True, addition_embed_type="text_time",
            addition_time_embed_dim=256, projection_class_embeddings_input_dim=subject.shape["pooled"] + 6 * 256,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), **shape,
        )  # fmt: skip
    unet = unet.to(subject.dtype).to_empty(device=subject.device)
    torch.manual_seed(0)
    for name, weight in unet.named_parameters():
        fan_in = weight[0].numel() if weight.ndim > 1 else 0
        weight.data.normal_(0, fan_in**-0.5 if fan_in else 0.02)
        if name.endswith("weight") and not fan_in:
            weight.data += 1
    unet.conv_out.weight.data *= 0.1
    return unet


def comfy_config(shape: dict[str, Any]) -> dict[str, Any]:
    """The same UNet as ComfyUI describes it."""
    channels, (_, fine, coarse) = shape["block_out_channels"], shape["transformer_layers_per_block"]
    return {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": channels[0], "num_res_blocks": [2, 2, 2],
        "channel_mult": [c // channels[0] for c in channels], "transformer_depth": [0, 0, fine, fine, coarse, coarse],
        "transformer_depth_output": [0, 0, 0, fine, fine, fine, coarse, coarse, coarse], "transformer_depth_middle": coarse,
        "context_dim": shape["cross_attention_dim"], "adm_in_channels": shape["pooled"] + 6 * 256, "num_classes": "sequential",
        "use_spatial_transformer": True, "use_linear_in_transformer": True, "legacy": False,
        "use_temporal_attention": False, "use_temporal_resblock": False,
    }  # fmt: skip


@contextmanager
def peak_mib(device: torch.device, cost: Cost, name: str) -> Iterator[None]:
    """Notes how many MiB of tensors are there at the worst moment, above what there was before, by torch's own account."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield
        peak = torch.cuda.max_memory_allocated()
        cost |= {name: (peak - before) / MIB, name + WITH_WEIGHTS: peak / MIB}
        return
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        yield
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    sizes = (e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()))
    cost[name] = max(itertools.accumulate(sizes), default=0) / MIB


def seconds(device: torch.device, run: Callable[[], Any]) -> tuple[float, Any]:
    """How long `run` takes, and what it returns."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        begin = time.perf_counter()
        out = run()
        torch.cuda.synchronize()
        return time.perf_counter() - begin, out
    begin = time.process_time()
    out = run()
    return time.process_time() - begin, out


class Theirs:
    """diffusers' pipeline. Its edits start without the storing processors of an edit before, which it never removes."""

    def __init__(self, subject: Subject, reference: Any) -> None:  # noqa: ANN401
        self.subject, self.reference = subject, reference
        generator = torch.Generator().manual_seed(5)
        self.latent = torch.randn((1, 4, subject.side, subject.side), generator=generator).to(subject.device, subject.dtype)

    def invert(self) -> Any:  # noqa: ANN401
        """A pipeline that holds an inversion."""
        return self.reference.invert(self.latent, self.subject.steps, SKIP, self.subject.zero_noise_steps, seed=SEED)

    def edit(self, pipe: Any, count: int) -> torch.Tensor:  # noqa: ANN401
        """The edited latent, model space."""
        names = [f"concept {k}" for k in range(count)]
        return self.reference.edit(pipe, names, "intersect", edit_guidance_scale=SCALE, edit_threshold=THRESHOLD,
                                   edit_warmup_steps=self.subject.warmup).latent  # fmt: skip


class Ours:
    """This pack's nodes in ComfyUI."""

    def __init__(self, subject: Subject, patcher: Any, texts: dict[str, Any], latent: torch.Tensor) -> None:  # noqa: ANN401
        self.subject, self.patcher, self.texts = subject, patcher, texts
        self.sample, self.edits = (pack_module(n) for n in ("nodes.sample", "csg.diffusion.edits"))
        self.factor = patcher.model.latent_format.scale_factor
        self.picture = {"samples": latent.float().cpu() / self.factor}

    def invert(self) -> Any:  # noqa: ANN401
        """An inversion."""
        settings = (self.subject.steps, SKIP, 3.5, SEED, "diffusers", self.subject.zero_noise_steps)
        return self.sample.Invert.execute(self.patcher, self.picture, *settings).result[0]

    def edit(self, inversion: Any, count: int) -> torch.Tensor:  # noqa: ANN401
        """The edited latent, model space."""
        edits = self.edits.Edits(tuple(self._term(f"concept {k}") for k in range(count)))
        return self.sample.Sampler.execute(self.patcher, inversion, edits, "unconditional", "intersect").result[0]["samples"] * self.factor

    def _term(self, name: str) -> Any:  # noqa: ANN401
        words = tuple(range(1, WORDS + 1))
        return self.edits.ConceptTerm(
            name, name, SCALE, THRESHOLD, self.subject.warmup, conditioning=self.texts[name].conditioning, tokens=words)


class Bare:
    """The UNet calls that our first edit makes, noted while it is made; later made again, and nothing else."""

    def __init__(self, unet: torch.nn.Module) -> None:
        self.unet, self.calls, self.inverting = unet, [], 0

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Forget the calls of before, and note those made inside."""
        self.calls, forward = [], self.unet.forward

        def noted(x: torch.Tensor, t: torch.Tensor, **given: Any) -> torch.Tensor:  # noqa: ANN401
            self.calls.append((x, t, {name: given[name] for name in ("context", "y")}))
            return forward(x, t, **given)

        self.unet.forward = noted
        try:
            yield
        finally:
            del self.unet.forward

    def cost(self, device: torch.device) -> Cost:
        """Seconds of the calls of a first edit, and of a further one."""
        parts = [seconds(device, lambda: [self.unet(x, t, **given) for x, t, given in calls])[0]  # noqa: B023
                 for calls in (self.calls[: self.inverting], self.calls[self.inverting :])]  # fmt: skip
        return {"first": sum(parts), "further": parts[1]}

    def rows(self) -> dict[str, int]:
        """How many rows the calls hold."""
        return {"first": sum(len(c[0]) for c in self.calls), "further": sum(len(c[0]) for c in self.calls[self.inverting :])}


@torch.inference_mode()
def measure(subject: Subject, repeats: int, counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """One row of results per number of concepts."""
    from parity_engine import load
    from parity_reference import Reference

    unet, texts = diffusers_unet(subject), made_texts(subject)
    theirs = Theirs(subject, Reference(unet, texts))
    ours = Ours(subject, load(unet.state_dict(), comfy_config(subject.shape), subject.shape["head_channels"]), texts, theirs.latent)
    return [compared(subject, ours, theirs, n, repeats) for n in counts]


def made_texts(subject: Subject) -> dict[str, Any]:
    """Random texts of this model's width; the empty one is all zeros."""
    from parity_texts import TOKENS, Text

    generator, texts = torch.Generator().manual_seed(1), {}
    for name in ("", *(f"concept {k}" for k in range(max(CONCEPTS)))):
        shapes = (1, TOKENS, subject.shape["cross_attention_dim"]), (1, subject.shape["pooled"])
        context, pooled = (torch.randn(s, generator=generator).to(subject.device, subject.dtype) * bool(name) for s in shapes)
        texts[name] = Text(name, context, pooled, WORDS if name else 0)
    return texts


def compared(subject: Subject, ours: Ours, theirs: Theirs, count: int, repeats: int) -> dict[str, Any]:
    """Both sides and the bare calls by turns; the memory of small models in a run of its own: to watch it takes time."""
    sides, bare, finals = {"ours": ours, "diffusers": theirs}, Bare(ours.patcher.model.diffusion_model), {}
    costs: dict[str, list[Cost]] = {name: [] for name in (*sides, "bare")}
    for _ in range(repeats):
        for name, side in sides.items():
            cost, finals[name] = once(subject, side, count, bare if side is ours else None, watch=subject.large)
            costs[name].append(cost)
        costs["bare"].append(bare.cost(subject.device))
    if not subject.large:
        for name, side in sides.items():
            watched, _ = once(subject, side, count, None, watch=True)
            costs[name].append({key: value for key, value in watched.items() if key.startswith("peak")})
    best = {name: {key: min(c[key] for c in each if key in c) for key in set().union(*each)} for name, each in costs.items()}
    gap = float((finals["ours"] - finals["diffusers"]).abs().max())
    return {"concepts": count, "rows": bare.rows(), "largest_difference": gap, **best, "ratios": ratios(best)}


def once(subject: Subject, side: Ours | Theirs, count: int, bare: Bare | None, *, watch: bool) -> tuple[Cost, torch.Tensor]:
    """One first edit: what it cost, and the edited latent. The edit alone is what a further one costs."""
    cost: Cost = {}
    with bare.noting() if bare else nullcontext():
        with peak_mib(subject.device, cost, "peak_inversion") if watch else nullcontext():
            inverting, inversion = seconds(subject.device, side.invert)
        if bare:
            bare.inverting = len(bare.calls)
        with peak_mib(subject.device, cost, "peak_edit") if watch else nullcontext():
            editing, latent = seconds(subject.device, lambda: side.edit(inversion, count))
    return cost | {"first": inverting + editing, "further": editing}, latent.float().cpu()


def ratios(best: dict[str, dict[str, float]]) -> dict[str, float]:
    """How many times faster than diffusers, our share above the bare calls, and our peak as a share of theirs."""
    ours, theirs, bare = best["ours"], best["diffusers"], best["bare"]
    return {
        "first_faster": theirs["first"] / ours["first"],
        "further_faster": theirs["further"] / ours["further"],
        "overhead_first": ours["first"] / bare["first"] - 1,
        "overhead_further": ours["further"] / bare["further"] - 1,
        "peak_share": max(ours["peak_inversion"], ours["peak_edit"]) / max(theirs["peak_inversion"], theirs["peak_edit"]),
    }


def machine(device: torch.device) -> str:
    """What it ran on, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"one core of {processor()}"


TABLE = """
## {title}

{machine}, torch {torch}, diffusers {diffusers}, best of {repeats}. The two sides' edited latents differ by at most {gap:.1e}.

| concepts | UNet rows, first / further | first edit: ours, diffusers | further edit: ours, diffusers | first | further \
| over bare rows, first / further | peak MiB, inversion: ours, diffusers | edit: ours, diffusers | peak |
|---|---|---|---|---|---|---|---|---|---|
"""
LINE = (
    "| {concepts} | {rows[first]} / {rows[further]} | {ours[first]:.2f} s, {diffusers[first]:.2f} s "
    "| {ours[further]:.2f} s, {diffusers[further]:.2f} s | **{ratios[first_faster]:.2f}x** | **{ratios[further_faster]:.2f}x** "
    "| {ratios[overhead_first]:+.1%} / {ratios[overhead_further]:+.1%} | {ours[peak_inversion]:.1f}, {diffusers[peak_inversion]:.1f} "
    "| {ours[peak_edit]:.1f}, {diffusers[peak_edit]:.1f} | **{ratios[peak_share]:.0%}** |\n"
)


def written(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    text = "# The engine's speed and memory\n\n" + __doc__.split("\n\n", 1)[1]
    for title, one in sorted(found.items()):
        if "families" in one:
            text += engine_families.written(title, one)
            continue
        gap = max(row["largest_difference"] for row in one["results"])
        text += TABLE.format(title=title, gap=gap, **one) + "".join(LINE.format(**row) for row in one["results"])
    return text


def save(title: str, one: dict[str, Any]) -> str:
    """Add one table to those of other subjects; returns it as Markdown."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept = RESULTS / "engine.json"
    found = json.loads(kept.read_text()) if kept.is_file() else {}
    found[title] = one
    kept.write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "engine.md").write_text(written(found))
    return written({title: one})


def save_subject(subject: Subject, repeats: int, results: list[dict[str, Any]]) -> str:
    """Add one subject's results."""
    import diffusers

    return save(subject.title, {"machine": machine(subject.device), "torch": torch.__version__, "diffusers": diffusers.__version__,
                                "repeats": repeats, "results": results})  # fmt: skip


def measure_families(full: bool, steps: int, repeats: int, only: str) -> None:
    """Measure transformers, one after the other; print, and save those that are done."""
    some = engine_families.subjects(full, steps, only)
    if not some:
        raise SystemExit(f"{only} is measured as a tiny network alone; leave out --full.")
    title, common = engine_families.described(some, repeats, machine(some[0].device))
    found: list[dict[str, Any]] = []
    for subject in some:
        found.append(engine_families.measure(subject, repeats, seconds, peak_mib))
        text = save(title, common | {"families": found})
    print(text)


def subjects(arguments: argparse.Namespace) -> list[Subject]:
    """What to measure."""
    if not arguments.full:
        small = [Subject("Tiny SDXL", TINY, 16, arguments.steps or 20, 2), Subject("Town", TOWN, 32, arguments.steps or 20, 2)]
        return [one for one in small if arguments.only in ("", one.name)]
    if torch.cuda.is_available():
        steps = arguments.steps or 100
        return [Subject("SDXL, full size", FULL, 128, steps, steps // 10, torch.float16, torch.device("cuda"), large=True)]
    return [Subject("SDXL, full size", FULL, 64, arguments.steps or 4, 0, torch.bfloat16, large=True)]


def prepare() -> None:
    """ComfyUI in this process, on the GPU where there is one; the parity tests' modules importable."""
    start_comfyui(find_comfyui())
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    comfy.cli_args.args.use_pytorch_cross_attention = True  # as `make serve` starts it on a CPU; a GPU's own default
    sys.path.append(str(PARITY))
    torch.set_num_threads(1)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="SDXL in its full size (about 5 GB of weights); transformers too (on a GPU)")
    parser.add_argument("--families", action="store_true", help="transformers instead of UNets")
    parser.add_argument("--only", default="", choices=["Tiny SDXL", "Town", *engine_families.NAMES], help="one of the small models")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=0, help="default: 20; full size: 100 on a GPU, else 4")
    parser.add_argument("--concepts", type=int, nargs="+", default=CONCEPTS)
    arguments = parser.parse_args()
    prepare()
    if arguments.families:
        if arguments.full and not torch.cuda.is_available():
            parser.error(engine_families.NO_GPU)
        measure_families(arguments.full, arguments.steps, arguments.repeats, arguments.only)
    for subject in [] if arguments.families else subjects(arguments):
        print(save_subject(subject, arguments.repeats, measure(subject, arguments.repeats, tuple(arguments.concepts))))


if __name__ == "__main__":
    main()
