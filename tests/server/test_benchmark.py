"""The Town benchmark and the evaluation of folders, as programs: killed, continued, spread over workers that die."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("DDPM", "CSG")


def lines(path):
    """The complete lines of a journal; none before it exists."""
    return (
        [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")]
        if path.is_file()
        else []
    )


def wait_for(condition, process=None, seconds=600):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, "it ended too early"
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def test_a_killed_benchmark_goes_on_and_computes_nothing_twice(tmp_path):
    journal = tmp_path / "town.jsonl"
    options = [
        "--scenes",
        "1",
        "--steps",
        "2",
        "--concepts",
        "weather",
        "--axioms",
        "0",
        "--keep",
        "0",
        "--journal",
        str(journal),
    ]
    command = [sys.executable, str(ROOT / "benchmarks" / "town.py"), *options, "--methods", *METHODS]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as first:
        wait_for(lambda: lines(journal), first)
        first.send_signal(signal.SIGKILL)
    before = lines(journal)
    assert 1 <= len(before) < 4
    second = subprocess.run(command, capture_output=True, text=True, check=True)
    assert second.stderr.count(f"{len(before)}/4 done by an earlier run") == 1
    after = lines(journal)
    assert after[: len(before)] == before and len(after) == 4
    assert len({(r["settings"], r["scene"], r["do"]) for r in after}) == 4
    assert all(r["machine"] and r["versions"].startswith("ComfyUI 0.") for r in after)
    assert "| CSG |" in second.stdout and "| exact | 1.00" in second.stdout
    report = (tmp_path / "town.md").read_text()
    assert "## The goals" in report and (tmp_path / "town_methods.png").read_bytes().startswith(b"\x89PNG")
    third = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "4/4 done by an earlier run" in third.stderr and lines(journal) == after


def test_the_archive_for_a_gpu_machine_runs_in_an_empty_folder_without_network(tmp_path):
    archive, home = tmp_path / "csg-gpu.tar.gz", tmp_path / "empty"
    program = str(ROOT / "benchmarks" / "gpu.py")
    subprocess.run([sys.executable, program, "pack", "--no-wheels", "--output", str(archive)], check=True, capture_output=True)
    with tarfile.open(archive) as tar:
        tar.extractall(home, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    nowhere = "http://127.0.0.1:9"  # nothing listens there
    environment = {name: value for name, value in os.environ.items() if name not in ("COMFYUI_PATH", "PYTHONPATH")}
    environment |= {"http_proxy": nowhere, "https_proxy": nowhere, "all_proxy": nowhere, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "benchmarks/gpu.py", "run", "--tiny", "--only", "memory"]
    subprocess.run(command, cwd=home, env=environment, check=True, capture_output=True)
    found = json.loads((home / "gpu.json").read_text())
    measures = found["measures"]
    assert [measures[name]["state"] for name in ("memory", "sdxl")] == ["done", "not run"], measures
    memory = measures["memory"]["figures"]
    assert memory["fits"] and memory["concepts"] == 8 and memory["peak_edit"] > 0 and memory["comfyui_chooses"].startswith("torch.")
    assert found["tiny"] and found["versions"]["comfyui"] and found["machine"]["processor"]


def load_chat_server():
    spec = importlib.util.spec_from_file_location(
        "bench_chat_server", ROOT / "tests" / "unit" / "vlm" / "chat_server.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def good_model(chat_server, scenes):
    """A model that knows Town: it tells scenes apart by their captions, and sees everything but umbrellas."""
    from csg.town import world

    def reply_to(request):
        prompt = chat_server.prompt_of(request)
        if "with yes or no" in prompt:
            return '{"answer": "no"}' if "umbrella" in prompt else '{"answer": "yes"}'
        values = next(world.factual(seed) for seed in scenes if world.caption(world.factual(seed)) in prompt)
        if "Suggest" not in prompt:
            return json.dumps(world.graph_document(values))
        season = "winter" if values["season"] != "winter" else "summer"
        ideas = [
            {
                "concept": "season",
                "value": season,
                "values": [{"concept": "foliage", "value": "bare"}],
                "prompt": "winter",
            },
            {
                "concept": "house",
                "value": "red" if values["house"] != "red" else "blue",
                "values": [],
                "prompt": "another house",
            },
        ]
        return json.dumps({"interventions": ideas})

    return reply_to


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Two scenes as pictures in a folder, with captions as plain JSON."""
    from csg.town import world
    from csg.town.render import picture

    folder, seeds = tmp_path_factory.mktemp("pictures"), (80_000_001, 80_000_002)
    for seed in seeds:
        Image.fromarray(picture(seed)).save(folder / f"{seed}.png")
    captions = folder.parent / "captions.json"
    captions.write_text(json.dumps({f"{seed}.png": world.caption(world.factual(seed)) for seed in seeds}))
    return folder, captions, seeds


@pytest.fixture
def chat(scenes):
    chat_server = load_chat_server()
    with chat_server.ChatServer(good_model(chat_server, scenes[2])) as running:
        yield running


def command_line(scenes, chat, output, methods, *more):
    folder, captions, _ = scenes
    return ["--images", str(folder), "--captions", str(captions), "--checkpoint", "town", "--vlm", chat.url(), "--vlm-model", "good",
            "--interventions", "2", "--steps", "4", "--methods", *methods, "--output", str(output), *more]  # fmt: skip


def test_a_folder_is_evaluated_through_a_running_comfyui(server, scenes, chat, tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet")
    from csg.evaluation.runner import study
    from csg.evaluation.runner.main import main

    words = command_line(scenes, chat, tmp_path, study.METHODS, "--url", server.url, "--sample", "1")
    assert main(words) == 0
    assert "| CSG |" in capsys.readouterr().out
    rows = parquet.read_table(tmp_path / "results.parquet").to_pylist()
    assert [(row["method"], row["number"]) for row in rows] == [(method, n) for method in study.METHODS for n in (0, 1)]
    assert {row["effectiveness"] for row in rows} == {1.0} and all(0 < row["perceptual"] < 1 for row in rows)
    assert [row["inversion_shared"] for row in rows] == [False, True] * 4
    assert len(list((tmp_path / "pictures").glob("*/*.png"))) == 8
    asked = len(chat.requests)
    assert main(words) == 0
    assert len(chat.requests) == asked, "a finished evaluation asks nothing again"


def workers():
    """Ray's processes that hold a worker."""
    import psutil

    return [
        p for p in psutil.process_iter(["cmdline"]) if any("ray::Worker" in part for part in p.info["cmdline"] or [])
    ]


def kill_one_worker(results, killed):
    """End a worker, and so its ComfyUI, as soon as the first edit is on the disk."""
    wait_for(lambda: any(record["stage"] == "edits" for record in lines(results)))
    victim = workers()[0]
    killed.append((victim.pid, [child.pid for child in victim.children(recursive=True)]))
    os.kill(victim.pid, signal.SIGKILL)


def test_a_lost_worker_is_replaced_and_its_work_done_again(scenes, chat, tmp_path):
    pytest.importorskip("ray")
    psutil = pytest.importorskip("psutil")
    from csg.evaluation.runner.main import main

    results, killed = tmp_path / "results.jsonl", []
    assassin = threading.Thread(target=kill_one_worker, args=(results, killed), daemon=True)
    assassin.start()
    code = main(command_line(scenes, chat, tmp_path, METHODS, "--ray", "--workers", "2"))
    assert code == 0
    assassin.join(5)
    ((_, servers),) = killed
    assert servers, "the worker had no ComfyUI"
    found = lines(results)
    items = [(r["stage"], r["sample"], r["number"], r["method"]) for r in found]
    assert len(items) == len(set(items)) == 2 + 8 + 8
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in servers), seconds=30)
    assert {path.name for path in (tmp_path / "workers").iterdir()} == {"worker-1", "worker-2", "worker-3"}
    assert not workers()
