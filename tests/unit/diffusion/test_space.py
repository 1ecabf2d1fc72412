"""How latents and levels are shown to networks of every kind."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from csg.diffusion import schedule
from csg.diffusion.space import EXPLODING_FLOW, FLOW, PRESERVING, Space, flow_table, squeezed

KINDS = [Space(PRESERVING), Space(FLOW), Space(FLOW, noise_scale=8.0), Space(EXPLODING_FLOW), Space(FLOW, axes=1)]


def latents(batch=3, seed=0):
    return torch.randn(batch, 4, 6, 5, generator=torch.Generator().manual_seed(seed))


def shifted(shift):
    """A flow model's percent_to_sigma, as ComfyUI shifts it."""
    return lambda p: 1.0 if p <= 0 else shift * (1 - p) / (1 + (shift - 1) * (1 - p))


@pytest.mark.parametrize("space", KINDS, ids=repr)
@given(levels=st.lists(st.floats(0.001, 500), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None)
def test_what_is_shown_comes_back(space, levels):
    x, sigma = latents(), torch.tensor(levels)
    shown, s = space.to_network(x, sigma)
    assert shown.ndim == 4 + space.axes
    level = space.level(s)
    scale = space.scale(level)[:, None, None, None] if space.kind == FLOW else 1
    assert torch.allclose(squeezed(shown) * scale, x, rtol=1e-3, atol=1e-4) and torch.allclose(level, sigma, rtol=1e-3)


@pytest.mark.parametrize("noise_scale", [1.0, 8.0])
def test_a_flow_is_a_straight_line_from_the_picture_to_its_noise(noise_scale):
    space, x0, noise = Space(FLOW, noise_scale), latents(), latents(seed=1)
    s = torch.tensor([0.001, 0.4, 0.9])
    x, shown = space.to_network(x0 + space.level(s)[:, None, None, None] * noise, space.level(s))
    t = s[:, None, None, None]
    assert torch.allclose(x, (1 - t) * x0 + t * noise_scale * noise, rtol=1e-4, atol=1e-4)
    assert torch.allclose(shown, s)


@pytest.mark.parametrize("space", KINDS, ids=repr)
def test_the_scale_is_the_one_between_the_two_spaces(space):
    sigma = 1.7
    if space.kind == FLOW:
        ratio = latents() / squeezed(space.to_network(latents(), torch.full((3,), sigma))[0])
        assert torch.allclose(ratio, torch.full_like(ratio, float(space.scale(sigma))), rtol=1e-4)
    expected = (1 + sigma**2) ** 0.5 if space.kind == PRESERVING else 1 + sigma / space.noise_scale
    assert space.scale(sigma) == expected


def test_variance_preserving_networks_get_what_they_always_got():
    x, sigma = latents(), torch.tensor([0.1, 1.0, 14.0])
    shown, level = Space().to_network(x, sigma)
    assert shown is x and level is sigma


def test_pure_noise_is_named_a_little_below():
    assert float(Space(FLOW).level(torch.tensor([1.0]))) == pytest.approx(9999, rel=1e-3)


def test_a_time_axis_is_taken_away_and_put_back():
    space = Space(FLOW, axes=1)
    clip = latents()[:, :, None]
    assert torch.equal(space.restore(squeezed(clip)), clip) and squeezed(clip).shape == (3, 4, 6, 5)
    with pytest.raises(ValueError, match="clip of 7 frames"):
        squeezed(torch.zeros(1, 4, 7, 6, 5))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="one of variance preserving"):
        Space("edm")


@pytest.mark.parametrize("shift", [1.0, 3.0, 6.0])
@pytest.mark.parametrize("choice", schedule.SCHEDULES)
def test_the_schedules_of_a_flow(shift, choice):
    """The start at the skipped share of the path, an end at zero or a little above it, and falling levels between."""
    space = Space(FLOW)
    table = flow_table(shifted(shift), space)
    sigmas = schedule.ledits_levels(table, 20, 0.15, choice)
    s = space.shown(sigmas)
    assert len(table) == 1000 and torch.isfinite(table).all() and (sigmas[:-1] > sigmas[1:]).all()
    if choice == schedule.AUTHORS:
        assert float(s[0]) == pytest.approx(shifted(shift)(0.15), rel=1e-4)
        assert 0 < float(s[-1]) == pytest.approx(shifted(shift)(0.999), rel=1e-4)
    else:
        first = schedule.leading_timesteps(20, 0.15)[0]
        assert float(s[0]) == pytest.approx(shifted(shift)(1 - (first + 1) / 1000), rel=1e-4) and sigmas[-1] == 0


def test_a_table_ends_where_the_model_ends():
    """Cosmos names its levels as this package does, with an end at 80."""
    table = flow_table(lambda p: 1e9 if p <= 0 else 80 ** (1 - p), Space(EXPLODING_FLOW), top=80.0)
    assert float(table[-1]) == 80 and float(table[499]) == pytest.approx(80**0.5)
