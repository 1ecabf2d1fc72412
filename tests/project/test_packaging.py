"""What the project declares agrees with what it installs and what it ships."""

import ast
import re
import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BROUGHT_BY_COMFYUI = {"torch", "torchvision", "torchaudio", "numpy", "pillow", "safetensors", "transformers", "aiohttp"}


def plain(requirement):
    """The package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s;<>=!~\[]", requirement.strip())[0].lower())


def pins(name):
    lines = (ROOT / ".ci" / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_every_pin_is_exact():
    loose = [line for line in pins("requirements.txt") + pins("requirements-test.txt")
             if not re.match(r"^[\w.-]+==[\w.]+( ; .+)?$", line)]
    assert not loose


def test_declared_dependencies_are_installed():
    pinned = {plain(line) for line in pins("requirements.txt")}
    declared = {plain(line) for line in PROJECT["project"]["dependencies"]}
    assert declared <= pinned, f"not pinned in .ci/requirements.txt: {declared - pinned}"


def test_test_dependencies_are_installed():
    pinned = {plain(line) for line in pins("requirements.txt") + pins("requirements-test.txt")}
    assert {plain(line) for line in PROJECT["project"]["optional-dependencies"]["test"]} <= pinned


def test_nothing_that_comfyui_brings_is_declared():
    assert not BROUGHT_BY_COMFYUI & {plain(line) for line in PROJECT["project"]["dependencies"]}


def test_the_licence_is_comfyuis():
    assert "GNU GENERAL PUBLIC LICENSE" in (ROOT / "LICENSE").read_text()[:200]
    assert any("GPLv3+" in line for line in PROJECT["project"]["classifiers"])
    assert "GPL-3.0-or-later" in (ROOT / "README.md").read_text()


def test_the_root_module_imports_nothing():
    """ComfyUI, pytest and packagers import it; only ComfyUI may make it load more."""
    code = f"import sys; before = set(sys.modules); sys.path.insert(0, {str(ROOT.parent)!r}); " \
           f"__import__({ROOT.name!r}); print(sorted(set(sys.modules) - before - {{{ROOT.name!r}}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_set_up_can_be_read_by_an_old_python():
    """So that an old Python can say in one line that it is too old, where newer syntax would end in a traceback."""
    ast.parse((ROOT / ".ci" / "setup.py").read_text(), feature_version=(3, 7))


def test_every_package_is_bound_by_an_import_contract():
    bound = {source for contract in PROJECT["tool"]["importlinter"]["contracts"] for source in contract["source_modules"]}
    packages = {f"csg.{path.parent.name}" for path in (ROOT / "csg").glob("*/__init__.py")}
    assert packages and not packages - bound
