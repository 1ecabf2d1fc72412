/**
 * The three forms in which a graph is written: its own JSON, DAGitty and DOT.
 *
 * @import { Graph } from "./model.mjs"
 */
import { readDagitty, writeDagitty } from "./dagitty.mjs";
import { readDot, writeDot } from "./dot.mjs";
import { readJson, writeJson } from "./json.mjs";
import { recognise } from "./recognise.mjs";

const READERS = { json: readJson, dagitty: readDagitty, dot: readDot };
export const WRITERS = { json: writeJson, dagitty: writeDagitty, dot: writeDot };

/** A graph in whichever form it is written. @param {string} text @returns {Graph} */
export function readAny(text) {
  const { format, text: part } = recognise(text);
  return READERS[format](part);
}
