/**
 * The words for values, and whether they stand in the picture's caption: an edit looks there for each concept.
 *
 * @import { Graph } from "./model.mjs"
 */
import { conceptOf, makeGraph, normal } from "./model.mjs";

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
const canonical = (text) =>
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
