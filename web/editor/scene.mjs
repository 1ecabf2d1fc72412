/**
 * The drawing: every concept a card, every edge a line. Elements are kept and updated,
 * so that focus stays and dragging touches only what moves.
 *
 * @import { CardState } from "./card.mjs"
 * @import { Translate } from "./i18n.mjs"
 * @import { Box, Flow } from "./layout.mjs"
 * @import { Edge, Point } from "./model.mjs"
 * @typedef {{kind: "card" | "rim" | "chip" | "more" | "lock" | "words", name: string, value?: string}
 *   | {kind: "edge" | "confirm" | "reject", cause: string, effect: string}} Target
 * @typedef {WeakMap<Element, Target>} Registry
 * @typedef {{edge: Edge, cut: boolean, flows: boolean, dim: boolean, label: string}} EdgeState
 * @typedef {{
 *   cards: Map<string, CardState>, places: ReadonlyMap<string, Point>, edges: EdgeState[],
 *   selected: ReadonlySet<string>, focus: string | null
 * }} Picture
 */
import { drawCard } from "./card.mjs";
import { iconPath, keepsKeys, svg } from "./dom.mjs";
import { between, cutMark, cutPath, flowOf, headOf, pathOf, pointAt } from "./layout.mjs";
import { edgeKey } from "./model.mjs";

/** With more edges than this, those of the selected concept stand out. */
const CROWDED = 24;

export class Scene {
  /** @type {Registry} */ #targets = new WeakMap();
  /** @type {Map<string, SVGGElement>} */ #cards = new Map();
  /** @type {Map<string, string>} */ #drawn = new Map();
  /** @type {Map<string, {group: SVGGElement, state: EdgeState}>} */ #edges = new Map();
  /** @type {Map<string, Box>} */ #boxes = new Map();
  /** @type {string | null} */ #focus = null;
  /** Whether a refused cycle is marked. */ #cycle = false;
  /** @type {Flow} */ #flow = "TB";

  /** @param {Translate} t */
  constructor(t) {
    this.t = t;
    this.edgeLayer = svg("g", { class: "edges" });
    this.cardLayer = svg("g", { class: "cards" });
    this.ghost = svg("path", { class: "ghost" });
    this.frame = svg("rect", { class: "frame", visibility: "hidden", rx: 4 });
    this.viewport = svg("g", { class: "viewport" }, this.edgeLayer, this.cardLayer, this.ghost, this.frame);
    this.element = svg("svg", { class: "csg-scene", role: "group", "aria-label": t("graph") }, this.viewport);
    keepsKeys(this.element);
  }

  /** @param {Picture} picture */
  update(picture) {
    this.#updateCards(picture);
    this.#updateEdges(picture.edges, picture.selected);
    this.#rove(picture.focus);
    this.showCycle([]);
  }

  /** @param {Picture} picture */
  #updateCards({ cards, places, selected }) {
    for (const [name, group] of this.#cards) if (!cards.has(name)) this.#drop(name, group);
    for (const [name, state] of cards) {
      const group = this.#cards.get(name) ?? this.#newCard(name);
      const signature = JSON.stringify([state, [...state.concept.values]]);
      if (this.#drawn.get(name) !== signature) {
        drawCard(group, state, this.t, this.#targets);
        this.#drawn.set(name, signature);
      }
      group.dataset.role = state.role;
      group.classList.toggle("selected", selected.has(name));
      group.setAttribute("aria-label", state.label);
      this.#place(name, places.get(name) ?? [0, 0], state.card);
    }
  }

  /** @param {string} name @param {SVGGElement} group */
  #drop(name, group) {
    group.remove();
    this.#cards.delete(name);
    this.#drawn.delete(name);
    this.#boxes.delete(name);
  }

  /** @param {string} name */
  #newCard(name) {
    const group = svg("g", { class: "csg-card", role: "button", "aria-roledescription": this.t("concept"), tabindex: -1 });
    keepsKeys(group);
    this.#targets.set(group, { kind: "card", name });
    this.#cards.set(name, group);
    this.cardLayer.append(group);
    return group;
  }

  /** @param {string} name @param {Point} place @param {{width: number, height: number}} size */
  #place(name, [x, y], { width, height }) {
    this.#boxes.set(name, { x, y, width, height });
    this.#cards.get(name)?.setAttribute("transform", `translate(${x},${y})`);
  }

  /**
   * Moves cards and the lines that touch them, and nothing else.
   * @param {ReadonlyMap<string, Point>} places
   */
  move(places) {
    for (const [name, place] of places) {
      const box = this.#boxes.get(name);
      if (box) this.#place(name, place, box);
    }
    for (const { group, state } of this.#edges.values()) {
      if (places.has(state.edge.cause) || places.has(state.edge.effect)) this.#route(group, state);
    }
  }

  /** @param {EdgeState[]} edges @param {ReadonlySet<string>} selected */
  #updateEdges(edges, selected) {
    const wanted = new Map(edges.map((state) => [edgeKey(state.edge), state]));
    for (const [key, { group }] of this.#edges) {
      if (wanted.has(key)) continue;
      group.remove();
      this.#edges.delete(key);
    }
    this.#flow = flowOf(edges.map(({ edge }) => this.#ends(edge)));
    for (const [key, state] of wanted) {
      this.#edges.set(key, { group: this.#edges.get(key)?.group ?? this.#newEdge(state.edge), state });
    }
    for (const [key, { group, state }] of this.#edges) {
      const { edge, cut, flows, dim } = state;
      Object.assign(group.dataset, { status: edge.status, cut, flows, dim });
      group.classList.toggle("selected", selected.has(key));
      group.classList.toggle("touched", selected.has(edge.cause) || selected.has(edge.effect));
      group.setAttribute("aria-label", state.label);
      this.#route(group, state);
    }
    this.element.classList.toggle("crowded", edges.length > CROWDED);
  }

  /** @param {Edge} edge */
  #ends({ cause, effect }) {
    return { from: /** @type {Box} */ (this.#boxes.get(cause)), to: /** @type {Box} */ (this.#boxes.get(effect)) };
  }

  /** @param {Edge} edge */
  #newEdge({ cause, effect }) {
    const group = svg("g", { class: "csg-edge", role: "button", "aria-roledescription": this.t("edge"), tabindex: -1 },
      svg("title"), svg("path", { class: "hit" }), svg("path", { class: "line" }), svg("path", { class: "head" }), svg("path", { class: "cut" }));
    keepsKeys(group);
    this.#targets.set(group, { kind: "edge", cause, effect });
    this.edgeLayer.append(group);
    return group;
  }

  /** Where a proposed edge is decided; few edges are. @param {SVGGElement} group @param {Edge} edge */
  #choices(group, { cause, effect, status }) {
    const present = group.querySelector(".choices");
    if (status !== "proposed") return present?.remove();
    if (present) return present;
    const kinds = /** @type {const} */ (["confirm", "reject"]);
    const choices = svg("g", { class: "choices" }, ...kinds.map((kind, index) => this.#edgeButton(kind, index, cause, effect)));
    group.append(choices);
    return choices;
  }

  /** @param {"confirm" | "reject"} kind @param {number} index @param {string} cause @param {string} effect */
  #edgeButton(kind, index, cause, effect) {
    const button = svg("g", { class: kind, transform: `translate(${index ? 13 : -13},0)` },
      svg("title", {}, this.t(`edge_${kind}`)), svg("circle", { r: 11 }),
      svg("path", { d: iconPath(kind === "confirm" ? "check" : "close"), transform: "translate(-6.4,-6.4) scale(.8)" }));
    this.#targets.set(button, { kind, cause, effect });
    return button;
  }

  /** @param {SVGGElement} group @param {EdgeState} state */
  #route(group, { edge, cut, label }) {
    const { from, to } = this.#ends(edge);
    const curve = between(from, to, this.#flow, this.#edges.has(edgeKey({ cause: edge.effect, effect: edge.cause })));
    const whole = pathOf(curve);
    const [title, hit, line, head, mark] = /** @type {Element[]} */ ([...group.children]);
    if (title.textContent !== label) title.textContent = label;
    hit.setAttribute("d", whole);
    line.setAttribute("d", cut ? cutPath(curve) : whole);
    head.setAttribute("d", headOf(curve));
    mark.setAttribute("d", cut ? cutMark(curve) : "");
    this.#choices(group, edge)?.setAttribute("transform", `translate(${pointAt(curve, 0.5).join(",")})`);
  }

  /** One element of the drawing is reached by Tab. @param {string | null} focus a concept's name or an edge's key */
  #rove(focus) {
    const before = this.elementOf(this.#focus);
    before?.setAttribute("tabindex", "-1");
    this.#focus = focus;
    this.elementOf(focus)?.setAttribute("tabindex", "0");
  }

  /** @param {string | null} key a concept's name or an edge's key */
  elementOf(key) {
    if (key === null) return undefined;
    return this.#cards.get(key) ?? this.#edges.get(key)?.group;
  }

  /** @param {string} name */
  boxOf(name) {
    return this.#boxes.get(name);
  }

  get boxes() {
    return this.#boxes;
  }

  /** What is drawn at an element. @param {EventTarget | null} element @returns {Target | null} */
  targetOf(element) {
    for (let at = element; at instanceof Element && at !== this.element; at = at.parentElement) {
      const target = this.#targets.get(at);
      if (target) return target;
    }
    return null;
  }

  /** Marks the concepts and edges that a refused edge would close into a cycle. @param {readonly string[]} names */
  showCycle(names) {
    if (names.length === 0 && !this.#cycle) return;
    this.#cycle = names.length > 0;
    const pairs = new Set(names.slice(1).map((effect, index) => edgeKey({ cause: names[index], effect })));
    for (const [key, { group }] of this.#edges) group.classList.toggle("refused", pairs.has(key));
    for (const [name, group] of this.#cards) group.classList.toggle("refused", names.includes(name));
  }

  /** @param {Box | null} box drawn round what is being selected */
  showFrame(box) {
    for (const [key, value] of Object.entries(box ?? {})) this.frame.setAttribute(key, String(value));
    this.frame.setAttribute("visibility", box ? "visible" : "hidden");
  }

  /** @param {string | null} name the concept that an edge being drawn would reach */
  showTarget(name) {
    for (const [each, group] of this.#cards) group.classList.toggle("target", each === name);
  }
}

const LEAST = 0.1;
const MOST = 3;
const FAR = 0.62;
const FARTHEST = 0.34;

/** Pan and zoom of the drawing, exact under any transform of the elements around it. */
export class Viewport {
  x = 0;
  y = 0;
  scale = 1;
  outer = 1;
  /** Nobody has panned or zoomed since all was shown. */
  free = true;
  #size = { width: 0, height: 0 };

  /**
   * @param {SVGSVGElement} frame
   * @param {SVGGElement} content
   * @param {() => void} changed
   */
  constructor(frame, content, changed) {
    this.frame = frame;
    this.content = content;
    this.changed = changed;
  }

  /** From the page to the frame's own pixels. @param {{clientX: number, clientY: number}} event @returns {Point} */
  framePoint({ clientX, clientY }) {
    const inverse = this.frame.getScreenCTM()?.inverse();
    if (!inverse) return [clientX, clientY];
    const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(inverse);
    return [x, y];
  }

  /** From the page to the graph. @param {{clientX: number, clientY: number}} event @returns {Point} */
  point(event) {
    const [x, y] = this.framePoint(event);
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  /** The frame's size in its own pixels. @returns {{width: number, height: number}} */
  get size() {
    this.measure();
    return this.#size;
  }

  /** Asks the page for the size, once: asked while a drawing is made, it would lay that out twice. */
  measure() {
    if (!this.#size.width) this.resized({ width: this.frame.clientWidth, height: this.frame.clientHeight });
  }

  /** @param {{width: number, height: number}} size */
  resized({ width, height }) {
    this.#size = { width, height };
  }

  /** @param {number} dx @param {number} dy in the frame's pixels */
  pan(dx, dy) {
    this.free = false;
    this.set(this.x + dx, this.y + dy, this.scale);
  }

  /** @param {number} factor @param {Point} [at] in the frame's pixels; the middle by default */
  zoom(factor, at = [this.size.width / 2, this.size.height / 2]) {
    const scale = Math.min(MOST, Math.max(LEAST, this.scale * factor));
    const ratio = scale / this.scale;
    this.free = false;
    this.set(at[0] - (at[0] - this.x) * ratio, at[1] - (at[1] - this.y) * ratio, scale);
  }

  /** @param {number} x @param {number} y @param {number} scale */
  set(x, y, scale) {
    Object.assign(this, { x, y, scale });
    this.content.setAttribute("transform", `translate(${x},${y}) scale(${scale})`);
    this.#lod();
    this.changed();
  }

  /** @param {number} outer how much the page around scales the editor */
  setOuter(outer) {
    this.outer = outer;
    this.#lod();
  }

  get isFar() {
    return this.scale * this.outer < FAR;
  }

  /** From afar the cards show less, larger. */
  #lod() {
    this.frame.classList.toggle("far", this.isFar);
    this.frame.classList.toggle("farthest", this.scale * this.outer < FARTHEST);
  }

  /** Shows the whole box, hardly larger than life; nothing at its own size. @param {Box} box @param {number} [right] pixels covered at the right */
  fit(box, right = 0) {
    const { width, height } = this.size;
    const room = width - right;
    if (room <= 0 || height <= 0) return;
    this.free = true;
    if (box.width === 0) return this.set(0, 0, 1);
    const margin = 26;
    const scale = Math.min(1.15, (room - 2 * margin) / box.width, (height - 2 * margin) / box.height);
    const bounded = Math.max(LEAST, scale);
    this.set((room - box.width * bounded) / 2 - box.x * bounded, (height - box.height * bounded) / 2 - box.y * bounded, bounded);
  }

  /** Pans just far enough to show the box. @param {Box} box @param {number} [right] pixels covered at the right */
  reveal(box, right = 0) {
    const { width, height } = this.size;
    const shift = (/** @type {number} */ from, /** @type {number} */ to, /** @type {number} */ room) =>
      from < 14 ? 14 - from : to > room - 14 ? Math.max(14 - from, room - 14 - to) : 0;
    const left = box.x * this.scale + this.x;
    const top = box.y * this.scale + this.y;
    const dx = shift(left, left + box.width * this.scale, width - right);
    const dy = shift(top, top + box.height * this.scale, height);
    if (dx || dy) this.set(this.x + dx, this.y + dy, this.scale);
  }
}
