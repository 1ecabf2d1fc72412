/**
 * What DAGitty and DOT texts carry for us: name, position and edges in their own terms,
 * everything else as JSON in quoted attributes `csg` (of a node or an edge) and `csg_graph`
 * that other programs pass over. A node without them is read as the Text tab writes it,
 * `[value=sunny, do=rainy]`; with neither it is "present" or "absent".
 *
 * @import { Concept, Edge, Graph } from "./model.mjs"
 * @import { Statements } from "./dot.mjs"
 */
import { labelText } from "./dot_meaning.mjs";
import { MAX_NESTING, conceptObject, edgeObject, fromObject, parseJson, spaced, toObject } from "./json.mjs";
import { GraphError, normal } from "./model.mjs";

export const UNSAFE = /[\\\x00-\x1f\x7f\ud800-\udfff]/gu;

/** @param {string} text without a backslash before a quote or at its end */
export const quote = (text) => `"${text.replaceAll('"', '\\"')}"`;

/**
 * A quoted identifier for each concept: its name, made safe for both grammars, and unique.
 * @param {Graph} graph
 * @returns {Map<string, string>}
 */
export function identifiers({ concepts }) {
  const taken = new Set(concepts.map(({ name }) => name));
  return new Map(concepts.map(({ name }) => {
    let safe = name.replace(UNSAFE, "_");
    while (safe !== name && taken.has(safe)) safe += "_";
    taken.add(safe);
    return [name, quote(safe)];
  }));
}

/**
 * Quoted JSON whose only backslashes are `\uXXXX`, which both grammars leave alone.
 * @param {Record<string, unknown>} data
 */
export function attributeText(data) {
  const code = (/** @type {string} */ char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
  const named = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };
  return quote(spaced(data).replace(/\\(["\\/bfnrt])/g, (_, char) => code(named[/** @type {"b"} */ (char)] ?? char)));
}

/** @param {Graph} graph */
export function graphAttributes(graph) {
  const { concepts, edges, ...rest } = toObject(graph);
  return rest;
}

/**
 * `pos` and `csg`; the name goes without saying where it is the identifier.
 * @param {Concept} concept
 * @param {string} identifier
 * @param {1 | -1} upwards the sign of y in the format
 */
export function nodeAttributes(concept, identifier, upwards) {
  const { name, position, ...data } = /** @type {Record<string, unknown>} */ (conceptObject(concept));
  const csg = `csg=${attributeText(identifier === quote(concept.name) ? data : { name, ...data })}`;
  if (!concept.position) return [csg];
  const [x, y] = concept.position;
  return [`pos="${x},${upwards * y || 0}"`, csg];
}

/** @param {Edge} edge */
export function edgeAttributes(edge) {
  const { cause, effect, ...data } = edgeObject(edge);
  return data;
}

/**
 * do()s are those in the Text tab's own words, or of `csg_graph`.
 * @param {Statements} read
 * @param {1 | -1} upwards
 * @returns {Graph}
 */
export function fromStatements(read, upwards) {
  const whole = [read.graph, ...read.nodes.values()].find((attributes) => attributes.has("csg_graph"));
  const nodes = new Map([...read.nodes].map(([name, attributes]) => [name, nodeObject(name, attributes, upwards)]));
  const edges = [...read.edges.values()].map(({ cause, effect, attributes }) => ({
    ...edgeObjectOf(attributes),
    cause: nodes.get(cause)?.name,
    effect: nodes.get(effect)?.name,
  }));
  const forced = [...read.nodes].flatMap(([name, of]) =>
    (of.get("do")?.trim() && !of.has("csg") ? [[nodes.get(name)?.name, of.get("do")]] : []));
  const own = whole && carried(whole, "csg_graph");
  return fromObject({ interventions: Object.fromEntries(forced), ...own, concepts: [...nodes.values()], edges });
}

/**
 * An edge's data; one whose direction is in doubt is no confirmed cause, whoever wrote it.
 * @param {ReadonlyMap<string, string>} attributes
 * @returns {Record<string, unknown>}
 */
function edgeObjectOf(attributes) {
  const [data, doubt] = [carried(attributes, "csg") ?? {}, attributes.get("doubt")];
  if (doubt) return { reason: doubt, ...data, status: "proposed" };
  return { ...(flagged(attributes) && { status: "proposed" }), ...data };
}

/** Whether an edge is marked `[proposed]`. @param {ReadonlyMap<string, string>} attributes */
export const flagged = (attributes) => !["false", "no", "0"].includes((attributes.get("proposed") ?? "false").toLowerCase());

/**
 * @param {ReadonlyMap<string, string>} attributes
 * @param {"csg" | "csg_graph"} key
 * @returns {Record<string, unknown> | null} the data in an attribute of ours, if there is one
 */
function carried(attributes, key) {
  const text = attributes.get(key);
  if (text === undefined) return null;
  try {
    const data = parseJson(text, key === "csg" ? MAX_NESTING - 2 : MAX_NESTING);
    if (data !== null && typeof data === "object" && !Array.isArray(data)) return /** @type {Record<string, unknown>} */ (data);
  } catch {
    // The refusal below says it.
  }
  throw new GraphError("bad_field", { path: key, got: text.slice(0, 60), expected: "{…}" });
}

/**
 * @param {string} name
 * @param {ReadonlyMap<string, string>} attributes
 * @param {1 | -1} upwards
 * @returns {Record<string, unknown>}
 */
function nodeObject(name, attributes, upwards) {
  const data = carried(attributes, "csg") ?? foreignNode(name, attributes);
  const numbers = (attributes.get("pos") ?? "").replace(/!+$/, "").split(",", 2).map(numberOf);
  const placed = numbers.length === 2 && numbers.every(Number.isFinite);
  return { name, ...data, ...(placed && { position: [numbers[0], upwards * numbers[1] || 0] }) };
}

/**
 * Value and domain of a node that another program, or a person in the Text tab, has written.
 * @param {string} name
 * @param {ReadonlyMap<string, string>} attributes
 * @returns {Record<string, unknown>}
 */
function foreignNode(name, attributes) {
  const label = labelText(attributes.get("label") ?? "", name, attributes.get("shape"));
  const [given, forced] = [attributes.get("value") ?? "", attributes.get("do") ?? ""];
  const value = given.trim() ? normal(given) : "present";
  const values = new Map([[value, label || (given.trim() ? value : name)]]);
  if (!given.trim()) values.set("absent", "");
  const effect = normal(forced);
  if (forced.trim() && !values.has(effect)) values.set(effect, forced);
  return { value, values: Object.fromEntries(values) };
}

/** @param {string} part */
function numberOf(part) {
  const text = part.replace(/^ +| +$/g, "");
  return /^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$/.test(text) ? Number(text) : NaN;
}
