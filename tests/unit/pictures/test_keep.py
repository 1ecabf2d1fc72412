"""Preserved pixels: the original's own outside the masks, a soft edge inside, words for what does not fit."""

import pytest
import torch

from csg.pictures.keep import keep_preserved, soft_edge


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.rand(1, 40, 48, 3, generator=generator) ** 2 for _ in range(2))  # squared: differences round


def box(top, bottom, left, right, value=1.0):
    mask = torch.zeros(1, 40, 48)
    mask[:, top:bottom, left:right] = value
    return mask


@pytest.mark.parametrize("feather", [0, 1, 5.5, 200])
def test_outside_the_masks_every_pixel_is_the_originals_bit_by_bit(pair, feather):
    original, edited = pair
    mask = box(8, 30, 10, 40, 0.01)
    image, alpha = keep_preserved(original, edited, mask, feather)
    assert torch.equal(image[mask == 0], original[mask == 0])
    assert (alpha[mask > 0] > 0).all() and not torch.equal(image[mask > 0], original[mask > 0])
    if feather == 0:
        assert torch.equal(image[mask > 0], edited[mask > 0])


def test_the_soft_edge_rises_with_the_distance_to_the_mask(pair):
    _, alpha = keep_preserved(*pair, box(0, 40, 10, 48), feather=4)
    assert torch.allclose(alpha[0, 20, 9:16], torch.tensor([0, 0.2, 0.4, 0.6, 0.8, 1, 1])), "the picture's border is no edge"
    assert torch.equal(keep_preserved(*pair, box(0, 40, 10, 48), feather=4)[0][0, :, 16:], pair[1][0, :, 16:])


def test_a_global_mask_keeps_nothing_and_an_empty_one_everything(pair):
    original, edited = pair
    assert torch.equal(keep_preserved(original, edited, torch.full((1, 40, 48), 0.3))[0], edited)
    image, alpha = keep_preserved(original, edited, torch.zeros(1, 40, 48))
    assert torch.equal(image, original) and not alpha.any()


def test_masks_of_several_concepts_and_pictures_are_joined_picture_by_picture(pair):
    """Concept by concept, as CSG Sampler gives them: (K * B, h, w)."""
    original, edited = pair
    masks = torch.cat([box(0, 5, 0, 5), box(0, 5, 10, 15), box(30, 35, 0, 5), box(30, 35, 10, 15)])
    image, _ = keep_preserved(original, edited.repeat(2, 1, 1, 1), masks, 0)
    for number, wanted in enumerate((masks[0] + masks[2], masks[1] + masks[3])):
        assert torch.equal((image[number] != original[0]).any(-1), wanted > 0)


def test_masks_of_another_size_are_scaled(pair):
    small = torch.zeros(1, 5, 6)
    small[0, 1, 2] = 1
    image, _ = keep_preserved(*pair, small, 0)
    assert torch.equal((image[0] != pair[0][0]).any(-1), box(8, 16, 16, 24)[0] > 0)


def test_a_thin_mask_still_shows_something_of_the_edit():
    assert 0 < soft_edge(box(10, 12, 10, 40) > 0, 8).max() < 1


def wrong_number(image):
    image = image.clone()
    image[0, 3, 3] = float("nan")
    return image


@pytest.mark.parametrize(("change", "words"), [
    (lambda o, e, m: (o, e[:, :20], m), "48 x 40 and the edited picture 48 x 20"),
    (lambda o, e, m: (o.repeat(2, 1, 1, 1), e, m), "2 originals and 1 edited"),
    (lambda o, e, m: (o, e.repeat(2, 1, 1, 1), m.repeat(3, 1, 1)), "3 masks for 2 pictures"),
    (lambda o, e, m: (o, torch.cat([e, e[..., :1]], -1), m), "4 channels.*Split Image with Alpha"),
    (lambda o, e, m: (wrong_number(o), e, m), "original picture has 3 values that are not numbers"),
    (lambda o, e, m: (o, wrong_number(e), m), "edited picture has 3 values that are not numbers"),
    (lambda o, e, m: (o, e, m / 0), "masks have values that are not numbers"),
    (lambda o, e, m: (o, e, m[:0]), r"masks have the shape \(0, 40, 48\)"),
    (lambda o, e, m: (o[:0], e, m), "nothing empty"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_in_words(pair, change, words):
    with pytest.raises(ValueError, match=words):
        keep_preserved(*change(*pair, box(5, 9, 5, 9)))
