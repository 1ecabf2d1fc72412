"""The solver on a rectified flow against diffusers' DPM-Solver++ (SDE, flow prediction), level by level."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from csg.diffusion.inversion import extract_noises, solver_step
from csg.diffusion.space import FLOW, Space

STEPS, SHAPE = 20, (1, 4, 8, 8)


def velocity(x, s):
    """Any smooth function of a latent and its level will do."""
    return torch.tanh(1.3 * x + 0.4) * (1 - 0.5 * s) + 0.2 * torch.roll(x, 1, -1)


def levels(top, shift=3.0):
    t = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)
    return (top * shift * t / (1 + (shift - 1) * t)).float()


def theirs(start, s, noises, order):
    """diffusers' latents at every level; its levels are written by hand, since its own never begin where wanted."""
    scheduler = DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++", prediction_type="flow_prediction", use_flow_sigmas=True, solver_order=order,
        final_sigmas_type="zero" if s[-1] == 0 else "sigma_min", lower_order_final=False, euler_at_final=False,
    )  # fmt: skip
    scheduler.set_timesteps(STEPS)
    scheduler.sigmas = s.clone()
    scheduler._step_index = scheduler._begin_index = 0
    found = [start]
    for i in range(STEPS):
        x = found[-1]
        found.append(scheduler.step(velocity(x, s[i]), scheduler.timesteps[i], x, variance_noise=noises[i]).prev_sample)
    return torch.stack(found)


def ours(start, s, noises, order):
    """The same walk in this package's space, shown to the network level by level."""
    space, sigmas = Space(FLOW), Space(FLOW).level(s)
    x = start * space.scale(float(sigmas[0]))
    found, previous = [start], None
    for i in range(STEPS):
        shown, level = space.to_network(x, sigmas[i : i + 1])
        denoised = shown - level * velocity(shown, level)
        mu, std = solver_step(x, denoised, previous, sigmas, i, order)
        x, previous = mu + std * noises[i], denoised
        found.append(space.to_network(x, sigmas[i + 1 : i + 2])[0])
    return torch.stack(found)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("top", [0.95, 0.9999])
def test_the_walk_along_a_flow_is_that_of_diffusers(top, order):
    generator = torch.Generator().manual_seed(0)
    s, noises = levels(top), torch.randn(STEPS, *SHAPE, generator=generator)
    start = torch.randn(SHAPE, generator=generator)
    a, b = ours(start, s, noises, order), theirs(start, s, noises, order)
    assert (a - start).abs().max() > 0.5
    assert float((a - b).abs().max()) < 1e-5


@pytest.mark.parametrize("order", [1, 2])
def test_noises_found_here_walk_diffusers_back_to_the_picture(order):
    generator = torch.Generator().manual_seed(1)
    s, x0 = levels(0.95)[:-1], torch.randn(SHAPE, generator=generator)
    s = torch.cat([s, torch.tensor([0.003])])
    space, sigmas = Space(FLOW), Space(FLOW).level(s)
    path = torch.stack([x0 + level * torch.randn(SHAPE, generator=generator) for level in sigmas])
    shown = [space.to_network(x, level[None]) for x, level in zip(path, sigmas)]
    denoised = torch.stack([x - level * velocity(x, level) for x, level in shown[:-1]])
    noises, _ = extract_noises(path, denoised, sigmas, order)
    back = theirs(shown[0][0], s, noises, order)[-1]
    assert float((back - shown[-1][0]).abs().max()) < 1e-5
