"""How soon the graph editor is painted, and its frames per second while a concept is dragged, in Chromium.

    python benchmarks/editor.py

Shows a small graph and the largest (64 concepts, 200 edges) and drags a concept of the largest: first on a bare page
with the pack's `web/` folder and nothing else, then inside the whole ComfyUI page, with nodes drawn on the canvas and as
Nodes 2.0 (editor_page.py). Writes what it measured to benchmarks/results/editor.md and editor.json. Needs Playwright,
Chromium and ComfyUI.
"""

import contextlib
import functools
import http.server
import json
import os
import platform
import random
import shutil
import statistics
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
CONCEPTS, EDGES, FRAMES, PAGES = 64, 200, 180, 5
PAGE = """<!doctype html><html class="dark-theme"><meta charset="utf-8">
<link rel="stylesheet" href="/web/editor/style.css"><body style="margin:0">
<div class="csg-host" style="width:1200px;height:800px"></div></body></html>"""
LOAD = """async () => {
    const [editor, i18n] = await Promise.all([import('/web/editor/editor.mjs'), import('/web/editor/i18n.mjs')]);
    window.modules = { ...editor, ...i18n };
    await document.fonts.ready;
}"""
MOUNT = """async text => {
    const { Editor, translator } = window.modules;
    const began = performance.now();
    const editor = new Editor({ t: translator({}, 'en'), write: () => {} });
    document.querySelector('.csg-host').append(editor.element);
    editor.load(text);
    const script = performance.now() - began;
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    window.editor = editor;
    return { script, paint: performance.now() - began };
}"""
DRAG = """async frames => {
    const scene = document.querySelector('.csg-scene'), card = document.querySelector('.csg-card'), body = card.querySelector('.body');
    const { x, y } = body.getBoundingClientRect();
    const fire = (type, dx, dy) => (type === 'pointerdown' ? body : scene).dispatchEvent(new PointerEvent(type,
        { bubbles: true, pointerId: 1, button: 0, buttons: 1, clientX: x + 20 + dx, clientY: y + 5 + dy }));
    scene.setPointerCapture = () => {};
    let spent = 0;
    const { scene: drawing } = window.editor, move = drawing.move.bind(drawing);
    drawing.move = places => {
        const began = performance.now();
        move(places);
        spent += performance.now() - began;
    };
    const gaps = [], script = [], layout = [];
    fire('pointerdown', 0, 0);
    let before = await new Promise(requestAnimationFrame);
    for (let frame = 0; frame < frames; frame += 1) {
        spent = 0;
        const began = performance.now();
        fire('pointermove', 150 * Math.sin(frame / 12), 90 * Math.cos(frame / 17));
        spent += performance.now() - began;
        const now = await new Promise(requestAnimationFrame);
        const drawn = performance.now();
        card.getBoundingClientRect();
        layout.push(performance.now() - drawn);
        script.push(spent);
        gaps.push(now - before);
        before = now;
    }
    fire('pointerup', 0, 0);
    return { gaps: gaps.slice(10), script: script.slice(10), layout: layout.slice(10) };
}"""


def graph() -> str:
    """A random graph of the largest size that the editor accepts, as JSON."""
    draw = random.Random(7)
    names = [f"concept {index}" for index in range(CONCEPTS)]
    pairs = [(cause, effect) for place, cause in enumerate(names) for effect in names[place + 1 :]]
    values = {"one": "one thing", "two": "two things", "three": "three things"}
    concepts = [{"name": name, "value": "one", "values": values} for name in names]
    edges = [{"cause": cause, "effect": effect} for cause, effect in draw.sample(pairs, EDGES)]
    return json.dumps({"version": 1, "concepts": concepts, "edges": edges})


def small() -> str:
    """The graph of the toy world, as JSON."""
    return (ROOT / "web" / "editor" / "presets" / "town.json").read_text(encoding="utf-8")


@contextlib.contextmanager
def served() -> Iterator[str]:
    """The address of a server of the repository's files and the bare page."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}

        def do_GET(self) -> None:
            if self.path != "/":
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(ROOT)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def measure(browser: Any) -> dict:
    """Show the editor with a small and with the largest graph, and drag; returns milliseconds."""
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.set_default_timeout(300_000)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    with served() as address:
        town = appearing(page, session, address, small())
        largest = appearing(page, session, address, graph())
        dragged = spending(session, lambda: page.evaluate(DRAG, FRAMES))
    page.close()
    drag = {**summary({key: dragged[key] for key in ("gaps", "script", "layout")}), "cpu": dragged["cpu"]}
    return {
        "chromium": browser.version,
        "machine": platform.machine(),
        "load": os.getloadavg()[0],
        "town": town,
        "largest": largest,
        "drag": drag,
    }


def appearing(page: Any, session: Any, address: str, text: str) -> dict:
    """The median over fresh pages of what a graph costs until it is painted, its code fetched but never run before."""
    found = []
    for _ in range(PAGES):
        page.goto(address)
        page.evaluate(LOAD)
        found.append(spending(session, lambda: page.evaluate(MOUNT, text)))
    return {
        "cpu": statistics.median(each["cpu"]["Task"] for each in found),
        "paint": statistics.median(each["paint"] for each in found),
        "slowest": max(each["paint"] for each in found),
    }


def spending(session: Any, act: Callable[[], dict]) -> dict:
    """What `act` found, and under "cpu" the page's own processor time meanwhile: other programs do not count."""

    def clock() -> dict:
        return {each["name"]: each["value"] * 1000 for each in session.send("Performance.getMetrics")["metrics"]}

    before, found, after = clock(), act(), clock()
    spent = {
        name: after[f"{name}Duration"] - before[f"{name}Duration"]
        for name in ("Script", "RecalcStyle", "Layout", "Task")
    }
    return {**found, "cpu": spent}


def summary(dragged: dict) -> dict:
    """Median and 95th percentile of what each frame took, in milliseconds."""
    return {
        name: {"median": statistics.median(values), "p95": sorted(values)[int(len(values) * 0.95)]}
        for name, values in dragged.items()
    }


def report(found: dict) -> str:
    """The measurement in Markdown."""
    drag, town, largest, page = found["drag"], found["town"], found["largest"], found["page"]
    style = (drag["cpu"]["RecalcStyle"] + drag["cpu"]["Layout"]) / FRAMES
    each = {part: drag["cpu"][part] / FRAMES for part in ("Script", "Task")}
    gaps = f"{drag['gaps']['median']:.1f} ms (median), {drag['gaps']['p95']:.1f} ms (95 %)"
    return f"""# The graph editor's speed

`python benchmarks/editor.py` on {found["machine"]} with {os.cpu_count()} cores, Chromium {found["chromium"]}, headless, without a
graphics card: software rendering, all is drawn by the processor, beside other programs (load average {found["load"]:.1f}).
Processor time is the page's main thread alone; wall time and frames per second also count whatever else the machine did
meanwhile. A frame at 60 per second has 16.7 ms.

## Inside the whole ComfyUI page

Everything {page["runs"]} times; the best counts, because the machine is shared. "Until painted" runs from the node on the canvas to
its painted drawing and includes ComfyUI's own part, which the first line shows: a node with a mere text box. The mouse
moves {page["rate"]} times a second for {page["seconds"]:.0f} s.

{in_page(page["ways"])}
## On a bare page

The editor without ComfyUI. Until painted: median of {PAGES} fresh pages, the code fetched but never run before.

| what | processor time | wall time | wanted |
|---|---|---|---|
| Town (12 concepts), until painted | {town["cpu"]:.0f} ms | {town["paint"]:.0f} ms | under 100 ms |
| {CONCEPTS} concepts, {EDGES} edges, until painted, with layout | {largest["cpu"]:.0f} ms | {largest["paint"]:.0f} ms | under 100 ms |
| dragging, per frame: script | {each["Script"]:.2f} ms | {drag["script"]["median"]:.2f} ms (median) | |
| dragging, per frame: style and layout | {style:.2f} ms | {drag["layout"]["median"]:.2f} ms (median) | |
| dragging, per frame: main thread | {each["Task"]:.2f} ms | {gaps} | under 16.7 ms |
| frames per second while dragging | | {1000 / drag["gaps"]["median"]:.0f} (median) | 60 |
"""


def in_page(ways: dict) -> str:
    """The table of what was measured inside ComfyUI's page."""
    appear = {
        "box": "a node with a text box, until painted",
        "first": "Town (12 concepts), the first editor of the page, its code not yet fetched",
        "town": "Town, a further editor",
        "largest": f"{CONCEPTS} concepts, {EDGES} edges, a further editor",
    }
    move = {"drag": f"dragging a concept among {CONCEPTS} with {EDGES} edges", "pan": "moving all of them"}

    def until(way: dict, name: str) -> str:
        return f"{way[name]['wall']:.0f} ms ({way[name]['cpu']:.0f} ms of processor time)"

    def frames(way: dict, name: str) -> str:
        run = way[name]
        return f"{run['fps']:.1f} frames per second, {run['cpu']:.1f} ms of processor time each (middle run: {run['middle']:.0f})"

    def times(way: dict, name: str) -> str:
        run = way[name]
        return f"{run['median']:.1f} ms (median), {run['p95']:.1f} ms (95 %), {run['late']:.0%} of frames over 16.7 ms"

    rows = [(label, [until(way, name) for way in ways.values()]) for name, label in appear.items()]
    for name, label in move.items():
        rows.append((label, [frames(way, name) for way in ways.values()]))
        rows.append((f"{label}: frame times of all runs", [times(way, name) for way in ways.values()]))
    head = f"| what | {' | '.join(ways)} |\n|{'---|' * (len(ways) + 1)}\n"
    return head + "".join(f"| {label} | {' | '.join(cells)} |\n" for label, cells in rows)


def main() -> None:
    import editor_page
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        found = measure(browser)
        found["page"] = editor_page.measure(browser, small(), graph())
        browser.close()
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "editor.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "editor.md").write_text(report(found), encoding="utf-8")
    print(report(found))


if __name__ == "__main__":
    main()
