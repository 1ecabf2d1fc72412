/**
 * What stands where no graph is yet: how to begin, and graphs to begin with.
 *
 * @import { Editor } from "./editor.mjs"
 */
import { html } from "./dom.mjs";
import { Files } from "./files.mjs";

export const PRESETS = ["portrait", "street", "landscape", "still-life", "town"];

export class Empty {
  /** @param {Editor} editor */
  constructor(editor) {
    const { t } = editor;
    const files = new Files(editor);
    this.element = html("div", { class: "csg-empty" }, html("p", {}, t("notice.empty")),
      html("p", { class: "presets" }, ...PRESETS.map((name) => html("button", { type: "button", class: "wide", onclick: () => files.preset(name) }, t(`presets.${name}`)))));
  }
}
