/**
 * How large a concept's card is and what stands where on it. Pure geometry, no drawing.
 *
 * @import { Concept } from "./model.mjs"
 * @import { Result } from "./results.mjs"
 * @typedef {{value: string, text: string, x: number, y: number, width: number}} Chip
 * @typedef {{y: number, height: number, left: number, room: number, outcome: string[], reason: string[]}} Told the last run's
 *   result: where its words begin and how wide they may be, what became of the value and why, in lines
 * @typedef {{
 *   width: number, height: number, title: string, chips: Chip[], more: number,
 *   moreAt: {x: number, y: number, width: number} | null, told: Told | null
 * }} Card
 */
import { fitted, widthOf, wrapped } from "./text_size.mjs";

export const WIDTH = 196;
export const CHIP_HEIGHT = 22;
export const THUMB = 40;
/** How far apart two lines of an outcome are. */
export const OUTCOME = 15;
export const FONTS = Object.freeze({
  title: "600 14px Inter, system-ui, sans-serif",
  chip: "500 12px Inter, system-ui, sans-serif",
  result: "500 12.5px Inter, system-ui, sans-serif",
  reason: "400 11px Inter, system-ui, sans-serif",
});

const LEFT = 18;
const TICK = 22;
const RIGHT = 12;
const HEAD = 34;
const GAP = 6;
const ROWS = 2;
const MORE = 34;
/** Room for the lock at the right of the title. */
const LOCK = 22;

/**
 * @param {Concept} concept
 * @param {Result} [result] of the last run
 * @returns {Card}
 */
export function layOut(concept, result) {
  const icons = LOCK + (concept.scope === "global" ? 22 : 0);
  const title = fitted(concept.name, WIDTH - LEFT - RIGHT - icons - 4, FONTS.title);
  const { chips, more, moreAt, rows } = chipRows(concept);
  const chipsEnd = HEAD + rows * (CHIP_HEIGHT + GAP) + 4;
  const told = result ? tell(result, chipsEnd) : null;
  return { width: WIDTH, height: chipsEnd + (told?.height ?? 0), title, chips, more, moreAt, told };
}

/** @param {Result} result @param {number} y @returns {Told} */
function tell({ factual, counterfactual, effective, reason, mask }, y) {
  const right = RIGHT + (mask ? THUMB + 8 : 0);
  const left = LEFT + (effective === undefined ? 0 : TICK);
  const room = WIDTH - left - right;
  const outcome = factual === counterfactual ? [] : wrapped(`${factual} → ${counterfactual}`, room, FONTS.result, 2);
  const lines = wrapped(reason, WIDTH - LEFT - right, FONTS.reason, 2);
  const height = 34 + (outcome.length > 1 ? OUTCOME : 0) + 14 * lines.length;
  return { y, height: Math.max(height, mask ? THUMB + 12 : 0), left, room, outcome, reason: lines };
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
