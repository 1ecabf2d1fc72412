/**
 * The grammar that DOT and DAGitty share, and what its marks and attributes mean: the same rules, in the
 * same order, as csg/causal/dot_grammar.py and dot_meaning.py.
 *
 * Nodes, edges, chains, groups, attribute lists and scoped defaults; names are quoted or bare,
 * in any script, and compared in Unicode's normal form C. Only attributes with a meaning for a
 * causal graph are kept, and what a text becomes is bounded while it is read. Reading takes linear
 * time, and every complaint carries the line it is about.
 *
 * @typedef {{kind: string, text: string, start: number}} Token
 * @typedef {{
 *   graph: Map<string, string>,
 *   nodes: Map<string, Map<string, string>>,
 *   edges: Map<string, {cause: string, effect: string, attributes: Map<string, string>}>
 * }} Statements a text's attributes of the graph, of its nodes and of its edges; an edge whose
 *   direction the text leaves open has the attribute `doubt`, which says why
 */
import { edgeKey, GraphError, MAX, MAX_CONCEPTS, MAX_EDGES, normal } from "./model.mjs";
import { BLANKS } from "./recognise.mjs";

const MAX_DEPTH = 32;
/** Words and marks: all concepts and edges that a graph may have need half of them. */
const MAX_TOKENS = 100_000;
/** Letters, tags and escapes of a label. */
const MAX_LABEL = 20_000;
/** Letters of an attribute that says how something looks; the longest that has a meaning is short. */
const MAX_LOOKS = 100;
const KINDS = ["digraph", "graph", "dag", "pdag", "mag", "pag"];
/** Beyond ASCII all but blanks, punctuation and arrows belongs to words. */
const FOREIGN = String.raw`\x00-\x7f${BLANKS}\xa1-\xa9\xab-\xb1\xb4\xb6-\xb8\xbb\xbf\u2010-\u2027\u2030-\u205e\u2190\u2192\u2194` +
  String.raw`\u3001-\u3003\u3008-\u3011\u3014-\u301f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65`;
const TOKEN = new RegExp([
  String.raw`(?<space>[${BLANKS}]+|//[^\n]*|#[^\n]*|/\*[^]*?\*/)`,
  String.raw`(?<string>"[^"\\]*(?:\\[^][^"\\]*)*")`,
  String.raw`(?<arrow><->|->|<-@|<-|--@|--|@->|@-@|@--|[\u2190\u2192\u2194])`,
  String.raw`(?<word>(?:[A-Za-z0-9_.]|[^${FOREIGN}]|-(?![->]))+)`,
  String.raw`(?<mark>[{}\[\]=;,:+])`,
  String.raw`(?<end>$)`,
].join("|"), "uy");
const OF_EDGES = new Set(["dir", "arrowhead", "arrowtail", "style", "color", "proposed", "csg"]);
const OF_NODES = new Set(["label", "shape", "style", "pos", "value", "do", "exposure", "csg", "csg_graph"]);
const LOOKS = new Set(["dir", "arrowhead", "arrowtail", "style", "color", "shape", "proposed", "pos"]);
const OF_GRAPHS = new Set(["csg_graph"]);
/** Defaults are for how things look; what belongs to one node or edge is not handed on. */
const INHERITED = new Set(["dir", "arrowhead", "arrowtail", "style", "color", "label", "shape"]);
/** @typedef {{node: ReadonlyMap<string, string>, edge: ReadonlyMap<string, string>}} Defaults */

/**
 * @param {string} text DOT or DAGitty
 * @returns {Statements}
 */
export const parse = (text) => new Parser(text).graph();

/** A recursive-descent parser with one token of look-ahead. */
class Parser {
  #position = 0;
  #depth = 0;
  #drawn = 0;
  #tokens = 1;
  #after = "";
  /** @type {Defaults} */ #defaults = { node: new Map(), edge: new Map() };
  /** @type {Statements} */ #read = { graph: new Map(), nodes: new Map(), edges: new Map() };

  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.next = this.#scan();
  }

  /** @returns {Token} */
  #scan() {
    for (;;) {
      if (this.#after === "=" && this.text[this.#position] === "<") return this.#html();
      TOKEN.lastIndex = this.#position;
      const match = TOKEN.exec(this.text);
      if (!match?.groups) throw this.#refusal("text_unreadable", { got: this.text.slice(this.#position, this.#position + 20) }, this.#position);
      const start = this.#position;
      this.#position = TOKEN.lastIndex;
      const kind = Object.keys(match.groups).find((each) => match.groups?.[each] !== undefined) ?? "end";
      if (kind === "space") continue;
      this.#after = match[0];
      return { kind, text: match[0], start };
    }
  }

  /** A value in angle brackets, which may hold others. @returns {Token} */
  #html() {
    const [start, angle] = [this.#position, /[<>]/g];
    let depth = 0;
    angle.lastIndex = start;
    for (let match = angle.exec(this.text); match; match = angle.exec(this.text)) {
      depth += match[0] === "<" ? 1 : -1;
      if (depth) continue;
      this.#position = angle.lastIndex;
      this.#after = ">";
      return { kind: "html", text: this.text.slice(start, this.#position), start };
    }
    throw this.#refusal("text_unreadable", { got: this.text.slice(start, start + 20) }, start);
  }

  /**
   * @param {string} code
   * @param {Record<string, unknown>} details
   * @param {number} [start]
   */
  #refusal(code, details, start = this.next.start) {
    return new GraphError(code, { ...details, line: this.text.slice(0, start).split("\n").length });
  }

  /** @param {string} expected */
  #unexpected(expected) {
    return this.#refusal("text_expected", { expected, got: this.next.text || "∅" });
  }

  #take() {
    const token = this.next;
    if (token.kind !== "end") this.next = this.#scan();
    this.#tokens += 1;
    if (this.#tokens > MAX_TOKENS) throw this.#refusal("too_many_words", { limit: MAX_TOKENS });
    return token;
  }

  /** @param {string} mark */
  #accept(mark) {
    if (this.next.kind !== "mark" || this.next.text !== mark) return false;
    this.#take();
    return true;
  }

  /** @param {string} mark */
  #expect(mark) {
    if (!this.#accept(mark)) throw this.#unexpected(mark);
  }

  /** @param {string[]} words */
  #atWord(...words) {
    return this.next.kind === "word" && words.includes(this.next.text.toLowerCase());
  }

  graph() {
    if (this.#atWord("strict")) this.#take();
    if (!this.#atWord(...KINDS)) throw this.#unexpected("dag");
    this.#take();
    if (this.next.text !== "{") this.#name();
    this.#expect("{");
    this.#statements();
    if (this.next.kind !== "end") throw this.#unexpected("∅");
    this.#withoutLayout();
    return this.#read;
  }

  /** Takes invisible nodes out that no edge needs: they only hold others in their places. */
  #withoutLayout() {
    const needed = new Set([...this.#read.edges.values()].flatMap(({ cause, effect }) => [cause, effect]));
    for (const [name, attributes] of this.#read.nodes) {
      if (!needed.has(name) && invisible(attributes)) this.#read.nodes.delete(name);
    }
  }

  /** Reads up to the closing brace, where its defaults end. @returns {string[]} the nodes named on the way */
  #statements() {
    this.#depth += 1;
    if (this.#depth > MAX_DEPTH) throw this.#refusal("text_nested", { limit: MAX_DEPTH });
    const outer = this.#defaults;
    this.#defaults = { node: new Map(outer.node), edge: new Map(outer.edge) };
    const named = new Set();
    while (!this.#accept("}")) {
      if (this.#accept(";") || this.#accept(",")) continue;
      for (const name of this.#statement()) named.add(name);
    }
    this.#depth -= 1;
    this.#defaults = outer;
    return [...named];
  }

  /** @returns {string[]} */
  #statement() {
    if (this.#atWord("graph", "node", "edge")) return this.#default();
    if (this.#atWord("subgraph") || this.next.text === "{") return this.#chain(this.#group());
    const name = this.#name();
    if (!this.#accept("=")) return this.#chain([this.#node(name)]);
    this.#keep(this.#read.graph, name, OF_GRAPHS);
    return [];
  }

  /** `graph [...]`, `node [...]`, `edge [...]`. @returns {string[]} */
  #default() {
    const kind = this.#take().text.toLowerCase();
    if (kind === "graph") for (const [key, value] of this.#attributes(OF_GRAPHS)) this.#read.graph.set(key, value);
    else {
      const before = this.#defaults[/** @type {"node" | "edge"} */ (kind)];
      this.#defaults = { ...this.#defaults, [kind]: new Map([...before, ...this.#attributes(INHERITED)]) };
    }
    return [];
  }

  /**
   * What follows a group: edges to further groups, or the attributes of its nodes.
   * @param {string[]} first
   */
  #chain(first) {
    let group = first;
    const [{ start }, named] = [this.next, [...first]];
    /** @type {[string, string, string][]} */
    const pairs = [];
    while (this.next.kind === "arrow") {
      const arrow = this.#take().text;
      const following = this.#group();
      this.#drawn += group.length * following.length;
      if (this.#drawn > MAX_EDGES) throw this.#refusal("too_many_edges", { limit: MAX_EDGES }, start);
      for (const one of group) for (const other of following) pairs.push([one, arrow, other]);
      for (const name of following) named.push(name);
      group = following;
    }
    const attributes = this.#attributes(pairs.length ? OF_EDGES : OF_NODES);
    if ((pairs.length || named.length) > 1 && (attributes.has("csg") || attributes.has("csg_graph"))) {
      throw this.#refusal("text_shared", {}, start);
    }
    for (const [one, arrow, other] of pairs) this.#edge(one, arrow, other, new Map([...this.#defaults.edge, ...attributes]));
    if (!pairs.length) for (const name of named) attributes.forEach((value, key) => this.#read.nodes.get(name)?.set(key, value));
    return named;
  }

  /**
   * Notes an edge by what its attributes mean; of two between the same nodes one without doubt counts.
   * @param {string} one
   * @param {string} arrow
   * @param {string} other
   * @param {ReadonlyMap<string, string>} attributes
   */
  #edge(one, arrow, other, attributes) {
    const meaning = direction(arrow, attributes);
    if (!meaning) return;
    const ends = meaning.turned ? { cause: other, effect: one } : { cause: one, effect: other };
    const before = this.#read.edges.get(edgeKey(ends));
    const kept = new Map(before?.attributes);
    if (meaning.doubt && (!before || kept.has("doubt"))) kept.set("doubt", meaning.doubt);
    else kept.delete("doubt");
    for (const key of ["proposed", "csg"]) if (attributes.has(key)) kept.set(key, attributes.get(key) ?? "");
    this.#read.edges.set(edgeKey(ends), { ...ends, attributes: kept });
  }

  /** One node, or several in braces. */
  #group() {
    if (this.#atWord("subgraph")) {
      this.#take();
      if (this.next.text !== "{") this.#name();
    }
    return this.#accept("{") ? this.#statements() : [this.#node(this.#name())];
  }

  /** Notes a node; a port and a point of the compass after its name say where edges are drawn. @param {string} given */
  #node(given) {
    const [name, start] = [normal(given), this.next.start];
    this.#bounded("name", name, MAX.name, start);
    while (this.#accept(":")) this.#name();
    if (!this.#read.nodes.has(name)) this.#read.nodes.set(name, new Map(this.#defaults.node));
    if (this.#read.nodes.size > MAX_CONCEPTS) throw this.#refusal("too_many", { count: this.#read.nodes.size, limit: MAX_CONCEPTS });
    return name;
  }

  /** @param {string} what @param {string} text @param {number} limit in characters @param {number} [start] */
  #bounded(what, text, limit, start) {
    const count = text.length <= limit ? 0 : [...text].length;
    if (count > limit) throw this.#refusal("too_long", { what, count, limit }, start);
  }

  #name() {
    if (this.next.kind === "word") return this.#take().text;
    return this.#strings().map(unquote).join("");
  }

  /** Texts in quotes, joined by `+`, with their quotes. */
  #strings() {
    /** @type {string[]} */
    const parts = [];
    while (!parts.length || this.#accept("+")) {
      if (this.next.kind !== "string") throw this.#unexpected(parts.length ? '"…"' : "name");
      parts.push(this.#take().text);
    }
    return parts;
  }

  /**
   * The value of an attribute; a label keeps its escapes for later.
   * @param {Map<string, string>} attributes
   * @param {string} key
   * @param {ReadonlySet<string>} wanted
   */
  #keep(attributes, key, wanted) {
    const quoted = key === "label" && this.next.kind === "string";
    const value = this.next.kind === "html" ? htmlText(this.#take().text.slice(1, -1))
      : quoted ? this.#strings().map((text) => text.slice(1, -1)).join("") : this.#name();
    if (key === "label") this.#bounded("label", value, MAX_LABEL);
    if (wanted.has(key)) attributes.set(key, LOOKS.has(key) ? value.slice(0, MAX_LOOKS) : value);
  }

  /** Any number of `[key=value, flag]` lists; a flag has an empty value. @param {ReadonlySet<string>} wanted */
  #attributes(wanted) {
    /** @type {Map<string, string>} */
    const attributes = new Map();
    while (this.#accept("[")) {
      while (!this.#accept("]")) {
        if (this.#accept(",") || this.#accept(";")) continue;
        const key = this.#name();
        if (this.#accept("=")) this.#keep(attributes, key, wanted);
        else if (wanted.has(key)) attributes.set(key, "");
      }
    }
    return attributes;
  }
}

/** @param {string} text */
const unquote = (text) =>
  text.slice(1, -1).replace(/\\(\\|"|\r?\n)/g, (_, escaped) => (escaped === "\\" || escaped === '"' ? escaped : ""));

/**
 * @typedef {"none" | "arrow" | "circle"} Mark
 * @typedef {ReadonlyMap<string, string>} Attributes
 */

/** The marks at the first and at the second end of what is written between two nodes. @type {Record<string, [Mark, Mark]>} */
const ARROWS = {
  "->": ["none", "arrow"], "<-": ["arrow", "none"], "--": ["none", "none"], "<->": ["arrow", "arrow"],
  "@->": ["circle", "arrow"], "<-@": ["arrow", "circle"], "@-@": ["circle", "circle"], "@--": ["circle", "none"], "--@": ["none", "circle"],
  "→": ["none", "arrow"], "←": ["arrow", "none"], "↔": ["arrow", "arrow"],
};
/** @type {Record<string, [boolean, boolean]>} */
const DRAWN_ENDS = { forward: [false, true], back: [true, false], both: [true, true], none: [false, false] };
export const UNDIRECTED = "The text draws it without a direction.";
const TWO_HEADED = "The text draws it with two heads: a hidden common cause, or one causes the other.";
const OPEN_END = "The text leaves an end of it open: the direction is in doubt.";

/** @param {string} text blanks at its ends taken away */
const trimmed = (text) => text.replace(/^ +/, "").replace(/ +$/, "");

/** Whether a node or an edge is only there to lay out the others. @param {Attributes} attributes */
export const invisible = (attributes) => (attributes.get("style") ?? "").split(/[ ,]+/).includes("invis");

/** Whether every colour of a list such as `transparent:#ffffff00;0.5` shows nothing. @param {string} colours */
const transparent = (colours) => colours.split(":").map((part) => trimmed(part.split(";")[0]).toLowerCase()).every((part) =>
  ["transparent", "none", "invis"].includes(part) || /^(?:#[0-9a-f]{6}00|#[0-9a-f]{3}0)$/.test(part));

/**
 * Which way an edge points: `turned`, from the second node to the first; `doubt` is why it is no
 * more than a proposal. Null for an invisible edge.
 * @param {string} arrow
 * @param {Attributes} attributes
 * @returns {{turned: boolean, doubt: string} | null}
 */
export function direction(arrow, attributes) {
  if (invisible(attributes) || transparent(attributes.get("color") ?? "")) return null;
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
