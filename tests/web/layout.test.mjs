import assert from "node:assert/strict";
import test from "node:test";

import { arrange, bounds } from "../../web/editor/layout.mjs";
import { forwardEdges, makeConcept, makeEdge, makeGraph } from "../../web/editor/model.mjs";
import { randomGraph } from "./random.mjs";

const size = { width: 190, height: 84 };
const sizeOf = () => size;
const apart = ([x, y], [u, v]) => Math.abs(x - u) >= size.width || Math.abs(y - v) >= size.height;

test("causes lie before their effects and nothing covers anything", () => {
  for (let seed = 1; seed <= 25; seed += 1) {
    const graph = randomGraph(seed, { size: 12 });
    const places = arrange(graph, sizeOf);
    const forward = forwardEdges(graph);
    const axis = forward.every(({ cause, effect }) => places.get(cause)[0] < places.get(effect)[0]) ? 0 : 1;
    for (const edge of graph.edges) {
      const [first, last] = [edge.cause, edge.effect].map((name) => places.get(name)[axis]);
      assert.ok(forward.includes(edge) ? first < last : last < first, `seed ${seed}`);
    }
    const all = [...places.values()];
    all.forEach((one, index) => all.slice(index + 1).forEach((other) => assert.ok(apart(one, other), `seed ${seed}`)));
  }
});

test("a crowd is packed with causes before effects, whatever proposed edges run back", () => {
  for (let seed = 1; seed <= 10; seed += 1) {
    const graph = randomGraph(seed, { size: 48, density: 0.06 });
    const forward = forwardEdges(graph);
    assert.ok(forward.length < graph.edges.length, "some edges run back");
    const places = arrange(graph, sizeOf);
    for (const { cause, effect } of forward) assert.ok(places.get(cause)[0] < places.get(effect)[0], `seed ${seed}`);
    const all = [...places.values()];
    assert.ok(all.flat().every(Number.isFinite));
    all.forEach((one, index) => all.slice(index + 1).forEach((other) => assert.ok(apart(one, other), `seed ${seed}`)));
  }
});

test("a confirmed edge points forwards, and the proposed one of its cycle back", () => {
  const names = ["a", "b", "c"];
  const edges = [["c", "a", "proposed"], ["a", "b"], ["b", "c"], ["b", "a", "proposed"]].map(([cause, effect, status]) => makeEdge({ cause, effect, ...(status && { status }) }));
  const places = arrange(makeGraph({ concepts: names.map((name) => makeConcept({ name, value: "x" })), edges }), sizeOf);
  const axis = places.get("a")[0] < places.get("b")[0] ? 0 : 1;
  const along = names.map((name) => places.get(name)[axis]);
  assert.deepEqual(along, [...along].sort((one, other) => one - other));
});

test("what the artist placed stays, and newcomers find room beside it", () => {
  const graph = randomGraph(3, { size: 10 });
  const fixed = new Map(graph.concepts.slice(0, 6).map(({ name }, index) => [name, [index * 210, 500]]));
  const places = arrange(graph, sizeOf, fixed);
  for (const [name, place] of fixed) assert.deepEqual(places.get(name), place);
  const all = [...places.values()];
  all.forEach((one, index) => all.slice(index + 1).forEach((other) => assert.ok(apart(one, other))));
});

test("the same graph is always laid out the same way", () => {
  const graph = randomGraph(8, { size: 20 });
  assert.deepEqual([...arrange(graph, sizeOf)], [...arrange(graph, sizeOf)]);
});

test("the box around nothing is empty", () => {
  assert.deepEqual(bounds([]), { x: 0, y: 0, width: 0, height: 0 });
  assert.deepEqual(bounds([{ x: -5, y: 2, width: 10, height: 4 }, { x: 20, y: 0, width: 1, height: 1 }]), { x: -5, y: 0, width: 26, height: 6 });
});
