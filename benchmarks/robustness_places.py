"""Attacks on what else comes from outside: stored inversions, journals of a run, servers' answers and nodes' inputs.

    python benchmarks/robustness_places.py     # after robustness.py: adds its section to benchmarks/results/robustness.md

An attack is held when the pack raises its own error (a ValueError in at most 400 letters of one line, without the key),
or hands back what is right: an inversion with finite, falling noise levels; a journal with every whole line in it; the
answer that the server gave. Nodes see inputs that are none of their kind, and have to refuse each by its name. Seeded.
Needs ComfyUI (in .comfy/ComfyUI, or --comfyui) for the nodes.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from in_process import ROOT, pack_module, start_comfyui
from robustness import OTHERS, Area, one_line, texts
from safetensors.torch import save

from csg.diffusion import storage
from csg.diffusion.inversion import invert_sde
from csg.evaluation.runner.journal import Journal
from csg.vlm import server
from csg.vlm.protocol import Question, VLMError

LONGEST, KEY = 400, "sk-secret-0123456789"


def attack(area: Area, what: str, run: Callable[[], Any], right: Callable[[Any], bool]) -> None:
    """Try one attack and note it."""
    area.tried += 1
    try:
        if not right(run()):
            area.failed.append(f"{what}: a wrong result")
    except ValueError as error:
        words = str(error)
        if len(words) > LONGEST or KEY in words or not words.isprintable():
            area.failed.append(f"{what}: said badly: {words[:200]}")
    except Exception as error:  # whatever it is, it is what this program looks for
        area.failed.append(f"{what}: {error!r}"[:300])


# ------------------------------------------------------------------------------------- inversions


def stored() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a small inversion as Save Inversion writes it."""
    made = invert_sde(lambda x, s: x, torch.randn(1, 4, 8, 8), torch.tensor([4.0, 2.0, 1.0, 0.0]), seed=1)
    made = replace(made, samples=torch.ones(1, 4, 8, 8), source=[[torch.randn(1, 7, 16), {"pooled_output": torch.randn(1, 8)}]])
    with tempfile.TemporaryDirectory() as folder:
        path = storage.save(made, [Path(folder) / "a.safetensors"])
        metadata, tensors = storage.read_tensors(path)
    return tensors, dict(metadata)


def forged(tensors: dict[str, torch.Tensor]) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Every tensor in turn, left out, of another type or shape, or with values that are none."""
    changes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "nan": lambda t: t * float("nan"), "infinite": lambda t: t + float("inf"), "negative": lambda t: -t - 1,
        "upside down": lambda t: t.flip(0), "whole numbers": lambda t: t.long(), "truth values": lambda t: t > 0,
        "float8": lambda t: t.to(torch.float8_e4m3fn), "complex": lambda t: t.to(torch.complex64),
        "flat": lambda t: t.flatten(), "an axis more": lambda t: t[None], "empty": lambda t: t[:0],
        "longer": lambda t: torch.cat([t, t]), "a number": lambda t: t.sum(), "huge": lambda t: t * 1e38 * 10,
    }  # fmt: skip
    for name in tensors:
        yield f"{name} left out", {key: t for key, t in tensors.items() if key != name}
        for what, change in changes.items():
            yield f"{name} {what}", tensors | {name: change(tensors[name]).contiguous()}
        yield f"{name} beside another", tensors | {f"{name}.1": tensors[name].clone()}


def is_inversion(made: Any) -> bool:
    """Whether what was read can be replayed: finite parts, falling levels."""
    falls = bool((made.sigmas[1:] < made.sigmas[:-1]).all()) and float(made.sigmas[-1]) >= 0
    return falls and all(bool(getattr(made, part).isfinite().all()) for part in storage.PARTS)


def attack_inversions(count: int) -> Area:
    """Forged tensors, damaged metadata, cut files and turned bits."""
    area, chance, (tensors, metadata) = Area(), random.Random(4), stored()
    whole = save(tensors, metadata)
    header = int.from_bytes(whole[:8], "little")
    files = [(what, save(each, metadata)) for what, each in forged(tensors)]
    for key in metadata:
        known = [metadata[key], "{}", "[]", "null", '{"steps": 1e999}', '{"order": 2}']
        damaged = (texts.damaged(known, chance).encode("utf-8", "replace").decode() for _ in range(count // 4))
        files += [(f"{key} damaged", save(tensors, metadata | {key: text})) for text in damaged]
    for _ in range(count):
        at = chance.randrange(len(whole))
        files.append((f"cut at {at}", whole[:at]))
        place = chance.randrange(8 + header) if chance.random() < 0.7 else at
        files.append((f"byte {place} turned", whole[:place] + bytes([chance.randrange(256)]) + whole[place + 1 :]))
    for size in (0, 10**9, 2**63, 2**64 - 1):
        files.append((f"a head of {size} bytes", size.to_bytes(8, "little") + whole[8:]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.inversion.safetensors"
        for what, content in files:
            path.write_bytes(content)
            attack(area, what, lambda: storage.load(path), is_inversion)
    return area


# --------------------------------------------------------------------------------------- journals


def attack_journals(count: int) -> Area:
    """Cut, spliced, doubled and foreign lines; what was whole is still there after one more result."""
    area, chance = Area(), random.Random(5)
    lines = [json.dumps({"n": number, "score": number / 3}) for number in range(5)]
    odd = ["\0", "null", "[]", '{"n": [1]}', '{"n": {}}', '{"n": NaN}', '{"m": 1}', "[" * 100_000, '{"n": 1e999}', "é", "9" * 5000]
    for number in range(count):
        kept = lines[: chance.randint(0, 5)]
        if number % 2:
            content = texts.damaged(["\n".join(lines) + "\n"], chance).encode("utf-8", "replace")
        else:
            content = "".join(f"{line}\n" for line in [*kept, chance.choice([*odd, *lines])]).encode()
            content += chance.choice([b"", b'{"n": 77', b"\xff\xfe", b"\0\0\0"])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "j.jsonl"
            path.write_bytes(content)
            attack(area, repr(content[:200]), lambda path=path: resumed(path), bool)
    return area


def resumed(path: Path) -> bool:
    """Whether a run that goes on from a journal keeps all that it read and its own result."""
    before = Journal(path, ["n"]).records
    Journal(path, ["n"]).add({"n": "new"})
    after = Journal(path, ["n"]).records
    return all(repr(record) in map(repr, after) for record in before) and after[-1] == {"n": "new"}


# ---------------------------------------------------------------------------------------- servers

ANSWER = {"choices": [{"message": {"content": "all is well"}, "finish_reason": "stop"}]}
EVENT = b'data: {"choices": [{"delta": {"content": "all is well"}}]}\n\n'
JSON, EVENTS = "application/json", "text/event-stream"


def answers() -> dict[str, tuple[int, dict[str, str], Any]]:
    """Status, headers and body (bytes, or a chunk that is sent without end) by what is odd about them."""
    good = json.dumps(ANSWER).encode()
    found: dict[str, tuple[int, dict[str, str], Any]] = {}
    for kind in ("text/html", "", "application/octet-stream", "x" * 5000, f"text/{KEY}", "image/png", "application/json5"):
        found[f"of the type {kind[:20]}"] = (200, {"content-type": kind}, good)
    for packed in ("gzip", "br", "deflate", "gzip, gzip", "zstd", "x" * 5000, KEY):
        found[f"packed as {packed[:20]}"] = (200, {"content-type": JSON, "content-encoding": packed}, b"\x1f\x8b" + bytes(50))
    for status in (204, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 407, 413, 418, 422, 429, 451, 500, 501, 503, 599):
        for body in (b"", f'{{"error": {{"message": "bad key {KEY}"}}}}'.encode(), b"\xff" * 5000):
            headers = {"content-type": JSON, "location": f"http://127.0.0.1:1/{KEY}", "retry-after": "0.01"}
            found[f"status {status} with {len(body)} bytes"] = (status, headers, body)
    bodies = [b"NaN", b"", b"null", b"[]", b"{}",
              b'"x"', b"[" * 100_000, b'{"choices": null}', b'{"choices": [null]}', b'{"choices": [{}]}',
              b'{"choices": [{"message": null}]}', b'{"choices": [{"message": {"content": 5}}]}', b"\xff\xfe", b"9" * 5000]  # fmt: skip
    for body in bodies:
        found[f"JSON {body[:40]!r}"] = (200, {"content-type": JSON}, body)
        found[f"an event {body[:40]!r}"] = (200, {"content-type": EVENTS}, b"data: " + body + b"\n\n" + EVENT)
    for piece in (b"x" * 65536, EVENT * 1000, b"\n" * 65536, b": still here\n\n" * 5000, b"data: \n" * 9000):
        found[f"events without end {piece[:20]!r}"] = (200, {"content-type": EVENTS}, [piece])
        found[f"JSON without end {piece[:20]!r}"] = (200, {"content-type": JSON}, [piece])
    found["fewer bytes than told"] = (200, {"content-type": JSON, "content-length": "999999"}, good)
    found["a long header"] = (200, {"content-type": JSON, "x-long": "y" * 100_000}, good)
    return found


class Odd(BaseHTTPRequestHandler):
    """Answers as the address asks for."""

    answers = list(answers().values())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """Give one of the answers."""
        self.rfile.read(int(self.headers["content-length"]))
        status, headers, body = self.answers[int(self.path.split("/")[1])]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            for _ in range(10**9 if isinstance(body, list) else 1):
                self.wfile.write(body[0] if isinstance(body, list) else body)
        except OSError:
            pass  # the other side has hung up, as it should


def attack_answers() -> Area:
    """Every odd answer; held when it is refused, or read as what it says."""
    area = Area()
    server.FIRST_PAUSE_S = 0.01
    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as http:
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
        for number, what in enumerate(answers()):
            vlm = server.ServerVLM(f"http://127.0.0.1:{http.server_address[1]}/{number}/v1", "m", api_key=KEY, timeout_s=2)
            attack(area, what, lambda vlm=vlm: asked(vlm), lambda reply: "all is well" in reply)
        http.shutdown()
    return area


def asked(vlm: server.ServerVLM) -> str:
    """The reply, or a ValueError with the words of the refusal."""
    try:
        return vlm.ask(Question("what is there?"))
    except VLMError as error:
        raise ValueError(str(error)) from None


# ------------------------------------------------------------------------------------------ nodes


def attack_nodes() -> Area:
    """Every picture, mask and number of every node gets values that are none; each is refused by the input's name."""
    area, nan = Area(), float("nan")
    pictures = [torch.zeros(0, 8, 8, 3), torch.zeros(1, 0, 8, 3), torch.zeros(8, 8, 3), torch.zeros(1, 8, 8, 2), torch.zeros(8, 8),
                torch.zeros(1, 8, 8, 3, dtype=torch.uint8), torch.zeros(1, 2, 8, 8, 3), "a text", 5, {}]  # fmt: skip
    masks = [torch.zeros(1, 0, 8), torch.zeros(8, 0), torch.zeros(8), torch.zeros(1, 1, 1, 8, 8), torch.tensor(1.0), "a text", 5, {}]
    numbers = [nan, float("inf"), -float("inf"), "nan", "x", torch.tensor([1.0, 2.0]), torch.tensor(nan), {}, 10**400]
    bad = {"IMAGE": pictures, "MASK": masks, "FLOAT": numbers, "INT": numbers}
    for node in pack_module("nodes").node_classes():
        for each in node.define_schema().inputs:
            for value in bad.get(each.get_io_type(), ()):
                area.tried += 1
                try:
                    node.execute(**{each.id: value})
                    words = "nothing"
                except Exception as error:  # a wrong one is what this program looks for
                    words = str(error) if isinstance(error, ValueError) else repr(error)
                if not words.startswith(f"{each.id} ") or len(words) > LONGEST:
                    area.failed.append(f"{node.__name__}, {each.id} = {str(value)[:40]}: {words[:200]}")
    return area


def section(areas: dict[str, Area], command: str) -> str:
    """The section of the report."""
    rows = [f"| {name} | {area.tried:,} | {area.tried - len(area.failed):,} |" for name, area in areas.items()]
    failed = [f"- {name}: {one_line(words)}" for name, area in areas.items() for words in area.failed[:5]]
    held = "Held is a refusal in the pack's own words, short and without the key, or the right result."
    head = [OTHERS, "", f"`{command}`. {held}", "", "| area | attacks | held |", "|---|---|---|"]
    return "\n".join([*head, *rows, "", "Not held:" if failed else "Not held: nothing.", *failed, ""])


def main() -> None:
    """Attack, and write what held into the report."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=1000, help="damaged files of each kind")
    options.add_argument("--comfyui", type=Path, default=ROOT / ".comfy" / "ComfyUI")
    options.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "robustness.md")
    chosen = options.parse_args()
    torch.manual_seed(0)
    areas = {
        "stored inversions": attack_inversions(chosen.count),
        "journals": attack_journals(chosen.count),
        "answers of servers": attack_answers(),
    }
    start_comfyui(chosen.comfyui)
    areas["inputs of nodes"] = attack_nodes()
    before = chosen.out.read_text(encoding="utf-8").partition(OTHERS)[0] if chosen.out.is_file() else ""
    command = " ".join([f"python benchmarks/{Path(__file__).name}", *sys.argv[1:]])
    chosen.out.write_text(before + section(areas, command), encoding="utf-8")
    print(f"{chosen.out}: {sum(len(area.failed) for area in areas.values())} attacks were not held.")


if __name__ == "__main__":
    main()
