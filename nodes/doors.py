"""What every node checks at its door: pictures and masks have their shape, numbers are finite.

ComfyUI compares numbers with min and max only when they are typed in, and lets `nan` through even then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import cache, wraps
from typing import Any

import torch
from comfy_api.latest import io

CHANNELS = (1, 3, 4)


def guarded(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """Let the node see only inputs that are what its schema says; others are refused in words."""
    run = node.execute.__func__
    kinds = cache(lambda: {each.id: each.get_io_type() for each in node.define_schema().inputs})

    @wraps(run)
    def execute(cls: type[io.ComfyNode], *args: Any, **values: Any) -> io.NodeOutput:
        return run(cls, *args, **{name: checked(name, kinds().get(name), value) for name, value in values.items()})

    node.execute = classmethod(execute)
    return node


def checked(name: str, kind: str | None, value: Any) -> Any:  # noqa: ANN401
    """The value of an input, or a list of such values, as its kind wants it; ValueError that names the input."""
    check = CHECKS.get(kind or "")
    if check is None or value is None:
        return value
    return [check(name, each) for each in value] if isinstance(value, list) else check(name, value)


def picture(name: str, image: Any) -> torch.Tensor:  # noqa: ANN401
    """An IMAGE (B, H, W, C), float, of one picture at least; grey becomes three channels."""
    wanted = "expected pictures (batch, height, width, channels) with 1, 3 or 4 channels"
    if not isinstance(image, torch.Tensor) or image.ndim != 4 or image.shape[-1] not in CHANNELS:
        raise ValueError(f"{name} is {looks(image)}; {wanted}. Connect the output of a node that makes IMAGE.")
    if not image.numel():
        raise ValueError(f"{name} holds no picture (shape {tuple(image.shape)}); connect a batch of one at least.")
    if not image.is_floating_point():
        raise ValueError(f"{name} holds {image.dtype} numbers; expected fractions from 0 to 1. Divide bytes by 255.")
    return image.expand(-1, -1, -1, 3) if image.shape[-1] == 1 else image


def mask(name: str, region: Any) -> torch.Tensor:  # noqa: ANN401
    """A MASK (..., H, W), float; a batch may be empty, a mask may not."""
    if not isinstance(region, torch.Tensor) or not 2 <= region.ndim <= 4:
        raise ValueError(f"{name} is {looks(region)}; expected masks (batch, height, width). Connect the output of a node that makes MASK.")
    if 0 in region.shape[-2:]:
        raise ValueError(f"{name} has no pixels (shape {tuple(region.shape)}); draw a mask on a picture, or leave it unconnected.")
    return region if region.is_floating_point() else region.float()


def number(name: str, value: Any) -> Any:  # noqa: ANN401
    """A FLOAT or an INT that is a number: not nan, not infinite, and nothing else that a link may bring."""
    try:
        finite = math.isfinite(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} is {looks(value)}; expected a number. Connect an output that is one, or type it in.") from None
    if not finite:
        raise ValueError(f"{name} is {value}; expected a finite number. Type one in, or look at the node that it comes from.")
    return value


def choice(name: str, value: Any, choices: Collection[str]) -> str:  # noqa: ANN401
    """One of the choices of an input; a link may bring any text."""
    if value not in choices:
        raise ValueError(f"{name} is {str(value)[:60]!r}; it is one of {', '.join(choices)}.")
    return value


def looks(value: Any) -> str:  # noqa: ANN401
    """What a value is, in a few words."""
    return f"of the shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else f"a {type(value).__name__}"


CHECKS: dict[str, Callable[[str, Any], Any]] = {"IMAGE": picture, "MASK": mask, "FLOAT": number, "INT": number}
