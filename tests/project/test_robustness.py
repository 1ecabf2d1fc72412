"""The program that attacks every reader of strangers' texts runs, holds, and notices what does not."""

import subprocess
import sys
from pathlib import Path

import robustness
import robustness_places

ROOT = Path(__file__).resolve().parents[2]


def test_the_attacks_run_and_are_held(tmp_path):
    report = tmp_path / "robustness.md"
    command = [sys.executable, str(ROOT / "benchmarks" / "robustness.py"), "--quick", "--count", "30", "--out", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ": 0 attacks were not held." in done.stdout
    words = report.read_text(encoding="utf-8")
    assert "| damaged graphs, both read them alike | 30 | 30 |" in words and "| any graph, page | 5 |" in words
    assert words.endswith("## Not held\n\nNothing.\n")


def test_what_raises_or_ends_by_force_is_noticed():
    area = robustness.Area()
    area.note("a text", robustness.measured(lambda text: text.missing, "x"))
    area.note("another", robustness.measured(lambda text: robustness.os._exit(1), "x"))
    area.note("a third", robustness.measured(lambda text: bytearray(300_000_000), "x"))
    assert area.tried == 3
    assert ["AttributeError" in area.failed[0], "ended by force" in area.failed[1], "read" in area.failed[2]] == [True] * 3
    assert area.megabytes[0] > 250 and area.megabytes[1] == "a third"


def test_attacks_on_files_are_held_and_what_is_not_is_noticed():
    for area in (robustness_places.attack_inversions(8), robustness_places.attack_journals(40)):
        assert area.tried >= 40 and area.failed == []
    def refuse(words):
        raise ValueError(words)

    area = robustness.Area()
    long = "x" * 900
    for outcome in (lambda: 1, lambda: 0, lambda: {}["missing"], lambda: refuse(long), lambda: refuse(robustness_places.KEY)):
        robustness_places.attack(area, "an attack", outcome, bool)
    kinds = ["a wrong result", "KeyError", "said badly", "said badly"]
    assert area.tried == 5 and all(kind in words for kind, words in zip(kinds, area.failed, strict=True))
