/**
 * The line above the drawing: the picture's caption, which every edit begins from.
 *
 * @import { Editor } from "./editor.mjs"
 */
import { setBasePrompt } from "./details.mjs";
import { html } from "./dom.mjs";

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
