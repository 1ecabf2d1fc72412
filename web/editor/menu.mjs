/**
 * The menu: presets, files, help. And the list of keys.
 *
 * @import { Editor } from "./editor.mjs"
 */
import * as commands from "./commands.mjs";
import { setBasePrompt } from "./commands.mjs";
import { html, iconButton } from "./dom.mjs";
import { PRESETS } from "./toolbar.mjs";
import { Files } from "./transfer.mjs";

const FORMS = { json: "JSON", dagitty: "DAGitty", dot: "DOT", svg: "SVG", png: "PNG" };
const KEYS = ["n", "Enter", "c", "arrows", "e", "digits", "h", "i", "Delete", "undo", "l", "f", "t", "menu", "Escape"];

export class Menu {
  /** @param {Editor} editor @param {HTMLElement} button what opens it */
  constructor(editor, button) {
    this.editor = editor;
    this.button = button;
    this.files = new Files(editor);
    this.element = html("div", { class: "csg-menu", role: "menu", hidden: true, onkeydown: (/** @type {KeyboardEvent} */ event) => walkItems(this.element, event, () => this.#leave()) });
    this.element.addEventListener("focusout", (event) => this.#left(event));
    editor.element.append(this.element);
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
      this.#part(t("menu.file"), [this.#item(t("menu.import"), () => this.files.choose()), this.#exports()]),
      this.#part(t("menu.help"), [this.#item(t("menu.keys"), () => showKeys(this.editor)), this.#item(t("menu.clear"), () => this.#clear())]),
    );
    this.element.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    this.element.querySelector("button")?.focus();
  }

  /** The forms of a file, in one line. */
  #exports() {
    const { t } = this.editor;
    const items = Object.entries(FORMS).map(([form, name]) => this.#item(name, () => this.files.save(form), t("menu.export", { form: name })));
    return html("div", { class: "forms" }, html("span", {}, t("menu.save")), ...items);
  }

  #clear() {
    this.editor.run((graph) => setBasePrompt(commands.removeConcepts(graph, graph.concepts.map(({ name }) => name)), ""));
    this.editor.fit();
  }

  /** @param {string} title @param {HTMLElement[]} items */
  #part(title, items) {
    return html("div", { role: "group", "aria-label": title }, html("h4", {}, title), ...items);
  }

  /** @param {string} label @param {() => unknown} act @param {string} [spoken] what it is called where the label is short */
  #item(label, act, spoken) {
    const choose = () => {
      this.close();
      this.button.focus();
      act();
    };
    return html("button", { type: "button", role: "menuitem", onclick: choose, title: spoken, "aria-label": spoken }, label);
  }

  /** @param {FocusEvent} event */
  #left({ relatedTarget }) {
    if (relatedTarget !== this.button && !this.element.contains(/** @type {Node | null} */ (relatedTarget))) this.close();
  }

  #leave() {
    this.button.focus();
    this.close();
  }
}

/** Arrows go through a menu's items, Escape leaves it. @param {Element} menu @param {KeyboardEvent} event @param {() => void} leave */
export function walkItems(menu, event, leave) {
  const items = [...menu.querySelectorAll("button")];
  const at = items.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  if (!step && event.key !== "Escape") return;
  event.preventDefault();
  event.stopPropagation();
  if (step) items[(at + step + items.length) % items.length].focus();
  else leave();
}

/** @param {Editor} editor */
export function showKeys(editor) {
  const { t } = editor;
  if (editor.stage.querySelector(".csg-sheet")) return;
  const close = () => {
    sheet.remove();
    editor.rest();
  };
  const escape = (/** @type {KeyboardEvent} */ event) => {
    event.stopPropagation();
    if (event.key === "Escape") close();
  };
  const rows = KEYS.map((key) => html("div", {}, html("dt", {}, t(`keys.${key}.key`)), html("dd", {}, t(`keys.${key}.does`))));
  const button = iconButton(t("panel.close"), "close", close);
  const sheet = html("div", { class: "csg-sheet", role: "dialog", "aria-label": t("menu.keys"), onkeydown: escape },
    html("header", {}, html("h3", {}, t("menu.keys")), button), html("dl", {}, ...rows));
  editor.stage.append(sheet);
  button.focus();
}
