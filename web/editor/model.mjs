/**
 * The causal graph as an immutable value: concepts, edges, pending do()s.
 *
 * Every function returns a new graph and leaves its arguments untouched. The
 * vocabulary is that of structural causal models: an intervention do(X = x)
 * cuts the edges into X (surgery), and may change X's descendants only.
 *
 * Confirmed edges form no cycle. A proposed edge is a question to the artist: it is
 * drawn, dashed, and counts for nothing else, neither for effects nor for the order of
 * causes; so it may point backwards.
 *
 * @typedef {"local" | "global"} Scope
 * @typedef {"confirmed" | "proposed"} EdgeStatus
 * @typedef {readonly [number, number]} Point
 * @typedef {{
 *   name: string, value: string, values: ReadonlyMap<string, string>, scope: Scope,
 *   description: string, position: Point | null, strength: number, extra: Readonly<Record<string, unknown>>
 * }} Concept `strength`: a factor on the guidance scale of its edit
 * @typedef {{
 *   cause: string, effect: string, reason: string, status: EdgeStatus,
 *   extra: Readonly<Record<string, unknown>>
 * }} Edge
 * @typedef {{
 *   basePrompt: string, concepts: readonly Concept[], edges: readonly Edge[],
 *   interventions: ReadonlyMap<string, string>, effects: ReadonlyMap<string, string>,
 *   extra: Readonly<Record<string, unknown>>
 * }} Graph `effects`: what the artist says becomes of descendants of the pending do()s
 * @typedef {"factual" | "intervened" | "held" | "descendant" | "preserved"} Role
 */

export const MAX_CONCEPTS = 64;
export const MAX_EDGES = MAX_CONCEPTS * (MAX_CONCEPTS - 1);
/** The bounds of csg/causal/graph.py, in characters; of values, in number. */
export const MAX = { name: 200, phrase: 400, text: 4_000, prompt: 20_000, values: 100 };

/** Letters that a detail of a refusal may have; a name has 60. @type {Record<string, number>} */
const LONG_DETAILS = { path: 240, domain: 240, reason: 240 };

/** A stranger's text for a message: one line, no control characters, `longest` letters at most. @param {string} text @param {number} [longest] */
export function plainly(text, longest = 60) {
  const clean = text.slice(0, longest + 1).replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]/gu, " ");
  return text.length <= longest ? clean : `${clean.slice(0, longest - 3)}...`;
}

/** A refusal. `code` names the sentence to show (`error.<code>`), `details` fills its gaps. */
export class GraphError extends Error {
  /**
   * @param {string} code
   * @param {Record<string, unknown>} [details]
   */
  constructor(code, details = {}) {
    const short = Object.fromEntries(Object.entries(details).map(([key, value]) =>
      [key, typeof value === "string" ? plainly(value, LONG_DETAILS[key]) : value]));
    super(`${code} ${JSON.stringify(short)}`);
    this.name = "GraphError";
    this.code = code;
    this.details = short;
  }
}

/**
 * A text in the one form in which texts are compared: Unicode's normal form C. Marks that follow one another are sorted in
 * quadratic time: a text with more in a row than Unicode's own bound for streams, 30, stays as it is.
 * @param {string} text
 */
export const normal = (text) => (/\p{M}{31}/u.test(text) ? text : text.normalize("NFC"));

/**
 * @param {Partial<Concept> & {name: string, value: string}} fields
 * @returns {Concept}
 */
export function makeConcept(fields) {
  const [name, value] = [normal(fields.name), normal(fields.value)];
  const values = fields.values?.size ? [...fields.values].map(([each, phrase]) => /** @type {const} */ ([normal(each), phrase])) : null;
  return Object.freeze({
    scope: "local",
    description: "",
    position: null,
    strength: 1,
    extra: {},
    ...fields,
    name,
    value,
    values: new Map(values ?? [[value, fields.value]]),
  });
}

/**
 * @param {Partial<Edge> & {cause: string, effect: string}} fields
 * @returns {Edge}
 */
export function makeEdge(fields) {
  const [cause, effect] = [normal(fields.cause), normal(fields.effect)];
  return Object.freeze({ reason: "", status: "confirmed", extra: {}, ...fields, cause, effect });
}

/** @param {ReadonlyMap<string, string>} [values] of concepts @returns {Map<string, string>} */
const normalised = (values) => new Map([...(values ?? [])].map(([name, value]) => [normal(name), normal(value)]));

/**
 * A validated graph. Throws GraphError naming the culprit.
 * @param {Partial<Graph>} [fields]
 * @returns {Graph}
 */
export function makeGraph(fields = {}) {
  const graph = Object.freeze({
    basePrompt: "",
    concepts: [],
    edges: [],
    extra: {},
    ...fields,
    interventions: normalised(fields.interventions),
    effects: normalised(fields.effects),
  });
  checkLength("base_prompt", graph.basePrompt, MAX.prompt);
  checkConcepts(graph);
  checkEdges(graph);
  checkInterventions(graph);
  return graph;
}

export const EMPTY = makeGraph();

/** @param {string} what @param {string} text @param {number} limit in characters, as Python counts them */
function checkLength(what, text, limit) {
  const count = text.length <= limit ? 0 : [...text].length;
  if (count > limit) throw new GraphError("too_long", { what, count, limit });
}

/** @param {Graph} graph */
function checkConcepts({ concepts }) {
  if (concepts.length > MAX_CONCEPTS) {
    throw new GraphError("too_many", { count: concepts.length, limit: MAX_CONCEPTS });
  }
  const seen = new Set();
  for (const { name, value, values, description, strength } of concepts) {
    if (!name.trim()) throw new GraphError("empty_name");
    checkLength("name", name, MAX.name);
    checkLength("description", description, MAX.text);
    if (!(strength >= 0 && strength < Infinity)) throw new GraphError("bad_strength", { name, strength });
    if (values.size > MAX.values) throw new GraphError("too_many_values", { name, count: values.size, limit: MAX.values });
    for (const [each, phrase] of values) {
      if (!each.trim()) throw new GraphError("empty_value", { name });
      checkLength("value", each, MAX.name);
      checkLength("phrase", phrase, MAX.phrase);
    }
    if (seen.has(name)) throw new GraphError("duplicate_name", { name });
    if (!value.trim()) throw new GraphError("empty_value", { name });
    if (!values.has(value)) throw new GraphError("outside_domain", { name, value, domain: listed(values) });
    seen.add(name);
  }
}

/** @param {Graph} graph */
function checkEdges(graph) {
  const names = new Set(graph.concepts.map((concept) => concept.name));
  const seen = new Set();
  for (const { cause, effect, reason } of graph.edges) {
    checkLength("reason", reason, MAX.text);
    for (const name of [cause, effect]) {
      if (!names.has(name)) throw new GraphError("unknown_concept", { name });
    }
    if (cause === effect) throw new GraphError("self_loop", { name: cause });
    const key = edgeKey({ cause, effect });
    if (seen.has(key)) throw new GraphError("duplicate_edge", { cause, effect });
    seen.add(key);
  }
  const path = findCycle(graph);
  if (path) throw new GraphError("cycle", { path: path.join(" → ") });
}

/** @param {Graph} graph */
function checkInterventions(graph) {
  for (const [name, value] of [...graph.interventions, ...graph.effects]) {
    const { values } = conceptOf(graph, name);
    if (!values.has(value)) throw new GraphError("outside_domain", { name, value, domain: listed(values) });
  }
}

/** @param {ReadonlyMap<string, string>} values */
const listed = (values) => [...values.keys()].join(", ");

/** @param {{cause: string, effect: string}} edge */
export const edgeKey = ({ cause, effect }) => JSON.stringify([cause, effect]);

/**
 * @param {Graph} graph
 * @param {string} name
 * @returns {Concept}
 */
export function conceptOf(graph, name) {
  const concept = graph.concepts.find((each) => each.name === name);
  if (!concept) throw new GraphError("unknown_concept", { name });
  return concept;
}

/**
 * @param {Graph} graph
 * @param {string} cause
 * @param {string} effect
 * @returns {Edge | undefined}
 */
export function edgeOf(graph, cause, effect) {
  return graph.edges.find((edge) => edge.cause === cause && edge.effect === effect);
}

/** The concepts that share an edge with this one, proposed edges too. @param {Graph} graph @param {string} name */
export const neighbours = ({ edges }, name) =>
  edges.flatMap(({ cause, effect }) => (cause === name ? [effect] : effect === name ? [cause] : []));

/** @param {{edges: readonly Edge[]}} graph */
function confirmed({ edges }) {
  return edges.filter(({ status }) => status === "confirmed");
}

/**
 * Effects by cause, over the given edges.
 * @param {readonly Edge[]} edges
 * @returns {Map<string, string[]>}
 */
function adjacency(edges) {
  /** @type {Map<string, string[]>} */
  const effects = new Map();
  for (const { cause, effect } of edges) {
    const list = effects.get(cause);
    if (list) list.push(effect);
    else effects.set(cause, [effect]);
  }
  return effects;
}

/**
 * The shortest path along confirmed edges, end points included, or null.
 * @param {{edges: readonly Edge[]}} graph
 * @param {string} from
 * @param {string} to
 * @returns {string[] | null}
 */
export const findPath = (graph, from, to) => pathAlong(adjacency(confirmed(graph)), from, to);

/**
 * @param {ReadonlyMap<string, string[]>} effects
 * @param {string} from
 * @param {string} to
 * @returns {string[] | null}
 */
function pathAlong(effects, from, to) {
  const paths = [[from]];
  const seen = new Set([from]);
  for (const path of paths) {
    const last = path[path.length - 1];
    if (last === to) return path;
    for (const next of effects.get(last) ?? []) {
      if (!seen.has(next)) paths.push([...path, next]);
      seen.add(next);
    }
  }
  return null;
}

/**
 * The cycle that a confirmed edge cause → effect would close, from the cause back to it, or null.
 * @param {{edges: readonly Edge[]}} graph
 * @param {string} cause
 * @param {string} effect
 * @returns {string[] | null}
 */
export function cycleClosedBy(graph, cause, effect) {
  const back = findPath(graph, effect, cause);
  return back && [cause, ...back];
}

/**
 * The edges that a drawing can point one way: the confirmed ones, and of the proposed ones
 * each that closes no cycle with the edges before it.
 * @param {Graph} graph
 * @returns {Edge[]} confirmed ones first
 */
export function forwardEdges(graph) {
  const forward = confirmed(graph);
  const effects = adjacency(forward);
  for (const edge of graph.edges) {
    if (edge.status === "confirmed" || pathAlong(effects, edge.effect, edge.cause)) continue;
    forward.push(edge);
    effects.set(edge.cause, [...(effects.get(edge.cause) ?? []), edge.effect]);
  }
  return forward;
}

/**
 * Causes before effects; concepts keep their given order where the edges leave it open.
 * Shorter than the list of concepts when the edges form a cycle.
 * @param {Graph} graph
 * @param {readonly Edge[]} [edges] those that count
 * @returns {string[]}
 */
export function topologicalOrder(graph, edges = confirmed(graph)) {
  const { concepts } = graph;
  const waiting = new Map(concepts.map(({ name }) => [name, 0]));
  for (const { effect } of edges) waiting.set(effect, (waiting.get(effect) ?? 0) + 1);
  const effects = adjacency(edges);
  /** @type {string[]} */
  const order = [];
  for (;;) {
    const next = concepts.find(({ name }) => waiting.get(name) === 0)?.name;
    if (next === undefined) return order;
    order.push(next);
    waiting.delete(next);
    for (const effect of effects.get(next) ?? []) waiting.set(effect, (waiting.get(effect) ?? 0) - 1);
  }
}

/**
 * @param {Graph} graph
 * @returns {string[] | null} the cycle's names, the first repeated at the end
 */
function findCycle(graph) {
  const sorted = new Set(topologicalOrder(graph));
  if (sorted.size === graph.concepts.length) return null;
  const causes = adjacency(confirmed(graph).map((edge) => ({ ...edge, cause: edge.effect, effect: edge.cause })));
  const trail = [/** @type {Concept} */ (graph.concepts.find(({ name }) => !sorted.has(name))).name];
  for (;;) {
    const before = (causes.get(trail[0]) ?? []).find((name) => !sorted.has(name)) ?? "";
    const end = trail.indexOf(before);
    trail.unshift(before);
    if (end >= 0) return trail.slice(0, end + 2);
  }
}

/** Whether a pending do() cuts an edge: none enters an intervened concept. @param {Graph} graph @param {{effect: string}} edge */
export const isCut = (graph, edge) => graph.interventions.has(edge.effect);

/**
 * What the named concepts may change: everything reachable over confirmed edges of
 * the surgered graph, the names themselves excluded.
 * @param {Graph} graph
 * @param {Iterable<string>} names
 * @returns {Set<string>}
 */
export function descendants(graph, names) {
  const given = new Set(names);
  const open = confirmed(graph).filter((edge) => !isCut(graph, edge));
  const effects = adjacency(open);
  const reached = new Set(given);
  for (const name of reached) {
    for (const effect of effects.get(name) ?? []) reached.add(effect);
  }
  for (const name of given) reached.delete(name);
  return reached;
}

/**
 * The part each concept plays under the pending do()s. Without any, all are factual.
 * A concept held at its factual value is `held`: it blocks the effect through it.
 * @param {Graph} graph
 * @returns {Map<string, Role>}
 */
export function roles(graph) {
  const reached = descendants(graph, changedByHand(graph));
  return new Map(graph.concepts.map((concept) => [concept.name, roleOf(graph, concept, reached)]));
}

/** @param {Graph} graph */
const changedByHand = (graph) =>
  [...graph.interventions].filter(([name, value]) => conceptOf(graph, name).value !== value).map(([name]) => name);

/**
 * @param {Graph} graph
 * @param {Concept} concept
 * @param {Set<string>} reached the descendants of the do()s that change something
 * @returns {Role}
 */
function roleOf(graph, concept, reached) {
  if (graph.interventions.size === 0) return "factual";
  const forced = graph.interventions.get(concept.name);
  if (forced !== undefined) return forced === concept.value ? "held" : "intervened";
  return reached.has(concept.name) ? "descendant" : "preserved";
}
