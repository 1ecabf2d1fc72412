/**
 * Graphs in and out: presets, files, and the drawing as a picture.
 *
 * @import { Editor } from "./editor.mjs"
 */
import { withAbsence } from "./commands.mjs";
import { html } from "./dom.mjs";
import { WRITERS, readAny } from "./formats.mjs";
import { forget } from "./memory.mjs";
import { pictureOf, rasterOf } from "./picture.mjs";

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
    const done = editor.run(() => withAbsence(forget(readAny(text)), editor.t("fresh.absent")), { say: editor.t("said.opened", { name: from }) });
    if (!done) return;
    editor.painter.forget();
    editor.select([], null);
    editor.fit();
  }

  /** @param {string} form "json", "dagitty", "dot", "svg" or "png" */
  async save(form) {
    const { editor } = this;
    if (form === "svg" || form === "png") {
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
