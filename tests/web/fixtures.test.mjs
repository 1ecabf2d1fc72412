import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import test from "node:test";

import { confirm } from "../../web/editor/commands.mjs";
import { describe, readDagitty, revise, writeDagitty, readDot, writeDot } from "../../web/editor/files.mjs";
import { readJson, toObject, writeJson } from "../../web/editor/json.mjs";
import { edgeOf, topologicalOrder } from "../../web/editor/model.mjs";
import { recognise } from "../../web/editor/recognise.mjs";

const folder = new URL("../fixtures/graphs/", import.meta.url);
const text = (file) => readFileSync(new URL(file, folder), "utf8");
const names = ["weather", "hostile", "empty", "circle", "earlier", "expected"];
const forms = { json: [readJson, writeJson], dagitty: [readDagitty, writeDagitty], dot: [readDot, writeDot] };

for (const name of names) {
  for (const [form, [read, write]] of Object.entries(forms)) {
    test(`${name}.${form} is read whole and written byte for byte`, () => {
      const source = text(`${name}.${form}`);
      const graph = read(source);
      assert.deepEqual(toObject(graph), toObject(readJson(text(`${name}.json`))));
      assert.equal(write(graph), source);
      assert.deepEqual(recognise(source), { format: form, text: source });
    });
  }
}

test("a proposed edge that closes a cycle comes with every form and stays a proposal", () => {
  for (const [form, [read]] of Object.entries(forms)) {
    const graph = read(text(`circle.${form}`));
    const back = edgeOf(graph, "puddles", "clouds");
    assert.deepEqual([back?.status, back?.reason], ["proposed", "water rises again"]);
    assert.deepEqual(topologicalOrder(graph), ["clouds", "rain", "puddles"]);
    assert.throws(() => confirm(graph, { cause: "puddles", effect: "clouds" }), { code: "cycle" });
    assert.deepEqual(toObject(revise(graph, describe(graph))), toObject(graph), "and the Text tab keeps it");
  }
});

test("a file from before, with proposals under a key of their own, keeps that key", () => {
  const { edges, extra } = readJson(text("earlier.json"));
  assert.equal(edges.length, 1);
  assert.deepEqual(extra.proposed_edges, [{ cause: "puddles", effect: "rain", reason: "" }]);
});

test("a model drawn on dagitty.net is read as Python reads it", () => {
  assert.equal(writeJson(readDagitty(text("foreign.dagitty"))), text("foreign.json"));
});

test("every preset is a graph with proposed or confirmed edges and no pending do", () => {
  const presets = new URL("../../web/editor/presets/", import.meta.url);
  const files = readdirSync(presets);
  assert.deepEqual(files.sort(), ["landscape.json", "portrait.json", "still-life.json", "street.json", "town.json"]);
  for (const file of files) {
    const graph = readJson(readFileSync(new URL(file, presets), "utf8"));
    assert.ok(graph.concepts.length >= 7 && graph.edges.length >= 6, file);
    assert.equal(graph.interventions.size, 0);
  }
});
