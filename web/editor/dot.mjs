/**
 * The grammar that DOT and DAGitty share, and DOT on top of it.
 *
 * Nodes, edges, chains, groups and attribute lists; names are quoted, bare or HTML, in one normal form.
 * An edge's meaning is in its arrow and its attributes, those of `edge [...]` in its scope included; one whose
 * direction is not told carries the attribute `proposed`, with the reason. Reading takes linear time, what a text
 * multiplies to is bounded, and every complaint carries the line it is about. The twin of csg/causal/dot_grammar.py.
 *
 * @import { Graph } from "./model.mjs"
 * @typedef {{kind: string, text: string, start: number}} Token
 * @typedef {{
 *   graph: Map<string, string>,
 *   nodes: Map<string, Map<string, string>>,
 *   edges: Map<string, {cause: string, effect: string, attributes: Map<string, string>}>
 * }} Statements what a text says: attributes of the graph, of its nodes, of its edges
 */
import { FLAG, PROPOSED, attributeText, fromStatements, identifiers, nodeAttributes, edgeAttributes, graphAttributes, quote, UNSAFE } from "./carried.mjs";
import { GraphError, MAX_CONCEPTS, edgeKey } from "./model.mjs";
import { BLANKS } from "./recognise.mjs";

const MAX_DEPTH = 32;
const MAX_ASSIGNMENTS = 100_000;
const UNDIRECTED = "drawn without a direction";
const TWO_HEADED = "drawn with an arrow at both ends: a hidden common cause, or a direction not known";
const CIRCLED = "drawn with a circle: what is at that end is not known";
const ENTITIES = /** @type {Record<string, string>} */ ({ amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: " " });
/** @type {Record<string, [string, string]>} */
const MARKS = { "--": ["", ""], "<->": [">", ">"], "@->": ["o", ">"], "<-@": [">", "o"], "@-@": ["o", "o"], "@--": ["o", ""] };
const TOKEN = new RegExp([
  String.raw`(?<space>[${BLANKS}]+|//[^\n]*|#[^\n]*|/\*[^]*?\*/)`,
  String.raw`(?<string>"(?:[^"\\]|\\[^])*")`,
  String.raw`(?<arrow><->|->|<-|--|@->|<-@|@-@|@--)`,
  String.raw`(?<word>(?:[A-Za-z0-9_.]|[^\x00-\x7f${BLANKS}]|-(?![->]))+)`,
  String.raw`(?<mark>[{}\[\]=;,:+])`,
  String.raw`(?<end>$)`,
].join("|"), "uy");

/**
 * @param {string} text DOT or DAGitty
 * @returns {Statements}
 */
export const parse = (text) => new Parser(text).graph();

/** A recursive-descent parser with one token of look-ahead. */
class Parser {
  #position = 0;
  #depth = 0;
  #assignments = 0;
  #directed = true;
  /** @type {Map<string, string>[]} */ #edgeDefaults = [new Map()];
  /** @type {Statements} */ #said = { graph: new Map(), nodes: new Map(), edges: new Map() };

  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.next = this.#scan();
  }

  /** @returns {Token} */
  #scan() {
    for (;;) {
      TOKEN.lastIndex = this.#position;
      const match = TOKEN.exec(this.text);
      if (!match && this.text[this.#position] === "<") return this.#html();
      if (!match?.groups) throw this.#refusal("text_unreadable", { got: this.text.slice(this.#position, this.#position + 20) }, this.#position);
      const start = this.#position;
      this.#position = TOKEN.lastIndex;
      const kind = Object.keys(match.groups).find((each) => match.groups?.[each] !== undefined) ?? "end";
      if (kind !== "space") return { kind, text: match[0], start };
    }
  }

  /** @returns {Token} */
  #html() {
    const start = this.#position;
    let depth = 0;
    for (let at = start; at < this.text.length; at += 1) {
      depth += this.text[at] === "<" ? 1 : this.text[at] === ">" ? -1 : 0;
      if (depth) continue;
      this.#position = at + 1;
      return { kind: "html", text: this.text.slice(start, this.#position), start };
    }
    throw this.#refusal("text_html", {}, start);
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
    return this.#refusal("text_expected", { expected, got: this.next.text.slice(0, 40) || "∅" });
  }

  #take() {
    const token = this.next;
    if (token.kind !== "end") this.next = this.#scan();
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
    if (!this.#atWord("digraph", "dag", "graph", "pdag", "mag", "pag")) throw this.#unexpected("dag");
    this.#directed = ["dag", "digraph"].includes(this.#take().text.toLowerCase());
    if (this.next.text !== "{") this.#name();
    this.#expect("{");
    this.#statements();
    if (this.next.kind !== "end") throw this.#unexpected("∅");
    return this.#said;
  }

  /** Reads up to the closing brace. @returns {string[]} the nodes named on the way */
  #statements() {
    this.#depth += 1;
    if (this.#depth > MAX_DEPTH) throw this.#refusal("text_nested", { limit: MAX_DEPTH });
    const named = new Set();
    this.#edgeDefaults.push(new Map(this.#edgeDefaults.at(-1)));
    while (!this.#accept("}")) {
      if (this.#accept(";") || this.#accept(",")) continue;
      for (const name of this.#statement()) named.add(name);
    }
    this.#edgeDefaults.pop();
    this.#depth -= 1;
    return [...named];
  }

  /** @returns {string[]} */
  #statement() {
    if (this.#atWord("graph", "node", "edge")) return this.#defaults();
    if (this.#atWord("subgraph") || this.next.text === "{") return this.#chain(this.#group());
    const name = this.#name();
    if (!this.#accept("=")) return this.#chain([this.#node(name)]);
    this.#said.graph.set(name, this.#name());
    return [];
  }

  /** `graph [...]`, `node [...]`, `edge [...]`: the graph's attributes and the edges' defaults are kept. @returns {string[]} */
  #defaults() {
    const kind = this.#take().text.toLowerCase();
    const attributes = this.#attributes();
    const kept = kind === "graph" ? this.#said.graph : kind === "edge" ? this.#edgeDefaults.at(-1) : undefined;
    if (kept) attributes.forEach((value, key) => kept.set(key, value));
    return [];
  }

  /**
   * What follows a group: edges to further groups, or the attributes of its nodes.
   * @param {string[]} first
   */
  #chain(first) {
    let group = first;
    const named = new Set(first);
    /** @type {[string, string, string][]} */
    const pairs = [];
    while (this.next.kind === "arrow") {
      const { text: arrow, start } = this.#arrow();
      const following = this.#group();
      this.#count(group.length * following.length, start);
      for (const left of group) for (const right of following) pairs.push([left, arrow, right]);
      for (const name of following) named.add(name);
      group = following;
    }
    const attributes = this.#attributes();
    if (pairs.length) this.#edges(pairs, new Map([...(this.#edgeDefaults.at(-1) ?? []), ...attributes]));
    else for (const name of named) attributes.forEach((value, key) => this.#said.nodes.get(name)?.set(key, value));
    return [...named];
  }

  /**
   * Edges between nodes; one that somewhere has a direction is no proposal elsewhere.
   * @param {[string, string, string][]} pairs left end, arrow, right end
   * @param {Map<string, string>} attributes
   */
  #edges(pairs, attributes) {
    if ((attributes.get("style") ?? "").toLowerCase().includes("invis")) return; // layout alone
    this.#count(pairs.length * attributes.size, this.next.start);
    const oriented = new Map(pairs.map(([, arrow]) => [arrow, orientation(arrow, attributes)]));
    for (const [left, arrow, right] of pairs) {
      const { backwards, reason } = oriented.get(arrow) ?? { backwards: false, reason: "" };
      const pair = backwards ? { cause: right, effect: left } : { cause: left, effect: right };
      const before = this.#said.edges.get(edgeKey(pair))?.attributes;
      const merged = before ?? new Map();
      const doubtful = !before || before.has(PROPOSED);
      attributes.forEach((value, key) => merged.set(key, value));
      if (reason && doubtful && !merged.has(PROPOSED)) merged.set(PROPOSED, reason);
      if (!reason && !attributes.has(PROPOSED)) merged.delete(PROPOSED);
      this.#said.edges.set(edgeKey(pair), { ...pair, attributes: merged });
    }
  }

  /** @param {number} assignments @param {number} start */
  #count(assignments, start) {
    this.#assignments += assignments;
    if (this.#assignments > MAX_ASSIGNMENTS) throw this.#refusal("text_multiplies", { limit: MAX_ASSIGNMENTS }, start);
  }

  #arrow() {
    const { text, start } = this.#take();
    if (this.#directed && text === "<->") throw this.#refusal("text_bidirected", {}, start);
    if (this.#directed && text !== "->" && text !== "<-") throw this.#refusal("text_undirected", { got: text }, start);
    return { text, start };
  }

  /** One node, or several in braces. */
  #group() {
    if (this.#atWord("subgraph")) {
      this.#take();
      if (this.next.text !== "{") this.#name();
    }
    return this.#accept("{") ? this.#statements() : [this.#node(this.#name())];
  }

  /** @param {string} name */
  #node(name) {
    while (this.#accept(":")) this.#name(); // a port, and its compass point
    if (!this.#said.nodes.has(name)) this.#said.nodes.set(name, new Map());
    if (this.#said.nodes.size > MAX_CONCEPTS) throw this.#refusal("too_many", { count: this.#said.nodes.size, limit: MAX_CONCEPTS });
    return name;
  }

  #name() {
    if (this.next.kind === "word") return this.#take().text.normalize("NFC");
    if (this.next.kind === "html") return plain(this.#take().text);
    if (this.next.kind !== "string") throw this.#unexpected("name");
    let name = unquote(this.#take().text);
    while (this.#accept("+")) {
      if (this.next.kind !== "string") throw this.#unexpected('"…"');
      name += unquote(this.#take().text);
    }
    return name.normalize("NFC");
  }

  #attributes() {
    /** @type {Map<string, string>} */
    const attributes = new Map();
    while (this.#accept("[")) {
      while (!this.#accept("]")) {
        if (this.#accept(",") || this.#accept(";")) continue;
        const key = this.#name();
        attributes.set(key, this.#accept("=") ? this.#name() : FLAG);
      }
    }
    return attributes;
  }
}

/**
 * Whether an edge points backwards, and why its direction is not told ("" where it is).
 * @param {string} arrow
 * @param {ReadonlyMap<string, string>} attributes
 */
function orientation(arrow, attributes) {
  let marks = MARKS[arrow] ?? ["", ""];
  const direction = attributes.get("dir")?.toLowerCase();
  if (arrow === "->" || arrow === "<-") {
    const shown = direction ?? "forward";
    marks = [
      ["back", "both"].includes(shown) ? markOf(attributes.get("arrowtail") ?? "normal") : "",
      ["forward", "both"].includes(shown) ? markOf(attributes.get("arrowhead") ?? "normal") : "",
    ];
  } else if (arrow === "--" && (direction === "forward" || direction === "back")) {
    marks = direction === "forward" ? ["", ">"] : [">", ""];
  }
  const [tail, head] = marks;
  const backwards = (tail === ">" && head === "") !== (arrow === "<-");
  if ((tail === ">" && head === "") || (tail === "" && head === ">")) return { backwards, reason: "" };
  const reason = tail === "" && head === "" ? UNDIRECTED : tail === ">" && head === ">" ? TWO_HEADED : CIRCLED;
  return { backwards, reason };
}

/** What an arrow type shows: nothing, a circle, or an arrow. @param {string} arrow */
const markOf = (arrow) => (arrow.toLowerCase() === "none" ? "" : arrow.toLowerCase().includes("dot") ? "o" : ">");

/** The words of an HTML label: breaks are blanks, other tags nothing. @param {string} markup */
function plain(markup) {
  const text = markup.slice(1, -1).replace(/<br\b[^<>]*>/gi, " ").replace(/<[^<>]*>/g, "");
  const words = text.replace(/&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|amp|lt|gt|quot|apos|nbsp);/g, (_, name) => character(name));
  return words.replace(GAPS, " ").replace(/^ +| +$/g, "").normalize("NFC");
}

const GAPS = new RegExp(`[${BLANKS}]+`, "gu");

/** @param {string} name of an entity */
function character(name) {
  if (!name.startsWith("#")) return ENTITIES[name];
  const code = /^#x/i.test(name) ? parseInt(name.slice(2), 16) : Number(name.slice(1));
  return code < 0x110000 && !(code >= 0xd800 && code < 0xe000) ? String.fromCodePoint(code) : "\ufffd";
}

/** @param {string} text */
const unquote = (text) =>
  text.slice(1, -1).replace(/\\(\\|"|\r?\n)/g, (_, escaped) => (escaped === "\\" || escaped === '"' ? escaped : ""));

/**
 * @param {string} text a DOT digraph
 * @returns {Graph}
 */
export const readDot = (text) => fromStatements(parse(text), -1);

/**
 * A DOT digraph that Graphviz draws as it stands; proposed edges are dashed.
 * @param {Graph} graph
 * @returns {string}
 */
export function writeDot(graph) {
  const ids = identifiers(graph);
  const nodes = graph.concepts.map((concept) => {
    const id = ids.get(concept.name) ?? "";
    const label = quote(`${concept.name}: ${concept.value}`.replace(UNSAFE, "_"));
    return `${id} [${[`label=${label}`, ...nodeAttributes(concept, id, -1)].join(", ")}];`;
  });
  const edges = graph.edges.map((edge) => {
    const style = edge.status === "proposed" ? "dashed" : "solid";
    return `${ids.get(edge.cause)} -> ${ids.get(edge.effect)} [style=${style}, csg=${attributeText(edgeAttributes(edge))}];`;
  });
  const head = [`csg_graph=${attributeText(graphAttributes(graph))};`, "rankdir=LR;", "node [shape=box, style=rounded];"];
  return ["digraph {", ...head, ...nodes, ...edges, "}\n"].join("\n");
}
