"""Frames per second of the graph editor while a concept is dragged: 64 concepts, 200 edges, in Chromium.

    python benchmarks/editor.py

Serves the pack's `web/` folder to a headless Chromium, drags one concept that many edges touch, and
writes what it measured to benchmarks/results/editor.md. Needs Playwright and Chromium; no ComfyUI.
"""

import contextlib
import functools
import http.server
import json
import platform
import random
import shutil
import statistics
import threading
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "editor.md"
CONCEPTS, EDGES, FRAMES = 64, 200, 180
PAGE = """<!doctype html><html class="dark-theme"><meta charset="utf-8">
<link rel="stylesheet" href="/web/editor/style.css"><body style="margin:0">
<div class="csg-host" style="width:1200px;height:800px"></div></body></html>"""
MOUNT = """async text => {
    const [{ Editor }, { translator }] = await Promise.all([import('/web/editor/editor.mjs'), import('/web/editor/i18n.mjs')]);
    const began = performance.now();
    const editor = new Editor({ t: translator({}, 'en'), write: () => {} });
    document.querySelector('.csg-host').append(editor.element);
    editor.load(text);
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    window.editor = editor;
    return performance.now() - began;
}"""
DRAG = """async frames => {
    const scene = document.querySelector('.csg-scene'), card = document.querySelector('.csg-card'), body = card.querySelector('.body');
    const { x, y } = body.getBoundingClientRect();
    const fire = (type, dx, dy) => (type === 'pointerdown' ? body : scene).dispatchEvent(new PointerEvent(type,
        { bubbles: true, pointerId: 1, button: 0, buttons: 1, clientX: x + 20 + dx, clientY: y + 5 + dy }));
    scene.setPointerCapture = () => {};
    const gaps = [], work = [];
    fire('pointerdown', 0, 0);
    let before = await new Promise(requestAnimationFrame);
    for (let frame = 0; frame < frames; frame += 1) {
        const began = performance.now();
        fire('pointermove', 150 * Math.sin(frame / 12), 90 * Math.cos(frame / 17));
        const sent = performance.now() - began;
        const now = await new Promise(requestAnimationFrame);
        const drawing = performance.now();
        card.getBoundingClientRect();
        work.push(sent + performance.now() - drawing);
        gaps.push(now - before);
        before = now;
    }
    fire('pointerup', 0, 0);
    return { gaps: gaps.slice(10), work: work.slice(10) };
}"""


def graph() -> str:
    """A random graph of the largest size that the editor accepts, as JSON."""
    draw = random.Random(7)
    names = [f"concept {index}" for index in range(CONCEPTS)]
    pairs = [(cause, effect) for place, cause in enumerate(names) for effect in names[place + 1:]]
    values = {"one": "one thing", "two": "two things", "three": "three things"}
    concepts = [{"name": name, "value": "one", "values": values} for name in names]
    edges = [{"cause": cause, "effect": effect} for cause, effect in draw.sample(pairs, EDGES)]
    return json.dumps({"version": 1, "concepts": concepts, "edges": edges})


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


def measure() -> dict:
    """Mount the editor twice (cold, then with its code at hand) and drag; returns milliseconds."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(headless=True, executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.set_default_timeout(300_000)
        page.goto(address)
        small = (ROOT / "web" / "editor" / "presets" / "town.json").read_text(encoding="utf-8")
        paint = page.evaluate(MOUNT, small)
        page.goto(address)
        largest = page.evaluate(MOUNT, graph())
        dragged = page.evaluate(DRAG, FRAMES)
        version = browser.version
        browser.close()
    return {"chromium": version, "paint": paint, "largest": largest, **dragged}


def report(found: dict) -> str:
    """The measurement as a Markdown table."""
    gaps, work = sorted(found["gaps"]), sorted(found["work"])
    ninety_fifth = work[int(len(work) * 0.95)]
    return f"""# The graph editor's speed

`python benchmarks/editor.py` on {platform.machine()}, Chromium {found["chromium"]}, headless, drawn by the CPU.

| what | measured | wanted |
|---|---|---|
| first paint, Town (12 concepts), code at hand | {found["paint"]:.0f} ms | under 100 ms |
| first paint, {CONCEPTS} concepts and {EDGES} edges, layout included | {found["largest"]:.0f} ms | |
| script, style and layout per frame while dragging, median | {statistics.median(work):.1f} ms | under 16.7 ms |
| the same, 95th percentile | {ninety_fifth:.1f} ms | under 16.7 ms |
| frames per second while dragging, median | {1000 / statistics.median(gaps):.0f} | 60 |
"""


if __name__ == "__main__":
    text = report(measure())
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(text, encoding="utf-8")
    print(text)
