/**
 * The causal graph editor's door into ComfyUI. Everything behind it is loaded when the
 * first Causal Graph Editor appears on the canvas.
 */
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { applyPreset, offersPresets, PRESETS } from "./presets.mjs";

/** The pack's, as in pyproject.toml. */
const VERSION = "0.1.0";
/** The modules of the first drawing, and those that come when they are used. */
const FIRST = "card card_view compact curve dom editor empty history i18n json layout memory model node painter palette scene" +
  " text_size toolbar viewport";
const LATER = "actions carried commands dagitty details dot dot_meaning files gestures inspector keyboard links menu merge picture quick_entry" +
  " recognise results text_tab";
const NODE = "CSG_GraphEditor";
const SIZE = [800, 600];
const KEPT = "csg.editor.version";
/** @type {ReturnType<typeof prepare> | undefined} */ let ready;
/** The editors that were ever needed: what a run reports waits for those still being loaded. @type {Promise<unknown> | undefined} */
let coming;
/** What runs report is told in its order: a mask belongs to the counterfactual before it. @type {Promise<void>} */
let reports = Promise.resolve();

/** @param {any} node shows the drawing instead of its text box; the text stays the value */
function showDrawing(node) {
  const text = node.widgets?.find((/** @type {any} */ widget) => widget.name === "graph_json");
  if (!text) return;
  text.hidden = true;
  text.options.hidden = true;
  const element = document.createElement("div");
  element.className = "csg-host";
  const widget = node.addDOMWidget("drawing", "CSG_DRAWING", element, { serialize: false, hideOnZoom: false, getMinHeight: () => 320 });
  widget.serialize = false;
  node.setSize([Math.max(node.size[0], SIZE[0]), Math.max(node.size[1], SIZE[1])]);
  const added = node.onAdded;
  node.onAdded = (/** @type {unknown[]} */ ...rest) => {
    added?.apply(node, rest);
    coming = Promise.all([coming, load(node, element, text)]).then(() => {});
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

/** @param {{node: string, output: Record<string, unknown>}} detail what a node that ran sends to the page */
async function tell(detail) {
  const { report } = await import("./editor/node.mjs");
  await report(detail, app.rootGraph ?? app.graph);
}

/** @param {{prompt_id?: string}} detail the run that is over */
async function end(detail) {
  const { ended } = await import("./editor/node.mjs");
  await ended(detail);
}

/** One after the other, once there is an editor. @param {string} event @param {(detail: any) => Promise<void>} act */
function listen(event, act) {
  api.addEventListener(event, (/** @type {CustomEvent} */ { detail }) => {
    if (coming) reports = reports.then(() => coming).then(() => act(detail)).catch(console.error);
  });
}

/** Asks for all that the first drawing needs at once: one thing after the other would each wait for a turn of a busy page. */
async function prepare() {
  const style = document.createElement("link"); // A sheet, so that ComfyUI's themes reach it.
  Object.assign(style, { rel: "stylesheet", href: addressOf("editor/style.css") });
  const styled = new Promise((resolve) => { style.onload = style.onerror = resolve; });
  document.head.append(style);
  const words = api.getCustomNodesI18n().catch(() => ({}));
  const modules = ["vendor/dagre", ...FIRST.split(" ").map((name) => `editor/${name}`)].map((name) => import(addressOf(`${name}.mjs`)));
  const [messages] = await Promise.all([words, styled, ...modules]);
  const { mount } = await import("./editor/node.mjs");
  return { mount, messages: messages ?? {} };
}

/** Asks the server again for every module, once after each update: ComfyUI lets browsers keep them, so that old and new would meet. */
async function refresh() {
  const files = ["presets", ...`${FIRST} ${LATER}`.split(" ").map((name) => `editor/${name}`)];
  if (changed()) await Promise.allSettled(files.map((file) => fetch(addressOf(`${file}.mjs`), { cache: "reload" })));
}

/** Whether this browser had another version; a store that is full or closed to us remembers none. */
function changed() {
  try {
    const known = localStorage.getItem(KEPT);
    localStorage.setItem(KEPT, VERSION);
    return known !== null && known !== VERSION;
  } catch {
    return false;
  }
}

/** @param {string} file of this folder */
const addressOf = (file) => new URL(`./${file}`, import.meta.url).href;

app.registerExtension({
  name: "csg.graph_editor",
  nodeCreated(/** @type {any} */ node) {
    if (node.comfyClass === NODE) showDrawing(node);
  },
  getNodeMenuItems(/** @type {any} */ node) {
    if (!offersPresets(node)) return [];
    return [null, ...PRESETS.map((preset) => ({ content: preset.name, callback: () => applyPreset(node, preset) }))];
  },
  setup() {
    listen("executed", tell);
    for (const event of ["execution_success", "execution_error", "execution_interrupted"]) listen(event, end);
  },
});
