/**
 * The editor: one graph, its history, and the parts that show and change it.
 *
 * @import { Actions } from "./actions.mjs"
 * @import { Translate } from "./i18n.mjs"
 * @import { Gestures } from "./gestures.mjs"
 * @import { Inspector } from "./inspector.mjs"
 * @import { Memory } from "./memory.mjs"
 * @import { Conflict } from "./merge.mjs"
 * @import { Graph, Point } from "./model.mjs"
 * @import { QuickEntry } from "./quick_entry.mjs"
 * @import { Result } from "./results.mjs"
 * @import { TextTab } from "./text_tab.mjs"
 * @typedef {{
 *   t: Translate,
 *   write: (text: string) => void,
 *   undo?: () => void, redo?: () => void,
 *   wheel?: (event: WheelEvent) => void,
 *   read?: (path: string) => Promise<string>
 * }} Host what the editor needs from where it lives
 * @typedef {{mode: "edit" | "intervene", tab: "drawing" | "text", view: [number, number, number] | null, panel: boolean}} Session
 */
import { html } from "./dom.mjs";
import { Empty } from "./empty.mjs";
import { History } from "./history.mjs";
import { reasonOf } from "./i18n.mjs";
import { readJson, writeJson } from "./json.mjs";
import { bounds } from "./layout.mjs";
import { forget, remember, remembered } from "./memory.mjs";
import { EMPTY, GraphError } from "./model.mjs";
import { Painter } from "./painter.mjs";
import { Scene } from "./scene.mjs";
import { Toolbar } from "./toolbar.mjs";
import { Viewport } from "./viewport.mjs";

/** Where the page shows the editor smaller than this, its tools grow against it. */
const DISTANT = 0.75;
const POINTER = ["pointerdown", "pointermove", "pointerup", "pointercancel"];

export class Editor {
  history = new History(EMPTY);
  /** @type {"edit" | "intervene"} */ mode = "edit";
  /** @type {"drawing" | "text"} */ tab = "drawing";
  /** @type {Set<string>} names of concepts, or the key of one edge */ selected = new Set();
  /** @type {string | null} */ focus = null;
  /** @type {{text: string, error: unknown} | null} a stored text that is no graph */ broken = null;
  /** @type {ReadonlyMap<string, Result>} */ results = new Map();
  stale = false;
  /** @type {Graph | null} the graph of the connected input, once it is known */ upstream = null;
  /** @type {Conflict[]} */ conflicts = [];
  /** There once there are hands: see `hands`. */
  actions = /** @type {Actions} */ (/** @type {unknown} */ (undefined));
  /** @type {Memory} */ #memory = { base: EMPTY, latest: EMPTY, settled: new Set() };
  panelOpen = false;
  /** @type {Inspector | null} loaded when the panel is first opened */ inspector = null;
  /** @type {TextTab | null} loaded when the text is first shown */ textTab = null;
  /** @type {Gestures | null} loaded when a pointer first comes near */ gestures = null;
  /** @type {QuickEntry | null} loaded when the first concept is added */ #quick = null;
  #life = new AbortController();

  /** @param {Host} host */
  constructor(host) {
    this.host = host;
    this.t = host.t;
    this.scene = new Scene(this.t);
    this.viewport = new Viewport(this.scene.element, this.scene.viewport, () => this.toolbar?.followZoom());
    this.painter = new Painter(this);
    this.toolbar = new Toolbar(this);
    this.status = html("output", { class: "csg-status", role: "status", "aria-live": "polite" });
    this.notice = html("div", { class: "csg-notice" });
    this.empty = new Empty(this);
    this.stage = html("div", { class: "csg-stage" }, this.scene.element, this.empty.element);
    this.element = html("section", { class: "csg-editor", "aria-label": this.t("title"), "data-capture-wheel": "true" },
      this.toolbar.element, this.stage, html("footer", {}, this.notice, this.status, this.toolbar.facts));
    this.#awaitPointer();
    this.#awaitKeys();
    this.#watchSize();
  }

  /** What a pointer does before its code is there is done as soon as it is. */
  #awaitPointer() {
    const { signal } = this.#life;
    const stage = this.scene.element;
    const waiting = new AbortController();
    /** @type {PointerEvent[]} */ const early = [];
    stage.addEventListener("pointerdown", (event) => hold(stage, event), { signal });
    // Or else the browser lets what was flicked glide on, and takes the next tap anywhere for a hand that stops it.
    stage.addEventListener("touchstart", (event) => event.preventDefault(), { signal, passive: false });
    for (const type of POINTER) stage.addEventListener(type, (event) => early.push(/** @type {PointerEvent} */ (event)), { signal: waiting.signal });
    this.element.addEventListener("pointerover", async () => {
      const [{ Gestures }] = await Promise.all([import("./gestures.mjs"), this.hands()]);
      waiting.abort();
      if (!signal.aborted) this.gestures = new Gestures(this, signal, early);
    }, { once: true });
  }

  /** Keys matter from the moment the editor has them; none is lost, and none reaches the canvas, while their code is loaded. */
  #awaitKeys() {
    const { signal } = this.#life;
    const waiting = new AbortController();
    /** @type {KeyboardEvent[]} */ const early = [];
    const keep = (/** @type {KeyboardEvent} */ event) => {
      event.stopPropagation();
      early.push(event);
    };
    this.element.addEventListener("keydown", keep, { signal: waiting.signal });
    this.element.addEventListener("focusin", async () => {
      const [{ Keyboard }] = await Promise.all([import("./keyboard.mjs"), this.hands()]);
      waiting.abort();
      if (!signal.aborted) this.keyboard = new Keyboard(this, signal, early);
    }, { once: true });
  }

  /** What hands can do, loaded with the first of them. @returns {Promise<Actions>} */
  async hands() {
    const { Actions } = await import("./actions.mjs");
    return (this.actions ??= new Actions(this));
  }

  async #needText() {
    const { TextTab } = await import("./text_tab.mjs");
    if (this.textTab) return;
    this.textTab = new TextTab(this);
    this.stage.after(this.textTab.element);
    this.render();
  }

  async #needPanel() {
    const [{ Inspector }] = await Promise.all([import("./inspector.mjs"), this.hands()]);
    if (this.inspector) return;
    this.inspector = new Inspector(this);
    this.stage.append(this.inspector.element);
    this.render();
  }

  /** Asks for a new concept's name where it stands. @returns {Promise<QuickEntry>} */
  async quick() {
    const [{ QuickEntry }] = await Promise.all([import("./quick_entry.mjs"), this.hands()]);
    if (!this.#quick) {
      this.#quick = new QuickEntry(this);
      this.stage.append(this.#quick.element);
    }
    return this.#quick;
  }

  /** @returns {Graph} */
  get graph() {
    return this.history.present;
  }

  #watchSize() {
    const size = new ResizeObserver(([{ contentRect }]) => {
      this.viewport.resized(contentRect);
      this.#followTheme();
      this.#keepFitted();
    });
    const theme = new MutationObserver(() => this.#followTheme());
    size.observe(this.stage);
    for (const element of [document.documentElement, document.body]) theme.observe(element, { attributeFilter: ["class", "style"] });
    this.#life.signal.addEventListener("abort", () => [size, theme].forEach((each) => each.disconnect()));
  }

  /** Until somebody pans or zooms, all of the graph is shown. */
  #keepFitted() {
    const { width, height } = this.viewport.size;
    if (this.viewport.free && width && height) this.#makeRoom();
  }

  /** Whether the ground, whatever palette it is from, is light or dark. */
  #followTheme() {
    const [red, green, blue] = getComputedStyle(this.element).backgroundColor.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0];
    this.element.dataset.theme = 0.3 * red + 0.59 * green + 0.11 * blue > 128 ? "light" : "dark";
  }

  /**
   * Takes in a text from outside: a loaded workflow, ComfyUI's undo, a paste.
   * @param {string} text JSON, DAGitty or DOT
   */
  async load(text) {
    void this.viewport.size;
    try {
      const foreign = /^\s*[^{\s]/.test(text);
      const stored = foreign ? (await import("./files.mjs")).readAny(text) : readJson(text);
      this.#memory = remembered(stored);
      this.history = new History(forget(stored));
      this.broken = null;
    } catch (error) {
      this.history = new History(EMPTY);
      this.broken = { text, error };
      this.setTab("text");
    }
    this.selected = new Set();
    this.render();
    this.#keepFitted();
    if (this.upstream) this.setUpstream(this.upstream);
  }

  /**
   * The graph of the connected input has been made again. The artist's edits are laid
   * over it; nothing is stored before the next edit. That is no edit of the artist's:
   * undone, it would count as the removal of all that is new.
   * @param {Graph | null} upstream
   */
  async setUpstream(upstream) {
    this.upstream = upstream;
    this.conflicts = [];
    if (upstream && !this.broken) {
      const { mergeAgain } = await import("./merge.mjs");
      if (this.upstream !== upstream) return;
      const { graph, conflicts } = mergeAgain(this.#memory, this.graph, upstream);
      this.conflicts = conflicts;
      if (writeJson(graph) !== writeJson(this.graph)) this.history = new History(graph);
    }
    this.render();
    this.#keepFitted();
    if (this.conflicts.length) this.say(this.t("conflict.found", { count: this.conflicts.length }));
  }

  /**
   * Decides one conflict.
   * @param {Conflict} conflict
   * @param {"mine" | "theirs"} side
   */
  settle(conflict, side) {
    const [memory, conflicts] = [this.#memory, this.conflicts];
    this.#memory = { ...memory, settled: new Set([...memory.settled, conflict.key]) };
    this.conflicts = conflicts.filter((each) => each !== conflict);
    if (side === "mine") this.#store();
    else if (!this.run(conflict.apply)) [this.#memory, this.conflicts] = [memory, conflicts];
    this.render();
  }

  /**
   * Does one thing to the graph; a refusal is said aloud and changes nothing.
   * @param {(graph: Graph) => Graph} command
   * @param {{merge?: string, say?: string}} [options] `merge`: one undo step with the last of that name
   * @returns {boolean} whether it was done
   */
  run(command, { merge: key, say } = {}) {
    try {
      if (this.history.record(command(this.graph), key ?? null)) this.#store();
    } catch (error) {
      this.refuse(error);
      return false;
    }
    if (say) this.say(say);
    this.render();
    return true;
  }

  #store() {
    this.host.write(this.text());
  }

  /** The graph as it is stored, with what a later merge needs. */
  text() {
    const { upstream } = this;
    if (upstream && this.conflicts.length) this.#memory = { ...this.#memory, latest: upstream };
    else if (upstream) this.#memory = { base: upstream, latest: upstream, settled: new Set() };
    return writeJson(this.#memory.latest.concepts.length ? remember(this.graph, this.#memory) : this.graph);
  }

  /** Names in the extraction, which a renamed concept remembers. */
  get extracted() {
    return new Set((this.upstream ?? this.#memory.latest).concepts.map(({ name }) => name));
  }

  /** @param {unknown} error */
  refuse(error) {
    if (!(error instanceof GraphError)) throw error;
    this.say(reasonOf(this.t, error), "refused");
  }

  /** @param {string} words @param {"plain" | "refused"} [kind] */
  say(words, kind = "plain") {
    this.status.textContent = words;
    this.status.title = words;
    this.status.dataset.kind = kind;
  }

  /** A refusal has been read when the hands go on. */
  unsay() {
    if (this.status.dataset.kind === "refused") this.say("");
  }

  undo() {
    if (this.history.undo()) this.#restored("undone");
    else this.host.undo?.();
  }

  redo() {
    if (this.history.redo()) this.#restored("redone");
    else this.host.redo?.();
  }

  /** @param {"undone" | "redone"} key */
  #restored(key) {
    const names = new Set(this.graph.concepts.map(({ name }) => name));
    this.selected = new Set([...this.selected].filter((each) => names.has(each)));
    this.#store();
    this.render();
    this.say(this.t(`said.${key}`));
  }

  /** @param {"edit" | "intervene"} mode */
  setMode(mode) {
    this.mode = mode;
    this.say(this.t(`hint.${mode}`));
    this.render();
  }

  /** @param {"drawing" | "text"} tab */
  async setTab(tab) {
    this.tab = this.broken ? "text" : tab;
    if (this.tab === "text") await this.#needText();
    this.render();
  }

  /** @param {Iterable<string>} keys @param {string | null} [focus] */
  select(keys, focus) {
    this.selected = new Set(keys);
    this.focus = focus ?? [...this.selected].at(-1) ?? this.focus;
    this.render();
  }

  /** Selects one thing and gives it the keyboard. @param {string} key */
  visit(key) {
    this.select([key], key);
    this.scene.elementOf(key)?.focus({ preventScroll: true });
    this.#reveal();
  }

  /** Brings what has the focus out from under the panel, or back into view. */
  #reveal() {
    const box = this.focus === null ? undefined : this.scene.boxOf(this.focus);
    if (box) this.viewport.reveal(box, this.covered);
  }

  /** @param {ReadonlyMap<string, Result>} results @param {boolean} stale */
  setResults(results, stale) {
    this.results = results;
    this.stale = stale;
    this.render();
    this.#keepFitted();
  }

  /** All beside the panel, if it can be read there; or else at least what has the focus. */
  #makeRoom() {
    const { viewport } = this;
    if (!viewport.free) return this.#reveal();
    this.fit();
    if (!this.covered || !viewport.isFar) return;
    viewport.fit(this.bounds);
    this.#reveal();
  }

  /** Pixels of the drawing that the panel covers. */
  get covered() {
    if (!this.panelOpen || !this.inspector) return 0;
    const [panel, whole] = [this.inspector.element, this.stage].map((each) => each.getBoundingClientRect().width);
    return whole ? (panel / whole) * this.viewport.size.width : 0;
  }

  /** @param {number} outer how much the page around scales the editor */
  setOuter(outer) {
    this.viewport.setOuter(outer);
    this.element.classList.toggle("distant", outer < DISTANT);
  }

  /** @param {boolean} open @param {string} [field] where typing goes on */
  async setPanel(open, field) {
    this.panelOpen = open;
    if (open) await this.#needPanel();
    this.render();
    this.#makeRoom();
    if (open && field) this.inspector?.focus(field);
  }

  get bounds() {
    return bounds(this.scene.boxes.values());
  }

  fit() {
    this.viewport.fit(this.bounds, this.covered);
  }

  render() {
    const { element, mode, tab } = this;
    Object.assign(element.dataset, { mode, tab, stale: this.stale, broken: Boolean(this.broken), panel: this.panelOpen });
    this.painter.paint();
    this.inspector?.render();
    this.textTab?.render();
    this.toolbar.render();
    this.empty.element.hidden = this.graph.concepts.length > 0;
  }

  /** @returns {Session} what is worth keeping when ComfyUI builds the node anew */
  get session() {
    const { x, y, scale } = this.viewport;
    return { mode: this.mode, tab: this.tab, view: this.viewport.free ? null : [x, y, scale], panel: this.panelOpen };
  }

  /** @param {Session} session */
  resume({ mode, tab, view, panel }) {
    this.mode = mode;
    if (tab === "text") this.setTab(tab);
    if (panel) this.setPanel(true);
    if (view) {
      this.viewport.set(...view);
      this.viewport.free = false;
    }
  }

  /** @param {ReadonlyMap<string, Point>} places drawn at once, not yet stored */
  preview(places) {
    this.scene.move(places);
  }

  dispose() {
    this.#life.abort();
    this.element.remove();
  }
}

/** The canvas below gets nothing of a pointer that is down here. @param {Element} stage @param {PointerEvent} event */
function hold(stage, event) {
  if (event.button > 1) return;
  event.stopPropagation();
  event.preventDefault();
  stage.setPointerCapture(event.pointerId);
}
