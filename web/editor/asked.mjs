/**
 * The questions that were asked of a picture, with what became of each.
 *
 * @import { Graph } from "./model.mjs"
 * @import { Found, ImageFile } from "./results.mjs"
 * @typedef {{interventions: Record<string, string>, effects: Record<string, string>}} Question
 * @typedef {Found & {question?: Question, facts?: string, picture?: ImageFile & {rank: number}}} Run one question's results,
 *   `facts` the name of the graph without it
 */
import { meaningOf } from "./json.mjs";
import { makeGraph } from "./model.mjs";

/** A short name for what a graph means. @param {Graph} graph */
export function digestOf(graph) {
  const text = meaningOf(graph);
  let [a, b] = [0xdeadbeef, 0x41c6ce57];
  for (let index = 0; index < text.length; index += 1) {
    a = Math.imul(a ^ text.charCodeAt(index), 2654435761);
    b = Math.imul(b ^ text.charCodeAt(index), 1597334677);
  }
  return `${(a >>> 0).toString(36)}${(b >>> 0).toString(36)}`;
}

/** The same for all questions of one picture. @param {Graph} graph */
export const factsOf = (graph) => digestOf(makeGraph({ ...graph, interventions: new Map(), effects: new Map() }));

/** @param {Graph} graph @returns {{question: Question, facts: string}} */
export const asking = (graph) => ({
  question: { interventions: Object.fromEntries(graph.interventions), effects: Object.fromEntries(graph.effects) }, facts: factsOf(graph),
});

/** The graph with another question: as much of it as its concepts and values allow. @param {Graph} graph @param {Question} question */
export function askAgain(graph, { interventions, effects }) {
  const possible = (/** @type {Record<string, string>} */ values) => new Map(Object.entries(values ?? {}).filter(([name, value]) =>
    graph.concepts.some((each) => each.name === name && each.values.has(value))));
  return makeGraph({ ...graph, interventions: possible(interventions), effects: possible(effects) });
}

/** What was done, in words: do()s by nodes behind the editor too. @param {Run} run */
export function wordsOf({ counterfactual, question }) {
  const done = Object.entries(counterfactual ?? {}).filter(([, change]) => change?.role === "intervened").map(([name, change]) => [name, change.counterfactual]);
  return (done.length ? done : Object.entries(question?.interventions ?? {})).map(([name, value]) => `${name} = ${value}`).join(", ");
}

/**
 * The picture in a node's output, if it shows the counterfactual: what was drawn by a sampler, saved pictures before previews.
 * @param {Record<string, unknown>} output
 * @param {string} type the node's
 * @param {boolean} sampled whether the node lies behind a sampler
 * @returns {(ImageFile & {rank: number}) | null}
 */
export function pictureIn({ images, csg_masks: masks }, type, sampled) {
  const [image] = Array.isArray(images) ? images : [];
  if (masks || typeof image?.filename !== "string" || !sampled) return null;
  const { filename, subfolder = "", type: folder = "temp" } = image;
  return { filename, subfolder, type: folder, rank: ["PreviewImage", "SaveImage"].indexOf(type) + 1 };
}
