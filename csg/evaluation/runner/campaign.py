"""A whole evaluation: every picture through the three stages, each result on disk before the next begins."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

from ...writing import write_new
from ..datasets import Sample
from .comfy_client import ComfyClient, ComfyError
from .journal import Journal
from .pace import Pace
from .study import CONCEPTS, EDITS, FIELDS, STAGES, VERDICTS, Answer, Study, Task, attempt, digest

FAILURES_IN_A_ROW = 5

Outcome = tuple[Task, "Answer | str"]
"""A task with its answer, or with the reason why there is none."""

Performer = Callable[[Sequence[Task]], Iterator[Outcome]]
"""Does tasks in any order and hands back each outcome as soon as it is there."""


class Campaign:
    """Keeps the results of one study in a folder: a journal of all stages, and the edited pictures."""

    def __init__(self, folder: str | Path, samples: Sequence[Sample], methods: Sequence[str]) -> None:
        self.folder, self.samples, self.methods = Path(folder), list(samples), list(methods)
        self.journal = Journal(self.folder / "results.jsonl", FIELDS)

    def picture(self, item: dict[str, Any]) -> Path:
        """Where the edited picture of an item lies."""
        method = item["method"].replace(" ", "_").replace("+", "p")
        return self.folder / "pictures" / item["sample"] / f"{item['number']}-{method}.png"

    def tasks(self, stage: str) -> Iterator[Task]:
        """What the stage still has to do; the stages before it decide what that is."""
        for sample in self.samples:
            for task in self._of(stage, sample):
                if task.item not in self.journal:
                    yield task

    def _of(self, stage: str, sample: Sample) -> Iterator[Task]:
        asked = Task(CONCEPTS, sample.name, sample.path, caption=sample.caption)
        if stage == CONCEPTS:
            yield asked
        elif asked.item in self.journal:
            documents = self.journal[asked.item]["documents"]
            for method in self.methods:  # outside: edits that share an inversion follow each other, while ComfyUI still has it
                for number, document in enumerate(documents):
                    yield from self._of_edit(stage, sample, number, method, document)

    def _of_edit(
        self, stage: str, sample: Sample, number: int, method: str, document: dict[str, Any]
    ) -> Iterator[Task]:
        edit = Task(EDITS, sample.name, sample.path, number, method, document=document)
        if stage == EDITS:
            yield edit
        elif edit.item in self.journal:
            yield replace(edit, stage=VERDICTS, path=self.picture(edit.item))

    def keep(self, answer: Answer) -> None:
        """Put an answer on the disk: first its picture, then the line that says it is done."""
        if answer.picture is not None:
            path = self.picture(answer.record)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(answer.picture)
        self.journal.add(answer.record)

    def run(self, performer: Performer, out: TextIO | None = None) -> int:
        """Run all stages, with progress on `out` (default: standard error); returns how many tasks failed.

        Those are tried again by the next run. Raises ValueError while another run writes to the same folder.
        """
        with self.journal.claimed():
            return sum(self._stage(stage, performer, out or sys.stderr) for stage in STAGES)

    def _stage(self, stage: str, performer: Performer, out: TextIO) -> int:
        todo = list(self.tasks(stage))
        pace, failed, in_a_row = Pace(len(todo), out), 0, 0
        for task, outcome in performer(todo):
            label = f"{stage} {task.sample}" + (f" {task.number + 1} {task.method}" if task.method else "")
            if isinstance(outcome, Answer):
                self.keep(outcome)
                in_a_row = 0
                pace.step(label)
                continue
            failed, in_a_row = failed + 1, in_a_row + 1
            pace.step(f"{label} failed: {outcome}")
            if in_a_row == FAILURES_IN_A_ROW:
                raise ComfyError(f"{in_a_row} tasks failed one after the other, the last with: {outcome}. Mend that and run again: "
                                 "what is done is kept.")  # fmt: skip
        return failed

    def pin(self, study: Study) -> None:
        """Write down what decides the results; raises ValueError when the folder's results were made otherwise.

        That is the study with the method's settings, and the picture and caption of every sample that has results.
        """
        path, now = self.folder / "study.json", json.dumps(asdict(study) | {"method": study.method_settings}, indent=1)
        pinned = path.read_text(encoding="utf-8") if path.is_file() else None
        if pinned is not None and pinned != now:
            raise ValueError(f"{path} {_difference(pinned)} Give another --output.")
        for sample in self.samples:
            self._expect_the_same(sample)
        if pinned is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_new([path], lambda part: part.write_text(now, encoding="utf-8"))

    def _expect_the_same(self, sample: Sample) -> None:
        item = Task(CONCEPTS, sample.name, sample.path).item
        if item not in self.journal:
            return
        recorded = self.journal[item]
        if (recorded["caption"], recorded["picture"]) != (sample.caption, digest(sample.path.read_bytes())):
            raise ValueError(f"{self.journal.path} holds results of another picture or caption named {sample.name!r} than {sample.path}; "
                             "results of both do not mix. Give another --output.")  # fmt: skip

    def rows(self, perception: str) -> list[dict[str, Any]]:
        """One row per edit of these samples by these methods, with its figures: what tables and Parquet hold."""
        names = {sample.name for sample in self.samples}
        edits = (record for record in self.journal.records if record["stage"] == EDITS)
        return [self._row(edit, perception) for edit in edits if edit["sample"] in names and edit["method"] in self.methods]

    def _row(self, edit: dict[str, Any], perception: str) -> dict[str, Any]:
        asked = self.journal[{"stage": CONCEPTS, "sample": edit["sample"], "number": 0, "method": ""}]
        document = asked["documents"][edit["number"]]
        judged = edit | {"stage": VERDICTS}
        verdicts = self.journal[judged]["verdicts"] if judged in self.journal else None
        done = document["graph"]["interventions"]
        row = {name: edit[name] for name in ("sample", "number", "method", "perceptual", "seconds", "inversion_shared")}
        row |= {"caption": asked["caption"], "intervention": ", ".join(f"{c} = {v}" for c, v in done.items()), "prompt": document["prompt"],
                "perception": perception, "effectiveness": None, "effectiveness_descendants": None}  # fmt: skip
        if verdicts:
            followed = [verdict for concept, verdict in verdicts.items() if concept not in done]
            row["effectiveness"] = sum(verdicts.values()) / len(verdicts)
            row["effectiveness_descendants"] = sum(followed) / len(followed) if followed else None
        return row


def _difference(pinned: str) -> str:
    """How pinned settings differ from those of this run, in words."""
    try:
        json.loads(pinned)
    except ValueError:
        return "is damaged, so that nobody can say how the results beside it were made."
    return "names other settings than these; results of both do not mix."


def alone(client: ComfyClient, study: Study) -> Performer:
    """One ComfyUI, one task after the other."""

    def each(tasks: Iterable[Task]) -> Iterator[Outcome]:
        for task in tasks:
            yield task, attempt(client, study, task.packed())

    return each
