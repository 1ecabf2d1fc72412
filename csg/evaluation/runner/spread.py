"""An evaluation over many GPUs and machines with Ray: every worker has a ComfyUI of its own.

The driver hands out one task at a time and alone writes results, so none is done twice; a task whose worker is lost
goes back to the others, and a new worker takes the lost one's place.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .campaign import Outcome
from .comfy_client import REPOSITORY, ComfyError, ComfyServer
from .study import Answer, Study, Task, attempt

log = logging.getLogger(__name__)

LOCAL_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anyone
    "RAY_health_check_timeout_ms": "60000",  # a machine that is busy with pictures answers late, and is not dead
    "RAY_health_check_failure_threshold": "10",
}
STARTING = 600.0  # seconds: machines of a cluster may load from a slow disk, all at once
TRIES = 3  # a task that ends three workers is given up: it is the task's fault


class RayUnavailable(RuntimeError):
    """Ray is not installed."""


def ray_module() -> Any:  # noqa: ANN401
    """Ray, or RayUnavailable with what to install."""
    try:
        import ray
    except ImportError as error:
        raise RayUnavailable(f"--ray needs the package ray ({error}): run `pip install ray`.") from error
    return ray


def lost() -> tuple[type[Exception], ...]:
    """What Ray raises when a worker, or an answer on its way from a worker's machine, is gone."""
    errors = ray_module().exceptions
    return errors.RayActorError, errors.ObjectLostError


def start(workers: int, address: str | None = None) -> None:
    """Join the cluster at `address`, or begin one on this machine that has room for the workers."""
    ray = ray_module()
    if address:
        ray.init(address=address)
        return
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    for name, value in LOCAL_RAY.items():
        os.environ.setdefault(name, value)
    begin(ray, num_cpus=max(workers, os.cpu_count() or 1), include_dashboard=False, log_to_driver=False)


def begin(ray: Any, attempts: int = 3, **options: Any) -> None:  # noqa: ANN401
    """Start Ray on this machine; its own wait for its parts is short and fixed, so a busy machine may need another go."""
    for remaining in reversed(range(attempts)):
        try:
            ray.init(**options)
            return
        except Exception as error:
            ray.shutdown()
            if not remaining:
                raise
            log.warning("Ray did not start (%s); trying again.", error)


class Worker:
    """A process with a ComfyUI of its own, wherever Ray puts it."""

    def __init__(self, study: Study, workspace: str, number: int) -> None:
        self.study = study
        threads = 1 if study.is_town else None
        self.server = ComfyServer(
            workspace=Path(workspace) / f"worker-{number}", threads=threads, start_timeout=STARTING
        )
        self.server.__enter__()

    def do(self, task: Task) -> Answer | str:
        """The answer, or why there is none."""
        return attempt(self.server.client, self.study, task)


@dataclass
class Pool:
    """Workers, what each is at, and what is left; `replacements` bounds how many lost workers are made anew."""

    study: Study
    workers: int
    workspace: Path
    gpus: float = 0.0
    replacements: int = 8
    kind: type = Worker
    _made: int = 0
    _busy: dict[Any, tuple[Any, Task]] = field(default_factory=dict)
    _idle: list[Any] = field(default_factory=list)

    def __call__(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Do all tasks; outcomes come in the order in which they are done."""
        waiting, tries = deque(tasks), {}
        while waiting or self._busy:
            self._hand_out(waiting)
            reference = self._next()
            worker, task = self._busy.pop(reference)
            try:
                outcome = ray_module().get(reference)
            except lost() as error:
                ray_module().kill(worker)  # one that only cannot be reached would keep its GPU
                key = tuple(task.item.values())
                tries[key] = tries.get(key, 0) + 1
                log.warning("a worker was lost at %s of %s; another takes over", task.stage, task.sample)
                if tries[key] < TRIES:
                    waiting.appendleft(task)
                    continue
                yield task, f"the worker was lost {TRIES} times over it ({error})"
            else:
                self._idle.append(worker)
                yield task, outcome

    def _next(self) -> Any:  # noqa: ANN401
        done, _ = ray_module().wait(list(self._busy), num_returns=1)
        return done[0]

    def _hand_out(self, waiting: deque[Task]) -> None:
        while waiting and (self._idle or len(self._busy) < self.workers):
            worker = self._idle.pop() if self._idle else self._make()
            task = waiting.popleft()
            self._busy[worker.do.remote(task.packed())] = (worker, task)

    def _make(self) -> Any:  # noqa: ANN401
        if self._made >= self.workers + self.replacements:
            raise ComfyError(
                f"{self.replacements} workers were lost and replaced already; look into {self.workspace} for their logs."
            )
        self._made += 1
        kind = ray_module().remote(num_cpus=1, num_gpus=self.gpus)(self.kind)
        return kind.remote(self.study, str(self.workspace), self._made)
