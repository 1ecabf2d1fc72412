"""LPIPS against the `lpips` package on the same seeded backbone, and what it says when something is missing."""

import sys

import pytest
import torch
from safetensors.torch import save_file

from csg.evaluation import perceptual
from csg.evaluation.perceptual import FILES, LPIPSUnavailable, find_backbone, lpips, read_backbone

models = pytest.importorskip("torchvision.models")
pytest.importorskip("torchmetrics")
BUILDERS = {"vgg": models.vgg16, "alex": models.alexnet}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seeded random backbones under torchvision's file names."""
    place = tmp_path_factory.mktemp("lpips")
    for seed, (net, build) in enumerate(BUILDERS.items()):
        torch.manual_seed(seed)
        convolutions = {
            name: value for name, value in build(weights=None).state_dict().items() if name.startswith("features.")
        }
        torch.save(convolutions, place / FILES[net])
    return place


@pytest.fixture(scope="module")
def pair():
    generator = torch.Generator().manual_seed(3)
    return torch.rand(2, 64, 96, 3, generator=generator), torch.rand(2, 64, 96, 3, generator=generator)


@pytest.mark.parametrize("net", perceptual.NETS)
def test_it_agrees_with_the_lpips_package(folder, pair, net):
    package = pytest.importorskip("lpips")
    reference = package.LPIPS(net=net, pnet_rand=True, verbose=False)
    state = torch.load(folder / FILES[net], weights_only=True)
    own = reference.net.state_dict()
    reference.net.load_state_dict({name: state["features." + name.split(".", 1)[1]] for name in own})
    with torch.inference_mode():
        expected = reference(*(x.movedim(-1, 1) for x in pair), normalize=True).mean()
    assert lpips(*pair, folder / FILES[net], net) == pytest.approx(float(expected), rel=1e-5)
    assert float(expected) > 0.01


def test_the_same_picture_is_at_no_distance_and_a_nearer_one_is_nearer(folder, pair):
    a, b = pair
    at = [lpips(a, a + share * (b - a), folder / FILES["vgg"]) for share in (0.0, 0.2, 1.0)]
    assert at[0] == pytest.approx(0, abs=1e-6) and at[0] < at[1] < at[2]


def test_safetensors_do_as_well(folder, pair, tmp_path):
    state = torch.load(folder / FILES["alex"], weights_only=True)
    save_file(state, tmp_path / "alexnet.safetensors")
    assert lpips(*pair, tmp_path / "alexnet.safetensors", "alex") == lpips(*pair, folder / FILES["alex"], "alex")


def test_missing_weights_say_which_file_belongs_where(tmp_path):
    (tmp_path / "vgg16.txt").write_text("notes")
    with pytest.raises(LPIPSUnavailable, match=r"vgg16-397923af\.pth.*" + tmp_path.name):
        find_backbone([tmp_path], "vgg")


def test_the_file_is_found_in_any_folder(folder, tmp_path):
    assert find_backbone([tmp_path, folder], "alex") == folder / FILES["alex"]


def test_code_in_a_file_does_not_run(tmp_path, pair):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    torch.save({"features.0.weight": Trap()}, tmp_path / FILES["vgg"])
    with pytest.raises(LPIPSUnavailable, match="cannot be read"):
        lpips(*pair, tmp_path / FILES["vgg"])
    assert not (tmp_path / "ran").exists()


def test_another_networks_weights_are_refused(folder):
    with pytest.raises(LPIPSUnavailable, match="does not hold torchvision's vgg16"):
        read_backbone(folder / FILES["alex"], "vgg")


def test_without_torchmetrics_it_says_what_to_install(folder, pair, monkeypatch):
    perceptual.load.cache_clear()
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image.lpips", None)
    with pytest.raises(LPIPSUnavailable, match="pip install torchmetrics"):
        lpips(*pair, folder / FILES["vgg"])


@pytest.mark.parametrize(
    ("change", "message"), [({"net": "squeeze"}, "one of vgg, alex"), ({"side": 16}, "at least 32")]
)
def test_wrong_input_is_told(folder, change, message):
    image = torch.rand(1, change.get("side", 64), 64, 3)
    with pytest.raises(ValueError, match=message):
        lpips(image, image, folder / FILES["vgg"], change.get("net", "vgg"))
