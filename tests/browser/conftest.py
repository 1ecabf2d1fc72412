"""The real page of a real ComfyUI in Chromium, and the few things a person does there."""

import contextlib
import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from tests.browser.drawing import SCREENSHOTS, TRACKER, Drawing, Fingers

ROOT = Path(__file__).resolve().parents[2]
PACK = "causal-semantic-guidance"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
PATIENCE = 180_000  # milliseconds for the page to follow on a busy machine; a run has its own limit
# Counts how often editors look after what no event tells, once each look is over.
PULSES = """{
    const { setInterval } = window;
    window.pulses = 0;
    window.setInterval = (act, ...rest) => {
        const ours = new Error().stack.includes("/editor/node.mjs");
        return setInterval(ours ? () => { try { act(); } finally { window.pulses += 1; } } : act, ...rest);
    };
}"""
QUIET_START = {"Comfy.TutorialCompleted": True, "Comfy.Workflow.ShowMissingModelsWarning": False,
               "Comfy.Release.Status": "skipped", "Comfy.Locale": "en"}


def pytest_addoption(parser):
    parser.addoption("--page", default="pinned", help="ComfyUI's page: `pinned` beside it, `newest`, or the folder of another")


def pytest_configure(config):
    config.addinivalue_line("markers", "core: also run on ComfyUI's newest page")


def program(name):
    """A program of .ci/ as a module."""
    spec = importlib.util.spec_from_file_location(f"project_{name}", ROOT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TEMPLATES = program("workflows").TEMPLATES


def newest_page():
    """The folder that the set-up keeps ComfyUI's newest page in."""
    return program("setup").page_folder()


@pytest.fixture(scope="session")
def server(tmp_path_factory, request):
    """A ComfyUI server of its own with this pack alone and the page that --page names."""
    from csg.evaluation.runner.comfy_client import ComfyServer

    page = request.config.getoption("--page", "pinned")
    folder = newest_page() if page == "newest" else Path(page)
    if page != "pinned" and not (folder / "index.html").is_file():
        pytest.fail(f"no page of ComfyUI lies in {folder}: run `python3 .ci/setup.py --tests`", pytrace=False)
    extra = () if page == "pinned" else ("--front-end-root", str(folder))
    with ComfyServer(workspace=tmp_path_factory.mktemp("comfyui"), threads=1, extra=extra) as running:
        yield running


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium of the system."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(headless=True, executable_path=program, args=FLAGS)
        yield browser
        browser.close()


class Editor:
    """ComfyUI's page as a person uses it."""

    def __init__(self, page, url):
        self.page, self.url, self.errors, self.set_ups = page, url, [], 0
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self):
        """Load the page and wait until its canvas and our nodes are there."""
        self.page.goto(self.url)
        return self.ready()

    def ready(self):
        """Wait for the canvas and our nodes, after the page was loaded or loaded again."""
        self.page.wait_for_function("Boolean(window.app?.graph && window.LiteGraph?.registered_node_types?.CSG_GraphEditor)")
        self.page.wait_for_selector("#graph-canvas")
        return self

    def command(self, name):
        """Run one of the page's commands, as its menu does."""
        self.page.evaluate("name => window.app.extensionManager.command.execute(name)", name)

    def set_setting(self, name, value):
        """Change one of the page's settings, as its dialog does."""
        self.page.evaluate("([name, value]) => window.app.extensionManager.setting.set(name, value)", [name, value])
        self.frames()

    def frames(self, count=3):
        """Wait until the page has been drawn some more times."""
        self.page.evaluate("""async count => {
            for (let drawn = 0; drawn < count; drawn += 1) await new Promise(done => requestAnimationFrame(done));
        }""", count)

    def at_rest(self, measure):
        """Wait until what a function of the page returns is the same in some frames in a row."""
        self.page.evaluate(f"""async () => {{
            const measure = {measure};
            let before = "";
            for (let same = 0, drawn = 0; same < 4; drawn += 1) {{
                if (drawn > 1200) throw new Error(`no rest: ${{before}}`);
                await new Promise(done => requestAnimationFrame(done));
                const now = JSON.stringify(measure());
                same = now === before ? same + 1 : 0;
                before = now;
            }}
        }}""")

    def open_template(self, name):
        """Choose the template of a workflow of this pack in the template browser, and wait until it is on the canvas."""
        before = self.page.evaluate("window.app.graph.id")
        self.browse_templates()
        self.template_card(name).click()
        self.page.wait_for_function("before => window.app.graph.id !== before && window.app.graph.nodes.length", arg=before)

    def template_file(self, name, kind=".json"):
        """The canvas file of a workflow of this pack, or the picture beside it."""
        return ROOT / "workflows" / f"{TEMPLATES[name]}{kind}"

    def load(self, workflow):
        """Open a workflow as if its file had been dropped on the page."""
        self.page.evaluate("workflow => window.app.loadGraphData(workflow)", workflow)

    def browse_templates(self):
        """Open the template browser at this pack's own group in its list on the left."""
        self.command("Comfy.BrowseTemplates")
        self.page.get_by_role("dialog").get_by_text(PACK, exact=False).first.click()

    def template_card(self, name):
        """The card of a workflow in the template browser, in view."""
        card = self.page.get_by_test_id(f"template-workflow-{TEMPLATES[name]}").first
        card.scroll_into_view_if_needed()
        return card

    def set_up_nodes(self, types):
        """An empty canvas with new nodes (no id returns) in a row, each one's first output joined to the next one's first input."""
        self.set_ups += 1  # also after the page is loaded again, or a new node would be taken for an old one come back
        self.page.evaluate("""([types, last]) => {
            const { canvas, graph } = window.app;
            if (canvas.graph !== graph) canvas.setGraph(graph);
            graph.clear();
            window.testNodes = last;
            graph.state.lastNodeId = window.testNodes;
            let x = 80;
            const made = types.map(type => {
                const node = window.LiteGraph.createNode(type);
                node.pos = [x, 120];
                graph.add(node);
                x += Math.max(node.size[0], 400) + 80;
                return node;
            });
            made.slice(1).forEach((node, place) => made[place].connect(0, node, node.inputs.findIndex(input => !input.widget)));
        }""", [types, 1000 * self.set_ups])

    def nodes(self):
        """Every node on the canvas: id, type, title, whether it is red, the models it says it needs, its widget values."""
        return self.page.evaluate("""() => window.app.graph.nodes.map(node => ({
            id: String(node.id), type: node.type, title: node.title, red: Boolean(node.has_errors),
            models: node.properties?.models ?? [],
            widgets: Object.fromEntries((node.widgets ?? []).map(widget => [widget.name, widget.value]))}))""")

    def red_nodes(self, once=()):
        """Ids of the red nodes, once those of `once` are red and the page has ended its search for absent models."""
        from playwright.sync_api import TimeoutError as NotInTime

        with contextlib.suppress(NotInTime):
            self.page.wait_for_function("ids => ids.every(id => window.app.graph.getNodeById(Number(id))?.has_errors)",
                                        arg=sorted(once), timeout=20_000)
        self.page.wait_for_function(f"() => !{TRACKER}.constructor.isLoadingGraph")
        self.page.evaluate("() => window.app.api.getFolderPaths()")  # asked by the page itself before it marks any
        self.frames(10)
        return {node["id"] for node in self.nodes() if node["red"]}

    def unknown_nodes(self):
        """Types on the canvas that nobody registered; the page draws them red."""
        return self.page.evaluate("""() => window.app.graph.nodes.map(node => node.type)
            .filter(type => !window.LiteGraph.registered_node_types[type] && !window.app.graph.subgraphs?.has?.(type))""")

    def set_widget(self, type, name, value):
        """Set a widget of the first node of a type, as its editor does."""
        self.page.evaluate("""([type, name, value]) => {
            const node = window.app.graph.nodes.find(node => node.type === type);
            const widget = node.widgets.find(widget => widget.name === name);
            widget.value = value;
            widget.callback?.(value);
        }""", [type, name, value])

    def queue(self, timeout=300):
        """Press Queue and wait for the end. Returns the prompt's history entry, or the error that the page shows."""
        self.page.evaluate("""() => {
            window.testRun = {};
            const api = window.app.api;
            for (const name of ['execution_success', 'execution_error', 'execution_interrupted'])
                api.addEventListener(name, event => { window.testRun = { end: name, detail: event.detail }; }, { once: true });
        }""")
        refused = self.page.evaluate("""async () => {
            const done = await window.app.queuePrompt(0, 1);
            return done === false ? JSON.stringify(window.app.lastNodeErrors ?? {}) : null;
        }""")
        if refused:
            return {"end": "refused", "detail": json.loads(refused)}
        self.page.wait_for_function("window.testRun.end", timeout=timeout * 1000)
        return self.page.evaluate("window.testRun")

    def pictures(self):
        """How many pictures each node shows, by the node's title."""
        return self.page.evaluate("""() => Object.fromEntries(window.app.graph.nodes
            .filter(node => window.app.nodeOutputs?.[node.id]?.images?.length || node.imgs?.length)
            .map(node => [node.title, (window.app.nodeOutputs?.[node.id]?.images ?? node.imgs).length]))""")

    def fit(self):
        """Bring the whole workflow into view."""
        self.command("Comfy.Canvas.FitView")
        self.at_rest("() => [window.app.canvas.ds.scale, ...window.app.canvas.ds.offset]")

    def screenshot(self, name):
        """Keep what the page shows under output/screenshots."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Keep the page of a failed test, as picture and as text, under output/screenshots: it may not fail again."""
    report = yield
    editor = next((item.funcargs[name] for name in ("editor", "workbench") if name in getattr(item, "funcargs", {})), None)
    if report.when == "call" and report.failed and editor is not None:
        name = "failed-" + "".join(c if c.isalnum() else "-" for c in item.name)
        with contextlib.suppress(Exception):
            editor.screenshot(name)
            (SCREENSHOTS / f"{name}.html").write_text(editor.page.content())
    return report


@pytest.fixture(scope="session")
def contexts(chromium):
    """Two of the browser's contexts, for pages that are open at once: each fetches and compiles the page's files only once."""
    made = [chromium.new_context(viewport={"width": 1680, "height": 1050}) for _ in range(2)]
    for context in made:
        context.add_init_script(PULSES)
    yield made
    for context in made:
        context.close()


@contextlib.contextmanager
def opened(context, server):
    """A page of its own with our nodes loaded, that remembers nothing of those before."""
    server.client.post("/settings", QUIET_START)
    context.clear_permissions()
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Storage.clearDataForOrigin", {"origin": server.url, "storageTypes": "cookies,indexeddb,local_storage"})
    session.detach()
    yield Editor(page, server.url).open()
    page.close()


@pytest.fixture
def editor(contexts, server):
    """A fresh page; a script error on it fails the test."""
    with opened(contexts[0], server) as editor:
        yield editor
    assert not editor.errors, f"script errors on the page: {editor.errors}"


@pytest.fixture(scope="module", params=["canvas", "nodes 2.0"])
def workbench(contexts, server, request):
    """A page for all tests of a module, with nodes drawn either way: loading it takes longer than most tests."""
    with opened(contexts[1], server) as editor:
        editor.set_setting("Comfy.VueNodes.Enabled", request.param == "nodes 2.0")
        yield editor
        editor.set_setting("Comfy.VueNodes.Enabled", False)


@pytest.fixture(scope="session")
def mask_file(server, tmp_path_factory):
    """A picture that the server has, as nodes report it to the page."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (256, 256), "black")
    ImageDraw.Draw(picture).polygon([(0, 256), (0, 150), (90, 128), (256, 160), (256, 256)], fill="white")
    path = tmp_path_factory.mktemp("pictures") / "mask.png"
    picture.save(path)
    server.client.upload_image(path)
    return {"filename": path.name, "subfolder": "", "type": "input"}


@pytest.fixture
def drawing(workbench):
    """The causal graph editor; a script error fails the test."""
    workbench.errors.clear()
    yield Drawing(workbench)
    assert not workbench.errors, f"script errors on the page: {workbench.errors}"


@pytest.fixture
def fingers(drawing):
    """Touches, for one test; the next one finds a page without."""
    touching = Fingers(drawing)
    yield touching
    touching.gone()
