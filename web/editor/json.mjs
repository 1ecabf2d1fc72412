/**
 * The graph's native text: versioned JSON, the one stored value of the node.
 * Unknown keys survive a round trip at every level.
 *
 * @import { Concept, Edge, Graph, Point } from "./model.mjs"
 */
import { UNDIRECTED } from "./dot.mjs";
import { GraphError, MAX_CONCEPTS, makeConcept, makeEdge, makeGraph } from "./model.mjs";

export const VERSION = 1;
/** Levels of objects and lists in one another. */
export const MAX_NESTING = 100;
/** @type {["local", "global"]} */
const SCOPES = ["local", "global"];
/** @type {["confirmed", "proposed"]} */
const STATUSES = ["confirmed", "proposed"];

/**
 * @param {string} text empty text is the empty graph
 * @returns {Graph}
 */
export function readJson(text) {
  if (!text.trim()) return makeGraph();
  return fromObject(plainGraph(parseJson(text.replace(/^\ufeff/, ""))));
}

const OURS = ["concepts", "edges", "nodes", "links", "version", "base_prompt", "interventions", "effects", "extracted", "latest", "settled"];
const ENDS = [["source", "target"], ["from", "to"], ["cause", "effect"]];

/**
 * The data of a graph for `{"rain": ["street"]}`, `[["rain", "street"]]` or networkx's node-link data; anything else as
 * it is. The same rules as csg/causal/plain_json.py.
 * @param {any} data
 * @returns {unknown}
 */
function plainGraph(data) {
  if (Array.isArray(data)) {
    const pairs = data.map(pairOf);
    return pairs.length && pairs.every(Boolean) ? graphOf([], pairs) : data;
  }
  if (data === null || typeof data !== "object" || Object.hasOwn(data, "concepts")) return data;
  if (Array.isArray(data.nodes)) {
    const links = data.links === undefined ? data.edges ?? [] : data.links;
    const [names, pairs] = [data.nodes.map(nameOf), Array.isArray(links) ? links.map(pairOf) : [null]];
    return names.includes(null) || pairs.includes(null) ? data : graphOf(names, pairs, data.directed !== false);
  }
  const entries = Object.entries(data);
  const texts = (/** @type {unknown} */ value) => Array.isArray(value) && value.every((each) => typeof each === "string");
  if (!entries.length || OURS.some((key) => Object.hasOwn(data, key)) || !entries.every(([, effects]) => texts(effects))) return data;
  return graphOf(Object.keys(data), entries.flatMap(([cause, effects]) => effects.map((/** @type {string} */ effect) => [cause, effect])));
}

/** @param {any} item @returns {string | null} */
function nameOf(item) {
  const isNode = item !== null && typeof item === "object" && !Array.isArray(item);
  if (isNode && ["value", "values"].some((key) => Object.hasOwn(item, key))) return null;
  const name = isNode ? (Object.hasOwn(item, "id") ? item.id : item.name) : item;
  if (Number.isInteger(name) && Math.abs(name) <= 2 ** 53) return String(name);
  return typeof name === "string" ? name : null;
}

/** @param {any} item @returns {string[] | null} */
function pairOf(item) {
  const keys = item !== null && typeof item === "object" && !Array.isArray(item) &&
    ENDS.find((ends) => ends.every((key) => Object.hasOwn(item, key)));
  const ends = keys ? keys.map((key) => item[key]) : item;
  if (!Array.isArray(ends) || ends.length !== 2) return null;
  const names = ends.map(nameOf);
  return names.includes(null) ? null : /** @type {string[]} */ (names);
}

/** @param {string[]} names @param {(string[] | null)[]} pairs @param {boolean} [directed] */
function graphOf(names, pairs, directed = true) {
  const edges = new Map(pairs.map((pair) => [JSON.stringify(pair), /** @type {string[]} */ (pair)]));
  const all = new Set([...names, ...[...edges.values()].flat()]);
  const doubt = directed ? {} : { status: "proposed", reason: UNDIRECTED };
  return {
    concepts: [...all].map((name) => ({ name, value: "present", values: { present: name, absent: "" } })),
    edges: [...edges.values()].map(([cause, effect]) => ({ cause, effect, ...doubt })),
  };
}

/**
 * JSON with the bounds of a graph: no key twice in one object, nothing nested deeper than MAX_NESTING.
 * @param {string} text
 * @param {number} [deepest]
 * @returns {unknown}
 */
export function parseJson(text, deepest = MAX_NESTING) {
  checkNesting(text, deepest);
  try {
    const data = JSON.parse(text);
    checkKeys(text);
    return data;
  } catch (error) {
    if (error instanceof GraphError) throw error;
    const reason = /** @type {Error} */ (error).message;
    const start = text.replace(/^[ \t\r\n\ufeff]+/, "");
    if (start && !"{[".includes(start[0])) throw new GraphError("text_unknown", { got: start.slice(0, 60) });
    throw new GraphError("bad_json", { reason, line: lineOf(reason, text) });
  }
}

/** @param {string} text @param {number} deepest */
function checkNesting(text, deepest) {
  let depth = 0;
  for (const [mark] of text.matchAll(/"[^"\\]*(?:\\[^][^"\\]*)*(?:"|\\?$)|[[\]{}]/g)) {
    depth += "[{".includes(mark) ? 1 : "]}".includes(mark) ? -1 : 0;
    if (depth > deepest) throw new GraphError("json_nested", { limit: deepest });
  }
}

/** @param {string} text valid JSON */
function checkKeys(text) {
  /** @type {Set<string>[]} */
  const open = [];
  for (const [mark, key] of text.matchAll(/("[^"\\]*(?:\\[^][^"\\]*)*")\s*:|"[^"\\]*(?:\\[^][^"\\]*)*"|[{}]|-?\d[\d.eE+-]*/g)) {
    if (mark === "{") open.push(new Set());
    else if (mark === "}") open.pop();
    else if (mark[0] !== '"' && !Number.isFinite(Number(mark))) throw bad("graph", mark, "|x| < 1.8e308");
    else if (key) {
      const name = JSON.parse(key);
      if (open.at(-1)?.has(name)) throw new GraphError("json_repeated", { key: name.slice(0, 60) });
      open.at(-1)?.add(name);
    }
  }
}

/**
 * Where the browser stopped reading: it names a line, a place, or nothing at the end of the text.
 * @param {string} reason
 * @param {string} text
 */
function lineOf(reason, text) {
  const line = /line (\d+)/.exec(reason);
  if (line) return Number(line[1]);
  const place = /position (\d+)/.exec(reason);
  const read = place ? text.slice(0, Number(place[1])) : text.trimEnd();
  return read.split("\n").length;
}

/**
 * @param {unknown} source a graph as parsed JSON
 * @returns {Graph}
 */
export function fromObject(source) {
  const { version = VERSION, base_prompt, concepts, edges, interventions, effects, ...extra } = record(source, "graph");
  if (!Number.isInteger(version)) throw bad("version", version, String(VERSION));
  if (Number(version) > VERSION) throw new GraphError("bad_version", { version, expected: VERSION });
  return makeGraph({
    basePrompt: string(base_prompt, "base_prompt", ""),
    concepts: several(concepts).map((each, index) => readConcept(each, `concepts[${index}]`)),
    edges: list(edges, "edges", []).map((each, index) => readEdge(each, `edges[${index}]`)),
    interventions: strings(interventions ?? {}, "interventions"),
    effects: strings(effects ?? {}, "effects"),
    extra,
  });
}

/** A list of concepts that is short enough to be looked at. @param {unknown} got */
function several(got) {
  const concepts = list(got, "concepts");
  if (concepts.length > MAX_CONCEPTS) throw new GraphError("too_many", { count: concepts.length, limit: MAX_CONCEPTS });
  return concepts;
}

/**
 * @param {unknown} source
 * @param {string} path
 * @returns {Concept}
 */
function readConcept(source, path) {
  const { name, value, values, scope, description, position, strength, ...extra } = record(source, path);
  return makeConcept({
    name: string(name, `${path}.name`),
    value: string(value, `${path}.value`),
    values: domain(values, `${path}.values`),
    scope: choice(scope, SCOPES, `${path}.scope`),
    description: string(description, `${path}.description`, ""),
    position: point(position ?? null, `${path}.position`),
    strength: number(strength, `${path}.strength`, 1),
    extra,
  });
}

/**
 * @param {unknown} source
 * @param {string} path
 * @returns {Edge}
 */
function readEdge(source, path) {
  const { cause, effect, reason, status, ...extra } = record(source, path);
  return makeEdge({
    cause: string(cause, `${path}.cause`),
    effect: string(effect, `${path}.effect`),
    reason: string(reason, `${path}.reason`, ""),
    status: choice(status, STATUSES, `${path}.status`),
    extra,
  });
}

/**
 * @param {string} path
 * @param {unknown} got
 * @param {string} expected
 */
function bad(path, got, expected) {
  const shown = String(JSON.stringify(got)).slice(0, 60);
  return new GraphError("bad_field", { path, got: shown, expected });
}

/**
 * @param {unknown} got
 * @param {string} path
 * @returns {Record<string, unknown>}
 */
function record(got, path) {
  if (got === null || typeof got !== "object" || Array.isArray(got)) throw bad(path, got, "{…}");
  return /** @type {Record<string, unknown>} */ (got);
}

/**
 * @param {unknown} got
 * @param {string} path
 * @param {unknown[]} [fallback]
 * @returns {unknown[]}
 */
function list(got, path, fallback) {
  if (got === undefined && fallback) return fallback;
  if (!Array.isArray(got)) throw bad(path, got, "[…]");
  return got;
}

/**
 * @param {unknown} got
 * @param {string} path
 * @param {string} [fallback] without one the key is required
 * @returns {string}
 */
function string(got, path, fallback) {
  if (got === undefined && fallback !== undefined) return fallback;
  if (typeof got !== "string") throw bad(path, got, '"…"');
  return got;
}

/** @param {unknown} got @param {string} path @param {number} fallback */
function number(got, path, fallback) {
  if (got === undefined) return fallback;
  if (typeof got !== "number") throw bad(path, got, "1.2");
  return got;
}

/**
 * @template {string} T
 * @param {unknown} got the first option when undefined
 * @param {T[]} options
 * @param {string} path
 * @returns {T}
 */
function choice(got, options, path) {
  if (got === undefined) return options[0];
  const found = options.find((option) => option === got);
  if (!found) throw bad(path, got, options.join(" | "));
  return found;
}

/**
 * @param {unknown} got
 * @param {string} path
 * @returns {Map<string, string>}
 */
function strings(got, path) {
  return new Map(Object.entries(record(got, path)).map(([key, value]) => [key, string(value, `${path}.${key}`)]));
}

/**
 * A domain: value → phrase, or a plain list of values that are their own phrases.
 * @param {unknown} got
 * @param {string} path
 */
function domain(got, path) {
  if (got === undefined || got === null) return new Map();
  if (!Array.isArray(got)) return strings(got, path);
  return new Map(got.map((each, index) => [string(each, `${path}[${index}]`), each]));
}

/**
 * @param {unknown} got
 * @param {string} path
 * @returns {Point | null}
 */
function point(got, path) {
  if (got === null) return null;
  if (Array.isArray(got) && got.length === 2 && got.every(Number.isFinite)) return [got[0], got[1]];
  throw bad(path, got, "[x, y]");
}

/**
 * @param {Graph} graph
 * @returns {Record<string, unknown>} plain JSON, unknown keys last
 */
export function toObject(graph) {
  return {
    version: VERSION,
    base_prompt: graph.basePrompt,
    concepts: graph.concepts.map(conceptObject),
    edges: graph.edges.map(edgeObject),
    interventions: Object.fromEntries(graph.interventions),
    ...(graph.effects.size && { effects: Object.fromEntries(graph.effects) }),
    ...graph.extra,
  };
}

/** @param {Concept} concept */
export function conceptObject({ name, value, values, scope, description, position, strength, extra }) {
  const fields = { name, value, values: Object.fromEntries(values), scope, description };
  return { ...fields, ...(position && { position: [...position] }), ...(strength !== 1 && { strength }), ...extra };
}

/** @param {Edge} edge */
export const edgeObject = ({ cause, effect, reason, status, extra }) => ({ cause, effect, reason, status, ...extra });

/**
 * JSON on one line, with a blank after commas and colons.
 * @param {unknown} value
 * @returns {string}
 */
export function spaced(value) {
  if (Array.isArray(value)) return `[${value.map(spaced).join(", ")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value).replaceAll("\x7f", "\\u007f");
  return `{${Object.entries(value).map(([key, each]) => `${spaced(key)}: ${spaced(each)}`).join(", ")}}`;
}

/**
 * One concept or edge to a line.
 * @param {Graph} graph
 * @returns {string}
 */
export function writeJson(graph) {
  const object = toObject(graph);
  if (depthOf(object, MAX_NESTING + 1) > MAX_NESTING) throw new GraphError("json_nested", { limit: MAX_NESTING });
  const lines = Object.entries(object).map(([key, value]) => `${spaced(key)}: ${listed(value)}`);
  return `{${lines.join(",\n ")}}\n`;
}

/** How deep lists and objects lie in one another, looked at no deeper than `most`. @param {unknown} value @param {number} most @returns {number} */
function depthOf(value, most) {
  if (value === null || typeof value !== "object" || most === 0) return 0;
  return 1 + Object.values(value).reduce((deepest, each) => Math.max(deepest, depthOf(each, most - 1)), 0);
}

/** @param {unknown} value */
const listed = (value) =>
  Array.isArray(value) && value.length ? `[\n   ${value.map(spaced).join(",\n   ")}]` : spaced(value);

/**
 * A key that changes when the meaning of the graph does, not when it is only redrawn.
 * @param {Graph} graph
 * @returns {string}
 */
export function meaningOf({ basePrompt, concepts, edges, interventions, effects }) {
  return JSON.stringify([
    basePrompt,
    concepts.map(({ name, value, values, scope, strength }) => [name, value, [...values].sort(), scope, ...(strength === 1 ? [] : [strength])]).sort(),
    edges.map(({ cause, effect, status }) => [cause, effect, status]).sort(),
    [...interventions].sort(),
    ...(effects.size ? [[...effects].sort()] : []),
  ]);
}
