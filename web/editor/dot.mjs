/**
 * The grammar that DOT and DAGitty share, and DOT on top of it.
 *
 * Nodes, edges, chains, groups and attribute lists; names are quoted or bare. Reading
 * takes linear time, and every complaint carries the line it is about.
 *
 * @import { Graph } from "./model.mjs"
 * @typedef {{kind: string, text: string, start: number}} Token
 * @typedef {{
 *   graph: Map<string, string>,
 *   nodes: Map<string, Map<string, string>>,
 *   edges: Map<string, {cause: string, effect: string, attributes: Map<string, string>}>
 * }} Statements what a text says: attributes of the graph, of its nodes, of its edges
 */
import { attributeText, fromStatements, identifiers, nodeAttributes, edgeAttributes, graphAttributes, quote, UNSAFE } from "./carried.mjs";
import { GraphError, MAX_CONCEPTS, edgeKey } from "./model.mjs";

const MAX_DEPTH = 32;
const TOKEN = new RegExp([
  String.raw`(?<space>\s+|//[^\n]*|#[^\n]*|/\*[^]*?\*/)`,
  String.raw`(?<string>"(?:[^"\\]|\\[^])*")`,
  String.raw`(?<arrow><->|->|<-|--|@->|<-@|@-@|@--)`,
  String.raw`(?<word>(?:[\p{L}\p{N}_.]|-(?![->]))+)`,
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
      if (!match?.groups) throw this.#refusal("text_unreadable", { got: this.text.slice(this.#position, this.#position + 20) }, this.#position);
      const start = this.#position;
      this.#position = TOKEN.lastIndex;
      const kind = Object.keys(match.groups).find((each) => match.groups?.[each] !== undefined) ?? "end";
      if (kind !== "space") return { kind, text: match[0], start };
    }
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
    if (!this.#atWord("digraph", "dag", "graph")) throw this.#unexpected("dag");
    this.#take();
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
    while (!this.#accept("}")) {
      if (this.#accept(";") || this.#accept(",")) continue;
      for (const name of this.#statement()) named.add(name);
    }
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

  /** `graph [...]`, `node [...]`, `edge [...]`: only the graph's attributes are kept. @returns {string[]} */
  #defaults() {
    const kind = this.#take().text.toLowerCase();
    const attributes = this.#attributes();
    if (kind === "graph") attributes.forEach((value, key) => this.#said.graph.set(key, value));
    return [];
  }

  /**
   * What follows a group: edges to further groups, or the attributes of its nodes.
   * @param {string[]} first
   */
  #chain(first) {
    let group = first;
    const named = [...first];
    /** @type {Map<string, {cause: string, effect: string}>} */
    const pairs = new Map();
    while (this.next.kind === "arrow") {
      const forward = this.#arrow();
      const following = this.#group();
      const [causes, effects] = forward ? [group, following] : [following, group];
      for (const cause of causes) for (const effect of effects) pairs.set(edgeKey({ cause, effect }), { cause, effect });
      named.push(...following);
      group = following;
    }
    this.#assign(named, pairs, this.#attributes());
    return named;
  }

  /**
   * @param {string[]} named
   * @param {Map<string, {cause: string, effect: string}>} pairs
   * @param {Map<string, string>} attributes
   */
  #assign(named, pairs, attributes) {
    for (const [key, pair] of pairs) {
      const before = this.#said.edges.get(key)?.attributes ?? [];
      this.#said.edges.set(key, { ...pair, attributes: new Map([...before, ...attributes]) });
    }
    if (pairs.size) return;
    for (const name of named) attributes.forEach((value, key) => this.#said.nodes.get(name)?.set(key, value));
  }

  #arrow() {
    const { text, start } = this.#take();
    if (text === "<->") throw this.#refusal("text_bidirected", {}, start);
    if (text !== "->" && text !== "<-") throw this.#refusal("text_undirected", { got: text }, start);
    return text === "->";
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
    if (this.#accept(":")) this.#name();
    if (!this.#said.nodes.has(name)) this.#said.nodes.set(name, new Map());
    if (this.#said.nodes.size > MAX_CONCEPTS) throw this.#refusal("too_many", { count: this.#said.nodes.size, limit: MAX_CONCEPTS });
    return name;
  }

  #name() {
    if (this.next.kind === "word") return this.#take().text;
    if (this.next.kind !== "string") throw this.#unexpected("name");
    let name = unquote(this.#take().text);
    while (this.#accept("+")) {
      if (this.next.kind !== "string") throw this.#unexpected('"…"');
      name += unquote(this.#take().text);
    }
    return name;
  }

  #attributes() {
    /** @type {Map<string, string>} */
    const attributes = new Map();
    while (this.#accept("[")) {
      while (!this.#accept("]")) {
        if (this.#accept(",") || this.#accept(";")) continue;
        const key = this.#name();
        attributes.set(key, this.#accept("=") ? this.#name() : "");
      }
    }
    return attributes;
  }
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
