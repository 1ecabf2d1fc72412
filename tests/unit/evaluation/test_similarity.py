"""Distances without networks, and the axioms that they measure."""

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from csg.evaluation.similarity import mean_error, ms_ssim, psnr
from csg.evaluation.soundness import composition, distances, reversibility


def picture(seed, side=256, batch=1):
    """Smooth random colours with some grain."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 8, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    return (smooth + 0.05 * torch.randn(batch, 3, side, side, generator=generator)).clamp(0, 1).movedim(1, -1)


def by_definition(a, b):
    """Wang, Simoncelli & Bovik 2003 in double precision, a window at a time: grey pictures (H, W) in [0, 1]."""
    at = np.arange(11) - 5
    taps = np.exp(-(at**2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    result = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        mean = [convolve2d(x, window, mode="valid") for x in (a, b, a * a, b * b, a * b)]
        spread = mean[2] - mean[0] ** 2 + mean[3] - mean[1] ** 2
        structure = (2 * (mean[4] - mean[0] * mean[1]) + 0.03**2) / (spread + 0.03**2)
        luminance = (2 * mean[0] * mean[1] + 0.01**2) / (mean[0] ** 2 + mean[1] ** 2 + 0.01**2)
        result *= (structure * luminance if scale == 4 else structure).mean() ** weight
        a, b = ((x[0::2, 0::2] + x[1::2, 0::2] + x[0::2, 1::2] + x[1::2, 1::2]) / 4 for x in (a, b))
    return result


def grainy(a, grain):
    return (a + grain * torch.randn(a.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)


@pytest.mark.parametrize("grain", [0.02, 0.3])
def test_ms_ssim_is_what_its_paper_defines(grain):
    a = picture(0)[..., :1].expand(-1, -1, -1, 3)
    b = grainy(a[..., :1], grain).expand(-1, -1, -1, 3)
    assert ms_ssim(a, b) == pytest.approx(
        by_definition(a[0, ..., 0].double().numpy(), b[0, ..., 0].double().numpy()), abs=1e-5
    )


@pytest.mark.parametrize("side", [176, 255])
def test_ms_ssim_agrees_with_torchmetrics_up_to_its_padded_border(side):
    reference = pytest.importorskip("torchmetrics.functional.image")
    a, b = picture(0, side), grainy(picture(0, side), 0.3)
    expected = reference.multiscale_structural_similarity_index_measure(
        a.movedim(-1, 1), b.movedim(-1, 1), data_range=1.0
    )
    assert ms_ssim(a, b) == pytest.approx(float(expected), abs=2e-3)


def test_a_picture_is_like_itself_and_unlike_its_negative():
    a = picture(2)
    assert ms_ssim(a, a) == pytest.approx(1)
    assert psnr(a, a) == pytest.approx(100) and mean_error(a, a) == 0
    assert ms_ssim(a, 1 - a) < 0.2


def test_known_values():
    black, grey = torch.zeros(1, 64, 64, 3), torch.full((1, 64, 64, 3), 0.1)
    assert mean_error(black, grey) == pytest.approx(10, rel=1e-5)
    assert psnr(black, grey) == pytest.approx(20, rel=1e-5)


def test_a_batch_counts_as_the_mean_of_its_pictures():
    a, b = picture(3, batch=2), picture(4, batch=2)
    for measure in (mean_error, psnr, ms_ssim):
        each = [measure(a[i : i + 1], b[i : i + 1]) for i in range(2)]
        assert measure(a, b) == pytest.approx(sum(each) / 2, rel=1e-4)


def test_alpha_is_ignored():
    a = picture(5)
    assert mean_error(a, torch.cat([a, torch.zeros_like(a[..., :1])], -1)) == 0


@pytest.mark.parametrize("measure", [mean_error, psnr, ms_ssim])
def test_pictures_of_different_size_are_refused(measure):
    with pytest.raises(ValueError, match="Scale one"):
        measure(picture(0, 256), picture(0, 192))


def test_ms_ssim_refuses_small_pictures():
    with pytest.raises(ValueError, match="at least 176"):
        ms_ssim(picture(0, 160), picture(1, 160))


def dimming(image, values, wanted):
    """A method that forgets 2 % of the picture at every edit, and moves brightness with the concept."""
    shift = {"day": 0.0, "night": -0.2}
    return (image * 0.98 + shift[wanted["time"]] - shift[values["time"]]).clamp(0, 1)


def test_composition_edits_by_nothing_as_often_as_asked():
    start, values = picture(6), {"time": "day"}
    once, thrice = composition(dimming, start, values), composition(dimming, start, values, times=3)
    assert once == distances(start, start * 0.98)
    assert once.mean_error < thrice.mean_error and once.psnr > thrice.psnr


def test_reversibility_goes_there_and_back():
    start = picture(7) * 0.5 + 0.4
    there = dimming(start, {"time": "day"}, {"time": "night"})
    back = dimming(there, {"time": "night"}, {"time": "day"})
    assert reversibility(dimming, start, {"time": "day"}, {"time": "night"}) == distances(start, back)
    assert mean_error(start, back) < mean_error(start, there)


def test_distances_name_their_measure():
    assert set(distances(picture(8), picture(9)).named("composition")) == {
        "composition_mean_error",
        "composition_psnr",
        "composition_ms_ssim",
    }
