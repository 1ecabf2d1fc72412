"""Pictures for a model: right colours, sensible size."""
import pytest
import torch

from csg.images import to_tensor
from csg.vlm.pictures import for_model


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(256, 256, (256, 256)), (2048, 1024, (512, 1024)), (1000, 3000, (1024, 341)), (4096, 16, (56, 1024)), (1, 1, (56, 56))],
)
def test_the_longer_side_is_brought_down_and_tiny_sides_up(height, width, size):
    assert for_model(torch.rand(1, height, width, 3)).size == size


def test_colours_survive_the_round_trip():
    image = torch.randint(0, 256, (1, 60, 70, 3)) / 255
    assert torch.equal(to_tensor(for_model(image)), image)


def test_the_first_of_a_batch_grey_and_alpha_and_bad_numbers():
    batch = torch.stack([torch.ones(60, 60, 3), torch.zeros(60, 60, 3)])
    assert for_model(batch).getpixel((5, 5)) == (255, 255, 255)
    assert for_model(torch.full((1, 60, 60, 1), 0.5)).getpixel((0, 0)) == (128, 128, 128)
    assert for_model(torch.ones(1, 60, 60, 4)).mode == "RGB"
    assert for_model(torch.full((1, 60, 60, 3), float("nan"))).getpixel((0, 0)) == (0, 0, 0)
    assert for_model(torch.full((1, 60, 60, 3), 7.0)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("shape", [(60, 60, 3), (1, 60, 60, 7), (0, 60, 60, 3), (1, 0, 60, 3)])
def test_what_is_no_picture_is_refused(shape):
    with pytest.raises(ValueError, match="expected \\(batch"):
        for_model(torch.zeros(shape))
