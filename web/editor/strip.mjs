/**
 * The line under the drawing: every question asked of this picture, each a thumbnail that brings it back. And, over the
 * drawing, the picture that is being made.
 *
 * @import { Translate } from "./i18n.mjs"
 * @typedef {{key: string, words: string, picture: string | null, current: boolean, again: () => void}} Entry
 * @typedef {{title: string, value: number, max: number, left: number | null}} Progress `left` in seconds
 */
import { html } from "./dom.mjs";

/** With fewer there is nothing to go back to. */
const FEWEST = 2;

export class Strip {
  /** @type {string} */ #drawn = "";
  /** @type {string | null} address of the picture being drawn */ #preview = null;

  /** @param {Translate} t */
  constructor(t) {
    this.t = t;
    this.entries = html("div", { class: "entries" });
    this.bar = html("progress", { max: 1, value: 0 });
    this.words = html("span", {});
    this.image = html("img", { alt: t("live.preview"), hidden: true });
    this.live = html("div", { class: "csg-live", hidden: true }, this.image, html("div", {}, this.words, this.bar));
    this.element = html("div", { class: "csg-strip", role: "group", "aria-label": t("asked.label"), hidden: true }, this.entries);
  }

  /** @param {Entry[]} entries the newest last */
  show(entries) {
    const signature = JSON.stringify(entries);
    if (signature !== this.#drawn) {
      this.#drawn = signature;
      this.entries.replaceChildren(...(entries.length < FEWEST ? [] : entries.map((each) => this.#entry(each))));
      this.entries.scrollLeft = this.entries.scrollWidth;
    }
    this.element.hidden = this.entries.childElementCount === 0;
  }

  /** @param {Entry} entry */
  #entry({ words, picture, current, again }) {
    const label = words || this.t("asked.nothing");
    const image = picture && html("img", { src: picture, alt: "", onerror: () => image && image.remove() });
    return html("button", { type: "button", title: this.t("asked.again", { question: label }), "aria-pressed": String(current), onclick: again },
      image, html("span", {}, label));
  }

  /** @param {Progress | null} progress null when nothing is drawn */
  progress(progress) {
    this.live.hidden = !progress;
    if (progress) {
      const { title, value, max, left } = progress;
      Object.assign(this.bar, { max, value });
      this.words.textContent = left === null ? `${title}: ${value}/${max}` : this.t("live.left", { title, value, max, time: clock(left) });
    } else {
      this.preview(null);
    }
  }

  /** @param {Blob | null} picture as far as it is drawn */
  preview(picture) {
    if (this.#preview) URL.revokeObjectURL(this.#preview);
    this.#preview = picture && URL.createObjectURL(picture);
    this.image.hidden = !this.#preview;
    if (this.#preview) this.image.src = this.#preview;
    else this.image.removeAttribute("src");
  }
}

/** @param {number} seconds */
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.ceil(seconds) % 60).padStart(2, "0")}`;
