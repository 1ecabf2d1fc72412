"""The command line that Town's journaled measures share: measure what is missing, then write the tables from the lines that are there."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from in_process import ROOT, start_comfyui
from town_methods import FIELDS
from town_networks import UNET, add_arguments, check_arguments, digest

from csg.evaluation.runner.journal import Journal
from csg.evaluation.runner.tables import select

RESULTS = ROOT / "benchmarks" / "results"


def parser_of(description: str, scenes: int) -> argparse.ArgumentParser:
    """The options of such a program; `scenes`: how many it measures when nothing is said."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--scenes", type=int, default=scenes, help="held-out scenes")
    parser.add_argument("--first", type=int, default=0, help="leave out so many scenes")
    parser.add_argument("--journal", type=Path, help="where the JSON lines go; the tables beside them, under its name")
    parser.add_argument("--report", action="store_true", help="only write the tables from the lines that are there")
    parser.add_argument("--comfyui", type=Path, default=ROOT / ".comfy" / "ComfyUI")
    return parser


def carry_out(
    parser: argparse.ArgumentParser, words: Sequence[str] | None, name: str, measure: str,
    run: Callable[[argparse.Namespace], None], report: Callable[[Sequence[Mapping[str, Any]], str], str],
) -> None:  # fmt: skip
    """Read the `words` of the command line, `run`, and write and print the `report` of the lines of this measure.

    `name` is the program's and that of its files; `report` is also given the command.
    """
    options = parser.parse_args(words)
    check_arguments(parser, options)
    options.journal = options.journal or RESULTS / f"{name if options.network == UNET else f'{name}_{options.network}'}.jsonl"
    start_comfyui(options.comfyui)
    if not options.report:
        run(options)
    records = select(Journal(options.journal, FIELDS).records, model=digest(options.weights), measure=measure)
    text = report(records, " ".join([f"python benchmarks/{name}.py", *(sys.argv[1:] if words is None else words)]))
    options.journal.with_suffix(".md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
