/**
 * Graphs in and out: presets, files, and the drawing as a picture.
 *
 * @import { Editor } from "./editor.mjs"
 */
import { readDagitty, writeDagitty } from "./dagitty.mjs";
import { html } from "./dom.mjs";
import { readDot, writeDot } from "./dot.mjs";
import { readJson, writeJson } from "./json.mjs";
import { forget } from "./memory.mjs";
import { recognise } from "./recognise.mjs";

const READERS = { json: readJson, dagitty: readDagitty, dot: readDot };
const WRITERS = { json: writeJson, dagitty: writeDagitty, dot: writeDot };
const LARGEST = 1_000_000;

/** A graph in whichever format it is written. @param {string} text */
export function readAny(text) {
  const { format, text: part } = recognise(text);
  return READERS[format](part);
}

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
    const done = editor.run(() => forget(readAny(text)), { say: editor.t("said.opened", { name: from }) });
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
