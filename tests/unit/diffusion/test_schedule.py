"""Noise levels: the reference's tables, the authors', and what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csg.diffusion import schedule


@pytest.fixture(scope="module")
def table():
    """Stable Diffusion's levels: scaled-linear betas from 0.00085 to 0.012."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    abar = torch.cumprod(1 - betas, 0)
    return ((1 - abar) / abar).sqrt().float()


@pytest.mark.parametrize(
    ("steps", "skip", "first", "last", "ratio", "sigma_first", "sigma_last"),
    [(100, 0.15, 801, 9, 8, 5.134, 0.0936), (50, 0.15, 851, 18, 17, 6.506, 0.1308),
     (20, 0.15, 821, 42, 41, 5.633, 0.2045), (50, 0.2, 801, 17, 16, 5.134, 0.1271)],
)  # fmt: skip
def test_leading_levels_are_those_of_ledits(table, steps, skip, first, last, ratio, sigma_first, sigma_last):
    times = schedule.leading_timesteps(steps, skip)
    assert times == list(range(first, last - 1, -ratio)) and len(times) == steps
    sigmas = schedule.ledits_levels(table, steps, skip, "diffusers")
    assert sigmas[[0, -2]].tolist() == pytest.approx([sigma_first, sigma_last], rel=1e-3)
    assert len(sigmas) == steps + 1 and sigmas[-1] == 0


def test_the_authors_levels_end_at_the_lowest_of_the_table(table):
    times = schedule.linear_timesteps(100, 0.15)
    assert times[:2] == [849, 840] and times[-2:] == [9, 1] and len(times) == 100
    sigmas = schedule.ledits_levels(table, 100, 0.15, "authors")
    assert torch.equal(sigmas[-2:], table[[1, 0]])
    assert float(sigmas[-1]) == pytest.approx(0.0292, abs=1e-4)


def test_ddpm_levels_span_the_whole_range():
    assert schedule.ddpm_timesteps(100) == list(range(991, 0, -10))
    assert schedule.ddpm_timesteps(50)[0] == 981


@given(st.integers(2, 500), st.floats(0, 0.99))
@settings(deadline=None)
def test_levels_always_fall(steps, skip):
    for times in (schedule.leading_timesteps(steps, skip), schedule.ddpm_timesteps(steps)):
        assert len(times) == steps and times[-1] >= 1 and times[0] <= 999
        assert all(a > b for a, b in zip(times, times[1:]))


@given(st.integers(2, 500), st.floats(0, 0.99))
@settings(deadline=None)
def test_the_authors_levels_fall_or_are_refused(steps, skip):
    """Two steps at one level would divide by zero."""
    try:
        times = schedule.linear_timesteps(steps, skip)
    except ValueError:
        assert steps > 998 - 1000 * skip
    else:
        assert len(times) == steps and all(a > b for a, b in zip(times, times[1:]))


@pytest.mark.parametrize(("steps", "skip", "word"), [(1, 0.15, "1"), (501, 0.15, "501"), (20, 1.0, "1.0"), (20, -0.1, "-0.1")])
def test_schedules_without_room_are_refused(steps, skip, word):
    for levels in (schedule.leading_timesteps, schedule.linear_timesteps):
        with pytest.raises(ValueError, match=word):
            levels(steps, skip)


def test_an_unknown_schedule_is_refused_with_the_known_ones(table):
    with pytest.raises(ValueError, match="karras.*diffusers, authors"):
        schedule.ledits_levels(table, 20, 0.15, "karras")


@pytest.mark.parametrize(
    ("levels", "words"),
    [([], "0 level.s.; at least two"), ([1.0], "1 level.s.; at least two"), ([[1.0, 0.0]], r"of shape \(1, 2\)"),
     ([0.9, 0.5, 0.5, 0.0], "after 0.5 comes 0.5; every level must be lower"), ([0.5, 0.9, 0.0], "after 0.5 comes 0.9"),
     ([0.9, 0.3], "2 level.s. and ends at 0.3; it must end at 0"), ([0.9, 0.5, -0.1], "ends at -0.1"),
     ([float("nan"), 0.5, 0.0], "no finite numbers"), ([float("inf"), 0.5, 0.0], "no finite numbers")],
)  # fmt: skip
def test_sigmas_that_are_no_schedule_are_refused(levels, words):
    with pytest.raises(ValueError, match=words):
        schedule.check_sigmas(torch.tensor(levels))


@pytest.mark.parametrize("levels", [[14.6, 0.0], [1.0, 0.75, 0.5, 0.25, 0.0]])
def test_sigmas_that_fall_to_zero_are_taken(levels):
    schedule.check_sigmas(torch.tensor(levels))
