"""The causal graph editor on the page, and what a person does with it."""

import contextlib
import json
from pathlib import Path

from playwright.sync_api import TimeoutError

SCREENSHOTS = Path(__file__).resolve().parents[2] / "output" / "screenshots"
NODE = "CSG_GraphEditor"
TRACKER = "window.app.extensionManager.workflow.activeWorkflow.changeTracker"  # the page's own undo
TEXT = "JSON.parse(window.app.graph.nodes[0].widgets[0].value)"  # what the first node, an editor, keeps
# Where the editor and its drawing stand, and how many transitions run.
PLACES = """() => [...document.querySelectorAll('.csg-editor')].map(editor => {
    const { x, y, width, height } = editor.getBoundingClientRect();
    const moving = editor.getAnimations({ subtree: true }).length;
    return [x, y, width, height, editor.querySelector('.viewport')?.getAttribute('transform'), moving && performance.now()];
})"""
EMPTY = '{"version": 1, "base_prompt": "", "concepts": [], "edges": [], "interventions": {}}'
WEATHER = json.dumps(
    {
        "version": 1,
        "base_prompt": "a street on a sunny day",
        "concepts": [
            {
                "name": "weather",
                "value": "sunny",
                "values": {"sunny": "sunny weather", "rainy": "rain"},
                "position": [0, 0],
            },
            {
                "name": "ground",
                "value": "dry",
                "values": {"dry": "dry ground", "wet": "wet ground"},
                "position": [280, 0],
            },
            {
                "name": "house",
                "value": "red",
                "values": {"red": "a red house", "blue": "a blue house"},
                "position": [0, 160],
            },
        ],
        "edges": [{"cause": "weather", "effect": "ground", "reason": "rain wets the ground"}],
        "interventions": {},
    }
)
HOSTILE = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "javascript:window.hacked = 1",
    "\u202eright to left",
    "emoji \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "x" * 200,
    "__proto__",
    "constructor",
]


class Drawing:
    """The editor of the first Causal Graph Editor on the canvas."""

    def __init__(self, editor):
        self.editor, self.page = editor, editor.page
        self.root = self.page.locator(".csg-editor")

    def place(self, after=()):
        """A new workflow with one editor, untouched, seen whole."""
        self.editor.set_up_nodes([NODE, *after])
        self.page.evaluate("""() => {
            const { canvas } = window.app;
            canvas.ds.scale = 1;
            canvas.ds.offset = [120, 0];
            canvas.setDirty(true, true);
        }""")
        self.root.wait_for()

    def start(self, text, after=()):
        """The same, holding a graph."""
        self.place(after)
        self.write(text)
        return self

    def write(self, text):
        self.editor.set_widget(NODE, "graph_json", text)
        self.pulse()
        concepts = len(json.loads(text)["concepts"]) if text.startswith("{") and text.strip().endswith("}") else 0
        self.page.wait_for_function("count => document.querySelectorAll('.csg-card').length === count", arg=concepts)
        self.at_rest()

    def at_rest(self):
        """Wait until nothing moves: neither the editor nor its drawing, and no transition runs."""
        self.editor.at_rest(PLACES)

    def pulse(self, count=1):
        """Wait until the editor has looked that often, from now on, after what no event tells."""
        before = self.page.evaluate("window.pulses")
        self.page.wait_for_function("last => window.pulses >= last", arg=before + count)

    def focus(self, part):
        """Give the keyboard to a part of the editor, and see that it keeps it."""
        self.page.locator(part).first.focus()
        self.editor.at_rest(f"() => document.activeElement === document.querySelector('{part}')")
        assert self.page.evaluate(f"document.activeElement === document.querySelector('{part}')")

    def tracked(self):
        """Wait until the page's own undo has the editor's text as it is."""
        self.page.wait_for_function(f"""type => {{
            const now = window.app.graph.nodes.find(node => node.type === type).widgets.find(each => each.name === 'graph_json').value;
            return {TRACKER}.activeState.nodes.find(node => node.type === type)?.widgets_values?.includes(now);
        }}""", arg=NODE)

    def restored(self):
        """Wait until the page's own undo is over, where one has begun."""
        self.editor.frames()
        self.page.wait_for_function(f"() => !{TRACKER}._restoringState")
        self.editor.frames()

    def drafted(self):
        """Wait until the page has written its draft, which a reload shows, of the editor as it is."""
        self.page.wait_for_function("""type => {
            const plain = text => text.replaceAll('\\\\', '');
            const drafts = Object.keys(localStorage).filter(key => key.includes('Draft')).map(key => plain(localStorage[key]));
            const { properties, widgets_values } = window.app.graph.serialize().nodes.find(node => node.type === type);
            return drafts.some(draft => [properties, widgets_values].every(part => draft.includes(plain(JSON.stringify(part)))));
        }""", arg=NODE)

    def widget(self):
        """The text that the node keeps."""
        return next(node for node in self.editor.nodes() if node["type"] == NODE)["widgets"]["graph_json"]

    def graph(self):
        return json.loads(self.widget())

    def names(self):
        return [concept["name"] for concept in self.graph()["concepts"]]

    def edges(self):
        return [(edge["cause"], edge["effect"]) for edge in self.graph()["edges"]]

    def card(self, name):
        return self.page.locator(f'.csg-card[aria-label^="{name}:"]')

    def chip(self, name, value):
        return self.card(name).locator(".chip", has=self.page.get_by_text(value, exact=True))

    def ground_point(self, right=0.5, down=0.85):
        box = self.page.locator(".csg-scene").bounding_box()
        return box["x"] + box["width"] * right, box["y"] + box["height"] * down

    def drag_edge(self, cause, effect, release=True):
        """From the cause's rim, held down, to the middle of the effect."""
        start, end = self.card(cause).locator(".body").bounding_box(), self.card(effect).locator(".body").bounding_box()
        mouse = self.page.mouse
        mouse.move(start["x"] + start["width"] + 3, start["y"] + start["height"] * 0.3)
        mouse.down()
        mouse.move(end["x"] + end["width"] / 2, end["y"] + end["height"] / 2, steps=6)
        self.editor.frames()
        if release:
            mouse.up()

    def said(self):
        return self.page.locator(".csg-status").inner_text()

    def press(self, name):
        """Click one of the editor's buttons by its label."""
        self.root.get_by_role("button", name=name, exact=True).click()

    def menu(self, item):
        self.press("Presets, files and help")
        self.root.get_by_role("menuitem", name=item, exact=True).click()

    def details(self, name):
        """Open a concept's details by a double click on its name."""
        self.card(name).locator(".body").dblclick(position={"x": 60, "y": 14})
        self.page.locator(".csg-panel").wait_for()
        return self.page.locator(".csg-panel")

    def edge(self, cause, effect):
        return self.page.locator(f'.csg-edge[aria-label^="{cause} causes {effect}."]')

    def point_at(self, cause, effect):
        """Move the mouse to the middle of an edge."""
        x, y = self.edge(cause, effect).locator(".hit").evaluate("""path => {
            const { x, y } = path.getPointAtLength(path.getTotalLength() / 2).matrixTransform(path.getScreenCTM());
            return [x, y];
        }""")
        self.page.mouse.move(x, y)

    def report(self, *told, run=None):
        """What the page is told at once when nodes have run: the type of each, and its output."""
        self.page.evaluate("""([told, run]) => {
            const { graph, api } = window.app;
            for (const [type, output] of told) {
                const id = String(graph.nodes.find(node => node.type === type).id);
                api.dispatchCustomEvent("executed", { node: id, display_node: id, output, ...(run && { prompt_id: run }) });
            }
        }""", [told, run])  # fmt: skip

    def view(self):
        """Where the drawing stands in its frame, and how large."""
        return self.page.locator(".csg-scene .viewport").get_attribute("transform")

    def picture(self, name):
        """Keep how the editor looks under output/screenshots."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.root.screenshot(path=SCREENSHOTS / f"{name}.png")


class Fingers:
    """Touches on the page."""

    def __init__(self, drawing):
        self.session = drawing.page.context.new_cdp_session(drawing.page)
        self.session.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})

    def touch(self, kind, *points):
        touched = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})

    def gone(self):
        self.session.send("Emulation.setTouchEmulationEnabled", {"enabled": False})

    def tap(self, x, y):
        self.touch("touchStart", (x, y))
        self.touch("touchEnd")

    def tap_on(self, part):
        """One tap in the middle of a part of the page."""
        box = part.bounding_box()
        self.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def tap_twice(self, x, y, until):
        """Two quick taps; again where a busy machine made them too slow to be two."""
        for _ in range(8):
            self.tap(x, y)
            self.tap(x, y)
            with contextlib.suppress(TimeoutError):
                return until.wait_for(timeout=4000)
        raise AssertionError("two taps at the same place did nothing")

    def drag(self, start, end):
        self.touch("touchStart", start)
        for part in (0.3, 0.7, 1):
            self.touch("touchMove", tuple(a + (b - a) * part for a, b in zip(start, end, strict=True)))
        self.touch("touchEnd")


def enter(field, text):
    """Type into a field of the details and leave it."""
    field.fill(text)
    field.press("Tab")
