import assert from "node:assert/strict";
import test from "node:test";

import { makeEdge } from "../../web/editor/model.mjs";
import { percentOf, telling } from "../../web/editor/painter.mjs";
import { nodeCalled } from "../../web/called.mjs";
import { downstream, join, nothing, resultsOf } from "../../web/editor/results.mjs";

const address = ({ filename }) => `/view/${filename}`;

test("what later nodes report is joined per concept", () => {
  const change = { weather: { factual: "sunny", counterfactual: "rainy", role: "intervened" }, ground: { factual: "dry", counterfactual: "wet", role: "descendant", reason: "rain" } };
  let found = join(nothing(), { csg_counterfactual: [JSON.stringify(change)] });
  found = join(found, { csg_masks: [{ concept: "ground", image: { filename: "g.png", subfolder: "", type: "temp" } }], images: [] });
  found = join(found, { csg_effectiveness: [{ concept: "weather", answer: true }, { concept: "ground", answer: false }] });
  const results = resultsOf(found, address);
  assert.deepEqual(results.get("weather"), { factual: "sunny", counterfactual: "rainy", role: "intervened", reason: "", mask: null, effective: true });
  assert.deepEqual(results.get("ground"), { factual: "dry", counterfactual: "wet", role: "descendant", reason: "rain", mask: "/view/g.png", effective: false });
});

test("what had to stay has words on its card once an audit has judged it", () => {
  const still = { house: { factual: "red", counterfactual: "red", role: "preserved" }, ground: { factual: "dry", counterfactual: "dry", role: "descendant" } };
  const before = join(nothing(), { csg_counterfactual: [JSON.stringify(still)] });
  const told = (found) => [...resultsOf(found, address)].filter(([, result]) => telling(result)).map(([name]) => name);
  assert.deepEqual(told(before), ["ground"]);
  for (const answer of [true, false]) assert.deepEqual(told(join(before, { csg_effectiveness: [{ concept: "house", answer }] })), ["house", "ground"]);
  assert.equal(telling(undefined), undefined);
});

test("a new counterfactual forgets the masks of the last one", () => {
  const before = { counterfactual: { a: { factual: "x", counterfactual: "z" } }, masks: { a: { filename: "old.png", subfolder: "", type: "temp" } }, effective: { a: true } };
  const after = join(before, { csg_counterfactual: ['{"a": {"factual": "x", "counterfactual": "y"}}'] });
  assert.deepEqual(resultsOf(after, address).get("a"), { factual: "x", counterfactual: "y", role: "", reason: "", mask: null, effective: undefined });
});

test("what a cached run tells again, in any order, is one result", () => {
  const change = { csg_counterfactual: ['{"a": {"factual": "x", "counterfactual": "y"}}'] };
  const masks = { csg_masks: [{ concept: "a", image: { filename: "a.png", subfolder: "", type: "temp" } }] };
  const answers = { csg_effectiveness: [{ concept: "a", answer: true }] };
  for (const order of [[change, masks, answers], [masks, answers, change], [answers, change, masks, change]]) {
    const found = order.reduce((known, output) => join(known, output), nothing());
    const { mask, effective } = resultsOf(found, address).get("a");
    assert.deepEqual([mask, effective], ["/view/a.png", true]);
  }
});

test("outputs that say nothing about concepts are passed over", () => {
  assert.equal(join(nothing(), { images: [{ filename: "x.png" }] }), null);
});

test("names such as __proto__ are only names", () => {
  const found = join(nothing(), { csg_counterfactual: ['{"__proto__": {"factual": "a", "counterfactual": "b"}, "constructor": {"factual": "c"}}'] });
  const results = resultsOf(found, address);
  assert.equal(results.get("__proto__")?.counterfactual, "b");
  assert.deepEqual([results.get("constructor")?.mask, results.get("constructor")?.effective], [null, undefined]);
});

/** A graph of ComfyUI's shape: nodes by id, links [id, from, slot, to, slot]. */
function comfyGraph(nodes, links) {
  const graph = { nodes, links: new Map(links.map(([id, , , target_id, target_slot]) => [id, { target_id, target_slot }])) };
  graph.getNodeById = (id) => nodes.find((node) => String(node.id) === String(id));
  for (const node of nodes) {
    node.graph = graph;
    node.outputs = [{ links: links.filter(([, from]) => from === node.id).map(([id]) => id) }];
  }
  return graph;
}

test("links are followed into a subgraph, through it and out again", () => {
  const [inside, editor, after, other] = [{ id: 7 }, { id: 1 }, { id: 3 }, { id: 4 }];
  const subgraph = comfyGraph([inside], [[90, 7, 0, -20, 0]]);
  subgraph.inputs = [{ linkIds: [80] }];
  subgraph.links.set(80, { target_id: 7, target_slot: 0 });
  const host = { id: 2, subgraph };
  const root = comfyGraph([editor, host, after, other], [[10, 1, 0, 2, 0], [11, 2, 0, 3, 0]]);
  root.subgraphs = new Map([["s", subgraph]]);
  const reached = downstream(editor, root);
  assert.ok(reached.has(inside) && reached.has(after));
  assert.equal(reached.has(other), false);
  assert.equal(nodeCalled(root, "2:7"), inside);
  assert.equal(nodeCalled(root, "3"), after);
  assert.equal(nodeCalled(root, "s:7"), inside);
  assert.equal(nodeCalled(root, "9:9"), null);
});

test("what a stranger's file claims to be results is read as far as it goes", () => {
  const objects = resultsOf({ counterfactual: { a: { factual: { toString: 1 }, counterfactual: [], role: 3, reason: { toString: 1 } } },
    masks: { a: { filename: { toString: 1 } } }, effective: { a: { toString: 1 } } }, ({ filename }) => `/view/${filename}`);
  assert.deepEqual(objects.get("a"), { factual: "", counterfactual: "", role: "", reason: "", mask: null, effective: true });
  for (const found of [5, "x", {}, { counterfactual: null }, { counterfactual: { a: null }, masks: null, effective: 3 }]) {
    const results = resultsOf(found, () => "");
    for (const { factual, mask } of results.values()) assert.deepEqual([factual, mask], ["", null]);
  }
});

test("an edge tells in how many readings it was drawn, and nothing where a text holds no share", () => {
  const told = (extra) => percentOf(makeEdge({ cause: "a", effect: "b", extra }));
  assert.deepEqual([{ share: 0.667 }, { share: 0 }, { share: 1 }].map(told), [67, 0, 100]);
  for (const share of [undefined, null, "0.5", -0.1, 1.5, NaN, {}]) assert.equal(told({ share }), null);
  assert.equal(told({}), null);
});
