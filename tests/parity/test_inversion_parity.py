"""Levels, start, noises and reconstruction against diffusers' LEDITS++, and its DDPM and DDIM relatives."""

import itertools
import os

import pytest
import torch
from parity_texts import CONCEPTS, SOURCE, SQUARE, WIDE, ZEROS, latent

FULL = os.environ.get("CSG_FULL_PARITY") == "1"
CHOSEN = [  # every two values of two settings meet
    (SQUARE, None, 0, 20, 0.15),
    (WIDE, SOURCE, 3, 20, 0.2),
    (SQUARE, None, 3, 50, 0.2),
    (WIDE, SOURCE, 0, 50, 0.15),
    (SQUARE, SOURCE, 0, 100, 0.2),
    (WIDE, None, 3, 100, 0.15),
]
PRODUCT = list(itertools.product((SQUARE, WIDE), (None, SOURCE), (0, 3), (20, 50, 100), (0.15, 0.2)))


def named(case):
    size, source, zero, steps, skip = case
    return f"{size[0]}x{size[1]}-{'source' if source else 'plain'}-zero{zero}-{steps}-{skip}"


def largest(a, b):
    return float((a - b).abs().max())


def test_the_chosen_cases_cover_every_pair():
    columns = list(zip(*PRODUCT))
    for one, other in itertools.combinations(range(5), 2):
        assert {(case[one], case[other]) for case in CHOSEN} == set(zip(columns[one], columns[other]))


@pytest.mark.parametrize("case", PRODUCT if FULL else CHOSEN, ids=named)
def test_levels_start_noises_and_reconstruction_are_the_references(reference, engine, monkeypatch, case):
    """With a source prompt the reference's replay leaves the picture, since its base is unconditional: so does ours."""
    size, source, zero, steps, skip = case
    pipe = reference.invert(latent(size), steps, skip, zero, source)
    inversion, rebuilt = engine.invert(latent(size), steps, skip, zero, source)

    times = pipe.inversion_steps.tolist()
    assert engine.schedule.leading_timesteps(steps, skip) == times
    abar = pipe.scheduler.alphas_cumprod[times]
    expected = torch.cat([((1 - abar) / abar).sqrt(), torch.zeros(1)])
    assert torch.allclose(inversion.sigmas, expected, rtol=2e-5, atol=0)

    start = inversion.path[0] / (1 + inversion.sigmas[0] ** 2).sqrt()
    assert largest(start, pipe.init_latents) < 5e-6
    assert inversion.noises.shape == pipe.zs.shape and inversion.noises.abs().max() > 1
    assert largest(inversion.noises, pipe.zs) < 5e-4
    assert (inversion.noises[steps - max(zero, 1) :] == 0).all()

    engine.from_the_first_step(monkeypatch)
    replayed = reference.edit(pipe).latent
    assert largest(engine.edit(inversion).latent, replayed) < 2e-4
    assert (largest(rebuilt, replayed) < 2e-4) == (source is None)


@pytest.mark.parametrize(("source", "steps", "skip"), [(None, 20, 0.15), (SOURCE, 50, 0.2)])
def test_the_authors_schedule_reconstructs_exactly(engine, monkeypatch, source, steps, skip):
    engine.from_the_first_step(monkeypatch)
    inversion, rebuilt = engine.invert(latent(SQUARE), steps, skip, 3, source, schedule="authors")
    replayed = engine.edit(inversion, base="source" if source else "unconditional")
    assert len(replayed.trajectory) == steps
    assert largest(rebuilt, latent(SQUARE)) < 1e-4 and largest(replayed.latent, latent(SQUARE)) < 1e-4


def test_the_authors_schedule_takes_the_references_noises(reference, engine):
    """diffusers' own step on the authors' timesteps, which end at the lowest level with a second-order step."""
    from diffusers import DPMSolverMultistepScheduler
    from diffusers.pipelines.ledits_pp.pipeline_leditspp_stable_diffusion_xl import compute_noise
    from parity_reference import BETAS

    times = engine.schedule.linear_timesteps(20, 0.15)
    scheduler = DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++", solver_order=2, final_sigmas_type="sigma_min", **BETAS)
    scheduler.set_timesteps(timesteps=times)
    inversion, _ = engine.invert(latent(SQUARE), 20, 0.15, 0, schedule="authors")
    assert times[0] == 849 and times[-1] == 1
    assert torch.allclose(inversion.sigmas, scheduler.sigmas.float(), rtol=2e-5, atol=0)

    path = inversion.path / (1 + inversion.sigmas**2).sqrt().view(-1, 1, 1, 1, 1)
    for i, t in enumerate(scheduler.timesteps):
        noise = reference.predict(path[i], t, ZEROS)
        z, _ = compute_noise(scheduler, path[i + 1], path[i], t, noise, 1.0)
        assert largest(inversion.noises[i], z) < 5e-4


@pytest.mark.parametrize(("steps", "skip", "source"), [(20, 0.0, SOURCE), (20, 0.5, None)])
def test_ddpm_inversion_takes_the_references_noises(reference, engine, steps, skip, source):
    from parity_reference import ddim_scheduler

    total = int(steps * (1 + skip))
    pipe = reference.invert(latent(SQUARE), steps, skip, 1, source, scheduler=ddim_scheduler())
    conditioning = source.conditioning if source else None
    with torch.inference_mode():
        inversion, _ = engine.sample.InvertDDPM.execute(
            engine.patcher, engine.picture(latent(SQUARE)), total, total - steps, 3.5, 7, conditioning).result
    assert inversion.steps == steps and inversion.order == 1
    assert largest(inversion.noises, pipe.zs) < 5e-4


def test_ddpm_inversion_is_exact_when_no_noise_is_dropped(engine, monkeypatch):
    """The node's reconstruction is the picture. A replay of all steps adds up rounding, at levels up to 14 times the
    picture, since the levels were evaluated together and not one after the other on the corrected path."""
    engine.from_the_first_step(monkeypatch)
    sigmas = engine.schedule.noise_levels(engine.table, engine.schedule.ddpm_timesteps(20), to_zero=False)
    with torch.inference_mode():
        inversion, rebuilt = engine.host.run_inversion(
            engine.patcher, engine.picture(latent(SQUARE)), sigmas, "ddpm", engine.edit_types.Base(), {"seed": 7},
            seed=7, order=1, zero_noise_steps=0)  # fmt: skip
    assert largest(rebuilt["samples"] * engine.scaling, latent(SQUARE)) < 1e-6
    assert largest(engine.edit(inversion).latent, latent(SQUARE)) < 1e-4


def ddim_climb(reference, text, steps):
    """The VP path of diffusers' inverse DDIM scheduler, lowest level first, and its timesteps."""
    from diffusers import DDIMInverseScheduler
    from parity_reference import BETAS

    scheduler = DDIMInverseScheduler(timestep_spacing="leading", clip_sample=False, set_alpha_to_one=False, **BETAS)
    scheduler.set_timesteps(steps)
    path = [latent(SQUARE)]
    for t in scheduler.timesteps:
        path.append(scheduler.step(reference.predict(path[-1], t, text), t, path[-1]).prev_sample)
    return path, scheduler.timesteps.tolist()


def ddim_descent(x, predict, steps):
    """diffusers' DDIM scheduler from the VP latent `x` down to the picture."""
    from parity_reference import ddim_scheduler

    scheduler = ddim_scheduler()
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        x = scheduler.step(predict(x, t), t, x).prev_sample
    return x


def ddim_invert(engine, conditioning):
    with torch.inference_mode():
        return engine.sample.InvertDDIM.execute(engine.patcher, engine.picture(latent(SQUARE)), 20, 1.0, conditioning).result


def test_ddim_inversion_and_edit_are_the_schedulers(reference, engine):
    path, times = ddim_climb(reference, SOURCE, 20)
    assert engine.schedule.ddpm_timesteps(20) == times[::-1]
    inversion, _ = ddim_invert(engine, SOURCE.conditioning)
    ours = inversion.path.flip(0) / (1 + inversion.sigmas.flip(0) ** 2).sqrt().view(-1, 1, 1, 1, 1)
    assert largest(ours, torch.stack(path)) < 2e-4

    def guided(x, t):
        without, told = (reference.predict(x, t, text) for text in (ZEROS, CONCEPTS[0]))
        return without + 7.5 * (told - without)

    with torch.inference_mode():
        edited = engine.sample.EditWithPrompt.execute(engine.patcher, inversion, CONCEPTS[0].conditioning, 7.5).result[0]
    expected = ddim_descent(path[-1], guided, 20)
    assert largest(edited["samples"] * engine.scaling, expected) < 1e-3 < largest(expected, path[0])


def test_ddim_is_sampled_also_when_nothing_is_edited(reference, engine):
    """It does not lead back exactly, so the recorded path is no shortcut."""
    conditioning = SOURCE.conditioning
    inversion, rebuilt = ddim_invert(engine, conditioning)
    with torch.inference_mode():
        same = engine.sample.EditWithPrompt.execute(engine.patcher, inversion, conditioning, 1.0).result[0]
    path, _ = ddim_climb(reference, SOURCE, 20)
    expected = ddim_descent(path[-1], lambda x, t: reference.predict(x, t, SOURCE), 20)
    assert largest(expected, path[0]) > 1e-2
    for found in (rebuilt, same):
        assert largest(found["samples"] * engine.scaling, expected) < 1e-3
