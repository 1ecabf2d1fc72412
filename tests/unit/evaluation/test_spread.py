"""The pool of Ray workers: every task once, whatever happens to the workers. ComfyUI has a stand-in here."""

import os
from pathlib import Path

import pytest

from csg.evaluation.runner.comfy_client import ComfyError
from csg.evaluation.runner.spread import TRIES, Pool, begin, start
from csg.evaluation.runner.study import CONCEPTS, VLM, Answer, Study, Task

ray = pytest.importorskip("ray")
STUDY = Study("town", VLM.parse("http://127.0.0.1:1/v1"))


class Hand:
    """A worker without ComfyUI: notes what it does, dies at a task named after dying, once or always."""

    def __init__(self, study, workspace, number):
        self.folder, self.number = Path(workspace), number

    def do(self, task):
        with (self.folder / "done.txt").open("a") as notes:
            notes.write(f"{task.sample} {self.number}\n")
        assert task.picture == b"pixels"
        if task.sample == "dies always" or (task.sample == "dies once" and self.number <= 2):
            os._exit(1)
        return "no answer" if task.sample == "fails" else Answer(task.item)


@pytest.fixture(scope="module", autouse=True)
def cluster():
    start(2)
    yield
    ray.shutdown()


@pytest.fixture
def outcomes(tmp_path):
    """Give the samples' names, get what became of each and how often it was tried."""

    def of(*names, **options):
        picture = tmp_path / "picture.png"
        picture.write_bytes(b"pixels")
        pool = Pool(STUDY, 2, tmp_path, kind=Hand, **options)
        found = {task.sample: outcome for task, outcome in pool([Task(CONCEPTS, name, picture) for name in names])}
        tried = [line.rsplit(" ", 1)[0] for line in (tmp_path / "done.txt").read_text().splitlines()]
        return found, {name: tried.count(name) for name in names}

    return of


def test_every_task_is_done_once(outcomes):
    names = [f"picture {i}" for i in range(9)]
    found, tried = outcomes(*names)
    assert all(found[name].record["sample"] == name for name in names)
    assert set(tried.values()) == {1}


def test_a_lost_workers_task_is_done_again_and_no_other(outcomes):
    found, tried = outcomes("a", "dies once", "b", "c", "d")
    assert all(isinstance(outcome, Answer) for outcome in found.values()) and len(found) == 5
    assert 2 <= tried.pop("dies once") <= 3
    assert set(tried.values()) == {1}


def test_a_task_that_ends_every_worker_is_given_up(outcomes):
    found, tried = outcomes("a", "dies always", "b")
    assert f"lost {TRIES} times" in found["dies always"] and tried["dies always"] == TRIES
    assert isinstance(found["a"], Answer) and isinstance(found["b"], Answer)


def test_a_failure_is_handed_on_and_costs_no_worker(outcomes):
    found, tried = outcomes("fails", "a")
    assert found["fails"] == "no answer" and tried == {"fails": 1, "a": 1}


def test_an_answer_lost_on_its_way_is_asked_for_again_and_its_worker_let_go(outcomes, monkeypatch):
    """As when a machine of the cluster dies between a worker's answer and the driver's taking it."""
    taken, killed, get, kill = [], [], ray.get, ray.kill

    def losing(reference):
        taken.append(reference)
        if len(taken) == 1:
            raise ray.exceptions.ObjectLostError(reference.hex(), "", "")
        return get(reference)

    monkeypatch.setattr(ray, "get", losing)
    monkeypatch.setattr(ray, "kill", lambda worker: killed.append(worker) or kill(worker))
    found, tried = outcomes("a", "b", "c")
    assert all(isinstance(outcome, Answer) for outcome in found.values()) and sorted(tried.values()) == [1, 1, 2]
    assert len(killed) == 1


def test_a_pool_that_loses_everything_stops(outcomes):
    with pytest.raises(ComfyError, match="were lost"):
        outcomes("dies always", replacements=0)


@pytest.mark.parametrize(("failures", "starts"), [(0, True), (2, True), (3, False)])
def test_ray_gets_three_goes_at_starting(failures, starts):
    class SlowRay:
        left, stopped = failures, 0

        def init(self, **options):
            assert options == {"num_cpus": 2}
            self.left -= 1
            if self.left >= 0:
                raise RuntimeError("raylet not up in time")

        def shutdown(self):
            self.stopped += 1

    slow = SlowRay()
    if starts:
        begin(slow, num_cpus=2)
    else:
        with pytest.raises(RuntimeError, match="raylet"):
            begin(slow, num_cpus=2)
    assert slow.stopped == failures
