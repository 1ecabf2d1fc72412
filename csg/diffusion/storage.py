"""Inversions as safetensors files: tensors only, settings as JSON, nothing executable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .inversion import Inversion

FORMAT, VERSION = "csg-inversion", "1"
PARTS = ("sigmas", "path", "denoised", "noises")
TENSORS, NAMED = ("samples", "noise_mask"), ("schedule", "seed", "model", "patched")


class StorageError(ValueError):
    """An inversion that cannot be written, or a file that holds none."""


def save(inversion: Inversion, path: Path) -> None:
    """Write an inversion with its conditionings, wholly or not at all; StorageError for conditionings that are more than text."""
    tensors = {name: getattr(inversion, name) for name in PARTS}
    tensors |= {f"settings.{k}": v for k in TENSORS if (v := getattr(inversion, k)) is not None}
    for name in ("source", "negative"):
        tensors |= conditioning_tensors(name, getattr(inversion, name))
    settings = dict(inversion.settings) | {k: v for k in NAMED if (v := getattr(inversion, k)) is not None}
    about = {"method": inversion.method, "order": inversion.order, "source_guidance": inversion.source_guidance}
    metadata = {"format": FORMAT, "version": VERSION, "about": json.dumps(about), "settings": json.dumps(settings)}
    part = path.with_name(f"{path.name}.part")
    try:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, part, metadata)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def conditioning_tensors(name: str, conditioning: Any) -> dict[str, Tensor]:  # noqa: ANN401
    """A conditioning [[tensor, {"pooled_output": tensor}], ...] as named tensors."""
    tensors: dict[str, Tensor] = {}
    for i, (context, more) in enumerate(conditioning or []):
        if extra := {k for k, v in more.items() if v is not None} - {"pooled_output"}:
            raise StorageError(
                f"The {name} prompt of this inversion carries {', '.join(sorted(extra))}; only plain text conditionings "
                "can be saved. Invert with a plain CLIP Text Encode, or keep the inversion in the workflow."
            )
        tensors[f"{name}.{i}.context"] = context
        if more.get("pooled_output") is not None:
            tensors[f"{name}.{i}.pooled"] = more["pooled_output"]
    return tensors


def load(path: Path) -> Inversion:
    """Read an inversion; StorageError that says what the file is instead."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise StorageError(f"{path.name} cannot be read as safetensors: {error}. Save the inversion again.") from None
    if metadata.get("format") != FORMAT or not set(PARTS) <= set(tensors):
        raise StorageError(f"{path.name} holds no inversion (format {metadata.get('format')!r}); choose a file that Save Inversion wrote.")
    if metadata.get("version") != VERSION:
        raise StorageError(f"{path.name} has version {metadata.get('version')!r}; this pack reads version {VERSION}. Update the pack.")
    check_shapes(path.name, tensors)
    try:
        about, settings = json.loads(metadata["about"]), json.loads(metadata["settings"])
        named = {"method": str(about["method"]), "order": int(about["order"]), "source_guidance": float(about["source_guidance"])}
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{path.name} does not say how it was made ({error!r}); save the inversion again.") from None
    named |= {k: settings.pop(k) for k in NAMED if k in settings}
    named |= {k: tensors.get(f"settings.{k}") for k in TENSORS}
    return Inversion(
        **named, **{name: tensors[name] for name in PARTS}, settings=settings,
        source=conditioning_of("source", tensors), negative=conditioning_of("negative", tensors),
    )  # fmt: skip


def check_shapes(name: str, tensors: dict[str, Tensor]) -> None:
    """Raise StorageError unless the parts belong to one inversion: N + 1 levels, a path through them, N noises of its shape."""
    sigmas, path, denoised, noises = (tensors[part] for part in PARTS)
    fits = path.ndim == 5 and denoised.ndim == 5 and len(sigmas) == len(path) == len(noises) + 1 > len(denoised)
    if not fits or not path.shape[1:] == noises.shape[1:] == denoised.shape[1:]:
        found = ", ".join(f"{part} {tuple(tensors[part].shape)}" for part in PARTS)
        raise StorageError(f"{name} holds parts of different inversions ({found}); save the inversion again.")
    samples = tensors.get("settings.samples")
    if samples is None or samples.shape != path.shape[1:]:
        found = "none" if samples is None else str(tuple(samples.shape))
        expected = tuple(path.shape[1:])
        raise StorageError(f"{name} holds no latent of the inverted picture ({found}, expected {expected}); save the inversion again.")
    if bad := [part for part in PARTS if not tensors[part].isfinite().all()]:
        raise StorageError(f"{name} holds values that are not numbers ({', '.join(bad)}); invert the picture again.")


def conditioning_of(name: str, tensors: dict[str, Tensor]) -> list | None:
    """Inverse of `conditioning_tensors`."""
    found, i = [], 0
    while f"{name}.{i}.context" in tensors:
        pooled = tensors.get(f"{name}.{i}.pooled")
        found.append([tensors[f"{name}.{i}.context"], {} if pooled is None else {"pooled_output": pooled}])
        i += 1
    return found or None
