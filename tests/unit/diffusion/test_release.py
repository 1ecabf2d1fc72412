"""Release: which part of a latent is light, and when a picture resists a change of it."""

import torch

from csg.diffusion.release import change_let_through, low_frequencies, share_released


def test_low_frequencies_hold_light_and_slopes_but_no_texture():
    flat = torch.full((1, 4, 16, 24), 0.7)
    assert torch.allclose(low_frequencies(flat), flat)
    texture = torch.tensor([1.0, -1.0]).repeat(12).expand(1, 4, 16, 24)
    assert torch.allclose(low_frequencies(texture), torch.zeros(1), atol=1e-6)
    slope = torch.linspace(-1, 1, 24).expand(1, 4, 16, 24)
    kept = low_frequencies(slope)
    assert (kept[..., 3:-3] - slope[..., 3:-3]).abs().max() < 0.01 and kept[..., 0].mean() > -1


def test_what_is_left_of_a_change_is_a_ratio_of_overall_lengths():
    free = torch.zeros(3, 4, 8, 8)
    free[:, 0], free[:, 1] = 3.0, 4.0
    seen = torch.stack([free[0], 0.5 * free[1], -free[2]])
    assert torch.allclose(change_let_through(seen, free), torch.tensor([1.0, 0.5, 1.0]))
    texture = torch.tensor([5.0, -5.0]).repeat(4).expand(3, 4, 8, 8)
    assert torch.allclose(change_let_through(seen + texture, free), torch.tensor([1.0, 0.5, 1.0])), "texture is no light"
    assert change_let_through(seen.half(), free.half()).dtype == torch.float32
    assert torch.isfinite(change_let_through(torch.zeros_like(free), torch.zeros_like(free))).all(), "captions that say the same"


def test_only_pictures_that_resist_are_released():
    shares = share_released(0.8, torch.tensor([0.5, 0.75, 1.1]), below=0.75)
    assert shares.shape == (3, 1, 1, 1) and torch.allclose(shares.flatten(), torch.tensor([0.8, 0.0, 0.0]))
