"""The program that runs the suites: a browser test may fail once, and is named then."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
from pathlib import Path
SEEN = Path(__file__).with_name("seen")

def test_good(): pass

def test_shaky():
    again = SEEN.exists()
    SEEN.touch()
    assert again
"""
BAD = "\ndef test_bad(): assert False\n"


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """The program, in a project that has one browser suite."""
    spec = importlib.util.spec_from_file_location("project_tests", ROOT / ".ci" / "tests.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def suite(folder, name, text):
    (folder / "tests" / name).mkdir(parents=True)
    (folder / "tests" / name / "test_one.py").write_text(text)


def main(runner, monkeypatch, *suites):
    monkeypatch.setattr(sys, "argv", ["tests.py", *suites])
    return runner.main()


def test_what_passes_at_the_second_try_counts_as_passed_and_is_listed(runner, tmp_path, monkeypatch, capsys):
    suite(tmp_path, "browser", TESTS)
    assert main(runner, monkeypatch, "browser") == 0
    end = capsys.readouterr().out
    assert "2 passed, 0 failed" in end.splitlines()[-1]
    assert "shaky" in end and "test_one::test_shaky" in end and "test_good" not in end


def test_what_fails_twice_fails(runner, tmp_path, monkeypatch, capsys):
    suite(tmp_path, "browser", TESTS + BAD)
    assert main(runner, monkeypatch, "browser") == 1
    end = capsys.readouterr().out
    assert "2 passed, 1 failed" in end.splitlines()[-1] and "test_bad" not in end.split("shaky")[1]


def test_other_suites_have_one_try(runner, tmp_path, monkeypatch, capsys):
    suite(tmp_path, "unit", TESTS)
    assert main(runner, monkeypatch, "unit") == 1
    assert "1 passed, 1 failed" in capsys.readouterr().out.splitlines()[-1]


def test_two_suites_run_at_a_time_and_those_with_a_browser_alone(runner, tmp_path, monkeypatch, capfd):
    """Two that wait for each other end only side by side; what each says stays in one piece."""
    meet = """
import time
from pathlib import Path
HERE = Path(__file__).resolve().parents[1]

def test_meeting():
    (HERE / "%s").touch()
    for _ in range(600):
        if (HERE / "%s").exists():
            return
        time.sleep(0.05)
    raise AssertionError("nobody came")
"""
    suite(tmp_path, "unit", meet % ("a", "b"))
    suite(tmp_path, "host", meet % ("b", "a"))
    suite(tmp_path, "browser", "def test_page(): pass\n")
    assert main(runner, monkeypatch, "browser", "unit", "host") == 0
    out = capfd.readouterr().out
    assert "3 passed, 0 failed" in out.splitlines()[-1]
    assert out.index("== browser") > max(out.index("-- unit"), out.index("-- host"))
