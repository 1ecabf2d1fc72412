/**
 * The causal graph editor's door into ComfyUI. Everything behind it is loaded when the
 * first Causal Graph Editor appears on the canvas.
 */
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { applyPreset, offersPresets, PRESETS } from "./presets.mjs";

/** The pack's, as in pyproject.toml. */
const VERSION = "0.1.0";
const START = "editor/all.mjs";
const FAILURE = "failure.mjs";
const CHOICES = "choices.mjs";
const ASKS = "CSG_Intervene";
const OURS = "CSG_";
const NODE = "CSG_GraphEditor";
const SIZE = [800, 600];
const SLIDER = [440, 560];
const KEPT = "csg.editor.version";
/** @type {ReturnType<typeof prepare> | undefined} */ let ready;

/** @param {any} node shows the drawing instead of its text box; the text stays the value */
function showDrawing(node) {
  const text = node.widgets?.find((/** @type {any} */ widget) => widget.name === "graph_json");
  if (!text) return;
  text.hidden = true;
  text.options.hidden = true;
  const element = document.createElement("div");
  element.className = "csg-host";
  const widget = node.addDOMWidget("drawing", "CSG_DRAWING", element, { serialize: false, hideOnZoom: false, hideInPanel: true, getMinHeight: () => 320 });
  widget.serialize = false;
  Object.defineProperty(widget, "width", { get: () => undefined, set: () => {} }); // ComfyUI's properties panel sets its own: the node's counts.
  node.setSize([Math.max(node.size[0], SIZE[0]), Math.max(node.size[1], SIZE[1])]);
  const added = node.onAdded;
  node.onAdded = (/** @type {unknown[]} */ ...rest) => {
    added?.apply(node, rest);
    load(node, element, text);
  };
}

/** @param {any} node lays its two pictures over each other; what drew them is loaded with the first */
function showSlider(node) {
  const element = document.createElement("div");
  const widget = node.addDOMWidget("slider", "CSG_SLIDER", element, { serialize: false, hideOnZoom: false, hideInPanel: true, getMinHeight: () => 240 });
  widget.serialize = false;
  node.setSize([Math.max(node.size[0], SLIDER[0]), Math.max(node.size[1], SLIDER[1])]);
  const address = (/** @type {Record<string, string>} */ file) => api.apiURL(`/view?${new URLSearchParams(file)}`);
  const executed = node.onExecuted;
  node.onExecuted = (/** @type {any} */ output) => {
    executed?.call(node, output);
    import(addressOf("before_after.mjs")).then(({ fill }) => fill(element, output, address)).catch(console.error);
  };
}

/** @param {any} node on a canvas now @param {HTMLElement} element @param {any} text */
async function load(node, element, text) {
  try {
    const { mount, messages } = await (ready ??= refresh().then(prepare));
    mount(node, element, { app, api, messages });
  } catch (error) {
    ready = undefined; // The next editor tries again.
    text.hidden = text.options.hidden = false;
    console.error("The causal graph editor could not be loaded; its text box is shown instead.", error);
  }
}

/** Tells the editors what a run reports, once there is one. @param {string} event @param {(editors: any, detail: any) => void} act */
function listen(event, act) {
  api.addEventListener(event, (/** @type {CustomEvent} */ { detail }) => {
    ready?.then((editors) => act(editors, detail)).catch(console.error);
  });
}

/** One of our nodes failed: its sentence stands on it, and on the editors before it. @param {any} failure as ComfyUI tells of it */
async function tell(failure) {
  if (!failure.node_type?.startsWith(OURS)) return;
  const id = String(failure.node_id);
  const node = app.canvas?.graph?.getNodeById(id.split(":").at(-1));
  const size = node && [...node.size]; // Nodes 2.0 makes a red node higher.
  const { sentenceOf, showFailure } = await import(addressOf(FAILURE));
  const sentence = sentenceOf(failure.exception_message);
  if (node?.comfyClass === failure.node_type && node.comfyClass !== NODE) showFailure(sentence, { id, node, size }, api);
  (await ready)?.failed(id, sentence, app.rootGraph ?? app.graph);
}

/**
 * A click on a field of Intervene offers what the graph before it has.
 * @param {any} node @param {any} widget @param {MouseEvent} event @param {() => void} type
 * @returns {Promise<boolean>} whether any graph is known
 */
async function offer(node, widget, event, type) {
  const graph = (await ready)?.graphBefore(node, app.rootGraph ?? app.graph);
  if (!graph) return false;
  const { choicesFor, openList } = await import(addressOf(CHOICES));
  const choices = choicesFor(graph, node, widget.name);
  if (choices.length) openList(choices, { node, widget, event, type, app });
  return choices.length > 0;
}

/** Where nothing is known one types, as ever. @param {any} node */
function offerOnClick(node) {
  for (const widget of node.widgets ?? []) {
    const type = widget.onClick;
    if (!type) continue;
    widget.onClick = async (/** @type {any} */ options) => {
      const ask = () => type.call(widget, options);
      if (!(await offer(node, widget, options.e, ask).catch(console.error))) ask();
    };
  }
}

/** The same where nodes are elements of the page. @param {MouseEvent} event */
function offerAtField(event) {
  const { target } = event;
  if (!(target instanceof HTMLInputElement)) return;
  const node = app.canvas?.graph?.getNodeById(target.closest("[data-node-id]")?.getAttribute("data-node-id"));
  if (node?.comfyClass !== ASKS) return;
  const widget = node.widgets.find((/** @type {any} */ each) => each.name === target.getAttribute("aria-label"));
  if (widget) offer(node, widget, event, () => target.focus()).catch(console.error);
}

/** The editor's code, its style sheet and its words, asked for at once. */
async function prepare() {
  const style = document.createElement("link"); // A sheet, so that ComfyUI's themes reach it.
  Object.assign(style, { rel: "stylesheet", href: addressOf("editor/style.css") });
  const styled = new Promise((resolve) => { style.onload = style.onerror = resolve; });
  document.head.append(style);
  const words = api.getCustomNodesI18n().catch(() => ({}));
  const [editors, messages] = await Promise.all([import(addressOf(START)), words, styled]);
  return { ...editors, messages: messages ?? {} };
}

/** Asks the server again for every module, once after each update: ComfyUI lets browsers keep them, so that old and new would meet. */
async function refresh() {
  if (changed()) await Promise.allSettled([START, FAILURE, CHOICES, "presets.mjs", "before_after.mjs"].map((file) => again(addressOf(file), new Set())));
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

/** A module and those that it imports. @param {string} address @param {Set<string>} asked */
async function again(address, asked) {
  if (asked.has(address)) return;
  asked.add(address);
  const code = await (await fetch(address, { cache: "reload" })).text();
  await Promise.all([...code.matchAll(/(?:^(?:import|export) [^;]*?|\bimport\()"(\.[^"]+)"/gms)].map(([, path]) => again(new URL(path, address).href, asked)));
}

/** @param {string} file of this folder */
const addressOf = (file) => new URL(`./${file}`, import.meta.url).href;

app.registerExtension({
  name: "csg.graph_editor",
  nodeCreated(/** @type {any} */ node) {
    if (node.comfyClass === NODE) showDrawing(node);
    if (node.comfyClass === ASKS) offerOnClick(node);
    if (node.comfyClass === "CSG_BeforeAfter") showSlider(node);
  },
  /** A tab that is shown again brings its outputs along. */
  onNodeOutputsUpdated(/** @type {Record<string, any>} */ outputs) {
    for (const [id, output] of Object.entries(outputs ?? {})) if (output?.csg_before) app.graph?.getNodeById(id)?.onExecuted?.(output);
  },
  getNodeMenuItems(/** @type {any} */ node) {
    if (!offersPresets(node)) return [];
    return [null, ...PRESETS.map((preset) => ({ content: preset.name, callback: () => applyPreset(node, preset) }))];
  },
  setup() {
    document.addEventListener("click", offerAtField, true);
    listen("executed", (editors, detail) => editors.report(detail, app.rootGraph ?? app.graph));
    listen("progress_state", (editors, detail) => editors.progress(detail, app.rootGraph ?? app.graph));
    listen("b_preview_with_metadata", (editors, detail) => editors.preview(detail, app.rootGraph ?? app.graph));
    for (const event of ["execution_success", "execution_error", "execution_interrupted"]) listen(event, (editors, detail) => editors.ended(detail));
    api.addEventListener("execution_error", (/** @type {CustomEvent} */ { detail }) => tell(detail).catch(console.error));
  },
});
