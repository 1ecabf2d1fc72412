/**
 * What an artist can do to a graph. Each command is a pure function graph → graph;
 * refusals are thrown as GraphError.
 *
 * @import { Concept, Edge, Graph, Point, Scope } from "./model.mjs"
 */
import { conceptOf, cycleClosedBy, descendants, edgeOf, forwardEdges, GraphError, makeConcept, makeEdge, makeGraph, normal, roles } from "./model.mjs";

/**
 * @param {Graph} graph
 * @param {string} name
 * @param {(concept: Concept) => Concept} change
 * @returns {Graph}
 */
export function withConcept(graph, name, change) {
  const old = conceptOf(graph, name);
  return makeGraph({ ...graph, concepts: graph.concepts.map((each) => (each === old ? change(old) : each)) });
}

/**
 * @param {Graph} graph
 * @param {{cause: string, effect: string}} edge
 * @param {(edge: Edge) => Edge | null} change null removes the edge
 * @returns {Graph}
 */
export function withEdge(graph, { cause, effect }, change) {
  const old = edgeOf(graph, cause, effect);
  if (!old) throw new GraphError("unknown_edge", { cause, effect });
  const edges = graph.edges.flatMap((each) => (each === old ? (change(old) ?? []) : each));
  return makeGraph({ ...graph, edges });
}

/**
 * A name that no concept has yet: `stem`, `stem 2`, `stem 3`, …
 * @param {Graph} graph
 * @param {string} stem
 */
export function freshName(graph, stem) {
  const taken = new Set(graph.concepts.map((concept) => concept.name));
  for (let count = 1; ; count += 1) {
    const name = count === 1 ? stem : `${stem} ${count}`;
    if (!taken.has(name)) return name;
  }
}

/**
 * @param {Graph} graph
 * @param {Partial<Concept> & {name: string, value: string}} fields
 */
export const addConcept = (graph, fields) =>
  makeGraph({ ...graph, concepts: [...graph.concepts, makeConcept(fields)] });

/**
 * Some concepts and the edges between them, alone.
 * @param {Graph} graph
 * @param {ReadonlySet<string>} names
 */
export const part = (graph, names) => makeGraph({
  concepts: graph.concepts.filter(({ name }) => names.has(name)),
  edges: graph.edges.filter(({ cause, effect }) => names.has(cause) && names.has(effect)),
});

/**
 * Adds another graph's concepts and edges, under fresh names where theirs are taken.
 * @param {Graph} graph
 * @param {Graph} other
 * @param {number} shift pixels, right and down, from where they stood
 */
export function include(graph, other, shift) {
  /** @type {Map<string, string>} */ const names = new Map();
  const added = other.concepts.reduce((whole, each) => {
    const free = whole.concepts.every(({ name }) => name !== each.name);
    names.set(each.name, free ? each.name : freshName(whole, each.name.replace(/ \d+$/, "")));
    const position = each.position && /** @type {Point} */ ([each.position[0] + shift, each.position[1] + shift]);
    return addConcept(whole, { ...each, name: names.get(each.name) ?? each.name, position });
  }, graph);
  const end = (/** @type {string} */ name) => names.get(name) ?? name;
  return makeGraph({ ...added, edges: [...added.edges, ...other.edges.map((each) => makeEdge({ ...each, cause: end(each.cause), effect: end(each.effect) }))] });
}

/** What a file of another program only names can be there or not. @param {Graph} graph @param {string} absent the value's name */
export const withAbsence = (graph, absent) => makeGraph({
  ...graph,
  concepts: graph.concepts.map((each) =>
    (each.values.size === 1 && each.value === "present" ? makeConcept({ ...each, values: new Map([...each.values, [absent, ""]]) }) : each)),
});

/**
 * Removes concepts with every edge that touches them, every do() on them and what was to become of them.
 * @param {Graph} graph
 * @param {Iterable<string>} names
 */
export function removeConcepts(graph, names) {
  const gone = new Set(names);
  return makeGraph({
    ...graph,
    concepts: graph.concepts.filter(({ name }) => !gone.has(name)),
    edges: graph.edges.filter(({ cause, effect }) => !gone.has(cause) && !gone.has(effect)),
    interventions: new Map([...graph.interventions].filter(([name]) => !gone.has(name))),
    effects: new Map([...graph.effects].filter(([name]) => !gone.has(name))),
  });
}

/**
 * @param {Graph} graph
 * @param {string} from
 * @param {string} to
 * @param {ReadonlySet<string>} [extracted] names in an extraction: a concept remembers, as its `origin`, which of
 *   them it was, so that the next extraction is recognised
 */
export function renameConcept(graph, from, to, extracted) {
  const name = to.trim();
  if (name === from) return graph;
  conceptOf(graph, from);
  const renamed = (/** @type {string} */ old) => (old === from ? name : old);
  return makeGraph({
    ...graph,
    concepts: graph.concepts.map((each) =>
      (each.name === from ? makeConcept({ ...each, name, extra: extracted ? traced(each, name, extracted) : each.extra }) : each)),
    edges: graph.edges.map((each) => makeEdge({ ...each, cause: renamed(each.cause), effect: renamed(each.effect) })),
    interventions: new Map([...graph.interventions].map(([old, value]) => [renamed(old), value])),
    effects: new Map([...graph.effects].map(([old, value]) => [renamed(old), value])),
  });
}

/**
 * What a renamed concept keeps: where it came from, unless that is its name again.
 * @param {Concept} concept
 * @param {string} name
 * @param {ReadonlySet<string>} extracted
 */
function traced({ name: old, extra }, name, extracted) {
  const { origin = extracted.has(old) ? old : undefined, ...rest } = extra;
  return origin === undefined || origin === name ? rest : { ...rest, origin };
}

/**
 * Sets the factual value; a value new to the domain joins it as its own phrase.
 * @param {Graph} graph
 * @param {string} name
 * @param {string} value
 */
export const setValue = (graph, name, value) =>
  withConcept(addValue(graph, name, value), name, (old) => makeConcept({ ...old, value: value.trim() }));

/**
 * @param {Graph} graph
 * @param {string} name
 * @param {string} value
 * @param {string} [phrase] the noun phrase that prompts use
 */
export function addValue(graph, name, value, phrase) {
  const key = value.trim();
  if (!key) throw new GraphError("empty_value", { name });
  if (conceptOf(graph, name).values.has(key)) return graph;
  return withConcept(graph, name, (old) => makeConcept({ ...old, values: new Map([...old.values, [key, phrase ?? phraseOf(key)]]) }));
}

/**
 * @param {Graph} graph
 * @param {ReadonlyMap<string, Point | null>} places null gives the place back to the layout
 */
export const place = (graph, places) => makeGraph({
  ...graph,
  concepts: graph.concepts.map((each) =>
    places.has(each.name) ? makeConcept({ ...each, position: places.get(each.name) ?? null }) : each),
});

/**
 * @param {Graph} graph
 * @param {string} cause
 * @param {string} effect
 * @returns {GraphError | null} why the edge cannot be drawn as a confirmed one
 */
export function refusal(graph, cause, effect) {
  return clash(graph, cause, effect) ?? closing(graph, { cause, effect });
}

/** @param {Graph} graph @param {string} cause @param {string} effect @returns {GraphError | null} why no edge can be drawn at all */
export function clash(graph, cause, effect) {
  if (cause === effect) return new GraphError("self_loop", { name: cause });
  return edgeOf(graph, cause, effect) ? new GraphError("duplicate_edge", { cause, effect }) : null;
}

/** @param {Graph} graph @param {{cause: string, effect: string}} edge @returns {GraphError | null} why it cannot be confirmed */
export function closing(graph, { cause, effect }) {
  const path = cycleClosedBy(graph, cause, effect);
  return path && new GraphError("cycle", { path: path.join(" → "), names: path });
}

/** @param {Graph} graph @param {string} cause @param {string} effect */
export function connect(graph, cause, effect) {
  const refused = refusal(graph, cause, effect);
  if (refused) throw refused;
  return makeGraph({ ...graph, edges: [...graph.edges, makeEdge({ cause, effect })] });
}

/** Removing and rejecting are the same: the edge is gone. @param {Graph} graph @param {{cause: string, effect: string}} edge */
export const disconnect = (graph, edge) => withEdge(graph, edge, () => null);

/** Refused where the edge would close a cycle. @param {Graph} graph @param {{cause: string, effect: string}} edge */
export const confirm = (graph, edge) => withEdge(graph, edge, (old) => {
  const refused = closing(graph, edge);
  if (refused) throw refused;
  return makeEdge({ ...old, status: "confirmed" });
});

/** @param {Graph} graph @param {{cause: string, effect: string}} edge */
export const propose = (graph, edge) =>
  withEdge(graph, edge, (old) => makeEdge({ ...old, status: "proposed" }));

/** One after the other; what would close a cycle stays proposed. @param {Graph} graph */
export function confirmAll(graph) {
  const forward = new Set(forwardEdges(graph));
  if (graph.edges.every((each) => each.status === "confirmed" || !forward.has(each))) return graph;
  return makeGraph({ ...graph, edges: graph.edges.map((each) => (forward.has(each) ? makeEdge({ ...each, status: "confirmed" }) : each)) });
}

/** do(name = value). @param {Graph} graph @param {string} name @param {string} value */
export function intervene(graph, name, value) {
  conceptOf(graph, name);
  return makeGraph({ ...graph, interventions: new Map([...graph.interventions, [name, value]]) });
}

/** Takes a do() back. @param {Graph} graph @param {string} name */
export const release = (graph, name) =>
  makeGraph({ ...graph, interventions: new Map([...graph.interventions].filter(([each]) => each !== name)) });

/** @param {Graph} graph */
export const releaseAll = (graph) => makeGraph({ ...graph, interventions: new Map() });

/** The same value again takes the do() back. @param {Graph} graph @param {string} name @param {string} value */
export const toggleDo = (graph, name, value) =>
  graph.interventions.get(name) === value ? release(graph, name) : intervene(graph, name, value);

/** Holds a concept at its factual value (controlled direct effect). @param {Graph} graph @param {string} name */
export const toggleHold = (graph, name) => toggleDo(graph, name, conceptOf(graph, name).value);

/** Values that say there is nothing to see. */
const NOTHING = new Set(["none", "no", "off", "without", "absent", "gone", "nothing", "无", "没有", "不在", "なし", "ない"]);

/** The phrase that a new value begins with: none where there is nothing to see. @param {string} value @param {string} [name] its concept's */
export function phraseOf(value, name = "") {
  if (NOTHING.has(value.toLowerCase())) return "";
  return value.toLowerCase().includes(name.toLowerCase()) ? value : `${value} ${name}`;
}

/** Scripts that write words without blanks: Thai, Lao, Burmese, Khmer, kana, Chinese characters. */
const UNSPACED = /[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]/u;

/**
 * Whether a phrase stands in a text as whole words, as csg/causal/counterfactual.py exchanges it there: case, kinds of
 * apostrophe, composed accents and the width of gaps do not count.
 * @param {string} text
 * @param {string} phrase
 */
export function stands(text, phrase) {
  const whole = canonical(text);
  const words = canonical(phrase).trim();
  if (!words) return false;
  for (let at = whole.indexOf(words); at >= 0; at = whole.indexOf(words, at + 1)) {
    const stop = at + words.length;
    if (!inOneWord(whole.slice(at - 1, at), whole[at]) && !inOneWord(whole[stop - 1], whole.slice(stop, stop + 1))) return true;
  }
  return false;
}

/** @param {string} text */
export const canonical = (text) =>
  normal(text).toLowerCase().replace(/[\u2018\u2019\u02bc]/g, "'").replace(/[\u2010\u2011]/g, "-").replace(/\s+/g, " ");

/** Whether two neighbouring letters belong to one word. @param {string} before @param {string} after */
const inOneWord = (before, after) =>
  [before, after].every((letter) => /^[\p{L}\p{N}_]$/u.test(letter)) && !UNSPACED.test(before + after);

/** The concepts whose factual phrase does not stand in the base prompt; none while there is no prompt. @param {Graph} graph @returns {Set<string>} */
export function unspoken({ basePrompt, concepts }) {
  if (!basePrompt.trim()) return new Set();
  const missing = concepts.filter(({ value, values }) => values.get(value)?.trim() && !stands(basePrompt, values.get(value) ?? ""));
  return new Set(missing.map(({ name }) => name));
}

/** Puts a concept's factual phrase into the base prompt. @param {Graph} graph @param {string} name */
export function speak(graph, name) {
  const { value, values } = conceptOf(graph, name);
  const parts = [graph.basePrompt.trim().replace(/[,.]$/, ""), values.get(value) ?? ""];
  return makeGraph({ ...graph, basePrompt: parts.filter(Boolean).join(", ") });
}

/** Says what becomes of a concept; the same value again takes it back. @param {Graph} graph @param {string} name @param {string} value */
export function expect(graph, name, value) {
  conceptOf(graph, name);
  const others = [...graph.effects].filter(([each]) => each !== name);
  const added = graph.effects.get(name) === value ? [] : [/** @type {const} */ ([name, value])];
  return makeGraph({ ...graph, effects: new Map([...others, ...added]) });
}

/** Gives an intervened concept back to its causes, its value as what follows from them. @param {Graph} graph @param {string} name */
export function unlock(graph, name) {
  const value = graph.interventions.get(name);
  const free = makeGraph({ ...graph, interventions: new Map([...graph.interventions].filter(([each]) => each !== name)) });
  return value !== undefined && roles(free).get(name) === "descendant" ? makeGraph({ ...free, effects: new Map([...free.effects, [name, value]]) }) : free;
}

/** The descendants of the pending do()s without a value. @param {Graph} graph @returns {string[]} */
export const open = (graph) =>
  [...roles(graph)].filter(([name, role]) => role === "descendant" && !graph.effects.has(name)).map(([name]) => name);

/**
 * The graph without the effects that no longer follow: their concept is no descendant of a do() any more, or a do()
 * before it was taken back or set to another value (not one that became an effect of the same value).
 * @param {Graph} before
 * @param {Graph} after
 * @returns {Graph}
 */
export function letGo(before, after) {
  if (after.effects.size === 0) return after;
  const parts = roles(after);
  const changed = [...before.interventions].filter(([name, value]) => (after.interventions.get(name) ?? after.effects.get(name)) !== value).map(([name]) => name);
  const doubted = new Set(changed.flatMap((name) => [...descendants(before, [name])]));
  const kept = [...after.effects].filter(([name, value]) =>
    parts.get(name) === "descendant" && !(doubted.has(name) && before.effects.get(name) === value));
  return kept.length === after.effects.size ? after : makeGraph({ ...after, effects: new Map(kept) });
}

/**
 * Takes a value out of the domain, with the do() that used it. The factual value stays.
 * @param {Graph} graph
 * @param {string} name
 * @param {string} value
 */
export function removeValue(graph, name, value) {
  if (conceptOf(graph, name).value === value) throw new GraphError("factual_value", { name, value });
  const released = graph.interventions.get(name) === value ? release(graph, name) : graph;
  const freed = graph.effects.get(name) === value ? expect(released, name, value) : released;
  return withConcept(freed, name, (old) =>
    makeConcept({ ...old, values: new Map([...old.values].filter(([key]) => key !== value)) }));
}

/**
 * @param {Graph} graph
 * @param {string} name
 * @param {string} from
 * @param {string} to
 */
export function renameValue(graph, name, from, to) {
  const key = to.trim();
  if (key === from) return graph;
  if (!key) throw new GraphError("empty_value", { name });
  if (conceptOf(graph, name).values.has(key)) throw new GraphError("duplicate_value", { name, value: key });
  const forced = graph.interventions.get(name) === from;
  const expected = graph.effects.get(name) === from;
  const released = forced ? release(graph, name) : graph;
  const renamed = withConcept(expected ? expect(released, name, from) : released, name, (old) => makeConcept({
    ...old,
    value: old.value === from ? key : old.value,
    values: new Map([...old.values].map(([value, phrase]) => (value === from ? [key, phrase] : [value, phrase]))),
  }));
  const again = forced ? intervene(renamed, name, key) : renamed;
  return expected ? expect(again, name, key) : again;
}

/**
 * @param {Graph} graph
 * @param {string} name
 * @param {string} value
 * @param {string} phrase empty where there is nothing to see, such as a car that is gone
 */
export const setPhrase = (graph, name, value, phrase) =>
  withConcept(graph, name, (old) => makeConcept({ ...old, values: new Map([...old.values, [value, phrase.trim()]]) }));

/** @param {Graph} graph @param {string} name @param {Scope} scope */
export const setScope = (graph, name, scope) =>
  withConcept(graph, name, (old) => makeConcept({ ...old, scope }));

/** @param {Graph} graph @param {string} name @param {string} description */
export const setDescription = (graph, name, description) =>
  withConcept(graph, name, (old) => makeConcept({ ...old, description }));

/** @param {Graph} graph @param {string} name @param {number} strength a factor on the guidance scale of its edit */
export const setStrength = (graph, name, strength) =>
  withConcept(graph, name, (old) => makeConcept({ ...old, strength }));

/** @param {Graph} graph @param {string} basePrompt */
export const setBasePrompt = (graph, basePrompt) => makeGraph({ ...graph, basePrompt });

/** @param {Graph} graph @param {{cause: string, effect: string}} edge @param {string} reason */
export const setReason = (graph, edge, reason) => withEdge(graph, edge, (old) => makeEdge({ ...old, reason }));

/** Turns an edge round, if a confirmed one closes no cycle then. @param {Graph} graph @param {{cause: string, effect: string}} edge */
export function reverse(graph, { cause, effect }) {
  const old = edgeOf(graph, cause, effect);
  const without = disconnect(graph, { cause, effect });
  const refused = (old?.status === "proposed" ? clash : refusal)(without, effect, cause);
  if (refused) throw refused;
  const edges = graph.edges.map((each) => (each === old ? makeEdge({ ...each, cause: effect, effect: cause }) : each));
  return makeGraph({ ...graph, edges });
}
