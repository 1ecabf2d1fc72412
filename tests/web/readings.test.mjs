import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { readAny } from "../../web/editor/files.mjs";
import { readJson } from "../../web/editor/json.mjs";

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

for (const [text, format] of [
  ["weather E @-1.1,1.6\nground O @1,1\n\nweather ground\n", "DAGitty (old notation)"], ["<graphml/>", "XML (GraphML, XMLBIF, GEXF)"],
  ["graph LR\n  a --> b", "Mermaid"], ["graph [\n directed 1\n]", "GML"],
]) {
  test(`${format} is called by its name`, () => {
    assert.throws(() => readAny(text), ({ code, details }) => code === "text_neighbour" && details.format === format);
  });
}

test("what is ours and damaged is refused, not guessed", () => {
  assert.throws(() => readAny('digraph { a [csg="{}"] }'), { code: "bad_field" });
  assert.throws(() => readJson('{"concepts": [], "concepts": []}'), { code: "json_repeated" });
  assert.throws(() => readJson(`{"concepts": [], "x": ${"[".repeat(101)}${"]".repeat(101)}}`), { code: "json_nested" });
  assert.equal(readJson('{"version": 1.0, "concepts": [], "note": "a \\" quoted [ { name"}').concepts.length, 0);
});

test("what a text multiplies to is bounded, and so is every text in a graph", () => {
  const nodes = Array.from({ length: 63 }, (_, i) => `n${i}`).join(" ");
  const attributes = Array.from({ length: 100 }, (_, i) => `a${i}=1`).join(", ");
  assert.throws(() => readAny(`digraph { {${nodes}} -> {${nodes.replaceAll("n", "m").slice(0, 4)}} [${attributes}] {${nodes}} -> {${nodes}} [${attributes}] }`),
    ({ code }) => ["text_multiplies", "too_many"].includes(code));
  const long = (field, count) => JSON.stringify({ concepts: [{ name: "a", value: "b", values: { b: "c" }, [field]: "x".repeat(count) }] });
  assert.throws(() => readJson(long("description", 4001)), { code: "too_long" });
  assert.throws(() => readJson(JSON.stringify({ concepts: [{ name: "x".repeat(201), value: "b" }] })), { code: "too_long" });
  assert.equal(readJson(JSON.stringify({ concepts: [{ name: "🌧".repeat(200), value: "b" }] })).concepts.length, 1, "counted as Python counts");
});
