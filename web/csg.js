/**
 * The pack's door into ComfyUI. What stands behind it is loaded when a node that needs it appears, runs, fails or is clicked.
 */
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { nodeCalled } from "./called.mjs";
import { applyPreset, offersPresets, PRESETS, titleOf } from "./presets.mjs";

/** The pack's, as in pyproject.toml. */
const VERSION = "0.1.0";
/** The modules of an editor, asked for at once: one after the other, each would wait for a turn of a busy page. */
const EDITOR = ["vendor/dagre.mjs", ...("actions asked card commands dom dot editor files gestures i18n inspector json keyboard layout live merge" +
  " model node painter quick_entry recognise results scene session strength strip text_tab toolbar transfer wording").split(" ").map((name) => `editor/${name}.mjs`)];
/** What comes when it is used. */
const LATER = ["editor/context.mjs", "editor/menu.mjs", "editor/picture.mjs", "before_after.mjs", "choices.mjs", "failure.mjs"];
const OURS = "CSG_";
const KEPT = "csg.editor.version";
/** @type {ReturnType<typeof prepare> | undefined} */ let ready;
/** @type {Promise<unknown> | undefined} */ let renewed;
/** @type {Promise<any> | undefined} */ let spoken;
/** @type {import("./editor/i18n.mjs").Translate | undefined} */ let said;

/** What the parts of this pack need of the page. */
const comfy = {
  app, api,
  get root() { return app.rootGraph ?? app.graph; },
  /** The editors' module, none before there is an editor. */
  get editors() { return ready; },
};

/** @param {string} file of this folder */
const addressOf = (file) => new URL(`./${file}`, import.meta.url).href;

/** @param {string} file @returns {Promise<any>} */
const load = async (file) => {
  await (renewed ??= renew());
  return import(addressOf(file));
};

/** @param {string} file @param {(module: any) => unknown} act what fails there is only told */
const use = (file, act) => load(file).then(act).catch(console.error);

/** Asks the server again for every module, once after each update: ComfyUI lets browsers keep them, so that old and new would meet. */
async function renew() {
  const files = [...EDITOR, ...LATER, "called.mjs", "presets.mjs"];
  if (changed()) await Promise.allSettled(files.map((file) => fetch(addressOf(file), { cache: "reload" })));
}

/** Whether this browser had another version; a store that is full or closed to us remembers none. */
function changed() {
  try {
    const before = localStorage.getItem(KEPT);
    localStorage.setItem(KEPT, VERSION);
    return before !== null && before !== VERSION;
  } catch {
    return false;
  }
}

/** The words of all languages. @returns {Promise<import("./editor/i18n.mjs").Messages>} */
const messages = () => (spoken ??= api.getCustomNodesI18n().then((/** @type {any} */ all) => all ?? {}, () => ({})));

/** The pack's words in the page's language. */
async function words() {
  const [{ translatorFor }, all] = await Promise.all([load("editor/i18n.mjs"), messages()]);
  return (said = translatorFor(app, all));
}

/** The editor's code, its style sheet and the words, asked for at once. */
async function prepare() {
  const style = document.createElement("link"); // A sheet, so that ComfyUI's themes reach it.
  Object.assign(style, { rel: "stylesheet", href: addressOf("editor/style.css") });
  const styled = new Promise((resolve) => { style.onload = style.onerror = resolve; });
  document.head.append(style);
  const [editors, all] = await Promise.all([load("editor/node.mjs"), messages(), styled, ...EDITOR.map(load)]);
  return { ...editors, messages: all };
}

/** @param {any} node on a canvas now @param {HTMLElement} element @param {any} text */
async function showEditor(node, element, text) {
  try {
    const { mount, messages: all } = await (ready ??= prepare());
    mount(node, element, { app, api, messages: all });
  } catch (error) {
    ready = undefined; // The next editor tries again.
    text.hidden = text.options.hidden = false;
    console.error("The causal graph editor could not be loaded; its text box is shown instead.", error);
  }
}

/** An element of the page in a node. @param {any} node @param {string} name @param {number[]} size of the node, at least @param {number} height of the element, at least */
function addElement(node, name, size, height) {
  const element = document.createElement("div");
  const widget = node.addDOMWidget(name, `CSG_${name.toUpperCase()}`, element, { serialize: false, hideOnZoom: false, hideInPanel: true, getMinHeight: () => height });
  widget.serialize = false;
  node.setSize([Math.max(node.size[0], size[0]), Math.max(node.size[1], size[1])]);
  return { element, widget };
}

/** @param {any} node shows the drawing instead of its text box; the text stays the value */
function showDrawing(node) {
  const text = node.widgets?.find((/** @type {any} */ widget) => widget.name === "graph_json");
  if (!text) return;
  text.hidden = text.options.hidden = true;
  const { element, widget } = addElement(node, "drawing", [800, 600], 320);
  element.className = "csg-host";
  Object.defineProperty(widget, "width", { get: () => undefined, set: () => {} }); // ComfyUI's properties panel sets its own: the node's counts.
  const added = node.onAdded;
  node.onAdded = (/** @type {unknown[]} */ ...rest) => {
    added?.apply(node, rest);
    showEditor(node, element, text);
  };
}

/** @param {any} node lays its two pictures over each other */
function showSlider(node) {
  const { element } = addElement(node, "slider", [440, 560], 240);
  const executed = node.onExecuted;
  node.onExecuted = (/** @type {any} */ output) => {
    executed?.call(node, output);
    use("before_after.mjs", async ({ fill }) => fill(element, output, { api, t: await words() }));
  };
}

/** Tells the editors what a run reports, once there is one. @param {string} event @param {(editors: any, detail: any) => void} act */
function listen(event, act) {
  api.addEventListener(event, (/** @type {CustomEvent} */ { detail }) => {
    ready?.then((editors) => act(editors, detail)).catch(console.error);
  });
}

/** One of our nodes failed. @param {any} failure as ComfyUI tells of it */
function tell(failure) {
  if (!failure.node_type?.startsWith(OURS)) return;
  const node = nodeCalled(comfy.root, failure.node_id);
  const size = node && [...node.size]; // Nodes 2.0 makes a red node higher.
  use("failure.mjs", ({ showFailure }) => showFailure(failure, { node, size }, comfy));
}

app.registerExtension({
  name: "csg.graph_editor",
  nodeCreated(/** @type {any} */ node) {
    if (node.comfyClass === "CSG_GraphEditor") showDrawing(node);
    if (node.comfyClass === "CSG_BeforeAfter") showSlider(node);
    if (node.comfyClass === "CSG_Intervene") use("choices.mjs", ({ offerChoices }) => offerChoices(node, comfy));
    if (offersPresets(node)) words().catch(console.error);
  },
  /** A tab that is shown again brings its outputs along. */
  onNodeOutputsUpdated(/** @type {Record<string, any>} */ outputs) {
    for (const [id, output] of Object.entries(outputs ?? {})) if (output?.csg_before) nodeCalled(comfy.root, id)?.onExecuted?.(output);
  },
  getNodeMenuItems(/** @type {any} */ node) {
    if (!offersPresets(node)) return [];
    return [null, ...PRESETS.map((preset) => ({ content: titleOf(preset, said), callback: () => applyPreset(node, preset) }))];
  },
  setup() {
    listen("executed", (editors, detail) => editors.report(detail, comfy.root));
    listen("progress_state", (editors, detail) => editors.progress(detail, comfy.root));
    listen("b_preview_with_metadata", (editors, detail) => editors.preview(detail, comfy.root));
    for (const event of ["execution_success", "execution_error", "execution_interrupted"]) listen(event, (editors, detail) => editors.ended(detail));
    api.addEventListener("execution_error", (/** @type {CustomEvent} */ { detail }) => tell(detail));
  },
});
