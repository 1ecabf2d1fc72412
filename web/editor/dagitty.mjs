/**
 * DAGitty model texts: files for exchange, and the short form of the Text tab.
 *
 * @import { Concept, Edge, Graph } from "./model.mjs"
 * @import { Statements } from "./dot.mjs"
 */
import { renameConcept } from "./commands.mjs";
import { attributeText, edgeAttributes, flagged, fromStatements, graphAttributes, identifiers, nodeAttributes, quote } from "./carried.mjs";
import { parse } from "./dot.mjs";
import { labelText } from "./dot_meaning.mjs";
import { edgeOf, makeConcept, makeEdge, makeGraph, normal } from "./model.mjs";

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
  const said = parse(text);
  const carries = [said.graph, ...said.nodes.values()].some((each) => each.has("csg") || each.has("csg_graph"));
  if (carries) return fromStatements(said, 1);
  const graph = renamed(before, said, extracted);
  const concepts = [...said.nodes].map(([name, attributes]) => revisedConcept(graph, name, attributes));
  return makeGraph({
    ...graph,
    concepts,
    edges: [...said.edges.values()].map((edge) => revisedEdge(graph, edge)),
    interventions: revisedInterventions(graph, said, concepts),
    effects: new Map([...graph.effects].filter(([name, value]) => concepts.some((each) => each.name === name && each.values.has(value)))),
  });
}

/**
 * One new name where another stood, with its value, is that concept under a new name.
 * @param {Graph} graph
 * @param {Statements} said
 * @param {ReadonlySet<string>} [extracted]
 */
function renamed(graph, said, extracted) {
  const gone = graph.concepts.filter(({ name }) => !said.nodes.has(name));
  const fresh = [...said.nodes.keys()].filter((name) => graph.concepts.every((each) => each.name !== name));
  if (gone.length !== 1 || fresh.length !== 1) return graph;
  const [[old], [name]] = [gone, fresh];
  const there = [...said.nodes.keys()].indexOf(name) === graph.concepts.indexOf(old);
  return there && said.nodes.get(name)?.get("value") === old.value ? renameConcept(graph, old.name, name, extracted) : graph;
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
 * @param {Statements} said
 * @param {Concept[]} concepts
 * @returns {Map<string, string>}
 */
function revisedInterventions(graph, said, concepts) {
  const pairs = concepts.flatMap(({ name, value }) => {
    const attributes = said.nodes.get(name);
    const forced = attributes?.get("do") ?? (attributes?.has("exposure") ? (graph.interventions.get(name) ?? value) : undefined);
    return forced === undefined ? [] : [/** @type {const} */ ([name, forced])];
  });
  return new Map(pairs);
}
