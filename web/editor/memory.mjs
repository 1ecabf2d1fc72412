/**
 * What a stored graph remembers of the extraction it was edited over, so that a new
 * extraction can be merged into it: the keys `extracted` and `settled` of its text.
 *
 * @import { Graph } from "./model.mjs"
 */
import { fromObject, toObject } from "./json.mjs";
import { makeGraph } from "./model.mjs";

/**
 * The extraction that a stored graph was edited over, and the conflicts decided since.
 * @param {Graph} stored
 * @returns {{base: Graph, settled: Set<string>}}
 */
export function remembered(stored) {
  const { extracted, settled } = stored.extra;
  return {
    base: extracted ? fromObject(extracted) : makeGraph(),
    settled: new Set(Array.isArray(settled) ? settled.map(String) : []),
  };
}

/**
 * The graph with what a later merge needs to know.
 * @param {Graph} graph
 * @param {Graph} base
 * @param {Iterable<string>} settled
 * @returns {Graph}
 */
export function remember(graph, base, settled) {
  const { extracted, settled: _, ...extra } = graph.extra;
  const keys = [...settled];
  const bare = makeGraph({ ...base, extra: {} });
  return makeGraph({ ...graph, extra: { ...extra, extracted: toObject(bare), ...(keys.length && { settled: keys }) } });
}

/** @param {Graph} graph @returns {Graph} the graph without what only a merge needs */
export function forget(graph) {
  const { extracted, settled, ...extra } = graph.extra;
  return makeGraph({ ...graph, extra });
}

