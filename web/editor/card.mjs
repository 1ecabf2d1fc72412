/**
 * How large a concept's card is and what stands where on it. Pure geometry, no drawing.
 *
 * @import { Concept } from "./model.mjs"
 * @typedef {{value: string, text: string, x: number, y: number, width: number}} Chip
 * @typedef {{
 *   width: number, height: number, title: string, chips: Chip[], more: number,
 *   moreAt: {x: number, y: number, width: number} | null, resultY: number | null
 * }} Card
 */
import { fitted, widthOf } from "./text_size.mjs";

export const WIDTH = 196;
export const CHIP_HEIGHT = 22;
export const RESULT_HEIGHT = 46;
export const THUMB = 36;
export const FONTS = Object.freeze({
  title: "600 14px Inter, system-ui, sans-serif",
  chip: "500 12px Inter, system-ui, sans-serif",
  result: "500 12.5px Inter, system-ui, sans-serif",
});

const LEFT = 18;
const RIGHT = 12;
const HEAD = 34;
const GAP = 6;
const ROWS = 2;
const MORE = 34;

/**
 * @param {Concept} concept
 * @param {boolean} hasResult whether a line for the last run's result is needed
 * @returns {Card}
 */
export function layOut(concept, hasResult) {
  const icons = concept.scope === "global" ? 20 : 0;
  const title = fitted(concept.name, WIDTH - LEFT - RIGHT - icons - 4, FONTS.title);
  const { chips, more, moreAt, rows } = chipRows(concept);
  const chipsEnd = HEAD + rows * (CHIP_HEIGHT + GAP) + 4;
  const height = chipsEnd + (hasResult ? RESULT_HEIGHT : 0);
  return { width: WIDTH, height, title, chips, more, moreAt, resultY: hasResult ? chipsEnd : null };
}

/** @param {Concept} concept */
function chipRows(concept) {
  /** @type {Chip[]} */
  const chips = [];
  const values = [...concept.values.keys()];
  let [x, row] = [LEFT, 0];
  for (const [index, value] of values.entries()) {
    const text = fitted(value, WIDTH - LEFT - RIGHT - 20, FONTS.chip);
    const width = Math.ceil(widthOf(text, FONTS.chip)) + 18;
    const reserve = row === ROWS - 1 && index < values.length - 1 ? MORE + GAP : 0;
    if (x > LEFT && x + width > WIDTH - RIGHT - reserve) {
      if (row === ROWS - 1) break;
      [x, row] = [LEFT, row + 1];
    }
    chips.push({ value, text, x, y: HEAD + row * (CHIP_HEIGHT + GAP), width });
    x += width + GAP;
  }
  const more = values.length - chips.length;
  const moreAt = more ? { x: Math.min(x, WIDTH - RIGHT - MORE), y: HEAD + row * (CHIP_HEIGHT + GAP), width: MORE } : null;
  return { chips, more, moreAt, rows: row + 1 };
}
