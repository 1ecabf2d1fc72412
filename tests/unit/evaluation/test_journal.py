"""The record of finished work: nothing lost, nothing twice, whatever ends the run."""

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from csg.evaluation.runner.journal import Journal
from csg.evaluation.runner.pace import Pace, readable

ROOT = Path(__file__).resolve().parents[3]
WORKER = """
import sys, time
from csg.evaluation.runner.journal import Journal
journal = Journal(sys.argv[1], ("item",))
for item in range(40):
    if {"item": item} not in journal:
        time.sleep(0.02)
        with open(sys.argv[2], "a") as computed:
            computed.write(f"{item}\\n")
        journal.add({"item": item, "value": item * item})
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "edits.jsonl"


def test_what_was_added_is_there_for_the_next_run(path):
    first = Journal(path, ("scene", "method"))
    first.add({"scene": 1, "method": "csg", "psnr": 21.5})
    again = Journal(path, ("scene", "method"))
    assert len(again) == 1 and again.records == first.records
    assert {"method": "csg", "scene": 1} in again and {"scene": 2, "method": "csg"} not in again
    assert again[{"scene": 1, "method": "csg"}]["psnr"] == 21.5


def test_a_line_that_a_kill_cut_short_is_done_again(path):
    journal = Journal(path, ("item",))
    journal.add({"item": 1})
    with path.open("a") as file:
        file.write('{"item": 2, "val')
    again = Journal(path, ("item",))
    assert {"item": 2} not in again
    assert path.read_text().endswith('"val'), "who only reads must not cut a line that another run may be writing"
    again.add({"item": 2})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"item": 1}, {"item": 2}]


def test_the_same_item_twice_is_refused(path):
    journal = Journal(path, ("item",))
    journal.add({"item": 1})
    with pytest.raises(ValueError, match="already"):
        journal.add({"item": 1, "more": 2})
    assert len(path.read_text().splitlines()) == 1


@pytest.mark.parametrize("line", ["no json", '{"other": 1}', "[1, 2]", "[" * 100_000], ids=lambda line: line[:20])
def test_a_file_of_something_else_is_left_alone(path, line):
    path.parent.mkdir()
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"Line 1 of .*edits\.jsonl is no result"):
        Journal(path, ("item",))
    assert path.read_text() == line + "\n"


def test_numbers_that_json_cannot_hold_are_refused(path):
    with pytest.raises(ValueError, match="JSON"):
        Journal(path, ("item",)).add({"item": 1, "psnr": float("nan")})


def test_a_killed_run_goes_on_and_computes_nothing_twice(path, tmp_path):
    computed = tmp_path / "computed"
    command = [sys.executable, "-c", WORKER, str(path), str(computed)]
    for wanted in (5, 15):
        with subprocess.Popen(command, cwd=ROOT) as run:
            while not path.is_file() or len(path.read_text().splitlines()) < wanted:
                assert run.poll() is None, "it ended before it was killed"
                time.sleep(0.005)
            run.send_signal(signal.SIGKILL)
    subprocess.run(command, cwd=ROOT, check=True)
    records = Journal(path, ("item",)).records
    assert sorted(r["item"] for r in records) == list(range(40)) == [r["value"] ** 0.5 for r in records]
    twice = len(computed.read_text().splitlines()) - 40
    assert 0 <= twice <= 2, "only the item at work when the kill came may be computed again"


def test_pace_tells_the_time_that_is_left():
    now, out = [0.0], io.StringIO()
    pace = Pace(10, out, done=4, clock=lambda: now[0])
    assert pace.remaining is None
    for _ in range(2):
        now[0] += 30
        pace.step("rain")
    assert pace.remaining == pytest.approx(120)
    assert out.getvalue().splitlines() == [
        "4/10 done by an earlier run",
        "5/10  2 min left  rain",
        "6/10  2 min left  rain",
    ]


@pytest.mark.parametrize(("seconds", "words"), [(48, "48 s"), (720, "12 min"), (11100, "3 h 05 min")])
def test_durations_are_for_people(seconds, words):
    assert readable(seconds) == words


def test_two_runs_do_not_write_to_one_file(tmp_path):
    first, second = Journal(tmp_path / "a.jsonl", ("item",)), Journal(tmp_path / "a.jsonl", ("item",))
    with first.claimed():
        first.add({"item": 1})
        with pytest.raises(ValueError, match="Another run is writing to .*a.jsonl. Wait for it"):
            second.add({"item": 2})
    second.add({"item": 2})
    assert {"item": 1} in second and len(Journal(tmp_path / "a.jsonl", ("item",))) == 2


def test_a_half_written_line_of_another_run_is_not_cut_away(tmp_path):
    """What was half a line when a run began has become a whole one, and more, before it writes."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"item": 1}\n{"item"')
    late = Journal(path, ("item",))
    path.write_bytes(b'{"item": 1}\n{"item": 2}\n{"item": 3}\n{"it')
    late.add({"item": 4})
    assert [record["item"] for record in Journal(path, ("item",)).records] == [1, 2, 3, 4]


def test_bytes_that_are_no_text_are_named_by_their_line(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"item": 1}\n\xff\xfe\n')
    with pytest.raises(ValueError, match="Line 2 of"):
        Journal(tmp_path / "a.jsonl", ("item",))
