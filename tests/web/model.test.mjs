import assert from "node:assert/strict";
import test from "node:test";

import { intervene, toggleHold } from "../../web/editor/commands.mjs";
import { fromObject, meaningOf, readJson, writeJson } from "../../web/editor/json.mjs";
import {
  MAX_CONCEPTS, cycleClosedBy, descendants, findPath, forwardEdges, isCut, makeConcept, makeEdge, makeGraph, roles, topologicalOrder,
} from "../../web/editor/model.mjs";
import { randomGraph, uniform } from "./random.mjs";

const concept = (name, ...values) => makeConcept({ name, value: values[0] ?? "a", values: new Map((values.length ? values : ["a", "b"]).map((each) => [each, each])) });
const chain = makeGraph({
  concepts: ["season", "weather", "ground", "house"].map((name) => concept(name)),
  edges: [makeEdge({ cause: "season", effect: "weather" }), makeEdge({ cause: "weather", effect: "ground" })],
});
const refuses = (code, details) => (error) => {
  assert.equal(error.code, code);
  for (const [key, value] of Object.entries(details ?? {})) assert.equal(error.details[key], value);
  return true;
};

test("a cycle is refused and its whole path named", () => {
  const edges = [...chain.edges, makeEdge({ cause: "ground", effect: "season" })];
  assert.throws(() => makeGraph({ ...chain, edges }), refuses("cycle", { path: "season → weather → ground → season" }));
});

test("a cycle is found behind concepts that only follow it", () => {
  const names = ["tail", "a", "b"];
  const edges = [["a", "b"], ["b", "a"], ["b", "tail"]].map(([cause, effect]) => makeEdge({ cause, effect }));
  assert.throws(() => makeGraph({ concepts: names.map((name) => concept(name)), edges }), (error) => {
    assert.match(error.details.path, /^(a → b → a|b → a → b)$/);
    return true;
  });
});

for (const [code, fields, details] of [
  ["self_loop", { edges: [makeEdge({ cause: "ground", effect: "ground" })] }, { name: "ground" }],
  ["unknown_concept", { edges: [makeEdge({ cause: "ground", effect: "moon" })] }, { name: "moon" }],
  ["duplicate_edge", { edges: [chain.edges[0], chain.edges[0]] }, { cause: "season" }],
  ["duplicate_name", { concepts: [concept("x"), concept("x")], edges: [] }, { name: "x" }],
  ["empty_name", { concepts: [concept("  ")], edges: [] }, {}],
  ["outside_domain", { interventions: new Map([["ground", "lava"]]) }, { name: "ground", value: "lava" }],
  ["unknown_concept", { interventions: new Map([["moon", "full"]]) }, { name: "moon" }],
]) {
  test(`${code} is refused and the culprit named`, () => {
    assert.throws(() => makeGraph({ ...chain, ...fields }), refuses(code, details));
  });
}

test("64 concepts are taken, 65 are not", () => {
  const many = (count) => [...Array(count).keys()].map((index) => concept(`c${index}`));
  assert.equal(makeGraph({ concepts: many(MAX_CONCEPTS) }).concepts.length, 64);
  assert.throws(() => makeGraph({ concepts: many(65) }), refuses("too_many", { count: 65 }));
});

test("a value outside the concept's own domain is refused", () => {
  const odd = makeConcept({ name: "x", value: "c", values: new Map([["a", "a"]]) });
  assert.throws(() => makeGraph({ concepts: [odd] }), refuses("outside_domain", { domain: "a" }));
});

test("do() lights up descendants and cuts what enters", () => {
  const done = intervene(chain, "weather", "b");
  assert.deepEqual(Object.fromEntries(roles(done)), { season: "preserved", weather: "intervened", ground: "descendant", house: "preserved" });
  assert.deepEqual(done.edges.map((edge) => isCut(done, edge)), [true, false]);
  assert.equal(chain.interventions.size, 0, "the first graph is untouched");
});

test("holding a mediator stops the effect through it", () => {
  const held = toggleHold(intervene(chain, "season", "b"), "weather");
  assert.deepEqual(Object.fromEntries(roles(held)), { season: "intervened", weather: "held", ground: "preserved", house: "preserved" });
  assert.equal(toggleHold(held, "weather").interventions.has("weather"), false);
});

test("do() at the factual value alone changes nothing downstream", () => {
  assert.equal(roles(intervene(chain, "season", "a")).get("weather"), "preserved");
});

test("proposed edges carry no effect and close no cycle", () => {
  const graph = makeGraph({ ...chain, edges: [makeEdge({ cause: "ground", effect: "season", status: "proposed" }), ...chain.edges] });
  assert.equal(descendants(graph, ["ground"]).size, 0);
  assert.deepEqual(topologicalOrder(graph), ["season", "weather", "ground", "house"]);
  assert.deepEqual(forwardEdges(graph), chain.edges);
  assert.equal(findPath(graph, "ground", "season"), null);
  assert.deepEqual(cycleClosedBy(graph, "ground", "season"), ["ground", "season", "weather", "ground"]);
});

test("what points forwards is confirmed, or proposed and closes no cycle with what came before, on 300 random graphs", () => {
  let backwards = 0;
  for (let seed = 1; seed <= 300; seed += 1) {
    const graph = randomGraph(seed);
    const forward = forwardEdges(graph);
    const taken = graph.edges.filter(({ status }) => status === "confirmed");
    for (const edge of graph.edges.filter(({ status }) => status === "proposed")) {
      const closes = cycleClosedBy({ edges: taken.map((each) => makeEdge({ ...each, status: "confirmed" })) }, edge.cause, edge.effect);
      assert.equal(forward.includes(edge), !closes, `seed ${seed}`);
      if (closes) backwards += 1;
      else taken.push(edge);
    }
    assert.deepEqual(new Set(forward), new Set(taken));
  }
  assert.ok(backwards > 100);
});

/** Reachability by the transitive closure of a matrix: slow and plain. */
function closure(graph, names) {
  const reach = new Map(graph.concepts.map(({ name }) => [name, new Set()]));
  for (const { cause, effect, status } of graph.edges) {
    if (status === "confirmed" && !graph.interventions.has(effect)) reach.get(cause).add(effect);
  }
  for (const via of reach.keys()) for (const [, to] of reach) if (to.has(via)) for (const end of reach.get(via)) to.add(end);
  return new Set(names.flatMap((name) => [...reach.get(name)]).filter((name) => !names.includes(name)));
}

test("descendants equal the closure of the surgered graph on 300 random graphs", () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const draw = uniform(seed + 1000);
    const plain = randomGraph(seed);
    const names = plain.concepts.map(({ name }) => name).filter(() => draw() < 0.3);
    const graph = draw() < 0.5 ? plain : names.reduce((done, name) => intervene(done, name, "b"), plain);
    assert.deepEqual([...descendants(graph, names)].sort(), [...closure(graph, names)].sort(), `seed ${seed}`);
  }
});

test("the topological order puts causes first, ties as drawn, on 300 random graphs", () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const graph = randomGraph(seed);
    const place = new Map(topologicalOrder(graph).map((name, index) => [name, index]));
    assert.equal(place.size, graph.concepts.length);
    for (const { cause, effect, status } of graph.edges) {
      assert.ok(status === "proposed" || place.get(cause) < place.get(effect), `seed ${seed}`);
    }
    const bare = makeGraph({ ...graph, edges: graph.edges.filter(({ status }) => status === "confirmed") });
    assert.deepEqual([...place.keys()], topologicalOrder(bare));
  }
  const loose = makeGraph({ concepts: ["z", "a", "m"].map((name) => concept(name)) });
  assert.deepEqual(topologicalOrder(loose), ["z", "a", "m"]);
});

test("an edge closes a cycle exactly when the validated graph says so", () => {
  for (let seed = 1; seed <= 100; seed += 1) {
    const graph = randomGraph(seed, { size: 6 });
    for (const { name: cause } of graph.concepts) for (const { name: effect } of graph.concepts) {
      if (cause === effect || graph.edges.some((edge) => edge.cause === cause && edge.effect === effect)) continue;
      const closes = cycleClosedBy(graph, cause, effect) !== null;
      const build = () => makeGraph({ ...graph, edges: [...graph.edges, makeEdge({ cause, effect })] });
      if (closes) assert.throws(build, refuses("cycle"));
      else build();
    }
  }
});

test("the shortest path is found", () => {
  const edges = [["a", "b"], ["b", "c"], ["c", "d"], ["a", "d"]].map(([cause, effect]) => makeEdge({ cause, effect }));
  const graph = makeGraph({ concepts: ["a", "b", "c", "d"].map((name) => concept(name)), edges });
  assert.deepEqual(findPath(graph, "a", "d"), ["a", "d"]);
  assert.equal(findPath(graph, "d", "a"), null);
});

for (const [what, source, code] of [
  ["no JSON", "{", "bad_json"],
  ["a list", "[]", "bad_field"],
  ["no concepts", "{}", "bad_field"],
  ["a concept without value", '{"concepts": [{"name": "x"}]}', "bad_field"],
  ["a number as name", '{"concepts": [{"name": 3, "value": "a"}]}', "bad_field"],
  ["a newer version", '{"version": 2, "concepts": []}', "bad_version"],
  ["a position with text", '{"concepts": [{"name": "x", "value": "a", "position": [1, "2"]}]}', "bad_field"],
  ["an unknown scope", '{"concepts": [{"name": "x", "value": "a", "scope": "cosmic"}]}', "bad_field"],
]) {
  test(`JSON with ${what} is refused`, () => assert.throws(() => readJson(source), refuses(code)));
}

for (const [text, line] of [["{", 1], ['{\n "concepts": [\n', 2], ['{"version": 1,\n\n "concepts": nothing}', 3]]) {
  test(`broken JSON is marked at line ${line}`, () => assert.throws(() => readJson(text), refuses("bad_json", { line })));
}

test("empty text is the empty graph, and defaults are filled in", () => {
  assert.equal(readJson("  \n").concepts.length, 0);
  const [only] = readJson('{"concepts": [{"name": "x", "value": "a"}]}').concepts;
  assert.deepEqual([only.scope, only.position, [...only.values]], ["local", null, [["a", "a"]]]);
});

test("the meaning of a graph ignores places and order, not values or do()s", () => {
  const graph = readJson(writeJson(chain));
  const moved = fromObject({ ...JSON.parse(writeJson(chain)), concepts: JSON.parse(writeJson(chain)).concepts.map((each) => ({ ...each, position: [1, 2] })).reverse() });
  assert.equal(meaningOf(moved), meaningOf(graph));
  assert.notEqual(meaningOf(intervene(graph, "ground", "b")), meaningOf(graph));
});
