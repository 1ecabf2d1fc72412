/** Reads graphs for another language's tests: a JSON text per line in, `{graph, written}` or `{refused}` per line out. */
import { createInterface } from "node:readline";

import { readDagitty, writeDagitty, readDot, writeDot } from "../../web/editor/files.mjs";
import { readJson, toObject, writeJson } from "../../web/editor/json.mjs";
import { GraphError } from "../../web/editor/model.mjs";
import { recognise } from "../../web/editor/recognise.mjs";

const READERS = { json: readJson, dagitty: readDagitty, dot: readDot };

function answer({ text, format }) {
  try {
    const found = format ? { format, text } : recognise(text);
    const graph = READERS[found.format](found.text);
    return { graph: toObject(graph), written: [writeJson(graph), writeDagitty(graph), writeDot(graph)] };
  } catch (error) {
    if (error instanceof GraphError) return { refused: error.code, words: error.message };
    throw error;
  }
}

for await (const line of createInterface({ input: process.stdin })) process.stdout.write(`${JSON.stringify(answer(JSON.parse(line)))}\n`);
