"""One sampling run as a value: made by the sampler, given to every prediction together with its step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from .attention import Words
from .guidance import Guided, MaskMean
from .plan import Plan, Row
from .preservation import Preservation


class Memory(Protocol):
    """Attention maps that earlier edits of the same inversion have read on its path."""

    def get(self, row: Row, words: Words, level: int) -> Tensor | None:
        """The map (B, ch, cw) of these words in this row at this level, if it was kept."""
        ...


class Acted:
    """Where the concepts of a run have acted: the mean mask of each, and the union of all so far (B, 1, h, w)."""

    def __init__(self, concepts: int) -> None:
        self.mean = MaskMean(concepts)
        self.union: Tensor | None = None

    def add(self, guided: Guided) -> None:
        """Count one step in."""
        self.mean.add(guided.masks)
        union = guided.union()
        if union is not None:
            self.union = union if self.union is None else torch.maximum(self.union, union)


@dataclass(frozen=True)
class Run:
    """What one run needs besides the model: its plan, where it stands, and what it gathers on the way.

    `step` counts kept steps; `reference` is the original's path there, (B, C, h, w) as the network is shown it. `step`
    None: another node's sampler drives, and the step is found by its level.
    """

    plan: Plan
    step: int | None = None
    reference: Tensor | None = None
    preservation: Preservation | None = None
    memory: Memory | None = None
    acted: Acted | None = field(default=None, repr=False)

    def at(self, step: int, reference: Tensor | None) -> Run:
        """The run at one of its steps."""
        return replace(self, step=step, reference=reference)

    @property
    def looks(self) -> bool:
        """Whether the concepts' attention is needed."""
        return self.plan.looks(self.preservation is not None)

    @property
    def looks_back(self) -> bool:
        """Whether the original picture's path is looked at."""
        return self.plan.looks_back(self.preservation is not None)
