/**
 * The editor without a mouse. One concept or edge has the keyboard at a time; arrows
 * follow the edges, letters act on it.
 *
 * @import { Editor } from "./editor.mjs"
 * @import { Box } from "./layout.mjs"
 */
import { children, edgeKey, parents } from "./model.mjs";

/** @typedef {"ArrowUp" | "ArrowDown" | "ArrowLeft" | "ArrowRight"} Arrow */
const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

export class Keyboard {
  /** @type {string | null} the cause of an edge that is being drawn by keys */ #cause = null;

  /** @param {Editor} editor @param {AbortSignal} signal */
  constructor(editor, signal) {
    this.editor = editor;
    editor.element.addEventListener("keydown", (event) => this.#key(event), { signal });
    for (const type of ["keyup", "keypress"]) editor.element.addEventListener(type, (event) => event.stopPropagation(), { signal });
    editor.scene.element.addEventListener("focusin", (event) => this.#focused(event), { signal });
  }

  /** Focus by Tab or a screen reader selects as well. @param {FocusEvent} event */
  #focused(event) {
    const { editor } = this;
    const target = editor.gestures.attending ? null : editor.scene.targetOf(event.target);
    if (!target) return;
    const key = "name" in target ? target.name : edgeKey(target);
    if (editor.focus !== key) editor.select(this.#cause === null ? [key] : editor.selected, key);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const command = event.ctrlKey || event.metaKey;
    if (!command || "zyadZYAD".includes(event.key)) event.stopPropagation();
    if (isField(event.target)) return this.#fieldKey(event);
    const done = command ? this.#commandKey(event) : this.#plainKey(event);
    if (done) event.preventDefault();
  }

  /** @param {KeyboardEvent} event */
  #fieldKey(event) {
    if (event.key !== "Escape" || event.defaultPrevented) return;
    event.preventDefault();
    this.#home();
  }

  /** Gives the keyboard back to the drawing. */
  #home() {
    const { editor } = this;
    (editor.scene.elementOf(editor.focus) ?? editor.scene.element).focus({ preventScroll: true });
  }

  /** @param {KeyboardEvent} event */
  #commandKey({ key, shiftKey }) {
    const { editor } = this;
    const letter = key.toLowerCase();
    if (letter === "z" && !shiftKey) return editor.undo(), true;
    if (letter === "y" || letter === "z") return editor.redo(), true;
    if (letter === "d") return editor.transfer.duplicate(), true;
    if (letter !== "a") return false;
    editor.select(editor.graph.concepts.map(({ name }) => name), editor.focus);
    return true;
  }

  /** @param {KeyboardEvent} event @returns {boolean} whether the key was used */
  #plainKey(event) {
    if (!this.editor.scene.element.contains(/** @type {Node} */ (event.target))) return this.#panelKey(event);
    const { key } = event;
    if (key in ARROWS) return event.altKey ? this.#nudge(/** @type {Arrow} */ (key)) : this.#walk(/** @type {Arrow} */ (key));
    if (/^[1-9]$/.test(key)) return this.#nth(Number(key));
    const act = this.#letters[key.length === 1 ? key.toLowerCase() : key];
    return act ? act() !== false : false;
  }

  /** @param {KeyboardEvent} event */
  #panelKey({ key }) {
    if (key !== "Escape") return false;
    this.#home();
    return true;
  }

  /** @type {Record<string, () => unknown>} */
  #letters = {
    n: () => this.#add(),
    c: () => this.#startEdge(),
    e: () => this.#walkEdges(),
    h: () => this.#withConcept((name) => this.editor.actions.hold(name)),
    i: () => this.editor.setMode(this.editor.mode === "edit" ? "intervene" : "edit"),
    t: () => this.editor.setTab("text"),
    l: () => this.editor.actions.arrange(),
    f: () => this.editor.fit(),
    r: () => this.#withEdge((edge) => this.editor.actions.reject(edge)),
    "+": () => this.editor.viewport.zoom(1.25),
    "=": () => this.editor.viewport.zoom(1.25),
    "-": () => this.editor.viewport.zoom(0.8),
    F2: () => this.#open("name"),
    Enter: () => this.#enter(),
    " ": () => this.#enter(),
    Delete: () => this.editor.actions.remove(),
    Backspace: () => this.editor.actions.remove(),
    Escape: () => this.#escape(),
    "?": async () => (await import("./menu.mjs")).showKeys(this.editor),
  };

  #add() {
    this.editor.quick.addNear(this.editor.focus);
  }

  /** @param {(name: string) => void} act */
  #withConcept(act) {
    const name = this.editor.actions.selectedConcept;
    if (name === undefined) return false;
    act(name);
    return true;
  }

  /** @param {(edge: {cause: string, effect: string}) => void} act */
  #withEdge(act) {
    const edge = this.editor.actions.selectedEdge;
    if (!edge) return false;
    act(edge);
    return true;
  }

  /** @param {string} field */
  #open(field) {
    this.editor.setPanel(true, field);
  }

  #enter() {
    const { editor } = this;
    if (this.#cause !== null) return this.#endEdge();
    if (this.#withEdge((edge) => editor.actions.toggleStatus(edge))) return;
    this.#open(editor.mode === "edit" ? "name" : "values");
  }

  #startEdge() {
    return this.#withConcept((name) => {
      this.#cause = name;
      this.editor.say(this.editor.t("hint.connect", { name }));
    });
  }

  #endEdge() {
    const { editor } = this;
    const cause = /** @type {string} */ (this.#cause);
    const effect = editor.focus;
    this.#cause = null;
    if (effect !== null && effect !== cause) editor.actions.connect(cause, effect);
    if (effect !== null) editor.visit(effect);
  }

  #escape() {
    const { editor } = this;
    if (this.#cause !== null) {
      this.#cause = null;
      return editor.say(editor.t("said.cancelled"));
    }
    if (editor.gestures.cancel()) return;
    if (editor.panelOpen) return editor.setPanel(false);
    editor.select([], editor.focus);
  }

  /** @param {number} place */
  #nth(place) {
    return this.#withConcept((name) => this.editor.actions.chooseNth(name, place));
  }

  /** Along an edge in that direction, or else to what is drawn there. @param {Arrow} key */
  #walk(key) {
    const { editor } = this;
    const { focus, graph } = editor;
    const edge = graph.edges.find((each) => edgeKey(each) === focus);
    if (focus === null) return false;
    const linked = edge ? [edge.cause, edge.effect] : [...children(graph, focus), ...parents(graph, focus)];
    const next = this.#nearest(key, linked) ?? this.#nearest(key, graph.concepts.map(({ name }) => name));
    if (next !== undefined) this.#go(next);
    return true;
  }

  /** The nearest of some concepts in a direction. @param {Arrow} key @param {string[]} among */
  #nearest(key, among) {
    const { focus, scene } = this.editor;
    const [x, y] = this.#here();
    const [dx, dy] = ARROWS[key];
    const ranked = among.filter((name) => name !== focus).map((name) => {
      const [u, v] = centre(scene.boxOf(name));
      const along = (u - x) * dx + (v - y) * dy;
      const across = Math.abs((u - x) * dy) + Math.abs((v - y) * dx);
      return { name, along, across };
    });
    const ahead = ranked.filter(({ along, across }) => along > 8 && along * 3 > across);
    return ahead.sort((one, other) => one.along + 2 * one.across - other.along - 2 * other.across)[0]?.name;
  }

  /** Where the keyboard is: on a concept, or in the middle of an edge. */
  #here() {
    const { focus, graph, scene } = this.editor;
    const edge = graph.edges.find((each) => edgeKey(each) === focus);
    const [from, to] = edge ? [edge.cause, edge.effect] : [focus ?? "", focus ?? ""];
    const [[x, y], [u, v]] = [centre(scene.boxOf(from)), centre(scene.boxOf(to))];
    return [(x + u) / 2, (y + v) / 2];
  }

  /** @param {string} key */
  #go(key) {
    const { editor } = this;
    if (this.#cause === null) return editor.visit(key);
    editor.focus = key;
    editor.render();
    editor.scene.elementOf(key)?.focus({ preventScroll: true });
    editor.say(editor.t("label.edge", { cause: this.#cause, effect: key }));
  }

  /** From a concept to its edges, one after the other. */
  #walkEdges() {
    const { editor } = this;
    const { focus, graph } = editor;
    const current = graph.edges.find((edge) => edgeKey(edge) === focus);
    const home = current?.cause ?? focus;
    const around = graph.edges.filter((edge) => edge.cause === home || edge.effect === home).map(edgeKey);
    const next = around[(around.indexOf(focus ?? "") + 1) % around.length];
    if (next === undefined) return editor.say(editor.t("hint.no_edges"));
    editor.visit(next);
    editor.say(editor.scene.elementOf(next)?.getAttribute("aria-label") ?? "");
  }

  /** @param {Arrow} key */
  #nudge(key) {
    return this.#withConcept((name) => {
      const [dx, dy] = ARROWS[key];
      const box = this.editor.scene.boxOf(name);
      if (box) this.editor.actions.move(name, [box.x + 16 * dx, box.y + 16 * dy]);
    });
  }
}

/** @param {EventTarget | null} target */
const isField = (target) =>
  target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;

/** @param {Box | undefined} box */
const centre = (box) => (box ? [box.x + box.width / 2, box.y + box.height / 2] : [0, 0]);
