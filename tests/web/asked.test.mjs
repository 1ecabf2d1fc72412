import assert from "node:assert/strict";
import test from "node:test";

import { askAgain, asking, digestOf, factsOf, pictureIn, wordsOf } from "../../web/editor/asked.mjs";
import { setStrength } from "../../web/editor/commands.mjs";
import { fromObject } from "../../web/editor/json.mjs";
import { keepersOf } from "../../web/editor/results.mjs";
import { Pace } from "../../web/editor/live.mjs";
import { Session } from "../../web/editor/session.mjs";

const graph = fromObject({
  concepts: [
    { name: "weather", value: "sunny", values: { sunny: "sunny weather", rainy: "rain", snowy: "snow" } },
    { name: "ground", value: "dry", values: { dry: "dry ground", wet: "wet ground" } },
  ],
  edges: [{ cause: "weather", effect: "ground" }],
  interventions: { weather: "rainy" },
  effects: { ground: "wet" },
});

test("one picture has one name, whatever is asked of it; a strength makes another question", () => {
  const other = askAgain(graph, { interventions: { weather: "snowy" }, effects: {} });
  assert.equal(factsOf(graph), factsOf(other));
  assert.notEqual(digestOf(graph), digestOf(other));
  assert.notEqual(digestOf(setStrength(graph, "ground", 2)), digestOf(graph));
});

test("a question comes back whole, and of another graph what it can hold", () => {
  const session = new Session(() => {});
  session.run(() => askAgain(graph, { interventions: { weather: "snowy" }, effects: { ground: "wet" } }), null, true);
  session.run((now) => askAgain(now, asking(graph).question), null, true);
  assert.deepEqual([[...session.graph.interventions], [...session.graph.effects]], [[["weather", "rainy"]], [["ground", "wet"]]]);
  const less = askAgain(graph, { interventions: { weather: "foggy", sea: "wild" }, effects: { ground: "wet" } });
  assert.deepEqual([less.interventions.size, [...less.effects]], [0, [["ground", "wet"]]]);
  assert.equal(askAgain(graph, /** @type {any} */ ({})).effects.size, 0, "a stranger's file may lack them");
});

test("a question is called by what was done, by whichever node", () => {
  const counterfactual = { weather: { role: "intervened", counterfactual: "rainy" }, ground: { role: "descendant", counterfactual: "wet" } };
  assert.equal(wordsOf(/** @type {any} */ ({ counterfactual })), "weather = rainy");
  assert.equal(wordsOf(/** @type {any} */ ({ counterfactual: {}, ...asking(graph) })), "weather = rainy");
});

test("the picture of a question is what a sampler drew: saved before previewed, no masks", () => {
  const output = { images: [{ filename: "a.png", subfolder: "", type: "output" }] };
  const rank = (type, sampled = true, more = {}) => pictureIn({ ...output, ...more }, type, sampled)?.rank;
  assert.deepEqual([rank("CSG_CompareSheet"), rank("PreviewImage"), rank("SaveImage")], [0, 1, 2]);
  assert.deepEqual([rank("SaveImage", false), rank("CSG_MaskOverlay", true, { csg_masks: [] })], [undefined, undefined]);
  assert.equal(pictureIn({ images: [{}] }, "SaveImage", true), null);
});

test("the time left follows from the pace so far, and begins anew with each node", () => {
  const pace = new Pace();
  const node = (node_id, value, state = "running", max = 50) => ({ [node_id]: { node_id, value, max, state } });
  const at = (nodes, now) => pace.follow(nodes, (id) => id !== "9", now);
  assert.deepEqual(at(node("4", 0), 1000), { id: "4", value: 0, max: 50, left: null });
  assert.deepEqual(at(node("4", 10), 3000), { id: "4", value: 10, max: 50, left: 8 });
  assert.equal(at(node("5", 3), 3100)?.left, null);
  assert.equal(at(node("5", 1), 3200)?.left, null, "run again");
  assert.equal(at({ ...node("5", 50, "finished"), ...node("9", 3), ...node("6", 0, "running", 1) }, 3300), null);
});

test("a widget's value is kept where ComfyUI sends it from", () => {
  const widget = { name: "graph_json", value: "inner" };
  const node = { widgets: [widget], inputs: [{ name: "graph_json", link: null }] };
  assert.deepEqual(keepersOf(node, "graph_json", {}), { widgets: [widget], linked: false });
  const links = { 7: { origin_id: 3, origin_slot: 0 }, 8: { origin_id: -10, origin_slot: 1 } };
  const linked = { ...node, graph: { links }, inputs: [{ name: "graph_json", link: 7 }] };
  assert.deepEqual(keepersOf(linked, "graph_json", { nodes: [] }), { widgets: [widget], linked: true });
  const subgraph = { links };
  const promoted = { ...node, graph: subgraph, inputs: [{ name: "graph_json", link: 8 }] };
  const outer = { name: "text", value: "outer" };
  const host = { subgraph, widgets: [outer], inputs: [{ name: "seed", link: null }, { name: "text", link: null }] };
  const root = { nodes: [host], links };
  Object.assign(host, { graph: root });
  assert.deepEqual(keepersOf(promoted, "graph_json", root), { widgets: [outer], linked: false });
  host.inputs[1].link = 7;
  assert.equal(keepersOf(promoted, "graph_json", root).linked, true);
});
