/**
 * Fitting text into a width, by the browser's own measure.
 */

const LONGEST = 300;
/** @type {Map<string, number>} */
const widths = new Map();
/** @type {CanvasRenderingContext2D | null} */
let context = null;

/**
 * @param {string} text
 * @param {string} font a CSS font
 * @returns {number} pixels
 */
export function widthOf(text, font) {
  const key = `${font}|${text}`;
  const known = widths.get(key);
  if (known !== undefined) return known;
  context ??= document.createElement("canvas").getContext("2d");
  if (context) context.font = font;
  const width = context?.measureText(text).width ?? text.length * 7;
  if (widths.size > 4000) widths.clear();
  widths.set(key, width);
  return width;
}

/**
 * The text in lines, cut between words; the last one ends in an ellipsis if there is more.
 * @param {string} text
 * @param {number} room pixels
 * @param {string} font
 * @param {number} most lines
 * @returns {string[]}
 */
export function wrapped(text, room, font, most) {
  const words = text.slice(0, LONGEST).split(/\s+/).filter(Boolean);
  /** @type {string[]} */
  const lines = [];
  while (words.length && lines.length < most - 1) {
    let count = 1;
    while (count < words.length && widthOf(words.slice(0, count + 1).join(" "), font) <= room) count += 1;
    if (widthOf(words[0], font) > room) break;
    lines.push(words.splice(0, count).join(" "));
  }
  return words.length ? [...lines, fitted(words.join(" "), room, font)] : lines;
}

/**
 * The text, or its beginning and an ellipsis; line breaks and control marks are drawn as blanks.
 * @param {string} text
 * @param {number} room pixels
 * @param {string} font
 * @returns {string}
 */
export function fitted(text, room, font) {
  const head = text.slice(0, LONGEST).replace(/[\x00-\x1f\x7f\u2028\u2029]/g, " ");
  if (head.length === text.length && widthOf(head, font) <= room) return head;
  const letters = [...head];
  let [low, high] = [0, letters.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (widthOf(`${letters.slice(0, middle).join("")}…`, font) <= room) low = middle;
    else high = middle - 1;
  }
  return `${letters.slice(0, low).join("").trimEnd()}…`;
}
