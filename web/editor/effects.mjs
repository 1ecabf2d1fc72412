/**
 * What the artist says follows from the pending do()s: a value for each descendant that is to change, or to stay.
 *
 * @import { Graph } from "./model.mjs"
 */
import { conceptOf, descendants, makeGraph, roles } from "./model.mjs";

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
  return value !== undefined && roles(free).get(name) === "affected" ? makeGraph({ ...free, effects: new Map([...free.effects, [name, value]]) }) : free;
}

/** The descendants of the pending do()s without a value. @param {Graph} graph @returns {string[]} */
export const open = (graph) =>
  [...roles(graph)].filter(([name, role]) => role === "affected" && !graph.effects.has(name)).map(([name]) => name);

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
    parts.get(name) === "affected" && !(doubted.has(name) && before.effects.get(name) === value));
  return kept.length === after.effects.size ? after : makeGraph({ ...after, effects: new Map(kept) });
}
