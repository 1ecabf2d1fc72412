"""The graph editor's speed inside the whole ComfyUI page, with nodes drawn on the canvas and as Nodes 2.0.

A server of its own, a fresh page for every first drawing, and the mouse moved sixty times a second as the browser
itself would report it. The machine may be shared, so each thing is done several times and the best of them counts.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import in_process  # noqa: F401  makes csg importable

from csg.evaluation.runner.comfy_client import ComfyServer

RUNS, SECONDS, RATE = 6, 3.0, 60
FRAME, CLOCK = 16.7, 0.1  # milliseconds: a frame at 60 per second, and how fine the browser tells time
WAYS = {"canvas": False, "Nodes 2.0": True}
READY = "() => Boolean(window.app?.graph && window.LiteGraph?.registered_node_types?.CSG_GraphEditor)"
QUIET = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.Release.Status": "skipped",
    "Comfy.Locale": "en",
}
# An empty canvas at its own size, on which no node's id returns.
EMPTY = """() => {
    const { canvas, graph } = window.app;
    graph.clear();
    graph.state.lastNodeId = window.lastTest = (window.lastTest ?? 0) + 100;
    canvas.ds.scale = 1;
    canvas.ds.offset = [120, 0];
    canvas.setDirty(true, true);
}"""
# Milliseconds from a new node on the canvas until what it shows has been painted.
ADD = """async ([type, text, parts, count]) => {
    const { graph } = window.app;
    const node = window.LiteGraph.createNode(type);
    node.pos = [80, 90];
    if (text) node.widgets.find(widget => widget.name === 'graph_json').value = text;
    const began = performance.now();
    graph.add(node);
    const shown = () => {
        const found = document.querySelectorAll(parts);
        return found.length === count && found[0].getBoundingClientRect().width > 0;
    };
    while (!shown()) {
        if (performance.now() - began > 20000) throw new Error(`${document.querySelectorAll(parts).length} of ${count} are shown`);
        await new Promise(requestAnimationFrame);
    }
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - began;
}"""
# The gaps between frames, and in how many of them what is watched stands elsewhere.
WATCH = """watched => {
    const seen = window.seen = { gaps: [], moved: 0, on: true };
    const element = document.querySelector(watched);
    let before, place;
    const frame = now => {
        if (!seen.on) return;
        if (before !== undefined) seen.gaps.push(now - before);
        before = now;
        if (element.getAttribute('transform') !== place) seen.moved += 1;
        place = element.getAttribute('transform');
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
}"""


def measure(browser: Any, town: str, largest: str) -> dict:
    """What the page takes for a small and for the largest graph, by the way it draws nodes; `town` and `largest` as JSON."""
    with tempfile.TemporaryDirectory() as folder, ComfyServer(workspace=Path(folder), threads=1) as server:
        found = {}
        for way, vue in WAYS.items():
            server.client.post("/settings", {**QUIET, "Comfy.VueNodes.Enabled": vue})
            found[way] = {**appearing(browser, server.url, town, largest), **moving(browser, server.url, largest)}
    return {"runs": RUNS, "seconds": SECONDS, "rate": RATE, "ways": found}


@contextmanager
def opened(browser: Any, url: str) -> Iterator[tuple[Any, Any]]:
    """A page of its own and its session, once the page has come to rest."""
    context = browser.new_context(viewport={"width": 1680, "height": 1050})
    page = context.new_page()
    page.set_default_timeout(300_000)
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(url)
    page.wait_for_function(READY)
    page.wait_for_timeout(2500)
    yield page, session
    context.close()


def clock(session: Any) -> float:
    """Milliseconds that the page's main thread has worked."""
    metrics = {each["name"]: each["value"] * 1000 for each in session.send("Performance.getMetrics")["metrics"]}
    return metrics["TaskDuration"]


def appearing(browser: Any, url: str, town: str, largest: str) -> dict:
    """Milliseconds from a node on the canvas to the painted drawing, beside what ComfyUI takes for a mere text box."""
    box = ("PrimitiveStringMultiline", "", "textarea", 1)
    small = ("CSG_GraphEditor", town, ".csg-card[transform]", town.count('"name"'))
    large = ("CSG_GraphEditor", largest, ".csg-card[transform]", largest.count('"name"'))
    found: dict[str, list] = {"box": [], "first": [], "town": [], "largest": []}
    order = [("box", box), ("box", box), ("first", small), ("largest", large), ("town", small), ("largest", large)]
    for _ in range(RUNS):
        with opened(browser, url) as (page, session):
            for name, node in order:
                found[name].append(added(page, session, node))
    return {name: {key: min(each[key] for each in runs) for key in ("wall", "cpu")} for name, runs in found.items()}


def added(page: Any, session: Any, node: tuple) -> dict:
    """Milliseconds until a node (type, text, what to look for and how many of it) is painted, and the main thread's part."""
    page.evaluate(EMPTY)
    page.wait_for_timeout(500)
    before = clock(session)
    wall = page.evaluate(ADD, list(node))
    return {"wall": wall, "cpu": clock(session) - before}


def moving(browser: Any, url: str, largest: str) -> dict:
    """Frames per second while a concept of the largest graph is dragged, and while all of it is."""
    with opened(browser, url) as (page, session):
        added(page, session, ("CSG_GraphEditor", largest, ".csg-card[transform]", largest.count('"name"')))
        page.wait_for_timeout(1500)
        card = page.locator(".csg-card .body").first.bounding_box()
        ground = page.locator(".csg-scene").bounding_box()
        grips = {
            "drag": (".csg-card", card["x"] + card["width"] / 2, card["y"] + 4),
            "pan": (".csg-scene .viewport", ground["x"] + ground["width"] - 12, ground["y"] + ground["height"] - 12),
        }
        return {name: best(lambda grip=grip: moved(page, session, *grip)) for name, grip in grips.items()}


def best(act: Callable[[], dict]) -> dict:
    """The run with the most frames per second of several, what the middle one had, and the frame times of all of them."""
    runs = sorted((act() for _ in range(RUNS)), key=lambda run: run["fps"])
    fps = {"fps": runs[-1]["fps"], "cpu": runs[-1]["cpu"], "middle": statistics.median(run["fps"] for run in runs)}
    return {**fps, **frame_times([gap for run in runs for gap in run["gaps"]])}


def frame_times(gaps: list[float]) -> dict:
    """Median and 95th percentile of frame times in milliseconds, and the share of frames that took longer than FRAME."""
    gaps = sorted(gaps)
    late = sum(gap > FRAME + CLOCK for gap in gaps) / len(gaps)
    return {"median": statistics.median(gaps), "p95": gaps[int(len(gaps) * 0.95)], "late": late}


def moved(page: Any, session: Any, watched: str, x: float, y: float) -> dict:
    """Hold what lies at a point of the page, move it round for some seconds, and take it back."""
    page.mouse.move(x, y)
    page.wait_for_timeout(600)
    page.mouse.down()
    page.mouse.move(x - 8, y - 8)
    page.evaluate(WATCH, watched)
    before, began, sent = clock(session), time.perf_counter(), 0
    while (now := time.perf_counter() - began) < SECONDS:
        place = {"x": x + 110 * math.sin(5 * now) - 8, "y": y + 60 * math.sin(3.5 * now) - 8}
        session.send("Input.dispatchMouseEvent", {"type": "mouseMoved", **place, "button": "left", "buttons": 1})
        sent += 1
        time.sleep(max(0, sent / RATE - (time.perf_counter() - began)))
    seen = page.evaluate("() => { window.seen.on = false; return window.seen; }")
    cpu = clock(session) - before
    page.mouse.move(x, y)
    page.wait_for_timeout(100)
    page.mouse.up()
    gaps = seen["gaps"]
    if seen["moved"] < len(gaps) / 4:
        raise RuntimeError(f"of {len(gaps)} frames {seen['moved']} show {watched} elsewhere: the mouse held nothing")
    return {"fps": 1000 * len(gaps) / sum(gaps), "gaps": gaps, "cpu": cpu / len(gaps)}
