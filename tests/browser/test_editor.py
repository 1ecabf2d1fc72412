"""The causal graph editor on the real page: by mouse, by keys, by touch; run, reload, undo; hostile files."""

import json

import pytest

NODE = "CSG_GraphEditor"
EMPTY = '{"version": 1, "base_prompt": "", "concepts": [], "edges": [], "interventions": {}}'
WEATHER = json.dumps({
    "version": 1, "base_prompt": "a street on a sunny day",
    "concepts": [
        {"name": "weather", "value": "sunny", "values": {"sunny": "sunny weather", "rainy": "rain"}, "position": [0, 0]},
        {"name": "ground", "value": "dry", "values": {"dry": "dry ground", "wet": "wet ground"}, "position": [280, 0]},
        {"name": "house", "value": "red", "values": {"red": "a red house", "blue": "a blue house"}, "position": [0, 160]},
    ],
    "edges": [{"cause": "weather", "effect": "ground", "reason": "rain wets the ground"}], "interventions": {},
})
HOSTILE = ["<script>window.hacked = 1</script>", "<img src=x onerror='window.hacked = 1'>", "javascript:window.hacked = 1",
           "\u202eright to left", "emoji \U0001f468\u200d\U0001f469\u200d\U0001f467", "x" * 10_000, "__proto__", "constructor"]


class Drawing:
    """The editor of the first Causal Graph Editor on the canvas."""

    def __init__(self, editor):
        self.editor, self.page = editor, editor.page
        self.root = self.page.locator(".csg-editor")

    def start(self, text, after=()):
        self.editor.set_up_nodes([NODE, *after])
        self.root.wait_for()
        self.write(text)
        return self

    def write(self, text):
        self.editor.set_widget(NODE, "graph_json", text)
        concepts = len(json.loads(text)["concepts"]) if text.startswith("{") and text.endswith("}") else 0
        self.page.wait_for_function("count => document.querySelectorAll('.csg-card').length === count", arg=concepts)
        self.page.wait_for_timeout(400)

    def graph(self):
        return json.loads(next(node for node in self.editor.nodes() if node["type"] == NODE)["widgets"]["graph_json"])

    def names(self):
        return [concept["name"] for concept in self.graph()["concepts"]]

    def edges(self):
        return [(edge["cause"], edge["effect"]) for edge in self.graph()["edges"]]

    def card(self, name):
        return self.page.locator(f'.csg-card[aria-label^="{name}:"]')

    def chip(self, name, value):
        return self.card(name).locator(".chip", has=self.page.get_by_text(value, exact=True))

    def mode(self, name):
        self.root.get_by_role("button", name=name, exact=True).click()

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
        self.page.wait_for_timeout(100)
        if release:
            mouse.up()

    def said(self):
        return self.page.locator(".csg-status").inner_text()


@pytest.fixture(params=["canvas", "nodes 2.0"])
def drawing(editor, request):
    editor.page.evaluate("on => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", request.param == "nodes 2.0")
    editor.page.wait_for_timeout(500)
    yield Drawing(editor)
    editor.page.evaluate("() => window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


def test_a_graph_from_nothing_by_mouse_alone(drawing):
    drawing.start(EMPTY)
    for right in (0.25, 0.75):
        drawing.page.mouse.dblclick(*drawing.ground_point(right, 0.4))
        drawing.page.locator(".csg-quick:not([hidden])").wait_for()
        drawing.page.mouse.click(*drawing.ground_point(0.5, 0.95))
    assert drawing.names() == ["concept", "concept 2"]
    drawing.drag_edge("concept", "concept 2")
    assert drawing.edges() == [("concept", "concept 2")]
    drawing.mode("Intervene")
    drawing.chip("concept", "absent").click()
    assert drawing.graph()["interventions"] == {"concept": "absent"}
    assert drawing.card("concept 2").get_attribute("data-role") == "affected"
    drawing.editor.screenshot("editor_by_mouse")


def test_a_graph_from_nothing_by_keys_alone(drawing):
    drawing.start(EMPTY)
    keys = drawing.page.keyboard
    drawing.page.locator(".csg-scene").focus()
    drawing.page.wait_for_timeout(500)
    for entry in ("weather = sunny, rainy", "ground = dry, wet"):
        keys.press("n")
        drawing.page.locator(".csg-quick:not([hidden])").wait_for()
        keys.type(entry)
        keys.press("Enter")
    assert drawing.names() == ["weather", "ground"]
    for key in ("ArrowLeft", "c", "ArrowRight", "Enter"):
        keys.press(key)
    assert drawing.edges() == [("weather", "ground")]
    for key in ("ArrowLeft", "i", "2"):
        keys.press(key)
    assert drawing.graph()["interventions"] == {"weather": "rainy"}
    for key in ("ArrowRight", "h"):
        keys.press(key)
    assert drawing.graph()["interventions"] == {"weather": "rainy", "ground": "dry"}
    keys.press("Control+z")
    assert drawing.graph()["interventions"] == {"weather": "rainy"}
    keys.press("Delete")
    assert drawing.names() == ["weather"]
    assert len(drawing.editor.nodes()) == 1, "Delete stayed inside the editor"


def test_a_cycle_is_refused_in_the_air_and_its_path_shown(drawing):
    drawing.start(WEATHER)
    drawing.drag_edge("ground", "weather", release=False)
    assert "ground → weather → ground" in drawing.said()
    assert drawing.page.locator(".csg-edge.refused").count() == 1
    drawing.page.mouse.up()
    assert drawing.edges() == [("weather", "ground")]


def test_intervene_queue_and_find_the_result_after_a_reload(drawing):
    drawing.start(WEATHER, ["CSG_Propagate"])
    drawing.editor.set_widget("CSG_Propagate", "values", "ground = wet")
    drawing.page.evaluate("""() => {
        const { graph } = window.app;
        const preview = window.LiteGraph.createNode('PreviewAny');
        graph.add(preview);
        graph.nodes.find(node => node.type === 'CSG_Propagate').connect(1, preview, 0);
    }""")
    drawing.mode("Intervene")
    drawing.chip("weather", "rainy").click()
    assert drawing.editor.queue()["end"] == "execution_success"
    drawing.card("ground").locator(".result", has_text="dry → wet").wait_for()
    drawing.editor.screenshot("editor_result")
    saved = drawing.page.evaluate("() => window.app.graph.serialize()")
    drawing.editor.open()
    drawing.page.evaluate("data => window.app.loadGraphData(data)", saved)
    drawing.card("ground").locator(".result", has_text="dry → wet").wait_for()
    assert drawing.root.get_attribute("data-stale") == "false"
    drawing.mode("Intervene")
    drawing.chip("house", "blue").click()
    assert drawing.root.get_attribute("data-stale") == "true"


def test_comfyuis_undo_takes_back_one_edit(drawing):
    drawing.start(WEATHER)
    drawing.mode("Intervene")
    drawing.chip("weather", "rainy").click()
    drawing.chip("house", "blue").click()
    drawing.editor.command("Comfy.Undo")
    drawing.page.wait_for_function("""() => { const node = window.app.graph.nodes[0];
        return !JSON.parse(node.widgets[0].value).interventions.house; }""")
    assert drawing.graph()["interventions"] == {"weather": "rainy"}
    drawing.card("weather").locator("xpath=self::*[@data-role='intervened']").wait_for()


def test_a_hostile_workflow_is_only_text(drawing):
    concepts = [{"name": name, "value": name, "values": {name: name}, "description": name} for name in HOSTILE]
    edges = [{"cause": HOSTILE[0], "effect": HOSTILE[1], "reason": HOSTILE[1]}]
    drawing.start(json.dumps({"concepts": concepts, "edges": edges}))
    drawing.page.locator(".csg-card").first.dblclick(position={"x": 60, "y": 12})
    drawing.page.locator(".csg-panel").wait_for()
    drawing.editor.screenshot("editor_hostile")
    assert drawing.page.evaluate("window.hacked") is None
    assert drawing.page.locator(".csg-editor :is(script, img[src='x'], iframe)").count() == 0
    assert drawing.page.locator(".csg-card title").first.text_content().startswith(HOSTILE[0])


def test_a_broken_text_is_kept_explained_and_mended(drawing):
    drawing.start(EMPTY)
    drawing.write('{"concepts": [')
    area = drawing.page.locator(".csg-text textarea")
    area.wait_for()
    assert area.input_value() == '{"concepts": ['
    assert "JSON" in drawing.page.locator(".csg-text .problem").inner_text()
    area.fill('{"concepts": [{"name": "mood", "value": "calm"}]}')
    drawing.root.get_by_role("button", name="Drawing", exact=True).click()
    drawing.card("mood").wait_for()


def test_the_text_and_the_drawing_say_the_same(drawing):
    drawing.start(WEATHER)
    drawing.root.get_by_role("button", name="Text", exact=True).click()
    area = drawing.page.locator(".csg-text textarea")
    area.wait_for()
    text = area.input_value()
    area.fill(text.replace("}\n", "  house -> -> ground\n}\n"))
    assert drawing.page.locator(".csg-text .wrong").inner_text() == str(text.count("\n"))
    area.fill(text.replace("}\n", "  house -> ground [proposed]\n}\n"))
    assert drawing.edges() == [("weather", "ground"), ("house", "ground")]
    assert drawing.graph()["edges"][1]["status"] == "proposed"


def test_the_wheel_is_the_canvass_until_the_editor_has_the_keyboard(drawing):
    drawing.start(WEATHER)
    scale = "() => [window.app.canvas.ds.scale, document.querySelector('.csg-scene .viewport').getAttribute('transform')]"
    drawing.page.evaluate("document.activeElement?.blur()")
    before = drawing.page.evaluate(scale)
    drawing.page.mouse.move(*drawing.ground_point())
    drawing.page.mouse.wheel(0, -240)
    drawing.page.wait_for_timeout(500)
    outside = drawing.page.evaluate(scale)
    assert outside[0] > before[0] and outside[1] == before[1]
    drawing.page.mouse.click(*drawing.ground_point())
    drawing.page.mouse.wheel(0, -240)
    drawing.page.wait_for_timeout(500)
    inside = drawing.page.evaluate(scale)
    assert inside[0] == outside[0] and inside[1] != outside[1]


def test_touch_builds_moves_and_pinches(drawing):
    page = drawing.start(EMPTY).page
    touch = page.context.new_cdp_session(page)
    touch.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})

    def fingers(kind, *points):
        touched = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touched})

    x, y = drawing.ground_point(0.3, 0.4)
    for _ in range(2):
        fingers("touchStart", (x, y))
        fingers("touchEnd")
    page.locator(".csg-quick:not([hidden])").wait_for()
    page.keyboard.press("Enter")
    box = drawing.card("concept").locator(".body").bounding_box()
    fingers("touchStart", (box["x"] + 60, box["y"] + 12))
    fingers("touchMove", (box["x"] + 160, box["y"] + 112))
    fingers("touchEnd")
    page.wait_for_timeout(300)
    moved = drawing.card("concept").locator(".body").bounding_box()
    assert moved["x"] > box["x"] + 60 and moved["y"] > box["y"] + 60
    before = page.locator(".csg-scene .viewport").get_attribute("transform")
    cx, cy = drawing.ground_point(0.5, 0.8)
    fingers("touchStart", (cx - 40, cy), (cx + 40, cy))
    fingers("touchMove", (cx - 120, cy), (cx + 120, cy))
    fingers("touchEnd")
    assert page.locator(".csg-scene .viewport").get_attribute("transform") != before
