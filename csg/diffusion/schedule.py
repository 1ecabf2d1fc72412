"""Which noise levels an inversion visits.

Notation: N kept steps, i = 0..N-1 in sampling order (0 is the noisiest), sigma_N the level where sampling ends.
"""

from __future__ import annotations

import torch
from torch import Tensor

TRAINING_STEPS = 1000
DIFFUSERS, AUTHORS = "diffusers", "authors"
SCHEDULES = (DIFFUSERS, AUTHORS)


def check_steps(steps: int, skip: float) -> None:
    """Raise ValueError for step counts and skips that leave no schedule."""
    if not 2 <= steps <= TRAINING_STEPS // 2:
        raise ValueError(f"steps is {steps}; an inversion needs 2 to {TRAINING_STEPS // 2} steps.")
    if not 0 <= skip < 1:
        raise ValueError(f"skip is {skip}; it is a share of the steps, from 0 (none) to below 1.")


def leading_timesteps(steps: int, skip: float) -> list[int]:
    """LEDITS++ in diffusers: N * (1 + skip) 'leading' steps of which the noisiest are dropped, noisiest first.

    The number of all steps is truncated, as the reference does: 100 steps with skip 0.15 are 114 in all.
    """
    check_steps(steps, skip)
    ratio = TRAINING_STEPS // (int(steps * (1 + skip)) + 1)
    return [ratio * (steps - i) + 1 for i in range(steps)]


def linear_timesteps(steps: int, skip: float) -> list[int]:
    """LEDITS++ in its authors' repository: evenly spaced from (1 - skip) of the range down to timestep 1."""
    check_steps(steps, skip)
    top = (TRAINING_STEPS - 1) - TRAINING_STEPS * skip
    times = torch.linspace(top, 1, steps, dtype=torch.float64).long().tolist()
    if len(set(times)) < steps:
        raise ValueError(
            f"{steps} steps with skip {skip} leave less than one training step each; take fewer steps or a lower skip."
        )
    return times


def ddpm_timesteps(steps: int) -> list[int]:
    """'Leading' steps over the whole range, as the DDIM scheduler of SDXL spaces them, noisiest first."""
    check_steps(steps, 0)
    ratio = TRAINING_STEPS // steps
    return [ratio * k + 1 for k in range(steps - 1, -1, -1)]


def trailing_timesteps(steps: int) -> list[int]:
    """Evenly spaced steps from the very noisiest on, as FlowEdit spaces them, noisiest first."""
    check_steps(steps, 0)
    return [round(TRAINING_STEPS * k / steps) - 1 for k in range(steps, 0, -1)]


def noise_levels(table: Tensor, timesteps: list[int], to_zero: bool) -> Tensor:
    """Sigmas (N + 1,) of `timesteps` from the model's table (1000,), ending at 0 or at the table's lowest level."""
    last = torch.zeros(1) if to_zero else table[:1].float().cpu()
    return torch.cat([table[torch.tensor(timesteps)].float().cpu(), last])


def check_sigmas(sigmas: Tensor) -> None:
    """Raise ValueError unless these levels (N + 1,) of another node's schedule fall from noise to zero."""
    count = f"{len(sigmas)} level(s)" if sigmas.ndim == 1 else f"levels of shape {tuple(sigmas.shape)}"
    if sigmas.ndim != 1 or len(sigmas) < 2:
        fault = "; at least two in a row are expected, of which the last is 0"
    elif not torch.isfinite(sigmas).all():
        fault = ", of which some are no finite numbers"
    elif float(sigmas[-1]) != 0:
        fault = f" and ends at {float(sigmas[-1]):.4g}; it must end at 0, the picture. Of Split Sigmas take the low ones"
    elif len(rising := (sigmas[1:] >= sigmas[:-1]).nonzero()):
        here, after = sigmas[int(rising[0]) :][:2].tolist()
        fault = f", and after {here:.4g} comes {after:.4g}; every level must be lower than the one before"
    else:
        return
    raise ValueError(f"`sigmas` holds {count}{fault}. Connect the SIGMAS of a scheduler such as Basic Scheduler, made for this model.")


def ledits_levels(table: Tensor, steps: int, skip: float, schedule: str) -> Tensor:
    """The levels of DPM-Solver++ inversion: `diffusers` ends at 0, `authors` at the lowest level (and is exact)."""
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule is {schedule[:60]!r}; it is one of {', '.join(SCHEDULES)}.")
    if schedule == AUTHORS:
        return noise_levels(table, linear_timesteps(steps, skip), to_zero=False)
    return noise_levels(table, leading_timesteps(steps, skip), to_zero=True)
