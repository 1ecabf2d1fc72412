/**
 * One line to name a new concept where it stands: `weather`, or at once with its
 * values, `weather = sunny, rainy, snowy`.
 *
 * @import { Editor } from "./editor.mjs"
 * @import { Graph, Point } from "./model.mjs"
 */
import * as commands from "./commands.mjs";
import { html } from "./dom.mjs";
import { conceptOf, makeConcept, makeGraph } from "./model.mjs";
import { phraseOf } from "./commands.mjs";

/** Pixels kept free around. */
const EDGE = 6;

export class QuickEntry {
  /** @type {string | null} */ #name = null;

  /** @param {Editor} editor */
  constructor(editor) {
    this.editor = editor;
    this.element = html("input", {
      class: "csg-quick", hidden: true, "aria-label": editor.t("quick.label"), placeholder: editor.t("quick.placeholder"),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event), onblur: () => this.#close(true),
    });
  }

  /** @param {Point} point in the graph */
  addAt([x, y]) {
    const name = this.editor.actions.add([x - 98, y - 33]);
    if (name !== null) this.#open(name);
  }

  /** @param {string | null} near */
  addNear(near) {
    const { scene, viewport } = this.editor;
    const box = near === null ? undefined : scene.boxOf(near);
    const { width, height } = viewport.size;
    if (box) this.addAt([box.x + box.width + 170, box.y + box.height / 2]);
    else this.addAt([(width / 2 - viewport.x) / viewport.scale, (height / 2 - viewport.y) / viewport.scale]);
  }

  /** @param {string} name */
  #open(name) {
    const { editor, element } = this;
    editor.visit(name);
    const box = editor.scene.boxOf(name);
    if (!box) return;
    const { x, y, scale } = editor.viewport;
    this.#name = name;
    element.hidden = false;
    element.value = "";
    const zoom = Number(getComputedStyle(element).zoom) || 1;
    const { width, height } = editor.viewport.size;
    const inside = (/** @type {number} */ at, /** @type {number} */ room) => `${Math.max(EDGE, Math.min(at / zoom, room / zoom - EDGE))}px`;
    element.style.left = inside(box.x * scale + x, width - element.offsetWidth * zoom);
    element.style.top = inside(box.y * scale + y, height - element.offsetHeight * zoom);
    element.focus({ preventScroll: true });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    this.#close(event.key === "Enter");
  }

  /** @param {boolean} keep */
  #close(keep) {
    const name = this.#name;
    if (name === null) return;
    this.#name = null;
    this.element.hidden = true;
    const text = this.element.value.trim();
    if (!keep) return this.#takeBack(name);
    if (!text) return this.editor.visit(name);
    const entry = readEntry(text);
    const done = this.editor.run((graph) => entered(graph, name, entry), { merge: `add ${name}` });
    this.editor.session.history.seal();
    this.editor.visit(done ? entry.name : name);
  }

  /** As if it had never been added. @param {string} name */
  #takeBack(name) {
    const { editor } = this;
    if (editor.session.history.canUndo && editor.graph.concepts.some((each) => each.name === name)) editor.undo();
    editor.say(editor.t("said.cancelled"));
    editor.rest();
  }
}

/**
 * @param {string} text `name`, `name = value` or `name = value, value, …`
 * @returns {{name: string, values: string[]}}
 */
export function readEntry(text) {
  const [name, rest = ""] = text.split(/[=:：＝](.*)/s);
  const values = rest.split(/[,;，、；]/).map((each) => each.trim()).filter(Boolean);
  return { name: name.trim(), values: [...new Set(values)] };
}

/**
 * @param {Graph} graph
 * @param {string} from the name the concept was born with
 * @param {{name: string, values: string[]}} entry
 * @returns {Graph}
 */
function entered(graph, from, { name, values }) {
  const renamed = commands.renameConcept(graph, from, name);
  const domain = values.length
    ? new Map(values.map((value) => [value, phraseOf(value, name)]))
    : new Map([...conceptOf(renamed, name).values].map(([value, phrase]) => [value, phrase === from ? name : phrase]));
  const concepts = renamed.concepts.map((each) =>
    (each.name === name ? makeConcept({ ...each, value: [...domain.keys()][0], values: domain }) : each));
  return makeGraph({ ...renamed, concepts });
}
