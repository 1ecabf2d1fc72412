/**
 * A graph as DAGitty and DOT, as the short text of the Text tab, and in whichever form it comes.
 *
 * Name, position and edges are written in the format's own terms, everything else as JSON in quoted
 * attributes `csg` (of a node or an edge) and `csg_graph` that other programs pass over. A node without
 * them is read as the Text tab writes it, `[value=sunny, do=rainy]`; with neither it is "present" or "absent".
 *
 * @import { Statements } from "./dot.mjs"
 * @import { Concept, Edge, Graph } from "./model.mjs"
 */
import { renameConcept } from "./commands.mjs";
import { labelText, parse } from "./dot.mjs";
import { conceptObject, edgeObject, fromObject, MAX_NESTING, parseJson, readJson, spaced, toObject, writeJson } from "./json.mjs";
import { edgeOf, GraphError, makeConcept, makeEdge, makeGraph, normal } from "./model.mjs";
import { recognise } from "./recognise.mjs";

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
  const ofGraph = whole && carried(whole, "csg_graph");
  return fromObject({ interventions: Object.fromEntries(forced), ...ofGraph, concepts: [...nodes.values()], edges });
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

/**
 * @param {string} text `dag { ... }`
 * @returns {Graph}
 */
export const readDagitty = (text) => fromStatements(parse(text), 1);

/**
 * A DAGitty model that loses nothing; intervened concepts are its exposures. DAGitty knows
 * no attributes of a whole graph, so the first node carries them.
 * @param {Graph} graph
 * @returns {string}
 */
export function writeDagitty(graph) {
  const ids = identifiers(graph);
  const whole = `csg_graph=${attributeText(graphAttributes(graph))}`;
  const nodes = graph.concepts.map((concept, index) => {
    const id = ids.get(concept.name) ?? "";
    const flags = graph.interventions.has(concept.name) ? ["exposure"] : [];
    return `${id} [${[...flags, ...nodeAttributes(concept, id, 1), ...(index ? [] : [whole])].join(", ")}]`;
  });
  const edges = graph.edges.map((edge) =>
    `${ids.get(edge.cause)} -> ${ids.get(edge.effect)} [csg=${attributeText(edgeAttributes(edge))}]`);
  return ["dag {", ...(nodes.length ? nodes : [whole]), ...edges, "}\n"].join("\n");
}

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

const READERS = { json: readJson, dagitty: readDagitty, dot: readDot };
export const WRITERS = { json: writeJson, dagitty: writeDagitty, dot: writeDot };

/** A graph in whichever form it is written. @param {string} text @returns {Graph} */
export function readAny(text) {
  if (!text.trim()) throw new GraphError("empty_text");
  const { format, text: part } = recognise(text);
  return READERS[format](part);
}

const BARE = /^[\p{L}_][\p{L}\p{N}_]*$/u;
const KEYWORDS = new Set(["strict", "dag", "digraph", "graph", "node", "edge", "subgraph"]);

/** @param {string} name */
const word = (name) => (BARE.test(name) && !KEYWORDS.has(name.toLowerCase()) ? name : escaped(name));

/** @param {string} text */
const escaped = (text) => quote(text.replaceAll("\\", "\\\\"));

/**
 * The graph as a person would type it: names, values, do()s and edges.
 * @param {Graph} graph
 * @returns {string}
 */
export function describe(graph) {
  const nodes = graph.concepts.map(({ name, value }) => {
    const forced = graph.interventions.get(name);
    const flags = forced === undefined ? "" : `, exposure, do=${escaped(forced)}`;
    return `  ${word(name)} [value=${escaped(value)}${flags}]`;
  });
  const edges = graph.edges.map(({ cause, effect, status }) =>
    `  ${word(cause)} -> ${word(effect)}${status === "proposed" ? " [proposed]" : ""}`);
  return ["dag {", ...nodes, ...(edges.length ? ["", ...edges] : []), "}\n"].join("\n");
}

/**
 * The graph as the text now says it. What the short form does not say (phrases, places,
 * reasons) stays as it was for names that are still there. A text with our attributes
 * is a file and speaks for itself.
 * @param {Graph} before
 * @param {string} text
 * @param {ReadonlySet<string>} [extracted] names in an extraction, which a renamed concept remembers
 * @returns {Graph}
 */
export function revise(before, text, extracted) {
  const statements = parse(text);
  const carries = [statements.graph, ...statements.nodes.values()].some((each) => each.has("csg") || each.has("csg_graph"));
  if (carries) return fromStatements(statements, 1);
  const graph = renamed(before, statements, extracted);
  const concepts = [...statements.nodes].map(([name, attributes]) => revisedConcept(graph, name, attributes));
  return makeGraph({
    ...graph,
    concepts,
    edges: [...statements.edges.values()].map((edge) => revisedEdge(graph, edge)),
    interventions: revisedInterventions(graph, statements, concepts),
    effects: new Map([...graph.effects].filter(([name, value]) => concepts.some((each) => each.name === name && each.values.has(value)))),
  });
}

/**
 * One new name where another stood, with its value, is that concept under a new name.
 * @param {Graph} graph
 * @param {Statements} statements
 * @param {ReadonlySet<string>} [extracted]
 */
function renamed(graph, statements, extracted) {
  const gone = graph.concepts.filter(({ name }) => !statements.nodes.has(name));
  const fresh = [...statements.nodes.keys()].filter((name) => graph.concepts.every((each) => each.name !== name));
  if (gone.length !== 1 || fresh.length !== 1) return graph;
  const [[old], [name]] = [gone, fresh];
  const there = [...statements.nodes.keys()].indexOf(name) === graph.concepts.indexOf(old);
  return there && statements.nodes.get(name)?.get("value") === old.value ? renameConcept(graph, old.name, name, extracted) : graph;
}

/**
 * @param {Graph} graph
 * @param {string} name
 * @param {ReadonlyMap<string, string>} attributes
 * @returns {Concept}
 */
function revisedConcept(graph, name, attributes) {
  const old = graph.concepts.find((each) => each.name === name);
  const value = normal(attributes.get("value") ?? old?.value ?? "present");
  const label = labelText(attributes.get("label") ?? "", name, attributes.get("shape"));
  const phrase = label || (attributes.has("value") ? value : name);
  const values = new Map([...(old?.values ?? []), ...(old?.values.has(value) ? [] : [/** @type {const} */ ([value, phrase])])]);
  const forced = normal(attributes.get("do") ?? "");
  if (attributes.has("do") && !values.has(forced)) values.set(forced, forced);
  return makeConcept({ ...old, name, value, values });
}

/**
 * @param {Graph} graph
 * @param {{cause: string, effect: string, attributes: ReadonlyMap<string, string>}} edge
 * @returns {Edge}
 */
function revisedEdge(graph, { cause, effect, attributes }) {
  const [old, doubt] = [edgeOf(graph, cause, effect), attributes.get("doubt")];
  return makeEdge({
    ...old,
    cause,
    effect,
    ...(doubt && { reason: old?.reason || doubt }),
    status: doubt || flagged(attributes) ? "proposed" : "confirmed",
  });
}

/**
 * @param {Graph} graph
 * @param {Statements} statements
 * @param {Concept[]} concepts
 * @returns {Map<string, string>}
 */
function revisedInterventions(graph, statements, concepts) {
  const pairs = concepts.flatMap(({ name, value }) => {
    const attributes = statements.nodes.get(name);
    const forced = attributes?.get("do") ?? (attributes?.has("exposure") ? (graph.interventions.get(name) ?? value) : undefined);
    return forced === undefined ? [] : [/** @type {const} */ ([name, forced])];
  });
  return new Map(pairs);
}
