"""What Town ships: small enough, readable, and the readers read."""

import numpy as np
import pytest
import torch

from csg.town import score, weights, world
from csg.town.autoencoder import Autoencoder, Codec, fold, widen
from csg.town.readers import read_values
from csg.town.render import picture

SCENES = range(70_000_000, 70_000_064)


def test_the_checkpoint_is_at_most_25_megabytes():
    assert weights.CHECKPOINT.stat().st_size <= 25_000_000


def test_a_missing_or_damaged_file_is_named_with_what_to_do(tmp_path):
    with pytest.raises(weights.MissingWeights, match=r"gone\.safetensors.*Install the pack again"):
        weights.read(tmp_path / "gone.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    with pytest.raises(weights.MissingWeights, match="damaged"):
        weights.read(tmp_path / "cut.safetensors")


def test_readers_recover_the_values_of_renders_never_trained_on():
    read = read_values(np.stack([picture(s) for s in SCENES]))
    share = {n: np.mean([r[n] == world.factual(s)[n] for r, s in zip(read, SCENES, strict=True)]) for n in world.NAMES}
    assert min(share.values()) >= 0.9 and np.mean(list(share.values())) >= 0.96, share


def test_the_exact_counterfactual_scores_full_marks_and_the_factual_picture_none():
    seed = next(s for s in range(1000) if world.factual(s)["weather"] == "sunny" and world.factual(s)["time"] == "day")
    do = {"weather": "rainy"}
    best, worst = score.score(picture(seed, do), seed, do), score.score(picture(seed), seed, do)
    assert best.effectiveness == 1 and best.untouched >= 0.8 and best.excess_error < 0
    assert worst.effectiveness == 0 and worst.psnr < best.psnr
    assert score.score(picture(seed, {"time": "night"}), seed, {"time": "night"}).excess_error is None


def test_a_picture_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(128, 128, 3\).*\(256, 256, 3\)"):
        score.score(np.zeros((128, 128, 3), np.uint8), 1, {})


def test_padding_the_autoencoder_to_64_channels_does_not_change_it():
    torch.manual_seed(0)
    model = Autoencoder().eval()
    model.norm.running_mean += 0.3
    narrow = fold(model)
    wide = widen(narrow)
    assert wide["taesd_encoder.1.conv.0.weight"].shape == (64, 64, 3, 3)
    assert wide["taesd_decoder.1.weight"].shape == (64, 4, 3, 3)
    x = torch.rand(1, 3, 32, 32)
    assert torch.allclose(Codec(narrow).taesd_encoder(x), model.encode(x), atol=1e-5)
    first = torch.nn.functional.conv2d(x, wide["taesd_encoder.0.weight"], wide["taesd_encoder.0.bias"], padding=1)
    assert not first[:, 16:].any() and torch.allclose(first[:, :16], model.encoder[0](x), atol=1e-6)
