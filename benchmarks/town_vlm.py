"""What a vision-language model can do in Town, where the truth is known: `python benchmarks/town_vlm.py --vlm WHO [--scenes 200]`.

Values, causal structure, the target of an intervention, what follows from one under the true graph and under edited ones, yes
or no: with intervals, seconds and tokens. Writes benchmarks/results/vlm/MODEL.json and MODEL.md, and the page docs/which-vlm.md from
all that is in that folder. A run that was ended goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from in_process import processor
from town_vlm_models import SHIPPED, Watched, called, identity, opened
from town_vlm_questions import FIRST_SCENE, PARTS, Scores, parts_of, scenes
from town_vlm_report import FOLDER, PAGE, fingerprint, page, report, save, summary

from csg.evaluation.runner.journal import Journal
from csg.evaluation.runner.study import VLM
from csg.vlm.local import DTYPES
from csg.vlm.protocol import Question, VLMError

ONLY_SHIPPED = "fewer"  # asks for the order in which Town's concepts were taught
WARM_UP = Question("Is this a picture?", max_tokens=4, temperature=0.0)
"""Loads the model, so that the time this takes is no answer's."""
log = logging.getLogger("town_vlm")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--vlm", default=SHIPPED, help="http://.../v1 (OpenAI-compatible), clip:FILE (a text encoder) or llm:FOLDER; default: Town's own"
    )
    parser.add_argument("--vlm-model", default="", help="the model's name on the server")
    parser.add_argument("--name", help="what the results call the model; default: its own name")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--output", type=Path, default=FOLDER)
    parser.add_argument("--page", type=Path, default=PAGE, help="the page that is written from everything in --output")
    parser.add_argument("--report", action="store_true", help="write the page alone; nothing is asked")
    parser.add_argument("--dtype", default="auto", choices=DTYPES, help="of a folder's weights, as in Load VLM (Transformers)")
    parser.add_argument("--grammar", action="store_true", help="hold a folder's replies to their schema with xgrammar")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    options = parser.parse_args(words)
    if options.scenes < 1:
        parser.error(f"--scenes is {options.scenes}; expected at least 1.")
    return options


def settings_of(options: argparse.Namespace, one: VLM, device: torch.device) -> str:
    """In words, how the model was run."""
    if one.kind != "llm":
        return "behind a server" if one.kind == "server" else "as a text encoder of ComfyUI's"
    where = f"{options.threads} CPU thread(s)" if device.type == "cpu" else torch.cuda.get_device_name(device)
    form = "replies held to their schema" if options.grammar else "replies written freely, no grammar"
    return f"{where}, weights {options.dtype}, {form}"


def ask(vlm: Watched, journal: Journal, setup: str, count: int, shipped: bool) -> list[Mapping[str, Any]]:
    """Ask what is not in the journal yet; returns the records of all `count` scenes."""
    found, warm = [], False
    for number, scene in enumerate(scenes(count), 1):
        for part in parts_of(scene):
            if part == ONLY_SHIPPED and not shipped:
                continue
            item = {"setup": setup, "scene": scene.number, "part": part}
            if item not in journal:
                if not warm:
                    vlm.ask(WARM_UP)
                    warm = True
                scores = Scores()
                with vlm.counted() as asks:
                    PARTS[part](vlm, scene, scores)
                answered = [[round(each.seconds, 4), each.tokens] for each in asks]
                journal.add(item | {"scores": dict(scores.sums), "asks": answered, "misses": scores.misses})
            found.append(journal[item])
        if number % 20 == 0:
            log.info("%d of %d scenes", number, count)
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Ask one model everything. Raises ValueError or VLMError for one that cannot be asked."""
    one = VLM.parse(options.vlm, options.vlm_model)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    settings, name = settings_of(options, one, device), options.name or called(one)
    about = {
        "model": called(VLM("llm", name)), "kind": one.kind, "shipped": options.vlm == SHIPPED,
        "settings": settings, "prompts": fingerprint(),
        "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
        "machine": "a server's" if one.kind == "server" else processor() if device.type == "cpu" else torch.cuda.get_device_name(device),
        "command": f"python benchmarks/town_vlm.py --vlm {'http://.../v1' if one.kind == 'server' else f'{one.kind}:{Path(one.name).name}'}"
                   f"{f' --vlm-model {one.model}' if one.model else ''} --scenes {options.scenes}",
    }  # fmt: skip
    setup = hashlib.sha256(f"{identity(one)} {settings} {about['prompts']}".encode()).hexdigest()[:12]
    vlm = opened(one, device, options.dtype)
    journal = Journal(options.output / f"{about['model']}.jsonl", ("setup", "scene", "part"))
    with journal.claimed():
        records = ask(vlm, journal, setup, options.scenes, about["shipped"])
    return summary(about, records, range(FIRST_SCENE, FIRST_SCENE + options.scenes))


def main(words: Sequence[str] | None = None) -> int:
    """Ask, and write down how it went; returns the exit code."""
    options = arguments(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(options.threads)
    if not options.grammar:
        sys.modules["xgrammar"] = None  # as on a machine without the package
    if not options.report:
        try:
            found = measure(options)
        except (VLMError, ValueError, OSError) as error:
            sys.stderr.write(f"{error}\n")
            return 1
        save(found, options.output)
        sys.stdout.write(report(found))
    options.page.write_text(page(options.output), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
