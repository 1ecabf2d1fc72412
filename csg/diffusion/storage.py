"""Inversions as safetensors files: tensors only, settings as JSON, nothing executable."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..writing import write_new
from .edits import TEXT_KEYS
from .inversion import DDIM, DDPM, DPM, FLOWEDIT, Inversion
from .space import SPACES, Space

FORMAT, VERSION = "csg-inversion", "1"
PARTS = ("sigmas", "path", "denoised", "noises")
FLOATS, MAX_FLOAT = (torch.float32, torch.float16, torch.bfloat16, torch.float64), sys.float_info.max
SHORT = {"pooled_output": "pooled"}  # names of what a text carries, where a file says them otherwise
TENSORS, NAMED = ("samples", "noise_mask"), ("schedule", "seed", "model", "patched")


class StorageError(ValueError):
    """An inversion that cannot be written, or a file that holds none."""


def save(inversion: Inversion, names: Iterable[Path]) -> Path:
    """Write an inversion with its conditionings under the first name that is free, wholly or not at all; return that name.

    Raises StorageError for conditionings that are more than text, FileExistsError when every name is taken.
    """
    tensors = {name: getattr(inversion, name) for name in PARTS}
    tensors |= {f"settings.{k}": v for k in TENSORS if (v := getattr(inversion, k)) is not None}
    for name in ("source", "negative"):
        tensors |= conditioning_tensors(name, getattr(inversion, name))
    settings = dict(inversion.settings) | {k: v for k in NAMED if (v := getattr(inversion, k)) is not None}
    about = {"method": inversion.method, "order": inversion.order, "source_guidance": inversion.source_guidance}
    if inversion.space != Space():
        about["space"] = asdict(inversion.space)
    metadata = {"format": FORMAT, "version": VERSION, "about": json.dumps(about), "settings": json.dumps(settings)}
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    return write_new(names, lambda part: save_file(plain, part, metadata))


def conditioning_tensors(name: str, conditioning: Any) -> dict[str, Tensor]:  # noqa: ANN401
    """A conditioning [[tensor, {"pooled_output": tensor, ...}], ...] as named tensors of floating-point numbers."""
    tensors: dict[str, Tensor] = {}
    for i, (context, more) in enumerate(conditioning or []):
        more = {k: v for k, v in more.items() if v is not None}
        if extra := set(more) - set(TEXT_KEYS):
            raise StorageError(
                f"The {name} prompt of this inversion carries {', '.join(sorted(extra))}; only plain text conditionings "
                "can be saved. Invert with a plain CLIP Text Encode, or keep the inversion in the workflow."
            )
        tensors[f"{name}.{i}.context"] = context
        for key, value in more.items():
            kind = value.dtype if torch.is_tensor(value) and value.is_floating_point() else torch.float64
            tensors[f"{name}.{i}.{SHORT.get(key, key)}"] = torch.as_tensor(value, dtype=kind)
    return tensors


def load(path: Path) -> Inversion:
    """Read an inversion; StorageError that says what the file is instead."""
    metadata, tensors = read_tensors(path)
    if metadata.get("format") != FORMAT or not set(PARTS) <= set(tensors):
        kind = quoted(metadata.get("format"))
        raise StorageError(f"{path.name} holds no inversion (format {kind}); choose a file that Save Inversion wrote.")
    if metadata.get("version") != VERSION:
        version = quoted(metadata.get("version"))
        raise StorageError(f"{path.name} has version {version}; this pack reads version {VERSION}. Update the pack.")
    check_shapes(path.name, tensors)
    check_levels(path.name, tensors["sigmas"])
    check_prompts(path.name, tensors)
    named, settings = described(path.name, metadata)
    named |= {k: tensors.get(f"settings.{k}") for k in TENSORS}
    return Inversion(
        **named, **{name: tensors[name] for name in PARTS}, settings=settings,
        source=conditioning_of("source", tensors), negative=conditioning_of("negative", tensors),
    )  # fmt: skip


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file; an inversion's own tensors become float32."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise StorageError(f"{path.name[:100]} cannot be read as safetensors: {quoted(error)}. Save the inversion again.") from None
    if bad := [quoted(name) for name, tensor in tensors.items() if tensor.dtype not in FLOATS]:
        raise StorageError(f"{path.name} holds no inversion: {bad[0]} is no tensor of floating-point numbers. Save the inversion again.")
    parts = {*PARTS, *(f"settings.{name}" for name in TENSORS)}
    return metadata, {name: tensor.float() if name in parts else tensor for name, tensor in tensors.items()}


def quoted(words: object) -> str:
    """A stranger's words for a message: one line of at most 60 letters."""
    text = ascii(words)
    return text if len(text) <= 60 else f"{text[:57]}..."


def described(name: str, metadata: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str | int | float]]:
    """The inversion's fields that are no tensors, and its settings; StorageError unless each is of its kind."""
    try:
        about, settings = (json.loads(metadata[part]) for part in ("about", "settings"))
        fields = {"method": about["method"], "order": about["order"], "source_guidance": about["source_guidance"],
                  "space": about.get("space", {})}  # fmt: skip
        settings = dict(settings.items())
        fields |= {k: settings.pop(k) for k in NAMED if k in settings}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise StorageError(f"{name} does not say how it was made ({quoted(error)}); save the inversion again.") from None
    wrong = [key for key, value in fields.items() if not FIELDS[key](value)] + [k for k, v in settings.items() if not is_plain(v)]
    if wrong:
        raise StorageError(f"{name} does not say how it was made ({quoted(wrong[0])} is of another kind); save the inversion again.")
    return fields | {"source_guidance": float(fields["source_guidance"]), "space": Space(**fields["space"])}, settings


def is_number(value: object) -> bool:
    """Whether a value of JSON is a finite number that a double holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_FLOAT


def is_plain(value: object) -> bool:
    """Whether a value of JSON is a text, a truth value or a finite number."""
    return isinstance(value, str | bool) or is_number(value)


def is_space(value: object) -> bool:
    """Whether a value of JSON describes a space; nothing at all is that of UNets."""
    if not isinstance(value, dict) or not set(value) <= {"kind", "noise_scale", "axes"}:
        return False
    scale, axes = value.get("noise_scale", 1.0), value.get("axes", 0)
    return value.get("kind", SPACES[0]) in SPACES and is_number(scale) and scale > 0 and type(axes) is int and 0 <= axes <= 2


FIELDS: dict[str, Callable[[Any], bool]] = {
    "method": lambda value: value in (DPM, DDPM, DDIM, FLOWEDIT),
    "order": lambda value: type(value) is int and value in (1, 2),
    "source_guidance": is_number,
    "space": is_space,
    "schedule": lambda value: isinstance(value, str),
    "seed": lambda value: type(value) is int and 0 <= value < 2**64,
    "model": lambda value: isinstance(value, str),
    "patched": lambda value: isinstance(value, str),
}


def check_shapes(name: str, tensors: dict[str, Tensor]) -> None:
    """Raise StorageError unless the parts belong to one inversion: N + 1 levels, a path through them, N noises of its shape."""
    sigmas, path, denoised, noises = (tensors[part] for part in PARTS)
    fits = sigmas.ndim == 1 and path.ndim == denoised.ndim == noises.ndim == 5
    fits = fits and len(sigmas) == len(path) == len(noises) + 1 > len(denoised)
    if not fits or not path.shape[1:] == noises.shape[1:] == denoised.shape[1:] or not path.numel():
        shapes = ", ".join(f"{part} {tuple(tensors[part].shape)}" for part in PARTS)
        raise StorageError(f"{name} holds parts of different inversions ({shapes}); save the inversion again.")
    samples, mask = (tensors.get(f"settings.{part}") for part in TENSORS)
    if samples is None or samples.ndim < 4 or squeezed_shape(samples) != path.shape[1:]:
        shapes = "none" if samples is None else str(tuple(samples.shape))
        expected = tuple(path.shape[1:])
        raise StorageError(f"{name} holds no latent of the inverted picture ({shapes}, expected {expected}); save the inversion again.")
    if mask is not None and (not 2 <= mask.ndim <= 5 or not mask.numel()):
        shape = tuple(mask.shape)
        raise StorageError(f"{name} holds a noise mask of the shape {shape}, expected (batch, height, width); save the inversion again.")
    if bad := [part for part, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise StorageError(f"{name} holds values that are not numbers ({quoted(bad[0])}); invert the picture again.")


def squeezed_shape(samples: Tensor) -> tuple[int, ...]:
    """The shape (B, C, h, w) of a latent with or without axes of length 1 between."""
    return (*samples.shape[:2], *(n for n in samples.shape[2:-2] if n != 1), *samples.shape[-2:])


def check_levels(name: str, sigmas: Tensor) -> None:
    """Raise StorageError unless the noise levels fall step by step and stay at 0 or above."""
    if len(sigmas) < 2 or float(sigmas[-1]) < 0 or not (sigmas[1:] < sigmas[:-1]).all():
        raise StorageError(f"{name} holds noise levels that do not fall from step to step; invert the picture again.")


def check_prompts(name: str, tensors: dict[str, Tensor]) -> None:
    """Raise StorageError unless every prompt is (batch, tokens, width) of one width, with a pooled vector or none."""
    contexts = [tensor for key, tensor in tensors.items() if key.endswith(".context")]
    pooled = [tensor for key, tensor in tensors.items() if key.endswith(".pooled")]
    second = [tensor for key, tensor in tensors.items() if key.endswith(".conditioning_llama3")]
    for kind, group, dimensions in (("prompt", contexts, 3), ("pooled prompt", pooled, 2), ("second prompt", second, 4)):
        if bad := [one for one in group if one.ndim != dimensions or not one.numel() or one.shape[-1] != group[0].shape[-1]]:
            raise StorageError(f"{name} holds a {kind} of the shape {tuple(bad[0].shape)}, which no model reads; save the inversion again.")


def conditioning_of(name: str, tensors: dict[str, Tensor]) -> list | None:
    """Inverse of `conditioning_tensors`."""
    conditioning, i = [], 0
    while f"{name}.{i}.context" in tensors:
        more = {k: v for k in TEXT_KEYS if (v := tensors.get(f"{name}.{i}.{SHORT.get(k, k)}")) is not None}
        if "guidance" in more:
            more["guidance"] = float(more["guidance"].flatten()[0])
        for key, kind in (("attention_mask", torch.int64), ("t5xxl_ids", torch.int32)):
            if key in more and more[key].dtype == torch.float64:  # of integers, when it was saved
                more[key] = more[key].to(kind)
        conditioning.append([tensors[f"{name}.{i}.context"], more])
        i += 1
    return conditioning or None
