/**
 * The menu: presets, files, help. And the list of keys.
 *
 * @import { Editor } from "./editor.mjs"
 */
import * as commands from "./commands.mjs";
import { html } from "./dom.mjs";
import { Files, PRESETS } from "./files.mjs";

const FORMS = { json: "JSON", dagitty: "DAGitty", dot: "DOT", svg: "SVG", png: "PNG" };
const KEYS = ["n", "Enter", "c", "arrows", "e", "digits", "h", "i", "Delete", "undo", "l", "f", "t", "Escape"];

export class Menu {
  /** @param {Editor} editor @param {HTMLElement} button what opens it */
  constructor(editor, button) {
    this.editor = editor;
    this.button = button;
    this.files = new Files(editor);
    this.element = html("div", { class: "csg-menu", role: "menu", hidden: true, onkeydown: (/** @type {KeyboardEvent} */ event) => this.#key(event) });
    this.element.addEventListener("focusout", (event) => this.#left(event));
    button.after(this.element);
  }

  toggle() {
    if (this.element.hidden) this.#open();
    else this.close();
  }

  close() {
    this.element.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
  }

  #open() {
    const { t } = this.editor;
    this.element.replaceChildren(
      this.#part(t("menu.presets"), PRESETS.map((name) => this.#item(t(`presets.${name}`), () => this.files.preset(name)))),
      this.#part(t("menu.file"), [this.#item(t("menu.import"), () => this.files.choose()), ...this.#exports()]),
      this.#part(t("menu.help"), [this.#item(t("menu.keys"), () => showKeys(this.editor)), this.#item(t("menu.clear"), () => this.#clear())]),
    );
    this.element.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    this.element.querySelector("button")?.focus();
  }

  #exports() {
    return Object.entries(FORMS).map(([form, name]) => this.#item(this.editor.t("menu.export", { form: name }), () => this.files.save(form)));
  }

  #clear() {
    this.editor.run((graph) => commands.removeConcepts(graph, graph.concepts.map(({ name }) => name)));
  }

  /** @param {string} title @param {HTMLElement[]} items */
  #part(title, items) {
    return html("div", { role: "group", "aria-label": title }, html("h4", {}, title), ...items);
  }

  /** @param {string} label @param {() => unknown} act */
  #item(label, act) {
    const choose = () => {
      this.close();
      this.button.focus();
      act();
    };
    return html("button", { type: "button", role: "menuitem", onclick: choose }, label);
  }

  /** @param {FocusEvent} event */
  #left({ relatedTarget }) {
    if (relatedTarget !== this.button && !this.element.contains(/** @type {Node | null} */ (relatedTarget))) this.close();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const items = [...this.element.querySelectorAll("button")];
    const at = items.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    if (step) items[(at + step + items.length) % items.length].focus();
    else this.button.focus();
    if (!step) this.close();
  }
}

/** @param {Editor} editor */
export function showKeys(editor) {
  const { t } = editor;
  const close = () => {
    sheet.remove();
    (editor.scene.elementOf(editor.focus) ?? editor.scene.element).focus({ preventScroll: true });
  };
  const escape = (/** @type {KeyboardEvent} */ event) => {
    event.stopPropagation();
    if (event.key === "Escape") close();
  };
  const rows = KEYS.flatMap((key) => [html("dt", {}, t(`keys.${key}.key`)), html("dd", {}, t(`keys.${key}.does`))]);
  const button = html("button", { type: "button", class: "wide", onclick: close }, t("panel.close"));
  const sheet = html("div", { class: "csg-sheet", role: "dialog", "aria-label": t("menu.keys"), onkeydown: escape }, html("h3", {}, t("menu.keys")), html("dl", {}, ...rows), button);
  editor.stage.append(sheet);
  button.focus();
}
