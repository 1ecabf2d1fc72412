"""What other packs see of the rows of one step: 0 for positive, 1 for negative, as their patches expect it.

ComfyUI numbers the conditionings of a call and puts those numbers into `cond_or_uncond`. Patches of attention, model
function wrappers and ControlNets take 0 for positive and 1 for negative there, and fail at more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor

from ..csg.diffusion import plan
from ..csg.diffusion.attention import AttentionCapture


class Row(int):
    """One entry of `cond_or_uncond`: 0 or 1 for everybody else, and for this pack the row that it stands for."""

    key: plan.Row

    def __new__(cls, key: plan.Row) -> Row:
        row = super().__new__(cls, key == plan.Prompt.NEGATIVE)
        row.key = key
        return row


class Rows:
    """The rows of one call, in the order in which the host is given them."""

    def __init__(self, keys: Iterable[plan.Row]) -> None:
        self._rows = [Row(key) for key in keys]

    def shown(self, options: dict[str, Any]) -> list[Row]:
        """Put rows in the place of the host's numbers in these transformer options, where that is still to do."""
        options["cond_or_uncond"] = [e if isinstance(e, Row) else self._rows[e] for e in options["cond_or_uncond"]]
        return options["cond_or_uncond"]

    def model_function(self, wrapper: Callable | None) -> Callable:
        """A model function wrapper around another node's, or around none."""

        def call(apply_model: Callable, arguments: dict[str, Any]) -> Tensor:
            shown = self.shown(arguments["c"]["transformer_options"])
            if wrapper is None:
                return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
            return wrapper(apply_model, arguments | {"cond_or_uncond": list(shown)})

        return call

    def conditionings(self, conds: Sequence[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
        """Processed conditionings whose ControlNets are shown rows too; equal ones stay equal, or they run apart."""
        controls = {id(c): ShownControl(c, self) for entries in conds for one in entries if (c := one.get("control"))}
        return [[one | {"control": controls[id(c)]} if (c := one.get("control")) else one for one in entries] for entries in conds]


class ShownControl:
    """A ControlNet for the duration of one call: all that is asked of it there."""

    def __init__(self, control: Any, rows: Rows) -> None:  # noqa: ANN401
        self.control, self.rows = control, rows

    def get_instance_for_device(self, device: Any) -> ShownControl:  # noqa: ANN401
        """Its copy on another device."""
        return ShownControl(self.control.get_instance_for_device(device), self.rows)

    def get_control(self, x: Tensor, t: Tensor, cond: dict, batched_number: int, options: dict[str, Any]) -> Any:  # noqa: ANN401
        """The ControlNet's own residuals."""
        self.rows.shown(options)
        return self.control.get_control(x, t, cond, batched_number, options)


def announce(rows: Rows, capture: AttentionCapture, shape: Sequence[int]) -> Callable:
    """Wrapper around each model call that tells the capture whose rows these are.

    Calls on a crop of the latent (area conditionings) or on a part of the batch are not captured: their cells, or
    their rows, are others.
    """

    def wrapper(executor: Callable, x: Tensor, t: Tensor, concat: Any, crossattn: Any, control: Any, options: dict, **kwargs: Any) -> Tensor:  # noqa: ANN401
        keys = [row.key for row in rows.shown(options)]
        whole = x.shape == (len(keys) * shape[0], *shape[1:])
        with capture.rows(keys if whole else []):
            return executor(x, t, concat, crossattn, control, options, **kwargs)

    return wrapper
