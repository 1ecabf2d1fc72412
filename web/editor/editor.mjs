/**
 * The editor on the page: draws a session and passes on what people do.
 *
 * @import { Translate } from "./i18n.mjs"
 * @import { Conflict } from "./merge.mjs"
 * @import { Graph } from "./model.mjs"
 * @import { Result } from "./results.mjs"
 * @typedef {{
 *   t: Translate,
 *   write: (text: string) => void,
 *   undo?: () => void, redo?: () => void,
 *   wheel?: (event: WheelEvent) => void
 * }} Host what the editor needs from where it lives
 * @typedef {{mode: "edit" | "intervene", tab: "drawing" | "text", view: [number, number, number] | null, panel: boolean}} Look
 */
import { Actions } from "./actions.mjs";
import { Caption, Empty, Toolbar } from "./toolbar.mjs";
import { html } from "./dom.mjs";
import { Gestures } from "./gestures.mjs";
import { reasonOf } from "./i18n.mjs";
import { Inspector } from "./inspector.mjs";
import { Keyboard } from "./keyboard.mjs";
import { bounds } from "./layout.mjs";
import { GraphError } from "./model.mjs";
import { Painter } from "./painter.mjs";
import { QuickEntry } from "./quick_entry.mjs";
import { Scene, Viewport } from "./scene.mjs";
import { Session } from "./session.mjs";
import { Strip } from "./strip.mjs";
import { TextTab } from "./text_tab.mjs";
import { Transfer } from "./transfer.mjs";

/** Below this zoom of the page the tools are drawn larger, so that they can be read. */
const DISTANT = 0.75;

export class Editor {
  /** @type {"drawing" | "text"} */ tab = "drawing";
  panelOpen = false;
  /** Whether another node gives the text, so that what is edited here is not used. */ linked = false;
  /** @type {import("./context.mjs").ContextMenu | undefined} */ #context;
  #life = new AbortController();

  /** @param {Host} host */
  constructor(host) {
    this.host = host;
    this.t = host.t;
    this.session = new Session((text) => host.write(text));
    this.scene = new Scene(this.t);
    this.viewport = new Viewport(this.scene.element, this.scene.viewport, () => this.toolbar?.followZoom());
    this.painter = new Painter(this);
    this.actions = new Actions(this.#desk());
    this.toolbar = new Toolbar(this);
    this.inspector = new Inspector(this);
    this.caption = new Caption(this);
    this.textTab = new TextTab(this);
    this.quick = new QuickEntry(this);
    this.empty = new Empty(this);
    this.strip = new Strip(this.t);
    this.status = html("output", { class: "csg-status", role: "status", "aria-live": "polite" });
    this.notice = html("div", { class: "csg-notice" });
    this.stage = html("div", { class: "csg-stage" }, this.scene.element, this.empty.element, this.inspector.element, this.quick.element, this.strip.live);
    this.element = html("section", { class: "csg-editor", "aria-label": this.t("title"), "data-capture-wheel": "true" },
      this.toolbar.element, this.caption.element, this.stage, this.textTab.element, this.strip.element,
      html("footer", {}, this.notice, this.status, this.toolbar.facts));
    const hands = this.#hands();
    this.gestures = new Gestures(hands, this.#life.signal);
    this.keyboard = new Keyboard(hands, this.#life.signal);
    this.transfer = new Transfer(this, this.#life.signal);
    this.#watchSize();
  }

  /** What actions need of the editor. @returns {import("./actions.mjs").Desk} */
  #desk() {
    const { session, painter, scene, t } = this;
    return {
      session, drawn: painter, t,
      run: (command, options) => this.run(command, options),
      say: (words, kind) => this.say(words, kind),
      showCycle: (names) => scene.showCycle(names),
      visit: (key) => this.visit(key),
      rest: () => this.rest(),
      fit: () => this.fit(),
    };
  }

  /** What gestures and keys need of the editor. @returns {import("./gestures.mjs").Desk & import("./keyboard.mjs").Desk} */
  #hands() {
    const { scene, viewport, actions, element, quick } = this;
    return {
      ...this.#desk(), scene, viewport, actions, element,
      select: (keys, focus) => this.select(keys, focus),
      focusOn: (key) => this.#focusOn(key),
      unsay: () => this.unsay(),
      addAt: (point) => quick.addAt(point),
      addNear: (name) => quick.addNear(name),
      wheel: (event) => this.host.wheel?.(event),
      zoom: (factor) => viewport.zoom(factor),
      undo: () => this.undo(),
      redo: () => this.redo(),
      duplicate: () => this.transfer.duplicate(),
      setMode: (mode) => this.setMode(mode),
      setTab: (tab) => this.setTab(tab),
      setPanel: (open, field) => this.setPanel(open, field),
      closePanel: () => this.panelOpen && (this.setPanel(false), true),
      cancel: () => this.gestures.cancel(),
      pressing: () => this.gestures.attending,
      menuAt: async (target, at) => {
        const { ContextMenu } = await import("./context.mjs");
        (this.#context ??= new ContextMenu(this)).open(target, at);
      },
      showKeys: async () => (await import("./menu.mjs")).showKeys(this),
    };
  }

  get graph() {
    return this.session.graph;
  }

  get mode() {
    return this.session.mode;
  }

  get selected() {
    return this.session.selected;
  }

  get focus() {
    return this.session.focus;
  }

  set focus(key) {
    this.session.focus = key;
  }

  get broken() {
    return this.session.broken;
  }

  get results() {
    return this.session.results;
  }

  get stale() {
    return this.session.stale;
  }

  get conflicts() {
    return this.session.conflicts;
  }

  /** Names in the extraction, which a renamed concept remembers. */
  get extracted() {
    return this.session.extracted;
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

  /** Shows the whole graph until somebody pans or zooms. */
  #keepFitted() {
    const { width, height } = this.viewport.size;
    if (this.viewport.free && width && height) this.#makeRoom();
  }

  /** Notes whether the background is light or dark, whatever theme it comes from. */
  #followTheme() {
    const [red, green, blue] = getComputedStyle(this.element).backgroundColor.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0];
    this.element.dataset.theme = 0.3 * red + 0.59 * green + 0.11 * blue > 128 ? "light" : "dark";
  }

  /** Takes in a text from outside: a loaded workflow, ComfyUI's undo, a paste. @param {string} text JSON, DAGitty or DOT */
  load(text) {
    this.viewport.measure();
    this.session.load(text);
    if (this.broken) this.tab = "text";
    this.#shown();
  }

  /** The graph of the connected input has been made again. @param {Graph | null} upstream */
  setUpstream(upstream) {
    this.session.setUpstream(upstream);
    this.#shown();
  }

  /** Another graph is shown. */
  #shown() {
    this.render();
    this.#keepFitted();
    const count = this.conflicts.length;
    if (count) this.say(this.t("conflict.found", { count }));
  }

  /** Decides one conflict. @param {Conflict} conflict @param {"mine" | "theirs"} side */
  settle(conflict, side) {
    this.#attempt(() => this.session.settle(conflict, side));
    this.render();
  }

  /**
   * Runs one command on the graph; a refusal is shown in the status line and changes nothing.
   * @param {(graph: Graph) => Graph} command
   * @param {{merge?: string, say?: string, whole?: boolean}} [options] `merge`: one undo step with the last of that name;
   *   `whole`: the command says all that follows too
   * @returns {boolean} whether it was done
   */
  run(command, { merge, say, whole } = {}) {
    if (!this.#attempt(() => this.session.run(command, merge, whole))) return false;
    if (say) this.say(say);
    this.render();
    return true;
  }

  /** @param {() => void} act @returns {boolean} whether it was not refused */
  #attempt(act) {
    try {
      act();
      return true;
    } catch (error) {
      if (!(error instanceof GraphError)) throw error;
      this.say(reasonOf(this.t, error), "refused");
      return false;
    }
  }

  /** @param {string} words @param {"plain" | "refused"} [kind] */
  say(words, kind = "plain") {
    this.status.textContent = words;
    this.status.title = words;
    this.status.dataset.kind = kind;
  }

  /** Clears a refusal from the status line once something else begins. */
  unsay() {
    if (this.status.dataset.kind === "refused") this.say("");
  }

  undo() {
    if (this.session.undo()) this.#restored("undone");
    else this.host.undo?.();
  }

  redo() {
    if (this.session.redo()) this.#restored("redone");
    else this.host.redo?.();
  }

  /** @param {"undone" | "redone"} key */
  #restored(key) {
    this.render();
    this.say(this.t(`said.${key}`));
  }

  /** @param {"edit" | "intervene"} mode */
  setMode(mode) {
    this.session.mode = mode;
    this.say(this.t(`hint.${mode}`));
    this.render();
  }

  /** @param {"drawing" | "text"} tab */
  setTab(tab) {
    this.tab = this.broken ? "text" : tab;
    this.render();
  }

  /** @param {Iterable<string>} keys @param {string | null} [focus] */
  select(keys, focus) {
    this.session.select(keys, focus);
    this.render();
  }

  /** Selects one thing and gives it the keyboard. @param {string} key */
  visit(key) {
    this.select([key], key);
    this.scene.elementOf(key)?.focus({ preventScroll: true });
    this.#reveal();
  }

  /** Marks one thing and gives it the keyboard; the selection stays. @param {string} key */
  #focusOn(key) {
    this.focus = key;
    this.render();
    this.scene.elementOf(key)?.focus({ preventScroll: true });
  }

  /** Gives the keyboard back to the drawing. */
  rest() {
    (this.scene.elementOf(this.focus) ?? this.scene.element).focus({ preventScroll: true });
  }

  /** Brings what has the focus out from under the panel, or back into view. */
  #reveal() {
    const box = this.focus === null ? undefined : this.scene.boxOf(this.focus);
    if (box) this.viewport.reveal(box, this.covered);
  }

  /** @param {ReadonlyMap<string, Result>} results @param {boolean} stale */
  setResults(results, stale) {
    Object.assign(this.session, { results, stale });
    this.render();
    this.#keepFitted();
  }

  /** Shows the whole graph beside the panel if it can be read there, otherwise at least what has the focus. */
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
    if (!this.panelOpen) return 0;
    const [panel, whole] = [this.inspector.element, this.stage].map((each) => each.getBoundingClientRect().width);
    return whole ? (panel / whole) * this.viewport.size.width : 0;
  }

  /** @param {number} outer how much the page around scales the editor */
  setOuter(outer) {
    this.viewport.setOuter(outer);
    this.element.classList.toggle("distant", outer < DISTANT);
  }

  /** @param {boolean} open @param {string} [field] where typing goes on */
  setPanel(open, field) {
    this.panelOpen = open;
    this.render();
    this.#makeRoom();
    if (open && field) this.inspector.focus(field);
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
    this.inspector.render();
    this.textTab.render();
    this.toolbar.render();
    this.caption.render();
    this.empty.element.hidden = this.graph.concepts.length > 0;
  }

  /** @returns {Look} what is worth keeping when ComfyUI builds the node anew */
  get look() {
    const { x, y, scale } = this.viewport;
    return { mode: this.mode, tab: this.tab, view: this.viewport.free ? null : [x, y, scale], panel: this.panelOpen };
  }

  /** @param {Look} look */
  resume({ mode, tab, view, panel }) {
    this.session.mode = mode;
    this.tab = tab;
    this.panelOpen = panel;
    if (view) this.viewport.set(...view);
    this.viewport.free = !view;
    this.render();
    this.#keepFitted();
  }

  dispose() {
    this.#life.abort();
    this.strip.preview(null);
    this.element.remove();
  }
}
