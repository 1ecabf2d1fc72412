import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { readAny, describe, revise } from "../../web/editor/files.mjs";
import { readJson, toObject, writeJson } from "../../web/editor/json.mjs";
import { GraphError, edgeOf, makeGraph, normal } from "../../web/editor/model.mjs";

const readings = JSON.parse(readFileSync(new URL("../fixtures/graphs/readings.json", import.meta.url), "utf8"));
const pick = (graph, names, of) => Object.fromEntries(Object.keys(names ?? {}).map((name) => [name, of(graph.concepts.find((each) => each.name === name))]));

for (const { what, text, texts = [text], edges, values = {}, phrases = {}, domains = {}, positions = {}, interventions = {} } of readings) {
  test(`read as Python reads it: ${what}`, () => {
    for (const each of texts) {
      const graph = readAny(each);
      assert.deepEqual(graph.edges.map(({ cause, effect, status }) => `${cause} -> ${effect}${status === "proposed" ? " ?" : ""}`), edges);
      assert.ok(graph.edges.every(({ status, reason }) => status === "confirmed" || reason || each.includes("proposed")), "a doubt says why");
      assert.deepEqual(Object.fromEntries(graph.interventions), interventions);
      assert.deepEqual(pick(graph, values, ({ value }) => value), values);
      assert.deepEqual(pick(graph, phrases, (concept) => concept.values.get(concept.value)), phrases);
      assert.deepEqual(pick(graph, domains, (concept) => [...concept.values.keys()]), domains);
      assert.deepEqual(pick(graph, positions, ({ position }) => position && [...position]), positions);
    }
  });
}

for (const { what, text, code, words } of JSON.parse(readFileSync(new URL("../fixtures/graphs/refusals.json", import.meta.url), "utf8"))) {
  test(`refused as in Python: ${what}`, () => assert.throws(() => readAny(text), (error) => {
    assert.equal(error.code, code);
    if (code === "text_neighbour") assert.match(error.details.format, new RegExp(words));
    return error.message.length < 400;
  }));
}

test("an edge in doubt says why, in the Text tab too", () => {
  const graph = revise(makeGraph(), "dag { a -- b; c <-> d }");
  assert.deepEqual(graph.edges.map(({ status }) => status), ["proposed", "proposed"]);
  assert.match(edgeOf(graph, "c", "d")?.reason ?? "", /hidden common cause/);
});

test("what the Text tab shows is read by every reader", () => {
  const graph = readJson(`{"concepts": [{"name": "weather", "value": "sunny", "values": ["sunny", "rainy"]}, {"name": "mud", "value": "dry"}],
    "edges": [{"cause": "weather", "effect": "mud", "status": "proposed"}], "interventions": {"weather": "rainy"}}`);
  assert.deepEqual(toObject(readAny(describe(graph))), toObject(graph));
});

test("a refusal quotes strangers' words on one short line", () => {
  const name = `\u001b]0;owned\u0007\nERROR ${"n".repeat(100)}`;
  assert.throws(() => readAny(JSON.stringify({ concepts: [], interventions: { [name]: "x" } })), ({ details }) =>
    !/\p{Cc}/u.test(details.name) && details.name.length === 60);
});

test("a graph that is written can be read: what is nested too deep is not stored", () => {
  const deep = (levels) => JSON.parse("[".repeat(levels) + "]".repeat(levels));
  assert.doesNotThrow(() => readJson(writeJson(makeGraph({ extra: { x: deep(99) } }))));
  assert.throws(() => writeJson(makeGraph({ extra: { x: deep(100) } })), { code: "json_nested" });
});

test("what is ours and damaged is refused, not guessed", () => {
  assert.throws(() => readAny('digraph { a [csg="{}"] }'), { code: "bad_field" });
  assert.throws(() => readJson('{"concepts": [], "concepts": []}'), { code: "json_repeated" });
  assert.throws(() => readJson(`{"concepts": [], "x": ${"[".repeat(101)}${"]".repeat(101)}}`), { code: "json_nested" });
  assert.equal(readJson('{"version": 1.0, "concepts": [], "note": "a \\" quoted [ { name"}').concepts.length, 0);
});

test("what would multiply is bounded first, and a text of 1 MB is read or refused at once", { timeout: 60_000 }, () => {
  const fill = (head, unit, tail = "") => head + unit.repeat(Math.floor((1e6 - head.length - tail.length) / unit.length)) + tail;
  const refused = (text, code) => assert.throws(() => readAny(text), { code });
  for (const [unit, tail] of [["k=v ", "] }"], ["; ", ""], ['"a" + ', ""]]) refused(fill("digraph { a [", unit, tail), "too_many_words");
  assert.equal(readAny(`digraph { a [${"k=v ".repeat(30_000)}] }`).concepts.length, 1);
  refused(`digraph { node [label="${"x".repeat(20_001)}"]; a }`, "too_long");
  refused(`digraph { "${"x".repeat(201)}" [label="\\N"] }`, "too_long");
  refused(`{"concepts": [${Array(65).fill('{"name": "a", "value": "b"}').join()}]}`, "too_many");
  for (const [head, unit] of [["x dag {", '\\"'], ["{", '\\"'], ["from", "\t"], ["net", " "], ["x\n", "```\n/*\n```\n"]]) {
    assert.throws(() => readAny(fill(head, unit)), GraphError);
  }
  assert.equal(readAny(fill('digraph { a [pos="1', " ", 'x,2"] }')).concepts[0].position, null);
});

test("marks in endless rows are not sorted", { timeout: 60_000 }, () => {
  assert.equal(normal(`a${"\u0301\u0316".repeat(200_000)}`).at(1), "\u0301");
  assert.equal(normal(`a${"\u0301\u0316".repeat(15)}`), `\xe1${"\u0316".repeat(15)}${"\u0301".repeat(14)}`);
});

test("every text in a graph is bounded", () => {
  const long = (field, count) => JSON.stringify({ concepts: [{ name: "a", value: "b", values: { b: "c" }, [field]: "x".repeat(count) }] });
  assert.throws(() => readJson(long("description", 4001)), { code: "too_long" });
  assert.throws(() => readJson(JSON.stringify({ concepts: [{ name: "x".repeat(201), value: "b" }] })), { code: "too_long" });
  assert.equal(readJson(JSON.stringify({ concepts: [{ name: "🌧".repeat(200), value: "b" }] })).concepts.length, 1, "counted as Python counts");
});
