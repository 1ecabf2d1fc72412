/**
 * Words of the picture's caption that seem to mean a concept.
 *
 * @import { Graph } from "./model.mjs"
 */
import { canonical } from "./commands.mjs";

/** Where one phrase of a caption ends and another begins. */
const BETWEEN = /(?!['’-])\p{P}|(?<![\p{L}\p{N}])(?:of|with|in|on|at|by|and|under|near|from|to|for|over|behind|beside|is|are)(?![\p{L}\p{N}])/giu;
const ARTICLES = new Set(["a", "an", "the"]);
/** @type {Intl.Segmenter | undefined} made with the first question: that takes some milliseconds */ let segmenter;

/** @param {string} text @returns {{word: string, at: number, end: number}[]} its words, articles too */
const wordsOf = (text) => [...(segmenter ??= new Intl.Segmenter(undefined, { granularity: "word" })).segment(text)].filter(({ isWordLike }) => isWordLike)
  .map(({ segment, index }) => ({ word: segment.toLowerCase(), at: index, end: index + segment.length }));

/** Whether two words are one but for an ending. @param {string} one @param {string} other */
const alike = (one, other) => one === other || (Math.min(one.length, other.length) > 3 && (one.startsWith(other) || other.startsWith(one)));

/**
 * The words of the base prompt that seem to mean a concept: those of one phrase there that have most in common with its
 * name, its factual value and its own words.
 * @param {Graph} graph
 * @param {string} name
 * @returns {string | null}
 */
export function wordsFor({ basePrompt, concepts }, name) {
  const others = new Set(concepts.filter((each) => each.name !== name).map(({ value, values }) => canonical(values.get(value) ?? "")));
  const concept = concepts.find((each) => each.name === name);
  const phrase = concept?.values.get(concept.value) ?? "";
  const wanted = wordsOf([name, concept?.value, phrase].join(" ")).map(({ word }) => word).filter((word) => !ARTICLES.has(word));
  let best = { score: 0, words: "" };
  for (const part of basePrompt.split(BETWEEN)) {
    const inside = wordsOf(part);
    const hits = inside.filter(({ word }) => wanted.some((each) => alike(each, word)));
    if (hits.length <= best.score) continue;
    const words = part.slice(hits[0].at, hits[hits.length - 1].end);
    if (!others.has(canonical(words))) best = { score: hits.length, words };
  }
  return best.words || null;
}
