/**
 * What a stored graph remembers of the extraction it was edited over, so that a new
 * extraction can be merged into it: the keys `extracted`, `latest` and `settled` of its text.
 *
 * @import { Graph } from "./model.mjs"
 * @typedef {{base: Graph, latest: Graph, settled: ReadonlySet<string>}} Memory `base`: the extraction
 *   the artist edited; `latest`: another one merged since, while conflicts with it are open, or else
 *   the same; `settled`: the keys of conflicts decided for the artist
 */
import { fromObject, toObject } from "./json.mjs";
import { makeGraph } from "./model.mjs";

/** @param {Graph} stored @returns {Memory} */
export function remembered(stored) {
  const { extracted, latest, settled } = stored.extra;
  const base = extracted ? fromObject(extracted) : makeGraph();
  return {
    base,
    latest: latest ? fromObject(latest) : base,
    settled: new Set(Array.isArray(settled) ? settled.map(String) : []),
  };
}

/** The graph with what a later merge needs to know. @param {Graph} graph @param {Memory} memory @returns {Graph} */
export function remember(graph, { base, latest, settled }) {
  const kept = {
    extracted: plain(base),
    ...(latest !== base && { latest: plain(latest) }),
    ...(settled.size && { settled: [...settled] }),
  };
  return makeGraph({ ...graph, extra: { ...forget(graph).extra, ...kept } });
}

/** @param {Graph} graph */
const plain = (graph) => toObject(forget(graph));

/** @param {Graph} graph @returns {Graph} the graph without what only a merge needs */
export function forget(graph) {
  const { extracted, latest, settled, ...extra } = graph.extra;
  return makeGraph({ ...graph, extra });
}
