/**
 * What stands around the drawing: the tools above and the facts below it, the picture's caption, and how to begin.
 *
 * @import { Editor } from "./editor.mjs"
 */
import { open, setBasePrompt } from "./commands.mjs";
import { html, icon, iconButton } from "./dom.mjs";
import { Files } from "./transfer.mjs";

/** Milliseconds without a change. */
const REST = 120;

/** Modes, tabs, history, layout and a menu; and the facts below the drawing. */
export class Toolbar {
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #rest;
  /** @type {import("./menu.mjs").Menu | undefined} */ #menu;

  /** @param {Editor} editor */
  constructor(editor) {
    this.editor = editor;
    this.t = editor.t;
    this.facts = html("span", { class: "facts" });
    this.modes = this.#choice("modes", ["edit", "intervene"], (mode) => editor.setMode(mode));
    this.tabs = this.#choice("tabs", ["drawing", "text"], (tab) => editor.setTab(tab));
    this.undo = iconButton(this.t("do.undo"), "undo", () => editor.undo());
    this.redo = iconButton(this.t("do.redo"), "redo", () => editor.redo());
    this.panel = iconButton(this.t("do.panel"), "panel", () => editor.setPanel(!editor.panelOpen));
    this.more = iconButton(this.t("do.more"), "more", () => this.#toggleMenu(), { "aria-haspopup": "menu", "aria-expanded": "false" });
    this.element = html("header", { class: "csg-toolbar", role: "toolbar", "aria-label": this.t("do.toolbar") },
      this.modes, this.#add(), html("span", { class: "gap" }),
      html("span", { class: "group drawing-only" }, this.undo, this.redo,
        iconButton(this.t("do.arrange"), "layout", () => editor.actions.arrange(), { class: "csg-button fold" }), iconButton(this.t("do.fit"), "fit", () => editor.fit(), { class: "csg-button fold" }), this.panel),
      this.tabs, this.more);
  }

  /** The menu's code comes with its first use. */
  async #toggleMenu() {
    const { Menu } = await import("./menu.mjs");
    this.#menu ??= new Menu(this.editor, this.more);
    this.#menu.toggle();
  }

  #add() {
    return html("button", { type: "button", class: "csg-button labelled edit-only", title: this.t("do.add_help"), onclick: () => this.editor.quick.addNear(null) },
      icon("add"), html("span", {}, this.t("do.add")));
  }

  /**
   * @template {string} T
   * @param {string} group
   * @param {T[]} options
   * @param {(option: T) => void} choose
   */
  #choice(group, options, choose) {
    const buttons = options.map((option) => html("button", {
      type: "button", "data-option": option, title: this.t(`${group}.${option}_help`), onclick: () => choose(option),
    }, this.t(`${group}.${option}`)));
    return html("span", { class: `csg-choice ${group}`, role: "group", "aria-label": this.t(`${group}.label`) }, ...buttons);
  }

  render() {
    const { editor } = this;
    this.#press(this.modes, editor.mode);
    this.#press(this.tabs, editor.tab);
    this.panel.setAttribute("aria-pressed", String(editor.panelOpen));
    this.#showNotice();
    this.showZoom();
  }

  /** @param {Element} choice @param {string} option */
  #press(choice, option) {
    for (const button of choice.children) button.setAttribute("aria-pressed", String(/** @type {HTMLElement} */ (button).dataset.option === option));
  }

  /** Shows the zoom once it rests: a text that changed in every frame would make Nodes 2.0 lay out the whole node in each. */
  followZoom() {
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => this.showZoom(), REST);
  }

  showZoom() {
    const { graph, viewport } = this.editor;
    const counts = this.t("facts.counts", { concepts: graph.concepts.length, edges: graph.edges.length });
    this.facts.textContent = `${counts} · ${Math.round(viewport.scale * 100)} %`;
  }

  /** What needs attention, over the drawing. */
  #showNotice() {
    const { editor, t } = this;
    const { conflicts, graph, notice, stale } = editor;
    const unsaid = open(graph);
    const proposed = graph.edges.filter(({ status }) => status === "proposed").length;
    const button = (/** @type {string} */ label, /** @type {() => void} */ act) => html("button", { type: "button", onclick: act }, label);
    const lines = [
      editor.linked && html("p", { class: "warning", title: t("notice.linked_help") }, t("notice.linked")),
      conflicts.length && html("p", { class: "warning", title: t("conflict.found", { count: conflicts.length }) }, t("conflict.title", { count: conflicts.length }), button(t("conflict.show"), () => this.#showConflicts())),
      stale && html("p", { class: "stale", title: t("result.stale") }, t("result.stale_short")),
      proposed > 0 && html("p", {}, t("notice.proposed", { count: proposed }), button(t("notice.confirm_all"), () => editor.actions.confirmAll())),
      unsaid.length > 0 && html("p", { class: "open", title: t("notice.open_help") }, html("span", {}, t("notice.open", { names: unsaid.join(", ") })), button(t("notice.open_first"), () => this.#visitOpen(unsaid[0]))),
      graph.interventions.size > 0 && html("p", {}, t("notice.pending", { count: graph.interventions.size }), button(t("notice.release_all"), () => editor.actions.releaseAll())),
    ];
    notice.replaceChildren(...lines.filter((each) => each instanceof HTMLElement));
  }

  /** @param {string} name a concept without a value that follows */
  #visitOpen(name) {
    if (this.editor.mode === "edit") this.editor.setMode("intervene");
    this.editor.visit(name);
  }

  #showConflicts() {
    this.editor.select([], null);
    this.editor.setPanel(true);
  }
}

/** The picture's caption, which every edit begins from. */
export class Caption {
  #shown = "";

  /** @param {Editor} editor */
  constructor(editor) {
    this.editor = editor;
    const { t } = editor;
    this.input = html("input", {
      "aria-label": t("caption.label"), placeholder: t("caption.empty"), maxlength: 20000,
      onchange: () => editor.run((graph) => setBasePrompt(graph, this.input.value)),
      onkeydown: (/** @type {KeyboardEvent} */ event) => { if (event.key === "Enter" && !event.isComposing) this.input.blur(); },
    });
    this.element = html("label", { class: "csg-caption" }, html("span", {}, t("caption.label")), this.input);
  }

  render() {
    const { graph } = this.editor;
    if (this.#shown !== graph.basePrompt) this.input.value = this.#shown = graph.basePrompt; // What is being typed stays.
    this.input.title = graph.basePrompt || this.editor.t("caption.empty");
    this.element.dataset.empty = String(graph.concepts.length > 0 && !graph.basePrompt.trim());
  }
}

export const PRESETS = ["portrait", "street", "landscape", "still-life", "town"];

/** What stands where no graph is yet: how to begin, and graphs to begin with. */
export class Empty {
  /** @param {Editor} editor */
  constructor(editor) {
    const { t } = editor;
    const files = new Files(editor);
    this.element = html("div", { class: "csg-empty" }, html("p", {}, t("notice.empty")),
      html("p", { class: "presets" }, ...PRESETS.map((name) => html("button", { type: "button", class: "wide", onclick: () => files.preset(name) }, t(`presets.${name}`)))));
  }
}
