"""All GPU measures on a machine without network: what is packed, and that one failing measure loses no other."""

import json
import sys
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import gpu
import pytest

ROOT = Path(__file__).resolve().parents[3]
LINES = ["# pins", "", "av==17.1.0 ; python_version < '3.11'", "av==19.0.2 ; python_version >= '3.12'", "Mako==1.4.3", "numpy==2.5.5",
         "comfyui-frontend-package==1.47.12", "comfy-aimdo==0.4.11"]  # fmt: skip


def test_what_a_machine_with_torch_has_is_not_packed_and_pins_are_those_of_its_python():
    assert gpu.wanted(LINES, "3.12") == ["av==19.0.2", "Mako==1.4.3", "comfy-aimdo==0.4.11"]
    assert gpu.wanted(LINES, "3.10", ["MAKO", "comfy_aimdo"]) == ["av==17.1.0"]


def test_the_projects_pins_hold_what_the_measures_import():
    names = {gpu.plain(pin.partition("==")[0]) for pin in gpu.wanted(gpu.pinned(), "3.12")}
    assert {"av", "diffusers", "pytest", "scipy", "transformers", "torchsde", "sqlalchemy", "comfy-kitchen"} <= names
    assert not names & {"torch", "numpy", "ray", "playwright", "kornia", "comfyui-frontend-package"}


@pytest.fixture
def comfyui(tmp_path):
    """Some files as ComfyUI has them."""
    home = tmp_path / "ComfyUI"
    for name in ("main.py", "comfyui_version.py", "comfy/sd.py", "comfy/sd1_tokenizer/vocab.json", "comfy/text_encoders/t5.py",
                 "comfy/text_encoders/t5_tokenizer/tokenizer.json", "models/checkpoints/mine.safetensors", "comfy/__pycache__/sd.pyc",
                 "custom_nodes/mine/__init__.py", "input/photo.png", "output/edit.png", "user/comfyui.db", ".git/HEAD",
                 "tests-unit/a.py"):  # fmt: skip
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    return home


def test_the_archive_holds_sources_and_wheels_and_nothing_of_the_users(tmp_path, comfyui, monkeypatch, capsys):
    asked = []

    def download(pins, python, folder):
        asked.append((pins, python))
        (folder / "av-19.0.2-cp312-abi3-linux.whl").write_bytes(b"a wheel")

    monkeypatch.setattr(gpu, "download", download)
    (tmp_path / "there.txt").write_text("diffusers==0.42.1\nmine @ file:///mine\nscipy==1.0\n")
    gpu.main(["pack", "--output", str(tmp_path / "a.tar.gz"), "--comfyui", str(comfyui), "--python", "3.12",
              "--installed", str(tmp_path / "there.txt")])  # fmt: skip
    with tarfile.open(tmp_path / "a.tar.gz") as tar:
        names = set(tar.getnames())
    theirs = {name.removeprefix(".comfy/ComfyUI/") for name in names if name.startswith(".comfy/")}
    assert theirs == {"main.py", "comfyui_version.py", "comfy/sd.py", "comfy/sd1_tokenizer/vocab.json", "comfy/text_encoders/t5.py"}
    assert {"__init__.py", "benchmarks/gpu_measures.py", "nodes/sample.py", "tests/host/tiny_families.py", "tests/parity/parity_engine.py",
            "csg/town/world.py", "wheels/av-19.0.2-cp312-abi3-linux.whl"} <= names  # fmt: skip
    assert not [name for name in names if name.endswith((".safetensors", ".jpg", ".png", ".md5", ".xz"))]
    assert (tmp_path / "a.tar.gz").stat().st_size < 2e6
    (pins, python), = asked
    assert python == "3.12" and not [pin for pin in pins if pin.startswith(("diffusers", "scipy"))]
    said = capsys.readouterr().out
    assert " MB, 1 wheels (largest, in MB: av 0.0)" in said and "more than" not in said


def test_no_wheels_asks_for_none_and_too_large_an_archive_is_said_to_be(tmp_path, comfyui, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "download", lambda *_: pytest.fail("nothing was to be downloaded"))
    monkeypatch.setattr(gpu, "GOAL_MB", 0.001)
    gpu.main(["pack", "--no-wheels", "--output", str(tmp_path / "a.tar.gz"), "--comfyui", str(comfyui)])
    assert "0 wheels\nThat is more than 0.001 MB" in capsys.readouterr().out


def test_wheels_are_laid_out_apart_and_only_those_of_packages_that_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "WHEELS", tmp_path / "wheels")
    monkeypatch.setattr(gpu, "SITE", tmp_path / "site")
    (tmp_path / "wheels").mkdir()
    for name in ("missing_from_here-1.0-py3-none-any.whl", "numpy-9.9-py3-none-any.whl"):
        with zipfile.ZipFile(tmp_path / "wheels" / name, "w") as wheel:
            wheel.writestr(f"{name.partition('-')[0]}.py", "there = True")
    assert gpu.lay_out_wheels() == ["missing_from_here-1.0-py3-none-any.whl"]
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["missing_from_here.py"]


PROGRAM = """
import argparse, json, sys, time
from pathlib import Path
import laid_out
parser = argparse.ArgumentParser()
parser.add_argument("name"); parser.add_argument("--output", type=Path); parser.add_argument("--tiny", action="store_true")
options = parser.parse_args()
if options.name == "fails":
    sys.exit("x" * 5000 + "out of luck")
if options.name == "hangs":
    time.sleep(60)
options.output.write_text(json.dumps({"tiny": options.tiny, "seen": laid_out.seen}))
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Measures of which one fails, one hangs and one needs more than there is; the wheels laid out hold a module."""
    (tmp_path / "gpu_measures.py").write_text(PROGRAM)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "laid_out.py").write_text("seen = 7")
    monkeypatch.setattr(gpu, "HERE", tmp_path)
    monkeypatch.setattr(gpu, "SITE", tmp_path / "site")
    measures = {"fails": gpu.Measure("one that fails", 30, 1), "hangs": gpu.Measure("one that hangs", 2, 1),
                "large": gpu.Measure("one too large", 30, 50), "works": gpu.Measure("one that works", 30, 1)}  # fmt: skip
    monkeypatch.setattr(gpu, "MEASURES", measures)
    monkeypatch.setattr(gpu, "lay_out_wheels", lambda: ["laid_out-1.whl"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_a_measure_that_fails_hangs_or_does_not_fit_loses_no_other(program, monkeypatch):
    monkeypatch.setattr(gpu, "machine", lambda: {"gpu": "a GPU", "memory_gib": 24.0})
    gpu.main(["run", "--output", str(program / "gpu.json")])
    found = json.loads((program / "gpu.json").read_text())
    measures = found["measures"]
    assert [measures[name]["state"] for name in ("fails", "hangs", "large", "works")] == ["failed", "failed", "not run", "done"]
    assert "out of luck" in measures["fails"]["why"] and len(measures["fails"]["why"]) < 2100
    assert measures["hangs"]["why"] == "it took more than its 2 s" and "50 GiB, this one has 24" in measures["large"]["why"]
    assert measures["works"]["figures"] == {"tiny": False, "seen": 7}
    assert found["machine"]["gpu"] == "a GPU" and found["versions"]["torch"] and found["versions"]["from_wheels"] == ["laid_out-1.whl"]


def test_what_had_no_turn_yet_is_marked_and_tiny_networks_need_no_gpu(program, monkeypatch):
    monkeypatch.setattr(gpu, "machine", lambda: {"gpu": None})
    with pytest.raises(SystemExit, match="torch sees no GPU here"):
        gpu.main(["run", "--output", str(program / "none.json")])
    assert not (program / "none.json").exists()
    gpu.main(["run", "--tiny", "--only", "works", "--output", str(program / "gpu.json")])
    found = json.loads((program / "gpu.json").read_text())
    assert found["tiny"] and found["measures"]["works"]["figures"]["tiny"]
    assert {one["state"] for name, one in found["measures"].items() if name != "works"} == {"not run"}
    assert "not asked for" in found["measures"]["large"]["why"]


def test_all_measures_together_take_less_than_twenty_minutes_and_each_has_a_program():
    import engine_families
    import gpu_measures

    assert sum(one.limit for one in gpu.MEASURES.values()) < 20 * 60
    assert set(gpu.MEASURES) - set(gpu_measures.MEASURES) == {family for family, *_ in engine_families.FULL.values()}
    assert set(gpu_measures.MEASURES) < set(gpu.MEASURES)


def test_the_highest_peak_is_found_wherever_it_stands():
    import gpu_measures

    rows = [{"ours": {"peak_edit": 9000.0, "peak_edit_with_weights": 300.0}}, {"peak_bare_with_weights": 200.0}]
    assert sorted(gpu_measures.peaks({"results": rows, "peak_with_weights": 100.0})) == [100, 200, 300]
    assert list(gpu_measures.peaks(SimpleNamespace())) == []
