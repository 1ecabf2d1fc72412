/**
 * What the fields of Intervene may hold: the concepts of the graph before it, and the values of the one that it names. A click
 * lists them, and where a field is an element of the page the down arrow too.
 *
 * @import { Graph } from "./editor/model.mjs"
 * @typedef {{app: any, root: any, editors: Promise<any> | undefined}} Comfy
 */
import { nodeCalled } from "./called.mjs";
import { downstream } from "./editor/results.mjs";

const OTHER = "…";
const NODE = "CSG_Intervene";
/** @type {any} the list that is open */ let list;
let attending = false;

/** Where nothing is known one types, as ever. @param {any} node @param {Comfy} comfy */
export function offerChoices(node, comfy) {
  for (const widget of node.widgets ?? []) {
    const type = widget.onClick;
    if (!type) continue;
    widget.onClick = async (/** @type {any} */ options) => {
      const ask = () => type.call(widget, options);
      if (!(await offer({ node, widget, at: options.e, type: ask, keys: true }, comfy).catch(console.error))) ask();
    };
  }
  if (attending) return;
  attending = true;
  for (const kind of ["click", "keydown"]) document.addEventListener(kind, (event) => offerAtField(event, comfy), true);
}

/** The same where nodes are elements of the page. @param {any} event @param {Comfy} comfy */
function offerAtField(event, comfy) {
  const { target, type, key } = event;
  if (!(target instanceof HTMLInputElement)) return;
  const node = comfy.app.canvas?.graph?.getNodeById(target.closest("[data-node-id]")?.getAttribute("data-node-id"));
  const widget = node?.comfyClass === NODE && node.widgets.find((/** @type {any} */ each) => each.name === target.getAttribute("aria-label"));
  if (!widget) return;
  closeList();
  if (type === "keydown" && key !== "ArrowDown") return;
  const { left, bottom } = target.getBoundingClientRect();
  const at = type === "click" ? event : new MouseEvent("click", { clientX: left + 10, clientY: bottom + 10 });
  offer({ node, widget, at, type: () => target.focus(), keys: type === "keydown" }, comfy).catch(console.error);
}

/**
 * @typedef {{node: any, widget: any, at: MouseEvent, type: () => void, keys: boolean}} Field `keys`: whether the list takes the keyboard
 * @param {Field} field
 * @param {Comfy} comfy
 * @returns {Promise<boolean>} whether any graph is known
 */
async function offer(field, comfy) {
  const graph = (await comfy.editors)?.graphBefore(field.node, comfy.root) ?? await reportedBefore(field.node, comfy);
  const choices = graph ? choicesFor(graph, field.node, field.widget.name) : [];
  if (choices.length) openList(choices, field, comfy.app);
  return choices.length > 0;
}

/** The graph that the nearest node before this one made in the last run. @param {any} node @param {Comfy} comfy @returns {Promise<Graph | null>} */
async function reportedBefore(node, { app, root }) {
  const made = Object.entries(app.nodeOutputs ?? {}).filter(([, output]) => typeof output?.graph?.[0] === "string");
  const before = made.map(([id, { graph }]) => ({ maker: nodeCalled(root, id), text: graph[0] })).filter(({ maker }) => maker)
    .map(({ maker, text }) => ({ behind: downstream(maker, root), text })).filter(({ behind }) => behind.has(node));
  const nearest = before.sort((one, other) => one.behind.size - other.behind.size)[0];
  return nearest ? (await import("./editor/json.mjs")).readJson(nearest.text) : null;
}

/** @param {Graph} graph @param {any} node @param {string} field @returns {string[]} none where the graph knows none */
function choicesFor({ concepts }, node, field) {
  if (field === "concept") return concepts.map(({ name }) => name);
  const name = String(node.widgets.find((/** @type {any} */ each) => each.name === "concept")?.value ?? "").trim();
  return [...(concepts.find((each) => each.name === name)?.values.keys() ?? [])];
}

/** Shows them as ComfyUI shows the choices of a list; the last one is to type. @param {string[]} choices @param {Field} field @param {any} app */
function openList(choices, { node, widget, at, type, keys }, app) {
  const { LiteGraph } = /** @type {any} */ (window);
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  const choose = (/** @type {string} */ choice) => {
    before?.focus();
    if (choice === OTHER) return type();
    app.canvas?.emitBeforeChange?.();
    widget.value = choice;
    widget.callback?.(choice, app.canvas, node);
    app.canvas?.emitAfterChange?.();
    node.graph?.setDirtyCanvas?.(true, true);
  };
  list = new LiteGraph.ContextMenu([...choices, OTHER], { event: at, className: "dark", scale: Math.max(1, app.canvas?.ds?.scale ?? 1), callback: choose });
  walk(list.root, keys ? choices.indexOf(widget.value) : null, () => before?.focus());
}

function closeList() {
  list?.close();
  list = null;
}

/** Arrows go through a list, Enter chooses, Escape leaves. @param {HTMLElement} root @param {number | null} first what has the keyboard first @param {() => void} leave */
function walk(root, first, leave) {
  const entries = /** @type {HTMLElement[]} */ ([...root.querySelectorAll(".litemenu-entry")]);
  for (const entry of entries) entry.tabIndex = -1;
  if (first !== null) entries[Math.max(0, first)].focus();
  root.addEventListener("keydown", (event) => {
    event.stopPropagation();
    const place = entries.indexOf(/** @type {HTMLElement} */ (event.target)); // ComfyUI's own field above a long list has its own keys.
    const next = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: -1 }[event.key];
    if (event.key === "Escape" || event.key === "Tab") {
      closeList();
      leave();
    } else if (place < 0) return;
    else if (event.key === "Enter") entries[place].click();
    else if (next !== undefined) entries.at(next % entries.length)?.focus();
    else return;
    event.preventDefault();
  });
}
