/**
 * In which form a text holds a graph, and where in it: formats, their neighbours, and what stands around them.
 * The same rules as csg/causal/recognise.py.
 */
import { GraphError } from "./model.mjs";

/** Blanks of every script, spelt out: Python's own \s and JavaScript's differ. */
export const BLANKS = String.raw`\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff`;

const AROUND = new RegExp(String.raw`(?:[${BLANKS}]+|//[^\n]*|#[^\n]*|/\*[^]*?\*/)*`, "uy");
const WORD = String.raw`[\p{L}\p{N}_.\-]`;
const KEYWORD = String.raw`(?:strict[${BLANKS}]+)?(?<kind>dag|pdag|mag|pag|digraph|graph)(?!${WORD})` +
  String.raw`(?:[${BLANKS}]*(?:"[^"\\]{0,200}"|${WORD}{1,200}))?[${BLANKS}]*\{`;
const FENCE = /^[ \t]*(?:```|~~~)[^\n]*\n([^]*?)^[ \t]*(?:```|~~~)/gm;
// what is never closed ends with the text: seeking its end from every mark anew would take quadratic time
const STRINGS_AND_BRACES = /"[^"\\]*(?:\\[^][^"\\]*)*(?:"|\\?$)|\/\/[^\n]*|\/\*[^]*?(?:\*\/|$)|[{}]/g;
const ARROWS = /[^{}[\]\n]*(?:->|<-|=>|[\u2190\u2192\u2194\u21d2\u27f6])[^\n]*/y;
// other ways to draw an arrow by hand, and the circles of TETRAD's lists of edges
const OTHER_ARROWS = new RegExp(String.raw`"[^"\\]*(?:\\[^][^"\\]*)*(?:"|\\?$)|(?<both><-{2,3}>)|(?<open>(?<=[ \t])o-{1,2}>)` +
  String.raw`|(?<opened><-{1,2}o(?=[ \t]))|(?<circles>(?<=[ \t])o-{1,2}o(?=[ \t]))|(?<right>-{2,3}>|={1,2}>|[\u21d2\u27f6])` +
  String.raw`|(?<left><-{2,3}(?!o))|(?<line>---)`, "g");
/** @type {Record<string, string>} */
const OUR_ARROWS = { both: "<->", open: "@->", opened: "<-@", circles: "@-@", right: "->", left: "<-", line: "--" };
// arrows alone may be a list, and a name of several words needs quotes there: prose with an arrow in it is no graph
const BULLETS = /(?<=^|\n)[ \t]*(?:[-*\u2022]|[0-9]{1,3}[.)])(?=[ \t])/g;
const NOT_NAMES = /"[^"\\]*(?:\\[^][^"\\]*)*(?:"|\\?$)|\[[^\]]*(?:\]|$)|\{[^}]*(?:\}|$)|\/\/[^\n]*|#[^\n]*/g;
const BESIDE = /[\p{L}\p{N}_.][ \t]+[\p{L}\p{N}_"]|"[ \t]+[\p{L}\p{N}_]/u;
const MODEL_STRING = /\[[^[\]"{}\n,]+\](?:\[[^[\]"{}\n,]+\])+[ \t\r\n]*$/y;
const QUOTED = /[^"\\]*(?:\\[^][^"\\]*)*/y;
const DAGITTY_KINDS = ["dag", "pdag", "mag", "pag"];
/** @type {[RegExp, string][]} */
const NEIGHBOURS = [
  [/<\?xml|<graphml|<bif\b|<gexf\b/iy, "XML (GraphML, XMLBIF, GEXF)"],
  [/(network|net|node)\s[^{]{0,200}\{/iy, "BIF / NET"],
  [/graph\s+(LR|RL|TB|TD|BT)\b|flowchart\b|stateDiagram|%%/iy, "Mermaid"],
  [/graph\s*\[|Creator\b/iy, "GML"],
  [/@startuml/iy, "PlantUML"],
  [/(?:version:[^\n]*\n)?(?:nodes|concepts|edges)[ \t]*:[ \t]*[\n[]|---[ \t]*\n/iy, "YAML, Mermaid"],
  [/\S*[^\s:] +[1EOUA](?: +@-?[\d.]+,-?[\d.]+)? *(?:\n|$)/y, "DAGitty (old notation)"],
  [/Graph (?:Nodes|Edges):/iy, "TETRAD, causal-learn"],
  [/[\p{L}\p{N}_/ ]{0,40}Bayesian network|model(?:string)?[ \t]{0,9}[:=][ \t\n"]{0,9}\[/iuy, "bnlearn"],
  [/[^|\n]*\|[^\n]*\n[ \t:|]*--[ \t:|-]*(?:\n|$)/y, "Markdown"],
  [/[\p{L}\p{N}_.]+[ \t]*(?:~~|=~|~)/uy, "lavaan, R"],
  [/"?(source|from|cause|parent)"?[ \t]{0,9}[,;\t][ \t]{0,9}"?(target|to|effect|child)\b/iy, "CSV"],
  [/(?:"")?,[^\n,]*,[^\n]*\n/y, "CSV"],
  [/dagify\(|[\p{L}\p{N}_.]{1,200}[ \t]{0,9}(?:<-|=)[ \t]{0,9}(?:ggdag::)?dagify\(/uy, "ggdag, R"],
];

/**
 * @typedef {"json" | "dagitty" | "dot"} Format
 * @param {string} text
 * @returns {{format: Format, text: string}} the part that holds the graph, on its own lines
 */
export function recognise(text) {
  const start = after(AROUND, text, 0);
  if (after(MODEL_STRING, text, start) > start) throw new GraphError("text_neighbour", { format: "bnlearn" });
  if ("{[".includes(text[start] ?? "·")) return { format: "json", text };
  const drawn = keywordAt(text, start);
  if (drawn) return { format: drawn.format, text: onItsLines(text, start, text.length) };
  refuseNeighbours(text, start);
  return inside(text) ?? arrowsAlone(text, start) ?? { format: "json", text };
}

/** @param {string} text @param {number} start */
function refuseNeighbours(text, start) {
  for (const [pattern, name] of NEIGHBOURS) {
    pattern.lastIndex = start;
    if (pattern.test(text)) throw new GraphError("text_neighbour", { format: name });
  }
}

/** @param {RegExp} pattern sticky @param {string} text @param {number} at @returns {number} the end of the match */
function after(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}

/** @param {string} text @param {number} at @returns {{format: Format, end: number} | null} */
function keywordAt(text, at) {
  const pattern = new RegExp(KEYWORD, "iuy");
  pattern.lastIndex = at;
  const match = pattern.exec(text);
  return match && { format: formatOf(match), end: pattern.lastIndex };
}

/** @param {RegExpExecArray} match @returns {Format} */
const formatOf = (match) => (DAGITTY_KINDS.includes((match.groups?.kind ?? "").toLowerCase()) ? "dagitty" : "dot");

/**
 * A graph in the first fence that holds one, or anywhere in a program, up to its closing brace.
 * @param {string} text
 * @returns {{format: Format, text: string} | null}
 */
function inside(text) {
  for (const fence of text.matchAll(FENCE)) {
    const begin = fence.index + fence[0].indexOf("\n") + 1;
    const end = begin + fence[1].length;
    const start = begin + after(AROUND, fence[1], 0);
    if (text[start] === "{") return { format: "json", text: onItsLines(text, start, end) };
    const keyword = keywordAt(text, start);
    if (keyword) return { format: keyword.format, text: onItsLines(text, start, end) };
    refuseNeighbours(text, start);
  }
  for (const match of text.matchAll(new RegExp(KEYWORD, "giu"))) {
    if (/[\p{L}\p{N}]$/u.test(text.slice(Math.max(0, match.index - 2), match.index))) continue;
    const start = match.index;
    const quoted = text[start - 1] === '"' && text.slice(Math.max(0, start - 3), start) !== '"""';
    const part = quoted ? onItsLines(text, start, start) + unescaped(text.slice(start, after(QUOTED, text, start)))
      : onItsLines(text, start, closing(text, start + match[0].length));
    return { format: formatOf(match), text: part };
  }
  return null;
}

/** What a program's text in double quotes stands for. @param {string} text */
const unescaped = (text) => text.replace(/\\(["'\\n])/g, (_, char) => (char === "n" ? "\n" : char));

/** @param {string} text @param {number} start @returns {{format: Format, text: string} | null} */
function arrowsAlone(text, start) {
  ARROWS.lastIndex = start;
  if (!ARROWS.test(text)) return null;
  const lines = onItsLines(text, start, text.length).replace(BULLETS, "").replace(OTHER_ARROWS, ourArrow);
  const names = lines.replace(NOT_NAMES, (match) => (match[0] === '"' ? '""' : ";"));
  const beside = names.search(BESIDE);
  if (beside >= 0) throw new GraphError("text_expected", { expected: "->", got: names.slice(Math.max(0, beside - 20), beside + 20).trim() });
  return { format: "dagitty", text: `dag {${lines}\n}` };
}

/** @param {string} whole @param {any[]} found the last of them are the named groups */
const ourArrow = (whole, ...found) => OUR_ARROWS[Object.keys(found.at(-1)).find((name) => found.at(-1)[name]) ?? ""] ?? whole;

/** Where the brace closes that was opened before `start`. @param {string} text @param {number} start */
function closing(text, start) {
  let depth = 1;
  STRINGS_AND_BRACES.lastIndex = start;
  for (let mark = STRINGS_AND_BRACES.exec(text); mark; mark = STRINGS_AND_BRACES.exec(text)) {
    if (mark[0] === "{") depth += 1;
    if (mark[0] === "}") depth -= 1;
    if (depth === 0) return STRINGS_AND_BRACES.lastIndex;
  }
  return text.length;
}

/** The part, with the line breaks before it. @param {string} text @param {number} start @param {number} stop */
const onItsLines = (text, start, stop) => "\n".repeat(text.slice(0, start).split("\n").length - 1) + text.slice(start, stop);
