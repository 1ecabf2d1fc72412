/**
 * The graph as DAGitty text, in sync both ways; a text that cannot be read stays as it
 * is, its line marked. Also the place where a broken stored text is mended.
 *
 * @import { Editor } from "./editor.mjs"
 * @import { Graph } from "./model.mjs"
 */
import { describe, readAny, revise } from "./files.mjs";
import { html } from "./dom.mjs";
import { reasonOf } from "./i18n.mjs";
import { EMPTY } from "./model.mjs";

/** Pixels above the first line, and of each line, as in the style sheet. */
const [TOP, LINE] = [10, 20];

export class TextTab {
  /** @type {{details?: {line?: number}} | null} */ #error = null;
  /** @type {object | null} the broken text that is shown */ #broken = null;
  /** @type {Graph} the graph before it was typed in */ #before = EMPTY;
  /** @type {Graph} the graph that typing made of it */ #typed = EMPTY;

  /** @param {Editor} editor */
  constructor(editor) {
    this.editor = editor;
    this.gutter = html("div", { class: "gutter", "aria-hidden": "true" });
    this.area = html("textarea", {
      spellcheck: "false", autocomplete: "off", "aria-label": editor.t("text.label"), wrap: "off",
      oninput: () => this.#take(), onscroll: () => this.#scrolled(),
    });
    this.problem = html("p", { class: "problem", role: "alert" });
    this.help = html("p", { class: "help" }, editor.t("text.help"));
    this.lines = html("div", { class: "lines" }, this.gutter, this.area);
    this.element = html("div", { class: "csg-text" }, this.lines, this.problem, this.help);
  }

  focus() {
    this.area.focus({ preventScroll: true });
  }

  render() {
    const { editor, area } = this;
    if (editor.tab !== "text") return;
    if (editor.broken) this.#showBroken(editor.broken);
    else if (this.#broken) this.#show(describe(editor.graph));
    else if (!this.#error && this.#reads() !== describe(editor.graph)) this.#show(describe(editor.graph));
    else if (!this.#error) this.#number();
    this.help.hidden = Boolean(editor.broken);
    area.setAttribute("aria-invalid", String(Boolean(this.#error)));
  }

  /** What the text in the area stands for, in its normal form. */
  #reads() {
    try {
      return describe(this.#revised());
    } catch {
      return null;
    }
  }

  /** @param {string} text */
  #show(text) {
    this.#broken = null;
    this.area.value = text;
    this.#mark(null);
  }

  /** What is typed into it stays. @param {{text: string, error: unknown}} broken */
  #showBroken(broken) {
    if (this.#broken === broken) return;
    this.#broken = broken;
    this.area.value = broken.text;
    this.#mark(broken.error);
  }

  /**
   * All typing counts from the same graph: a letter typed and taken back leaves no trace,
   * also where the short form does not say all.
   */
  #revised() {
    const { editor, area } = this;
    if (editor.graph !== this.#typed) this.#before = this.#typed = editor.graph;
    return revise(this.#before, area.value, editor.extracted);
  }

  #take() {
    const { editor } = this;
    try {
      if (editor.broken) return this.#mend();
      const graph = this.#revised();
      this.#mark(null);
      this.#typed = graph;
      editor.run(() => graph, { merge: "text" });
    } catch (error) {
      this.#mark(error);
    }
  }

  /** A broken stored text was edited: as soon as it reads, it is the graph. */
  #mend() {
    const { editor, area } = this;
    if (area.value.trim()) readAny(area.value);
    this.#error = null;
    editor.load(area.value);
    editor.host.write(area.value);
  }

  /** @param {unknown} error */
  #mark(error) {
    this.#error = /** @type {{details?: {line?: number}} | null} */ (error);
    this.problem.textContent = error ? reasonOf(this.editor.t, error) : "";
    this.area.setAttribute("aria-invalid", String(Boolean(error)));
    this.#number();
  }

  #number() {
    const count = this.area.value.split("\n").length;
    const wrong = this.#error?.details?.line;
    const numbers = Array.from({ length: Math.min(count, 2000) }, (_, index) =>
      html("span", { class: index + 1 === wrong ? "wrong" : "" }, String(index + 1)));
    this.gutter.replaceChildren(...numbers);
    this.#scrolled();
  }

  #scrolled() {
    this.gutter.scrollTop = this.area.scrollTop;
    const wrong = this.#error?.details?.line ?? 0;
    this.lines.classList.toggle("marked", wrong > 0);
    this.lines.style.setProperty("--wrong", `${TOP + LINE * (wrong - 1) - this.area.scrollTop}px`);
  }
}
