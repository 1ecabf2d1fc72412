/**
 * The editor by keys alone. One concept or edge has the focus at a time: arrows follow the
 * edges, letters act on it.
 *
 * @import { Actions } from "./actions.mjs"
 * @import { Translate } from "./i18n.mjs"
 * @import { Box } from "./layout.mjs"
 * @import { Scene, Target } from "./scene.mjs"
 * @import { Session } from "./session.mjs"
 * @typedef {{
 *   session: Session, scene: Scene, actions: Actions, t: Translate, element: HTMLElement,
 *   say: (words: string) => void, select: (keys: Iterable<string>, focus?: string | null) => void, visit: (key: string) => void,
 *   undo: () => void, redo: () => void, duplicate: () => void, addNear: (name: string | null) => void, zoom: (factor: number) => void,
 *   fit: () => void, showKeys: () => void, rest: () => void, focusOn: (key: string) => void,
 *   setMode: (mode: "edit" | "intervene") => void, setTab: (tab: "drawing" | "text") => void,
 *   setPanel: (open: boolean, field?: string) => void, closePanel: () => boolean, cancel: () => boolean, pressing: () => boolean,
 *   menuAt: (target: Target | null, at: {clientX: number, clientY: number}) => void
 * }} Desk what the keyboard needs: `rest` gives the keyboard to the drawing, `focusOn` marks what an edge drawn by keys would
 *   reach, `cancel` and `closePanel` say whether there was something to end, `pressing` whether a pointer moves the focus,
 *   `menuAt` shows what can be done with a thing, at a place of the page
 */
import { edgeKey, neighbours } from "./model.mjs";

/** @typedef {"ArrowUp" | "ArrowDown" | "ArrowLeft" | "ArrowRight"} Arrow */
const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

export class Keyboard {
  /** @type {string | null} the cause of an edge that is being drawn by keys */ #cause = null;

  /** @param {Desk} desk @param {AbortSignal} signal */
  constructor(desk, signal) {
    this.desk = desk;
    const { element, scene } = desk;
    element.addEventListener("keydown", (event) => this.#key(event), { signal });
    for (const type of ["keyup", "keypress"]) element.addEventListener(type, (event) => event.stopPropagation(), { signal });
    scene.element.addEventListener("focusin", (event) => this.#focused(event), { signal });
  }

  /** Focus by Tab or a screen reader selects as well. @param {FocusEvent} event */
  #focused(event) {
    const { session, scene, select, pressing } = this.desk;
    const target = pressing() ? null : scene.targetOf(event.target);
    if (!target) return;
    const key = "name" in target ? target.name : edgeKey(target);
    if (session.focus !== key) select(this.#cause === null ? [key] : session.selected, key);
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
    this.desk.rest();
  }

  /** @param {KeyboardEvent} event */
  #commandKey({ key, shiftKey }) {
    const { desk, desk: { session } } = this;
    const letter = key.toLowerCase();
    if (letter === "z" && !shiftKey) return desk.undo(), true;
    if (letter === "y" || letter === "z") return desk.redo(), true;
    if (letter === "d") return desk.duplicate(), true;
    if (letter !== "a") return false;
    desk.select(session.graph.concepts.map(({ name }) => name), session.focus);
    return true;
  }

  /** @param {KeyboardEvent} event @returns {boolean} whether the key was used */
  #plainKey(event) {
    if (!this.desk.scene.element.contains(/** @type {Node} */ (event.target))) return this.#panelKey(event);
    const { key } = event;
    if (key in ARROWS) return event.altKey ? this.#nudge(/** @type {Arrow} */ (key)) : this.#walk(/** @type {Arrow} */ (key));
    if (/^[1-9]$/.test(key)) return this.#nth(Number(key));
    if (key === "F10" && event.shiftKey) return this.#menu(), true;
    const act = this.#letters[key.length === 1 ? key.toLowerCase() : key];
    return act ? act() !== false : false;
  }

  /** @param {KeyboardEvent} event */
  #panelKey({ key }) {
    if (key !== "Escape") return false;
    this.desk.rest();
    return true;
  }

  /** @type {Record<string, () => unknown>} */
  #letters = {
    n: () => this.#add(),
    c: () => this.startEdge(),
    ContextMenu: () => this.#menu(),
    e: () => this.#walkEdges(),
    h: () => this.#withConcept((name) => this.desk.actions.hold(name)),
    i: () => this.desk.setMode(this.desk.session.mode === "edit" ? "intervene" : "edit"),
    t: () => this.desk.setTab("text"),
    l: () => this.desk.actions.arrange(),
    f: () => this.desk.fit(),
    r: () => this.#withEdge((edge) => this.desk.actions.reject(edge)),
    "+": () => this.desk.zoom(1.25),
    "=": () => this.desk.zoom(1.25),
    "-": () => this.desk.zoom(0.8),
    F2: () => this.#open("name"),
    Enter: () => this.#enter(),
    " ": () => this.#enter(),
    Delete: () => this.desk.actions.remove(),
    Backspace: () => this.desk.actions.remove(),
    Escape: () => this.#escape(),
    "?": () => this.desk.showKeys(),
  };

  /** The menu of what has the keyboard. */
  #menu() {
    const { scene, menuAt } = this.desk;
    const at = document.activeElement ?? scene.element;
    const { left, top, width, height } = at.getBoundingClientRect();
    menuAt(scene.targetOf(at), { clientX: left + width / 2, clientY: top + height / 2 });
  }

  #add() {
    this.desk.addNear(this.desk.session.focus);
  }

  /** @param {(name: string) => void} act */
  #withConcept(act) {
    const name = this.desk.actions.selectedConcept;
    if (name === undefined) return false;
    act(name);
    return true;
  }

  /** @param {(edge: {cause: string, effect: string}) => void} act */
  #withEdge(act) {
    const edge = this.desk.actions.selectedEdge;
    if (!edge) return false;
    act(edge);
    return true;
  }

  /** @param {string} field */
  #open(field) {
    this.desk.setPanel(true, field);
  }

  #enter() {
    const { actions, session } = this.desk;
    if (this.#cause !== null) return this.#endEdge();
    if (this.#withEdge((edge) => actions.toggleStatus(edge))) return;
    this.#open(session.mode === "edit" ? "name" : "values");
  }

  /** From the selected concept. */
  startEdge() {
    return this.#withConcept((name) => {
      this.#cause = name;
      this.desk.say(this.desk.t("hint.connect", { name }));
    });
  }

  #endEdge() {
    const { actions, session, visit } = this.desk;
    const cause = /** @type {string} */ (this.#cause);
    const effect = session.focus;
    this.#cause = null;
    if (effect !== null && effect !== cause) actions.connect(cause, effect);
    if (effect !== null) visit(effect);
  }

  #escape() {
    const { desk } = this;
    if (this.#cause !== null) {
      this.#cause = null;
      return desk.say(desk.t("said.cancelled"));
    }
    if (desk.cancel() || desk.closePanel()) return;
    desk.select([], desk.session.focus);
  }

  /** @param {number} place */
  #nth(place) {
    return this.#withConcept((name) => this.desk.actions.chooseNth(name, place));
  }

  /** Along an edge in that direction, or else to what is drawn there. @param {Arrow} key */
  #walk(key) {
    const { focus, graph } = this.desk.session;
    const edge = graph.edges.find((each) => edgeKey(each) === focus);
    if (focus === null) return false;
    const linked = edge ? [edge.cause, edge.effect] : neighbours(graph, focus);
    const next = this.#nearest(key, linked) ?? this.#nearest(key, graph.concepts.map(({ name }) => name));
    if (next !== undefined) this.#go(next);
    return true;
  }

  /** The nearest of some concepts in a direction. @param {Arrow} key @param {string[]} among */
  #nearest(key, among) {
    const { scene, session: { focus } } = this.desk;
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
    const { scene, session: { focus, graph } } = this.desk;
    const edge = graph.edges.find((each) => edgeKey(each) === focus);
    const [from, to] = edge ? [edge.cause, edge.effect] : [focus ?? "", focus ?? ""];
    const [[x, y], [u, v]] = [centre(scene.boxOf(from)), centre(scene.boxOf(to))];
    return [(x + u) / 2, (y + v) / 2];
  }

  /** @param {string} key */
  #go(key) {
    const { desk } = this;
    if (this.#cause === null) return desk.visit(key);
    desk.focusOn(key);
    desk.say(desk.t("label.edge", { cause: this.#cause, effect: key }));
  }

  /** From a concept to its edges, one after the other. */
  #walkEdges() {
    const { desk, desk: { session: { focus, graph } } } = this;
    const current = graph.edges.find((edge) => edgeKey(edge) === focus);
    const home = current?.cause ?? focus;
    const around = graph.edges.filter((edge) => edge.cause === home || edge.effect === home).map(edgeKey);
    const next = around[(around.indexOf(focus ?? "") + 1) % around.length];
    if (next === undefined) return desk.say(desk.t("hint.no_edges"));
    desk.visit(next);
    desk.say(desk.scene.elementOf(next)?.getAttribute("aria-label") ?? "");
  }

  /** @param {Arrow} key */
  #nudge(key) {
    return this.#withConcept((name) => {
      const [dx, dy] = ARROWS[key];
      const box = this.desk.scene.boxOf(name);
      if (box) this.desk.actions.move(name, [box.x + 16 * dx, box.y + 16 * dy]);
    });
  }
}

/** @param {EventTarget | null} target */
const isField = (target) => Boolean(/** @type {Element} */ (target).matches("input, textarea, select"));

/** @param {Box | undefined} box */
const centre = (box) => (box ? [box.x + box.width / 2, box.y + box.height / 2] : [0, 0]);
