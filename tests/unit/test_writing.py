"""Files are whole, and no file takes the place of another."""

import multiprocessing
import os
import signal
import time

import pytest

from csg import writing


def names(folder):
    return writing.numbered(folder, "graph", 1, ".json")


def test_a_file_gets_the_first_free_number_and_nothing_else_is_left(tmp_path):
    (tmp_path / "graph_00001_.json").write_text("mine")
    path = writing.write_new(names(tmp_path), lambda part: part.write_text("new"))
    assert path.name == "graph_00002_.json" and path.read_text() == "new"
    assert (tmp_path / "graph_00001_.json").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_leaves_nothing(tmp_path):
    def half(part):
        part.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        writing.write_new(names(tmp_path), half)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_earlier_file_whole(tmp_path):
    def half(part):
        part.write_text("ha")
        raise OSError(28, "No space left on device")

    file = tmp_path / "results.md"
    writing.write_over(file, lambda part: part.write_text("earlier"))
    with pytest.raises(OSError, match="No space"):
        writing.write_over(file, half)
    assert list(tmp_path.iterdir()) == [file] and file.read_text() == "earlier"
    writing.write_over(file, lambda part: part.write_text("later"))
    assert list(tmp_path.iterdir()) == [file] and file.read_text() == "later"


@pytest.mark.parametrize("links", [True, False])
def test_a_name_taken_meanwhile_is_not_taken_twice(tmp_path, links, monkeypatch):
    """The other one gets it between the look and the rename, with hard links and without."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(1, "no hard links here")))

    def late(part):
        (tmp_path / "graph_00001_.json").write_text("the other's")
        part.write_text("new")

    assert writing.write_new(names(tmp_path), late).name == "graph_00002_.json"
    assert (tmp_path / "graph_00001_.json").read_text() == "the other's"
    assert len(list(tmp_path.iterdir())) == 2


def write_many(folder, who):
    for number in range(25):
        writing.write_new(names(folder), lambda part, number=number: part.write_text(f"{who} {number}"))


def test_two_servers_with_one_folder_overwrite_nothing(tmp_path):
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=write_many, args=(tmp_path, who)) for who in "ab"]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert {path.read_text() for path in tmp_path.iterdir()} == {f"{who} {number}" for who in "ab" for number in range(25)}


def test_a_killed_writer_leaves_no_file_of_that_name(tmp_path):
    def slow(part):
        part.write_text("half")
        time.sleep(60)

    writer = multiprocessing.get_context("fork").Process(target=writing.write_new, args=(names(tmp_path), slow))
    writer.start()
    while not any(path.read_bytes() for path in tmp_path.iterdir()):
        time.sleep(0.01)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert not list(tmp_path.glob("graph*"))
