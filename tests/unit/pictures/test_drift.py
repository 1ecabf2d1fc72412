"""Drift undone: known shifts, zooms, turns, colours, JPEG and VAE noise on pictures whose right answer is known."""

import math
import re

import numpy as np
import pytest
import torch
from photographs import CAST, KINDS, WHOLE, cast, drifted, jpeg, measured, noisy, table
from PIL import Image
from torch.nn import functional as F

from csg.evaluation.runner.comfy_client import find_comfyui
from csg.evaluation.similarity import psnr
from csg.images import to_tensor
from csg.pictures.align import Drift, find_drift
from csg.pictures.changes import find_colour
from csg.pictures.drift import undo_drift
from csg.town import score


def vae(image):
    return score.codec()(image.movedim(-1, 1)).movedim(1, -1).clamp(0, 1)


@pytest.fixture(scope="module")
def photograph():
    """ComfyUI's own example picture, and the same with a recoloured disc: original, edited, where it differs."""
    original = to_tensor(Image.open(find_comfyui() / "input" / "example.png").convert("RGB").resize((320, 320), Image.Resampling.LANCZOS))
    y, x = torch.meshgrid(torch.arange(320), torch.arange(320), indexing="ij")
    disc = (x - 200) ** 2 + (y - 190) ** 2 < 40**2
    edited = original.clone()
    edited[0][disc] = edited[0][disc][:, [2, 0, 1]] * 0.7 + 0.2
    return original, edited, disc


def town(seed, do):
    truth = score.truth(seed, do)
    return to_tensor(truth.factual), to_tensor(truth.exact), torch.from_numpy(~truth.unchanged)


TROUBLES = {
    "shift, zoom, turn, colours, JPEG": lambda image: jpeg(cast(drifted(image, WHOLE))),
    "a large shift and a zoom out": lambda image: drifted(image, Drift((-7.5, 4.25), (0.95, 0.95))),
    "colours": cast,
    "JPEG": lambda image: jpeg(image, 75),
}


@pytest.mark.parametrize(("trouble", "gain"), list(zip(TROUBLES, (12, 12, 8, 4))), ids=list(TROUBLES))
@pytest.mark.parametrize(("seed", "do"), [(1, {"house": "blue"}), (7, {"ground": "wet"})], ids=str)
def test_exact_counterfactuals_come_back_from_drift(seed, do, trouble, gain):
    """Measured: 17.9 to 22.0 dB become 35.8 to 41.6 dB with all troubles at once."""
    original, exact, differs = town(seed, do)
    edited = TROUBLES[trouble](exact)
    image, mask, _ = undo_drift(original, edited)
    assert psnr(image, exact) > psnr(edited, exact) + gain and psnr(image, exact) > 32
    assert (mask[0] > 0)[differs].float().mean() > 0.9, "the change itself is missing"
    assert torch.equal(image[mask == 0], original[mask == 0]) and (mask == 0).float().mean() > 0.4


@pytest.mark.parametrize(("seed", "do"), [(1, {"house": "blue"}), (5, {"car": "red"})], ids=str)
def test_a_vae_shifts_and_blurs(seed, do):
    """Measured: 25.1 and 25.5 dB become 35.8 and 34.9 dB."""
    original, exact, _ = town(seed, do)
    edited = vae(drifted(exact, Drift((1.4, 0.6))))
    assert psnr(undo_drift(original, edited)[0], exact) > max(33, psnr(edited, exact) + 7)


@pytest.mark.parametrize("trouble", [TROUBLES["shift, zoom, turn, colours, JPEG"], lambda image: noisy(drifted(image, WHOLE))])
def test_a_photographs_edit_comes_back(photograph, trouble):
    """Measured: 21.5 dB become 41.5 dB."""
    original, wanted, disc = photograph
    edited = trouble(wanted)
    image, mask, report = undo_drift(original, edited)
    assert psnr(edited, wanted) < 25 and psnr(image, wanted) > 35
    inside = mask[0] > 0
    assert inside[disc].all() and inside[~disc].float().mean() < 0.1
    assert re.search(r"shifted 2\.[23]\d px right and 1\.[56]\d px up, zoomed \+1\.5%, turned \+0\.[23]", report)


@pytest.mark.parametrize("drift", [Drift((0.4, -0.3)), Drift((3.25, -5.5)), Drift((0, 0), (1.04, 1.04)), Drift((9, -6), (0.93, 0.93), -2),
                                   Drift((0, 0), (1.2, 1.2)), Drift((1, 2), (1.01, 0.98))], ids=str)  # fmt: skip
def test_a_drift_is_found_to_a_tenth_of_a_pixel_everywhere(photograph, drift):
    original, wanted, _ = photograph
    found = find_drift(original, cast(drifted(wanted, drift)))
    corners = np.array([[x, y] for x in (-160, 160) for y in (-160, 160)], float)
    moved = corners @ (found.matrix() - drift.matrix()).T + np.array(found.shift) - np.array(drift.shift)
    assert np.linalg.norm(moved, axis=1).max() < 0.15


def test_where_nothing_moved_no_drift_is_found(photograph):
    original, wanted, _ = photograph
    assert find_drift(original, wanted) is None or find_drift(original, wanted).reach((320, 320)) < 0.05


def test_colours_are_measured_where_nothing_changed(photograph):
    original, wanted, disc = photograph
    found = find_colour(original[0], cast(wanted)[0], torch.ones_like(disc))
    assert np.allclose(found.gain, CAST.gain, atol=0.01) and np.allclose(found.offset, CAST.offset, atol=0.01)


def test_identical_pictures_stay_identical(photograph):
    original, *_ = photograph
    image, mask, report = undo_drift(original, original.clone())
    assert torch.equal(image, original) and not mask.any() and "identical" in report


@pytest.mark.parametrize("edited", [lambda o: town(2, {"time": "night"})[1], lambda o: torch.rand(1, 256, 256, 3), lambda o: 1 - o],
                         ids=["night", "noise", "negative"])  # fmt: skip
def test_a_picture_that_changed_everywhere_is_returned_as_it_is(edited):
    original = town(2, {"time": "night"})[0]
    other = edited(original)
    image, mask, report = undo_drift(original, other)
    assert torch.equal(image, other) and mask.all() and "changed everywhere" in report


def test_given_masks_say_where_the_edit_is(photograph):
    original, wanted, disc = photograph
    edited = jpeg(drifted(wanted, WHOLE))
    image, mask, _ = undo_drift(original, edited, disc[None].float(), feather=0)
    assert torch.equal(mask[0] > 0, disc) and torch.equal(image[0][~disc], original[0][~disc])
    assert psnr(image, wanted) > 38


def test_what_is_switched_off_is_left(photograph):
    original, wanted, _ = photograph
    moved = drifted(wanted, Drift((6, 0)))
    assert "no shift" in undo_drift(original, moved, align=False)[2]
    assert "colours as they were" in undo_drift(original, cast(wanted), match_colour=False)[2]


@pytest.mark.parametrize("size", [(640, 640), (200, 204), (992, 1000)], ids=str)
def test_another_size_is_fitted_to_the_original(photograph, size):
    original, wanted, disc = photograph
    edited = F.interpolate(wanted.movedim(-1, 1), size, mode="bilinear", antialias=True).movedim(1, -1)
    image, mask, _ = undo_drift(original, edited)
    assert image.shape == original.shape and psnr(image, wanted) > 35
    assert (mask[0] > 0)[disc].all() and (mask == 0).float().mean() > 0.85


def test_a_batch_is_undone_picture_by_picture(photograph):
    original, wanted, _ = photograph
    edits = torch.cat([drifted(wanted, Drift((3, 0))), original, cast(wanted)])
    image, mask, report = undo_drift(original, edits)
    assert len(image) == len(mask) == 3
    assert re.match(r"picture 1: shifted (3\.0|2\.9)\d px right", report) and "picture 2: the pictures are identical" in report
    assert torch.equal(image[1], original[0]) and all(psnr(image[i : i + 1], wanted) > 35 for i in (0, 2))


def test_a_border_that_the_editor_cut_off_is_the_originals(photograph):
    original, wanted, _ = photograph
    image, mask, _ = undo_drift(original, drifted(wanted, Drift((0, 0), (1.06, 1.06))), torch.ones(1, 320, 320))
    assert mask[:, 160, 160] == 1 and torch.equal(image[:, :8], original[:, :8]) and not mask[:, :8].any()


def broken(image):
    image = image.clone()
    image[0, 0, 0, 0] = math.inf
    return image


@pytest.mark.parametrize(("change", "words"), [
    (lambda o, e: (o, e[:, :200]), "320 x 320 and the edited picture 320 x 200: their aspects differ by 60%"),
    (lambda o, e: (o, broken(e)), "1 values that are not numbers"),
    (lambda o, e: (torch.cat([o, o[..., :1]], -1), e), "original picture has 4 channels"),
    (lambda o, e: (o.repeat(3, 1, 1, 1), e.repeat(2, 1, 1, 1)), "3 originals and 2 edited"),
])  # fmt: skip
def test_what_cannot_be_laid_on_the_original_is_refused_in_words(photograph, change, words):
    with pytest.raises(ValueError, match=words):
        undo_drift(*change(*photograph[:2]))


def box(value=1.0, count=1):
    masks = torch.zeros(count, 320, 320)
    masks[:, 150:240, 150:240] = value
    return masks


def test_empty_masks_leave_the_original(photograph):
    original, edited, _ = photograph
    image, mask, report = undo_drift(original, edited, box(0.0))
    assert torch.equal(image, original) and not mask.any() and "0.0% shows the edit" in report


@pytest.mark.parametrize(("masks", "words"), [
    (box(math.nan), "masks have values that are not numbers"), (box(count=3), "3 masks for 2 pictures"),
    (box()[:0], r"masks have the shape \(0, 320, 320\)"), (box()[None, None], "nothing empty")])  # fmt: skip
def test_masks_that_do_not_fit_are_refused_in_words(photograph, masks, words):
    with pytest.raises(ValueError, match=words):
        undo_drift(photograph[0], photograph[1].repeat(2, 1, 1, 1), masks)


def test_the_benchmark_of_photographs_knows_the_right_answer(photograph):
    """Without drift nothing is lost; its row says so, and a drift's row what was gained."""
    found = {kind: [measured(photograph[0], KINDS[kind])] for kind in ("none", "colour cast")}
    (before, after, kept), = found["none"]
    assert before == after == 100 and 0.8 < kept < 0.97
    (before, after, kept), = found["colour cast"]
    assert after > before + 8 and kept > 0.8
    none, colours = table(found, ["a portrait"]).splitlines()[2:]
    assert none.startswith("| none | exact | exact | exact | 0.0 | ") and none.endswith(" | a portrait |")
    assert f"| {before:.1f} | {after:.1f} |" in colours
