/**
 * Commands of the side panel: the domain of a concept, its words, the reasons of edges.
 *
 * @import { Graph, Scope } from "./model.mjs"
 */
import { clash, disconnect, intervene, refusal, release, withConcept, withEdge } from "./commands.mjs";
import { expect } from "./effects.mjs";
import { GraphError, conceptOf, edgeOf, makeConcept, makeEdge, makeGraph } from "./model.mjs";

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
