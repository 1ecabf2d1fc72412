/**
 * Concepts and graphs in and out: by the clipboard, by drag and drop, from presets and files, as a picture.
 *
 * @import { Editor } from "./editor.mjs"
 */
import * as commands from "./commands.mjs";
import { html } from "./dom.mjs";
import { readAny, WRITERS } from "./files.mjs";
import { writeJson } from "./json.mjs";
import { forget } from "./session.mjs";

const SHIFT = 36;

export class Transfer {
  /** @param {Editor} editor @param {AbortSignal} signal */
  constructor(editor, signal) {
    this.editor = editor;
    this.files = new Files(editor);
    const { element } = editor;
    for (const type of ["copy", "cut"]) element.addEventListener(type, (event) => this.#copy(/** @type {ClipboardEvent} */ (event)), { signal });
    element.addEventListener("paste", (event) => this.#paste(event), { signal });
    element.addEventListener("dragover", (event) => this.#over(event), { signal });
    element.addEventListener("drop", (event) => this.#drop(event), { signal });
  }

  /** @param {Event} event @returns {boolean} whether it is about the drawing, not the text of a field; ComfyUI gets nothing of it then */
  #ours(event) {
    const field = /** @type {Element} */ (event.target).closest("input, textarea, .csg-panel");
    event.stopPropagation();
    if (!field) event.preventDefault();
    return !field;
  }

  /** @param {ClipboardEvent} event */
  #copy(event) {
    const { editor } = this;
    if (!this.#ours(event) || editor.selected.size === 0) return;
    const chosen = commands.part(editor.graph, editor.selected);
    if (chosen.concepts.length === 0) return;
    event.clipboardData?.setData("text/plain", writeJson(chosen));
    if (event.type === "cut") return editor.actions.remove();
    editor.say(editor.t("said.copied", { count: chosen.concepts.length }));
  }

  /** A graph that is pasted joins the one that is there. @param {ClipboardEvent} event */
  #paste(event) {
    if (!this.#ours(event)) return;
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (text.trim()) this.#include(text);
  }

  duplicate() {
    const { editor } = this;
    const chosen = commands.part(editor.graph, editor.selected);
    if (chosen.concepts.length) this.#include(writeJson(chosen));
  }

  /** @param {string} text */
  #include(text) {
    const { editor } = this;
    const count = editor.graph.concepts.length;
    const done = editor.run((graph) => {
      const other = commands.withAbsence(readAny(text), editor.t("fresh.absent"));
      const joined = commands.include(graph, other, SHIFT);
      return graph.concepts.length || !other.basePrompt ? joined : { ...joined, basePrompt: other.basePrompt };
    });
    if (!done) return;
    const names = editor.graph.concepts.slice(count).map(({ name }) => name);
    editor.select(names, names[0]);
    editor.say(editor.t("said.pasted", { count: names.length }));
  }

  /** @param {DragEvent} event */
  #over(event) {
    if (!event.dataTransfer?.types.some((type) => type === "Files" || type === "text/plain")) return;
    event.preventDefault();
    event.stopPropagation();
    event.dataTransfer.dropEffect = "copy";
  }

  /** A file replaces the graph, a text joins it. @param {DragEvent} event */
  #drop(event) {
    const [file] = event.dataTransfer?.files ?? [];
    const text = event.dataTransfer?.getData("text/plain") ?? "";
    if (!file && !text.trim()) return;
    event.preventDefault();
    event.stopPropagation();
    if (file) this.files.open(file);
    else this.#include(text);
  }
}

const LARGEST = 1_000_000;

export class Files {
  /** @param {Editor} editor */
  constructor(editor) {
    this.editor = editor;
  }

  /** @param {string} name */
  async preset(name) {
    const answer = await fetch(new URL(`./presets/${name}.json`, import.meta.url));
    this.#replace(await answer.text(), this.editor.t(`presets.${name}`));
  }

  /** Asks for a file. */
  choose() {
    const input = html("input", { type: "file", accept: ".json,.dagitty,.dot,.gv,.txt" });
    input.addEventListener("change", () => this.open(input.files?.[0]));
    input.click();
  }

  /** @param {File | undefined} file */
  async open(file) {
    if (!file) return;
    if (file.size > LARGEST) return this.editor.say(this.editor.t("error.too_large", { size: file.size, limit: LARGEST }), "refused");
    this.#replace(await file.text(), file.name);
  }

  /** The graph is replaced in one step that can be undone. @param {string} text @param {string} from */
  #replace(text, from) {
    const { editor } = this;
    const done = editor.run(() => commands.withAbsence(forget(readAny(text)), editor.t("fresh.absent")), { say: editor.t("said.opened", { name: from }) });
    if (!done) return;
    editor.painter.forget();
    editor.select([], null);
    editor.fit();
  }

  /** @param {string} form "json", "dagitty", "dot", "svg" or "png" */
  async save(form) {
    const { editor } = this;
    if (form === "svg" || form === "png") {
      const { pictureOf, rasterOf } = await import("./picture.mjs");
      const drawing = await pictureOf(editor.scene);
      return download(form === "svg" ? new Blob([drawing.text], { type: "image/svg+xml" }) : await rasterOf(drawing), form);
    }
    const text = WRITERS[/** @type {keyof typeof WRITERS} */ (form)](editor.graph);
    download(new Blob([text], { type: form === "json" ? "application/json" : "text/plain" }), form);
  }
}

/** @param {Blob} blob @param {string} ending */
function download(blob, ending) {
  const href = URL.createObjectURL(blob);
  html("a", { href, download: `causal-graph.${ending}` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}
