/**
 * The words for values, and whether they stand in the picture's caption: an edit looks there for each concept.
 *
 * @import { Graph } from "./model.mjs"
 */
import { conceptOf, makeGraph } from "./model.mjs";

/** Values that say there is nothing to see. */
const NOTHING = new Set(["none", "no", "off", "without", "absent", "gone", "nothing", "无", "没有", "不在", "なし", "ない"]);

/** The phrase that a new value begins with: none where there is nothing to see. @param {string} value @param {string} [name] its concept's */
export function phraseOf(value, name = "") {
  if (NOTHING.has(value.toLowerCase())) return "";
  return value.toLowerCase().includes(name.toLowerCase()) ? value : `${value} ${name}`;
}

/** Whether a phrase stands in a text as whole words, whatever their case. @param {string} text @param {string} phrase */
export function stands(text, phrase) {
  const words = phrase.trim().replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`(?<![\\p{L}\\p{N}_])${words}(?![\\p{L}\\p{N}_])`, "iu").test(text);
}

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
