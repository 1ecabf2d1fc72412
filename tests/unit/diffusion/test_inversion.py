"""Inversions on toy denoisers whose answers are known, and the solver against the formulas of the papers."""

import math
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from csg.diffusion import inversion as inv
from csg.diffusion import schedule
from csg.diffusion.space import Space

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
ABAR = torch.cumprod(1 - BETAS, 0)
TABLE = ((1 - ABAR) / ABAR).sqrt().float()
LATENT = torch.randn((2, 4, 6, 8), generator=torch.Generator().manual_seed(1))


def wild(x, sigma):
    """A denoiser that depends on everything."""
    level = sigma.view(-1, 1, 1, 1)
    return torch.tanh(1.7 * x.roll(1, -1) - 0.3 * x.flip(1)) / (1 + level) + 0.1 * torch.sin(level)


def gaussian(x, sigma):
    """The best denoiser of a standard normal picture."""
    return x / (1 + sigma.view(-1, 1, 1, 1) ** 2)


def run(inversion, denoise, **options):
    return list(inv.replay(lambda x, sigma, _: denoise(x, sigma), inversion, **options))


def vp_step(x, m, earlier, abar):
    """LEDITS++'s solver step in its own variables: VP latents, lambda = log(alpha / s). `abar` of the last three levels."""
    alpha, s = [a.sqrt() for a in abar], [(1 - a).sqrt() for a in abar]
    lam = [torch.log(a / b) for a, b in zip(alpha, s)]
    h = lam[2] - lam[1]
    direction = m if earlier is None else m + 0.5 * (h / (lam[1] - lam[0])) * (m - earlier)
    mean = (s[2] / s[1]) * torch.exp(-h) * x + alpha[2] * (1 - torch.exp(-2 * h)) * direction
    return mean, s[2] * torch.sqrt(1 - torch.exp(-2 * h))


@pytest.mark.parametrize("order", [1, 2])
def test_the_solver_step_is_the_papers_in_vp_form(order):
    times = [700, 620, 560]
    sigmas = schedule.noise_levels(TABLE, times, to_zero=False)[:3]
    x, m, earlier = torch.randn((3, 1, 4, 4, 4), generator=torch.Generator().manual_seed(0)).double()
    mu, std = inv.solver_step(x, m, earlier, sigmas.double(), 1, order)
    abar = ABAR[times]
    mean, deviation = vp_step(x * abar[1].sqrt(), m, earlier if order == 2 else None, abar)
    assert torch.allclose(mu * abar[2].sqrt(), mean, atol=1e-5)
    assert std * float(abar[2].sqrt()) == pytest.approx(float(deviation), rel=1e-5)


def test_the_first_step_has_no_history_and_is_of_first_order():
    sigmas = torch.tensor([3.0, 2.0, 1.0])
    x, m = torch.ones(1), torch.zeros(1)
    assert inv.solver_step(x, m, None, sigmas, 0, 2) == inv.solver_step(x, m, None, sigmas, 0, 1)


def test_the_step_to_zero_is_the_prediction_itself():
    m = torch.randn(1, 4, 2, 2)
    mu, std = inv.solver_step(torch.ones_like(m), m, m + 1, torch.tensor([2.0, 1.0, 0.0]), 1, 2)
    assert torch.equal(mu, m) and std == 0


def test_first_order_is_ancestral_ddpm_sampling():
    """The posterior of DDPM, q(x_{t-1} | x_t, x_0), with betas between kept levels."""
    times = [501, 461]
    sigmas = TABLE[times].double()
    x, m = torch.randn((2, 1, 4, 3, 3), generator=torch.Generator().manual_seed(0)).double()
    mu, std = inv.solver_step(x, m, None, sigmas, 0, 1)
    now, before = ABAR[times]
    beta = 1 - now / before
    mean = before.sqrt() * beta / (1 - now) * m + (now / before).sqrt() * (1 - before) / (1 - now) * (x * now.sqrt())
    assert torch.allclose(mu * before.sqrt(), mean, atol=1e-6)
    assert std * math.sqrt(before) == pytest.approx(math.sqrt((1 - before) / (1 - now) * beta), rel=1e-6)


def test_the_path_is_independent_noise_drawn_lowest_level_first():
    sigmas = torch.tensor([3.0, 2.0, 1.0, 0.0])
    path = inv.reference_path(LATENT, sigmas, seed=4)
    generator = torch.Generator().manual_seed(4)
    for i in (2, 1, 0):
        noise = torch.randn(LATENT.shape, generator=generator)
        assert torch.allclose(path[i], LATENT + sigmas[i] * noise)
    assert torch.equal(path[3], LATENT)


def test_a_path_that_ends_above_zero_ends_in_the_clean_latent_at_that_level():
    path = inv.reference_path(LATENT, torch.tensor([2.0, 0.5]), seed=0)
    assert torch.allclose(path[-1] / math.sqrt(1.25), LATENT)


@pytest.mark.parametrize("order", [1, 2])
def test_noises_lead_back_to_the_picture_under_any_denoiser(order):
    sigmas = schedule.ledits_levels(TABLE, 30, 0.15, "authors")
    inversion = inv.invert_sde(wild, LATENT, sigmas, seed=3, order=order, zero_noise_steps=0)
    steps = run(inversion, wild)
    assert len(steps) == 31 and [s.i for s in steps] == list(range(31))
    assert torch.allclose(steps[-1].x, LATENT, atol=1e-5)
    for step in steps[:-1]:
        assert torch.allclose(step.x, inversion.path[step.i], atol=1e-4)
    assert torch.allclose(inversion.latent, LATENT, atol=1e-6)
    assert inversion.method == {1: "ddpm", 2: "dpm++"}[order]


@pytest.mark.parametrize("order", [1, 2])
def test_a_path_to_zero_is_replayed_exactly_where_its_last_step_is_recorded(order):
    """Else the picture is the last prediction, and where that leaps far it is another one."""
    sigmas = torch.tensor([14.6, 6.0, 3.0, 2.0, 0.0])
    exact, usual = (inv.invert_sde(wild, LATENT, sigmas, seed=4, order=order, zero_noise_steps=0, exact=exact) for exact in (True, False))
    assert torch.allclose(run(exact, wild)[-1].x, LATENT, atol=1e-5)
    assert len(exact.denoised) == 4 and len(usual.denoised) == 3 and not usual.noises[-1].any()
    assert (run(usual, wild)[-1].x - LATENT).abs().max() > 0.1


def test_other_noises_would_not():
    sigmas = schedule.ledits_levels(TABLE, 30, 0.15, "authors")
    inversion = inv.invert_sde(wild, LATENT, sigmas, seed=3, zero_noise_steps=0)
    inversion.noises[10] += 0.1
    assert not torch.allclose(run(inversion, wild)[-1].x, LATENT, atol=1e-3)


def test_extraction_keeps_the_path_and_the_path_keeps_the_noises():
    sigmas = schedule.ledits_levels(TABLE, 12, 0.15, "authors")
    path = inv.reference_path(LATENT, sigmas, 2)
    denoised = torch.stack([wild(x, s.expand(len(x))) for x, s in zip(path, sigmas[:-1])])
    noises, rebuilt = inv.extract_noises(path, denoised, sigmas, 2)
    assert torch.allclose(rebuilt, path, atol=1e-5)
    assert torch.allclose(inv.extract_noises(rebuilt, denoised, sigmas, 2)[0], noises, atol=1e-4)


def test_predictions_whose_noise_is_zeroed_are_never_made():
    asked = []

    def counting(x, sigma):
        asked.append(len(x) // len(LATENT))
        return wild(x, sigma)

    sigmas = schedule.ledits_levels(TABLE, 10, 0.15, "diffusers")
    inversion = inv.invert_sde(counting, LATENT, sigmas, seed=0, zero_noise_steps=3, at_once=4)
    assert asked == [4, 3] and len(inversion.denoised) == 7
    assert (inversion.noises[7:] == 0).all() and (inversion.noises[:7] != 0).any()
    asked.clear()
    last = inv.invert_sde(counting, LATENT, sigmas, seed=0, zero_noise_steps=0)
    assert len(asked) == 9 and (last.noises[9] == 0).all() and (last.noises[8] != 0).any()


def test_levels_evaluated_together_or_alone_give_the_same():
    sigmas = schedule.ledits_levels(TABLE, 10, 0.15, "diffusers")
    alone, together = (inv.invert_sde(wild, LATENT, sigmas, seed=0, at_once=n) for n in (1, 5))
    assert torch.allclose(alone.noises, together.noises, atol=1e-5)


def test_progress_counts_to_the_end_and_shows_a_prediction():
    seen = []
    sigmas = schedule.ledits_levels(TABLE, 10, 0.15, "diffusers")
    inv.invert_sde(wild, LATENT, sigmas, seed=0, at_once=3, progress=lambda *step: seen.append(step))
    assert [s[:2] for s in seen] == [(3, 7), (6, 7), (7, 7)]
    assert all(s[2].shape == LATENT.shape for s in seen)


def test_a_late_start_continues_the_whole_run():
    """Also with an edit that begins there: the solver's history comes from the inversion."""
    sigmas = schedule.ledits_levels(TABLE, 20, 0.15, "diffusers")
    inversion = inv.invert_sde(wild, LATENT, sigmas, seed=0)

    def edited(x, sigma):
        return wild(x, sigma) + (0.5 if float(sigma[0]) < float(sigmas[7]) + 1e-6 else 0.0)

    whole, late = run(inversion, edited), run(inversion, edited, start=7)
    assert late[0].i == 7 and torch.allclose(late[-1].x, whole[-1].x, atol=1e-4)
    forgetful = replace(inversion, denoised=torch.zeros_like(inversion.denoised))
    assert not torch.allclose(run(forgetful, edited, start=7)[-1].x, whole[-1].x, atol=1e-4)


def test_every_prediction_is_told_its_step():
    sigmas = schedule.ledits_levels(TABLE, 20, 0.15, "diffusers")
    inversion, asked = inv.invert_sde(wild, LATENT, sigmas, seed=0), []

    def noting(x, sigma, step):
        asked.append((step, float(sigma[0])))
        return wild(x, sigma)

    list(inv.replay(noting, inversion, start=7))
    assert asked == [(i, float(sigmas[i])) for i in range(7, 20)]


class Copies(TorchDispatchMode):
    """Counts tensors that are sent from one device to another."""

    count = 0

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        out = operation(*arguments, **options or {})
        self.count += operation.overloadpacket.__name__ == "_to_copy" and out.device != arguments[0].device
        return out


def test_a_step_sends_nothing_to_the_device():
    """Each sending would wait for all work on it. The device `meta` has no numbers, but copies to it are seen."""
    sigmas = schedule.ledits_levels(TABLE, 8, 0.15, "diffusers")
    inversion = inv.invert_sde(wild, LATENT, sigmas, seed=0)
    mask = torch.ones(2, 1, 6, 8, device="meta")
    for placed, expected in ((inversion.on("meta", path=True), 0), (inversion, 7 + 8)):  # noises of all steps but the last, the path of all
        steps = inv.replay(lambda x, sigma, _: wild(x, sigma), placed, blend=lambda _: mask, device="meta")
        next(steps)
        with Copies() as copies:
            assert [step.i for step in steps] == list(range(1, 9))
        assert copies.count == expected


def test_offset_is_taken_out_of_the_start():
    sigmas = torch.tensor([2.0, 1.0, 0.0])
    inversion = inv.invert_sde(wild, LATENT, sigmas, seed=0, zero_noise_steps=0)
    offset = torch.full_like(LATENT, 0.25)
    assert torch.allclose(run(inversion, wild, offset=offset)[0].x, inversion.path[0] - 0.25)


def test_blend_returns_to_the_path_outside_its_mask():
    sigmas = schedule.ledits_levels(TABLE, 8, 0.15, "authors")
    inversion = inv.invert_sde(wild, LATENT, sigmas, seed=0, zero_noise_steps=0)
    mask = torch.zeros(2, 1, 6, 8)
    mask[..., :4] = 1
    final = run(inversion, lambda x, s: wild(x, s) + 1, blend=lambda i: mask if i >= 3 else None)[-1].x
    assert torch.allclose(final[..., 4:], LATENT[..., 4:], atol=1e-5)
    assert (final[..., :4] - LATENT[..., :4]).abs().min() > 0.1


def ddim(denoise, steps):
    sigmas = schedule.noise_levels(TABLE, schedule.ddpm_timesteps(steps), to_zero=False)
    inversion = inv.invert_ddim(denoise, LATENT, sigmas)
    return inversion, float((run(inversion, denoise)[-1].x - LATENT).abs().max())


def test_ddim_returns_exactly_when_the_noise_does_not_depend_on_the_latent():
    noise = torch.randn(LATENT.shape, generator=torch.Generator().manual_seed(9))
    inversion, error = ddim(lambda x, sigma: x - sigma.view(-1, 1, 1, 1) * noise, 20)
    assert error < 1e-4 and inversion.method == "ddim" and not inversion.noises.any()
    start = LATENT * math.sqrt(1 + float(TABLE[0]) ** 2)
    expected = start + (inversion.sigmas[0] - inversion.sigmas[-1]) * noise
    assert torch.allclose(inversion.path[0], expected, atol=1e-4)


def test_ddim_returns_better_the_finer_its_steps():
    errors = [ddim(gaussian, steps)[1] for steps in (10, 40, 160)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0


def test_ddim_asks_at_the_level_it_climbs_to():
    asked = []

    def asking(x, sigma):
        asked.append((float(sigma[0]), float(x.std() / Space().scale(float(sigma[0])))))
        return gaussian(x, sigma)

    inversion, _ = inv.invert_ddim(asking, LATENT, torch.tensor([4.0, 1.0, 0.1])), None
    assert [level for level, _ in asked] == [1.0, 4.0]
    below = [float(inversion.path[i].std() / Space().scale(float(inversion.sigmas[i]))) for i in (2, 1)]
    assert [spread for _, spread in asked] == pytest.approx(below, rel=1e-5)


def flowedit_itself(velocity, x0, levels, noises, wanted):
    """FlowEdit as its paper writes it (algorithm 1, one noise a step): an Euler walk of the difference of velocities."""
    edited = x0.clone()
    for s, after, noise in zip(levels[:-1], levels[1:], noises):
        source = (1 - s) * x0 + s * noise
        target = edited + source - x0
        edited = edited + (after - s) * (velocity(target, s, wanted) - velocity(source, s, False))
    return edited


@pytest.mark.parametrize("wanted", [True, False])
def test_flowedit_is_its_papers_walk_on_a_flow(wanted):
    def velocity(x, s, other):
        return torch.tanh(x * (1.5 if other else 1.0) + (0.7 if other else 0.2)) * (1 - 0.3 * s)

    space, x0, s = Space("rectified flow"), LATENT, torch.tensor([0.85, 0.6, 0.4, 0.15, 0.0])
    sigmas = space.level(s)

    def denoise(x, sigma, other=False):
        shown, level = space.to_network(x, sigma)
        return shown - level[:, None, None, None] * velocity(shown, level[:, None, None, None], other)

    inversion = inv.invert_flowedit(denoise, x0, sigmas, seed=5, space=space)
    noises = [(inversion.path[i] - x0) / sigmas[i] for i in range(4)]
    *_, last = inv.replay(lambda x, sigma, i: denoise(x, sigma, wanted), inversion)
    expected = flowedit_itself(velocity, x0, s, noises, wanted)
    assert torch.allclose(last.x, expected, atol=1e-4)
    assert torch.equal(last.x, x0) if not wanted else (last.x - x0).abs().max() > 0.1


def test_flowedit_on_a_variance_preserving_model_walks_its_own_ode():
    sigmas, asked = torch.tensor([5.0, 2.0, 0.7, 0.0]), []

    def target(x, sigma, i):
        asked.append(i)
        return wild(x, sigma) + 0.5

    inversion = inv.invert_flowedit(wild, LATENT, sigmas, seed=1)
    *_, last = inv.replay(target, inversion)
    way = torch.zeros_like(LATENT)
    for i in range(3):
        change = target(inversion.path[i] + way, sigmas[i].expand(1), i) - inversion.denoised[i]
        way = way + (sigmas[i + 1] - sigmas[i]) * (way - change) / sigmas[i]
    assert torch.allclose(last.x, LATENT + way, atol=1e-4) and asked[:3] == [0, 1, 2]
