"""Attacks on everything that reads a stranger's text, in Python and in the page's JavaScript, and what of it held.

    python benchmarks/robustness.py            # 10,000 damaged replies, 10,000 damaged graphs in each language
    python benchmarks/robustness.py --quick    # 100 of each and a few texts of 1 MB

An attack is held when the reader hands back a value or raises the pack's own error, and, of a text of 1 MB, when it
takes at most 2 s of processor time and 200 MB. A damaged graph must moreover be read alike in both languages, or be
refused by both. Seeded: the same attacks every time. Writes benchmarks/results/robustness.md. Needs Node.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import robustness_texts as texts  # noqa: E402

from csg.causal import assignments, formats  # noqa: E402
from csg.causal.graph import GraphError  # noqa: E402
from csg.evaluation.datasets import DatasetError, read_captions  # noqa: E402
from csg.vlm import replies  # noqa: E402
from csg.vlm.extract import concepts_from_text  # noqa: E402
from csg.vlm.protocol import VLMError  # noqa: E402

OWN_ERRORS = (GraphError, VLMError, DatasetError)
OTHERS = "## Files, servers and nodes"  # the section of robustness_places.py
MOST_SECONDS, MOST_MEGABYTES, GIVEN_UP = 2.0, 200.0, 60
Reader = Callable[[str], Any]


def captions_reader(suffix: str) -> Reader:
    """A reader of a captions file with this suffix."""

    def read(text: str) -> dict[str, str]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"captions{suffix}"
            file.write_text(text, encoding="utf-8", errors="replace")
            return read_captions(file)

    return read


REPLIES: dict[str, Reader] = {
    "a graph from a reply": replies.read_graph_reply,
    "values": replies.read_values,
    "suggestions": replies.read_suggestions,
    "a description": replies.read_description,
    "a verdict": replies.read_answer,
    "Concepts from Text": concepts_from_text,
}
READERS: dict[str, Reader] = {
    "any graph": formats.read_graph,
    **REPLIES,
    "values by hand": assignments.parse_assignments,
    "strengths": lambda text: assignments.parse_strengths(text, ["a"]),
    "captions (JSON)": captions_reader(".json"),
    "captions (JSON lines)": captions_reader(".jsonl"),
}
PAGE_READERS = ("any graph", "the Text tab")


@dataclass
class Area:
    """Attacks on one kind of reader: how many were tried, and the words of those that were not held."""

    tried: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: tuple[float, str] = (0.0, "")
    megabytes: tuple[float, str] = (0.0, "")

    def note(self, what: str, outcome: Mapping[str, Any]) -> None:
        """Take in the outcome of one attack with a text of 1 MB."""
        self.tried += 1
        self.seconds = max(self.seconds, (outcome["seconds"], what))
        self.megabytes = max(self.megabytes, (outcome["megabytes"], what))
        if outcome["outcome"] == "raised" or outcome["seconds"] > MOST_SECONDS or outcome["megabytes"] > MOST_MEGABYTES:
            self.failed.append(
                f"{what}: {outcome['outcome']}, {outcome['seconds']:.2f} s, {outcome['megabytes']:.0f} MB {outcome.get('words', '')}"[
                    :300
                ]
            )


def outcome_of(read: Reader, text: str) -> dict[str, Any]:
    """Whether a reader reads, refuses or raises."""
    try:
        return {"outcome": "read", "value": read(text)}
    except OWN_ERRORS as error:
        return {"outcome": "refused", "words": str(error)}
    except Exception as error:  # whatever it is, it is what this program looks for
        return {"outcome": "raised", "words": repr(error)}


def measured(read: Reader, text: str) -> dict[str, Any]:
    """The outcome in a process of its own, with the seconds of processor time and the memory that it took beside the text."""
    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (GIVEN_UP, GIVEN_UP))
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        outcome = outcome_of(read, text)
        used = {
            "seconds": time.process_time() - began,
            "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
        }
        os.write(
            sending,
            json.dumps({"outcome": outcome["outcome"], "words": outcome.get("words", "")[:200], **used}).encode(),
        )
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return (
        json.loads(told)
        if told
        else {"outcome": "raised", "words": "ended by force", "seconds": float(GIVEN_UP), "megabytes": 0.0}
    )


@contextmanager
def page() -> Iterator[Callable[[str, str], dict[str, Any]]]:
    """A process of Node with the page's readers."""
    command = ["node", str(Path(__file__).with_name("robustness_page.mjs"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8") as node:
        assert node.stdin and node.stdout

        def read(reader: str, text: str) -> dict[str, Any]:
            print(json.dumps({"reader": reader, "text": text}), file=node.stdin, flush=True)
            return json.loads(
                node.stdout.readline() or '{"outcome": "raised", "words": "ended", "seconds": 0, "megabytes": 0}'
            )

        yield read
        node.stdin.close()


def same(left: Any, right: Any) -> bool:
    """Whether two graphs as data are equal; Python's 1 and JavaScript's 1.0 are."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True) or left == right


def attack_with_damaged_graphs(count: int) -> tuple[Area, Area, Area]:
    """Damaged graphs in Python and in the page, and whether both agree."""
    chance, known = random.Random(1), texts.graphs()
    python, page_, both = Area(), Area(), Area()
    with page() as read:
        for _ in range(count):
            text = texts.damaged(known, chance)
            mine, theirs = outcome_of(formats.read_graph, text), read("any graph", text)
            for area, outcome in ((python, mine), (page_, theirs)):
                area.tried += 1
                if outcome["outcome"] == "raised":
                    area.failed.append(f"{outcome['words'][:200]} for {text[:200]!r}")
            both.tried += 1
            graph = formats.graph_to_data(mine["value"]) if mine["outcome"] == "read" else None
            if mine["outcome"] != theirs["outcome"] or not same(graph, theirs.get("graph")):
                both.failed.append(
                    f"Python: {mine.get('words', 'read')}; page: {theirs.get('words', 'read')}; {text!r}"[:2000]
                )
    return python, page_, both


def attack_with_damaged_replies(count: int) -> Area:
    """Damaged replies at the readers of every question."""
    chance, known, area = random.Random(2), texts.replies(), Area()
    for _ in range(count):
        text = texts.damaged(known, chance)
        area.tried += 1
        for name, read in REPLIES.items():
            outcome = outcome_of(read, text)
            if outcome["outcome"] != "read":  # no reader of replies raises on any text
                area.failed.append(f"{name}: {outcome['words'][:200]} for {text[:300]!r}")
    return area


def attack_with_damaged_captions(count: int) -> Area:
    """Damaged captions files."""
    coco = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"id": 3, "image_id": 1, "caption": "a road"}]}
    known = [
        json.dumps(coco),
        '{"a": "a road", "b": ["a lamp", null]}',
        '{"file_name": "a.png", "text": "a road"}\n{"file_name": "b.png", "text": ""}',
    ]
    chance, area = random.Random(3), Area()
    readers = [captions_reader(".json"), captions_reader(".jsonl")]
    for _ in range(count):
        outcome = outcome_of(chance.choice(readers), text := texts.damaged(known, chance))
        area.tried += 1
        if outcome["outcome"] == "raised":
            area.failed.append(f"{outcome['words'][:200]} for {text[:300]!r}")
    return area


def attack_with_large_texts(few: bool) -> tuple[dict[str, Area], dict[str, Area]]:
    """Every text of 1 MB at every reader of both languages."""
    large = dict(list(texts.large().items())[:: 25 if few else 1])
    python = {name: Area() for name in READERS}
    pages = {name: Area() for name in PAGE_READERS}
    for what, text in large.items():
        for name, read in READERS.items():
            python[name].note(what, measured(read, text))
        for name in PAGE_READERS:
            with page() as read_page:
                pages[name].note(what, read_page(name, text))
    return python, pages


def tables(areas: Mapping[str, Area], python: Mapping[str, Area], pages: Mapping[str, Area]) -> list[str]:
    """The two tables, and what was not held."""
    large = {f"{name}, Python": area for name, area in python.items()} | {
        f"{name}, page": area for name, area in pages.items()
    }
    lines = ["| area | attacks | held |", "|---|---|---|"]
    lines += [f"| {name} | {area.tried:,} | {area.tried - len(area.failed):,} |" for name, area in areas.items()]
    tried, failed = sum(area.tried for area in large.values()), sum(len(area.failed) for area in large.values())
    lines += [f"| texts of 1 MB at {len(large)} readers | {tried:,} | {tried - failed:,} |", ""]
    lines += [
        "## Texts of 1 MB",
        "",
        f"Wanted: at most {MOST_SECONDS:g} s of processor time and {MOST_MEGABYTES:g} MB.",
        "",
    ]
    lines += ["| reader | texts | longest time | by | largest memory | by |", "|---|---|---|---|---|---|"]
    for name, area in large.items():
        (seconds, slow), (megabytes, big) = area.seconds, area.megabytes
        lines.append(f"| {name} | {area.tried} | {seconds:.2f} s | {_cell(slow)} | {megabytes:.0f} MB | {_cell(big)} |")
    failed_words = [
        f"- {name}: {one_line(words)}" for name, area in {**areas, **large}.items() for words in area.failed[:5]
    ]
    return [*lines, "", "## Not held", "", *(failed_words or ["Nothing."]), ""]


def one_line(words: str) -> str:
    """Words for a line of the report."""
    return words.encode("unicode_escape", "replace").decode("ascii").replace("`", "'").replace("|", "\\|")


def _cell(what: str) -> str:
    return f"`{one_line(what)}`"


def main() -> None:
    """Attack, and write what held."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="100 damaged texts of each kind and a few of 1 MB")
    options.add_argument("--count", type=int, help="damaged texts of each kind")
    options.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "robustness.md")
    chosen = options.parse_args()
    count = chosen.count if chosen.count is not None else 100 if chosen.quick else 10_000
    python, pages, both = attack_with_damaged_graphs(count)
    areas = {
        "damaged graphs, Python": python,
        "damaged graphs, page": pages,
        "damaged graphs, both read them alike": both,
        f"damaged replies at {len(REPLIES)} readers": attack_with_damaged_replies(count),
        "damaged captions files": attack_with_damaged_captions(count),
    }
    large = attack_with_large_texts(chosen.quick)
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    command = " ".join([f"python benchmarks/{Path(__file__).name}", *sys.argv[1:]])
    machine = f"{platform.machine()} with {os.cpu_count()} cores (load average {os.getloadavg()[0]:.1f})"
    packages = ", ".join(f"{name} {version(name)}" for name in ("json-repair", "pydantic"))
    head = [
        "# Hard to break",
        "",
        f"`{command}` on {machine}, Python {platform.python_version()}, Node {node}, {packages}.",
        "An attack is held when the reader hands back a value or raises the pack's own error within its bounds;",
        "readers of replies never raise at all.",
        "",
    ]
    others = "".join(chosen.out.read_text(encoding="utf-8").partition(OTHERS)[1:]) if chosen.out.is_file() else ""
    report = "\n".join(head + tables(areas, *large))
    chosen.out.write_text(f"{report}\n{others}" if others else report, encoding="utf-8")
    failed = sum(len(area.failed) for group in (areas, *large) for area in group.values())
    print(f"{chosen.out}: {failed} attacks were not held.")


if __name__ == "__main__":
    main()
