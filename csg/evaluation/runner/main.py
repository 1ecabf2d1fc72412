"""The paper's experiment on a folder of pictures: `python -m csg.evaluation --images DIR --captions FILE ...`.

A vision-language model names the concepts of each picture and three interventions; every method carries them out; the
model judges whether each change is seen, and LPIPS or multi-scale SSIM how much else changed. All of it runs in
ComfyUI. A run that was ended goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...writing import write_over
from ..datasets import FORMATS, DatasetError, drawn, samples
from .campaign import Campaign, Performer, alone
from .comfy_client import ComfyError, ComfyServer
from .results import ParquetUnavailable, paper_table, parquet_module, write_parquet
from .spread import Pool, RayUnavailable, ray_module, start
from .study import METHODS, TOWN, VLM, Study


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m csg.evaluation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--captions", type=Path, help=FORMATS.replace("%", "%%"))
    parser.add_argument(
        "--checkpoint", required=True, help=f"a checkpoint as ComfyUI names it; {TOWN}: the toy world's model"
    )
    parser.add_argument(
        "--vlm", required=True, help="http://.../v1 (OpenAI-compatible), clip:FILE (a text encoder) or llm:FOLDER"
    )
    parser.add_argument("--vlm-model", default="", help="the model's name on the server")
    parser.add_argument("--sample", type=int, help="so many pictures, drawn without replacement; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw, the questions and the inversions")
    parser.add_argument("--interventions", type=int, default=3, help="per picture")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--steps", type=int, help="of the inversions; default: each method's own")
    parser.add_argument("--cfg", type=float, help="guidance of the whole-prompt methods (7.5; town 2)")
    parser.add_argument("--megapixels", type=float, default=1.0, help="size at which pictures are edited")
    parser.add_argument(
        "--lpips", choices=["vgg", "alex"], help="needs the weights in models/lpips; default: multi-scale SSIM"
    )
    parser.add_argument("--output", type=Path, default=Path("output/evaluation"), help="where results and pictures go")
    parser.add_argument("--url", help="a ComfyUI that runs already with this pack; default: start one")
    parser.add_argument("--ray", action="store_true", help="spread over workers, each with a ComfyUI of its own")
    parser.add_argument("--workers", type=int, default=2, help="with --ray")
    parser.add_argument("--gpus-per-worker", type=float, default=0.0, help="with --ray; 1 on GPU machines")
    parser.add_argument("--ray-address", help="a Ray cluster to join, such as auto; default: this machine alone")
    return parser.parse_args(words)


def study_of(options: argparse.Namespace) -> Study:
    """What the command line asks for. Raises ValueError for a VLM that it does not know."""
    cfg = options.cfg or (2.0 if options.checkpoint == TOWN else 7.5)
    return Study(options.checkpoint, VLM.parse(options.vlm, options.vlm_model), options.lpips or "", options.seed,
                 options.interventions, options.megapixels, cfg, options.steps)  # fmt: skip


@contextmanager
def performer(options: argparse.Namespace, study: Study) -> Iterator[Performer]:
    """One ComfyUI, or a pool of workers."""
    if not options.ray:
        with ComfyServer(options.url) as server:
            yield alone(server.client, study)
        return
    start(options.workers, options.ray_address)
    try:
        yield Pool(study, options.workers, options.output.resolve() / "workers", options.gpus_per_worker)
    finally:
        ray_module().shutdown()


def main(words: Sequence[str] | None = None) -> int:
    """Run what is missing and write the results; returns the exit code, 1 when something failed."""
    options = arguments(words)
    try:
        parquet_module()
        study = study_of(options)
        chosen = drawn(samples(options.images, options.captions), options.sample, options.seed)
        campaign = Campaign(options.output, chosen, options.methods)
        campaign.pin(study)
    except (DatasetError, ParquetUnavailable, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    try:
        with performer(options, study) as work:
            failed = campaign.run(work)
    except (ComfyError, RayUnavailable, ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        failed = None
    command = " ".join(words if words is not None else sys.argv[1:])
    rows = campaign.rows(study.perception)
    table = paper_table(rows, campaign.methods, study.perception) if rows else "No edit is done yet."
    written = True
    try:
        write_results(campaign, rows, f"# Evaluation\n\n`python -m csg.evaluation {command}`\n\n", table)
    except OSError as error:
        sys.stderr.write(f"The tables could not be written: {error}. Make room or free their names, and run the same command again: "
                         f"what is done is kept in {campaign.journal.path}.\n")  # fmt: skip
        written = False
    ended = "The run ended early" if failed is None else f"{failed} tasks failed"
    sys.stdout.write(f"{table}\n\n{ended}. Everything is in {options.output}.\n")
    return 0 if failed == 0 and written else 1


def write_results(campaign: Campaign, rows: Sequence[dict[str, Any]], head: str, table: str) -> None:
    """`results.parquet` and `results.md` of what is done so far, in place of those of an earlier run."""
    if not rows:
        return
    write_over(campaign.folder / "results.parquet", lambda part: write_parquet(rows, part))
    text = f"{head}{len(rows)} edits of {len(campaign.samples)} pictures.\n\n{table}\n"
    write_over(campaign.folder / "results.md", lambda part: part.write_text(text, encoding="utf-8"))
