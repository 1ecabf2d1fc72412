/**
 * Pan and zoom of the drawing, exact under any transform of the elements around it.
 *
 * @import { Box } from "./layout.mjs"
 * @import { Point } from "./model.mjs"
 */

const LEAST = 0.1;
const MOST = 3;
const FAR = 0.62;
const FARTHEST = 0.34;

export class Viewport {
  x = 0;
  y = 0;
  scale = 1;
  outer = 1;
  /** Nobody has panned or zoomed since all was shown. */
  free = true;
  /** Asking the page for it while a drawing is made would lay that out twice. */
  #size = { width: 0, height: 0 };

  /**
   * @param {SVGSVGElement} frame
   * @param {SVGGElement} content
   * @param {() => void} changed
   */
  constructor(frame, content, changed) {
    this.frame = frame;
    this.content = content;
    this.changed = changed;
  }

  /** From the page to the frame's own pixels. @param {{clientX: number, clientY: number}} event @returns {Point} */
  framePoint({ clientX, clientY }) {
    const inverse = this.frame.getScreenCTM()?.inverse();
    if (!inverse) return [clientX, clientY];
    const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(inverse);
    return [x, y];
  }

  /** From the page to the graph. @param {{clientX: number, clientY: number}} event @returns {Point} */
  point(event) {
    const [x, y] = this.framePoint(event);
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  /** The frame's size in its own pixels. @returns {{width: number, height: number}} */
  get size() {
    if (!this.#size.width) this.resized({ width: this.frame.clientWidth, height: this.frame.clientHeight });
    return this.#size;
  }

  /** @param {{width: number, height: number}} size */
  resized({ width, height }) {
    this.#size = { width, height };
  }

  /** @param {number} dx @param {number} dy in the frame's pixels */
  pan(dx, dy) {
    this.free = false;
    this.set(this.x + dx, this.y + dy, this.scale);
  }

  /** @param {number} factor @param {Point} [at] in the frame's pixels; the middle by default */
  zoom(factor, at = [this.size.width / 2, this.size.height / 2]) {
    const scale = Math.min(MOST, Math.max(LEAST, this.scale * factor));
    const ratio = scale / this.scale;
    this.free = false;
    this.set(at[0] - (at[0] - this.x) * ratio, at[1] - (at[1] - this.y) * ratio, scale);
  }

  /** @param {number} x @param {number} y @param {number} scale */
  set(x, y, scale) {
    Object.assign(this, { x, y, scale });
    this.content.setAttribute("transform", `translate(${x},${y}) scale(${scale})`);
    this.#lod();
    this.changed();
  }

  /** @param {number} outer how much the page around scales the editor */
  setOuter(outer) {
    this.outer = outer;
    this.#lod();
  }

  get isFar() {
    return this.scale * this.outer < FAR;
  }

  /** From afar the cards show less, larger. */
  #lod() {
    this.frame.classList.toggle("far", this.isFar);
    this.frame.classList.toggle("farthest", this.scale * this.outer < FARTHEST);
  }

  /** Shows the whole box, hardly larger than life; nothing at its own size. @param {Box} box @param {number} [right] pixels covered at the right */
  fit(box, right = 0) {
    const { width, height } = this.size;
    const room = width - right;
    if (room <= 0 || height <= 0) return;
    this.free = true;
    if (box.width === 0) return this.set(0, 0, 1);
    const margin = 26;
    const scale = Math.min(1.15, (room - 2 * margin) / box.width, (height - 2 * margin) / box.height);
    const bounded = Math.max(LEAST, scale);
    this.set((room - box.width * bounded) / 2 - box.x * bounded, (height - box.height * bounded) / 2 - box.y * bounded, bounded);
  }

  /** Moves just far enough for the box to be seen. @param {Box} box @param {number} [right] pixels covered at the right */
  reveal(box, right = 0) {
    const { width, height } = this.size;
    const shift = (/** @type {number} */ from, /** @type {number} */ to, /** @type {number} */ room) =>
      from < 14 ? 14 - from : to > room - 14 ? Math.max(14 - from, room - 14 - to) : 0;
    const left = box.x * this.scale + this.x;
    const top = box.y * this.scale + this.y;
    const dx = shift(left, left + box.width * this.scale, width - right);
    const dy = shift(top, top + box.height * this.scale, height);
    if (dx || dy) this.set(this.x + dx, this.y + dy, this.scale);
  }
}
