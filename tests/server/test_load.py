"""A server that is used hard: several clients, memory freed between two steps, files gone, many edits."""

import json
import shutil
import threading
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from csg.evaluation.runner.comfy_client import ComfyError

WORKFLOW = Path(__file__).resolve().parents[2] / "workflows" / "api" / "town_counterfactual.json"
INVERT, EDIT, ENCODE, DECODE = "10", "11", "9", "12"
LOADER = {"class_type": "CSG_LoadInversion", "inputs": {"file": "kept.inversion.safetensors"}}
MEGABYTE = 2**20


def edit(scale=1.5, seed=3, steps=3):
    """Town's workflow down to the edited picture, with few steps."""
    prompt = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    assert [prompt[node]["class_type"] for node in (INVERT, EDIT, ENCODE, DECODE)] == [
        "CSG_Invert", "CSG_Sampler", "CSG_EncodeEdits", "VAEDecode"]
    prompt[INVERT]["inputs"]["steps"], prompt[ENCODE]["inputs"]["scale"], prompt["22"]["inputs"]["value"] = steps, scale, seed
    kept = {"out": {"class_type": "PreviewImage", "inputs": {"images": [DECODE, 0]}}}
    wanted = ["out"]
    while wanted:
        links = [value[0] for value in kept[wanted.pop()]["inputs"].values() if isinstance(value, list)]
        new = [node for node in links if node not in kept]
        kept |= {node: prompt[node] for node in new}
        wanted += new
    return kept


def picture(server, **options):
    return pixels(server, server.client.run(edit(**options)))


def pixels(server, run):
    """The edited picture alone: its file holds the prompt, too."""
    return Image.open(BytesIO(server.client.images(run, "out")[0])).tobytes()


@pytest.fixture
def clean(server):
    """The server with nothing cached, and how to free it again."""
    def free(**what):
        server.client.post("/free", what)
        server.client.run({"1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
                           "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}})  # frees before the next prompt

    free(unload_models=True, free_memory=True)
    return free


def test_two_clients_at_once_get_what_each_asked_for(server, clean):
    alone = {seed: picture(server, seed=seed) for seed in (3, 4)}
    clean(unload_models=True, free_memory=True)
    got = {}
    clients = [threading.Thread(target=lambda seed=seed: got.update({seed: picture(server, seed=seed)})) for seed in (3, 4)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    assert got == alone and alone[3] != alone[4]


@pytest.mark.parametrize("memory", [False, True], ids=["models unloaded", "models and cache freed"])
def test_an_edit_after_the_memory_was_freed_is_the_same(server, clean, memory):
    first = picture(server)
    clean(unload_models=True, free_memory=memory)
    assert picture(server, scale=3.0) != first
    clean(unload_models=True, free_memory=memory)
    assert picture(server) == first


def test_a_model_may_be_unloaded_between_inversion_and_edit(server, clean):
    straight = picture(server)
    clean(unload_models=True, free_memory=True)
    whole = edit()
    inverted = {node: entry for node, entry in whole.items() if node not in (EDIT, DECODE, ENCODE, "out")}
    inverted["seen"] = {"class_type": "PreviewAny", "inputs": {"source": [INVERT, 0]}}
    server.client.run(inverted)
    server.client.post("/free", {"unload_models": True})
    run = server.client.run(whole)
    assert INVERT in run.cached and pixels(server, run) == straight


def test_a_file_deleted_while_its_inversion_is_cached_is_missed_in_words_and_nothing_else_suffers(server, clean):
    whole = edit()
    save = {"save": {"class_type": "CSG_SaveInversion", "inputs": {"inversion": [INVERT, 0], "filename_prefix": "kept"}}}
    run = server.client.run(whole | save)
    file = server.workspace / "input" / LOADER["inputs"]["file"]
    shutil.copy(server.workspace / "output" / run.outputs["save"]["text"][0], file)
    loaded = whole | {"load": LOADER, EDIT: {**whole[EDIT], "inputs": {**whole[EDIT]["inputs"], "inversion": ["load", 0]}}}
    again = server.client.run(loaded)
    assert pixels(server, again) == pixels(server, run)
    file.unlink()
    with pytest.raises(ComfyError, match=r"CSG_LoadInversion.*kept\.inversion\.safetensors"):
        server.client.run(loaded | {ENCODE: {**whole[ENCODE], "inputs": {**whole[ENCODE]["inputs"], "scale": 2.5}}})
    assert picture(server) == pixels(server, run)


def resident(server):
    """Bytes of memory that the server's process holds."""
    status = Path(f"/proc/{server._process.pid}/status")
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def test_fifty_edits_do_not_grow_memory(server, clean):
    """The same inversion under other strengths; what one edit holds is let go by the next one."""
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell how much memory a process holds")
    sizes = []
    for number in range(60):
        server.client.run(edit(scale=1 + number / 100, steps=2))
        sizes.append(resident(server))
    growth = (min(sizes[-5:]) - max(sizes[5:10])) / MEGABYTE
    assert growth < 40, f"{growth:.0f} MB more after 50 edits: {[size // MEGABYTE for size in sizes]}"
