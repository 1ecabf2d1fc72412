/** Reads graphs as the page does, for robustness.py: a line `{reader, text}` in, a line with the outcome, seconds and megabytes out. */
import { createInterface } from "node:readline";

import { readAny, revise } from "../web/editor/files.mjs";
import { toObject } from "../web/editor/json.mjs";
import { GraphError, makeGraph } from "../web/editor/model.mjs";

const READERS = { "any graph": readAny, "the Text tab": (text) => revise(makeGraph(), text) };

function read({ reader, text }) {
  try {
    return { outcome: "read", graph: toObject(READERS[reader](text)) };
  } catch (error) {
    if (!(error instanceof GraphError)) return { outcome: "raised", words: String(error) };
    return { outcome: "refused", words: error.message };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const task = JSON.parse(line);
  const [before, started] = [process.resourceUsage().maxRSS, process.cpuUsage()];
  const answer = read(task);
  const { user, system } = process.cpuUsage(started);
  const megabytes = (process.resourceUsage().maxRSS - before) / 1024;
  process.stdout.write(`${JSON.stringify({ ...answer, seconds: (user + system) / 1e6, megabytes })}\n`);
}
