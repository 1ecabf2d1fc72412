/**
 * What the attributes of DOT and DAGitty mean: the marks at an edge's two ends, and the words of
 * a label. The same rules, in the same order, as `csg/causal/dot_meaning.py`.
 *
 * @typedef {"none" | "arrow" | "circle"} Mark
 * @typedef {ReadonlyMap<string, string>} Attributes
 */

import { BLANKS } from "./recognise.mjs";

/** The marks at the first and at the second end of what is written between two nodes. @type {Record<string, [Mark, Mark]>} */
const ARROWS = {
  "->": ["none", "arrow"], "<-": ["arrow", "none"], "--": ["none", "none"], "<->": ["arrow", "arrow"],
  "@->": ["circle", "arrow"], "<-@": ["arrow", "circle"], "@-@": ["circle", "circle"], "@--": ["circle", "none"], "--@": ["none", "circle"],
  "→": ["none", "arrow"], "←": ["arrow", "none"], "↔": ["arrow", "arrow"],
};
/** @type {Record<string, [boolean, boolean]>} */
const DRAWN_ENDS = { forward: [false, true], back: [true, false], both: [true, true], none: [false, false] };
const UNDIRECTED = "The text draws it without a direction.";
const TWO_HEADED = "The text draws it with two heads: a hidden common cause, or one causes the other.";
const OPEN_END = "The text leaves an end of it open: the direction is in doubt.";

/** @param {string} text blanks at its ends taken away */
const trimmed = (text) => text.replace(/^ +/, "").replace(/ +$/, "");

/** Whether a node or an edge is only there to lay out the others. @param {Attributes} attributes */
export const invisible = (attributes) => (attributes.get("style") ?? "").split(/[ ,]+/).includes("invis");

/**
 * Which way an edge points: `turned`, from the second node to the first; `doubt` is why it is no
 * more than a proposal. Null for an invisible edge.
 * @param {string} arrow
 * @param {Attributes} attributes
 * @returns {{turned: boolean, doubt: string} | null}
 */
export function direction(arrow, attributes) {
  if (invisible(attributes)) return null;
  const backwards = arrow === "<-" || arrow === "←";
  const [first, second] = marks(backwards ? "->" : arrow, attributes);
  const turned = (first === "arrow" && second !== "arrow") !== backwards;
  if (first === "circle" || second === "circle") return { turned, doubt: OPEN_END };
  if (first === second) return { turned: backwards, doubt: first === "none" ? UNDIRECTED : TWO_HEADED };
  return { turned, doubt: "" };
}

/**
 * The marks at both ends: those of the arrow, unless `dir`, `arrowtail` or `arrowhead` say otherwise.
 * @param {string} arrow
 * @param {Attributes} attributes
 * @returns {[Mark, Mark]}
 */
function marks(arrow, attributes) {
  const [first, second] = ARROWS[arrow];
  const dir = trimmed(attributes.get("dir") ?? "").toLowerCase();
  const [atFirst, atSecond] = Object.hasOwn(DRAWN_ENDS, dir) ? DRAWN_ENDS[dir] : [first !== "none", second !== "none"];
  return [
    atFirst ? mark(attributes.get("arrowtail"), first) : "none",
    atSecond ? mark(attributes.get("arrowhead"), second) : "none",
  ];
}

/** @param {string | undefined} given @param {Mark} usual @returns {Mark} */
function mark(given, usual) {
  const shape = trimmed(given ?? "").toLowerCase();
  if (!shape) return usual === "none" ? "arrow" : usual;
  if (shape.includes("dot") || shape.includes("inv")) return "circle";
  return shape.replaceAll("none", "") ? "arrow" : "none";
}

const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: " " };
const GAPS = new RegExp(`[${BLANKS}]+`, "gu");

/** The words of an HTML label, written as in a label in quotes. @param {string} html */
export const htmlText = (html) =>
  html.replace(/<\/?(?:br|tr|td|table|hr|vr|p|li)\b[^<>]*>/gi, " ").replace(/<!--[^<>]*-->|<[^<>]*>/g, "").replaceAll("\\", "\\\\");

/**
 * A label's words on one line; `name` stands for `\N`.
 * @param {string} label
 * @param {string} name
 * @param {string} shape
 */
export function labelText(label, name, shape = "") {
  const record = ["record", "mrecord"].includes(shape.toLowerCase());
  const plain = record ? label.replace(/\\[^]|<[^<>]*>|[|{}<>]/gu, (match) => (match[0] === "\\" ? match : " ")) : label;
  const words = plain.replace(/\\(\r\n|[^])/gu, (_, char) => escaped(char, name)).replace(
    /&(?:(amp|lt|gt|quot|apos|nbsp)|#([0-9]{1,7})|#[xX]([0-9a-fA-F]{1,6}));/g, character);
  return trimmed(words.replace(GAPS, " "));
}

/** @param {string} char @param {string} name */
function escaped(char, name) {
  if (char === "N") return name;
  if ("nlr".includes(char)) return " ";
  return char === "\n" || char === "\r\n" || "GETHL".includes(char) ? "" : char;
}

/** @param {string} whole @param {keyof typeof ENTITIES | undefined} named @param {string | undefined} decimal @param {string | undefined} hex */
function character(whole, named, decimal, hex) {
  if (named) return ENTITIES[named];
  const code = decimal === undefined ? Number.parseInt(hex ?? "", 16) : Number(decimal);
  return code > 0 && code < 0x110000 && !(code >= 0xd800 && code < 0xe000) ? String.fromCodePoint(code) : whole;
}
