"""The tools that judge the project find nothing: ruff, import-linter, ComfyUI's own validator."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent


def call(*command, **environment):
    done = subprocess.run([str(PROGRAMS / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | environment)
    return done.returncode, done.stdout + done.stderr


def test_ruff():
    code, words = call("ruff", "check", "--no-cache", "--output-format", "concise", ".")
    assert code == 0, words


def test_imports_point_one_way():
    code, words = call("lint-imports", "--no-cache")
    assert code == 0, words


@pytest.fixture
def home(tmp_path):
    """A home of its own for comfy-cli, with its tracking off."""
    settings = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "NO_COLOR": "1"}
    code, words = call("comfy", "--skip-prompt", "tracking", "disable", **settings)
    assert code == 0, words
    return settings


def test_comfy_accepts_the_node_pack(home):
    code, words = call("comfy", "node", "validate", **home)
    assert code == 0, words
    assert "passed" in words
    assert "warning" not in words.lower(), words
