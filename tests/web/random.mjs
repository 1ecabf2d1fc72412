/** Random graphs for property tests, reproducible by their seed. */
import { makeConcept, makeEdge, makeGraph } from "../../web/editor/model.mjs";

/** A small generator of uniform numbers in [0, 1). */
export function uniform(seed) {
  let state = seed * 2654435761 + 1;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 374761393) >>> 0;
    return ((state ^ (state >>> 13)) >>> 0) / 4294967296;
  };
}

/**
 * A random graph; every edge points from a lower to a higher concept in a shuffled order,
 * but for a share `back` of all pairs, where a proposed edge points the other way.
 */
export function randomGraph(seed, { size = 9, density = 0.35, proposed = 0.2, back = 0.05 } = {}) {
  const draw = uniform(seed);
  const order = [...Array(size).keys()].map((index) => `c${index}`).sort(() => draw() - 0.5);
  const concepts = order.map((name) => makeConcept({ name, value: "a", values: new Map([["a", `${name} a`], ["b", `${name} b`]]) }));
  const ranked = [...order].sort(() => draw() - 0.5);
  const pairs = ranked.flatMap((cause, index) => ranked.slice(index + 1).map((effect) => ({ cause, effect })));
  const edges = pairs.filter(() => draw() < density).map((pair) => makeEdge({ ...pair, status: draw() < proposed ? "proposed" : "confirmed" }));
  const backwards = pairs.filter(() => draw() < back).map(({ cause, effect }) => makeEdge({ cause: effect, effect: cause, status: "proposed" }));
  return makeGraph({ concepts, edges: [...edges, ...backwards].sort(() => draw() - 0.5) });
}
