import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import test from "node:test";

import { readDagitty, recognise, writeDagitty } from "../../web/editor/dagitty.mjs";
import { readDot, writeDot } from "../../web/editor/dot.mjs";
import { readJson, toObject, writeJson } from "../../web/editor/json.mjs";

const folder = new URL("../fixtures/graphs/", import.meta.url);
const text = (file) => readFileSync(new URL(file, folder), "utf8");
const names = ["weather", "hostile", "empty"];
const forms = { json: [readJson, writeJson], dagitty: [readDagitty, writeDagitty], dot: [readDot, writeDot] };

for (const name of names) {
  for (const [form, [read, write]] of Object.entries(forms)) {
    test(`${name}.${form} is read whole and written byte for byte`, () => {
      const source = text(`${name}.${form}`);
      const graph = read(source);
      assert.deepEqual(toObject(graph), toObject(readJson(text(`${name}.json`))));
      assert.equal(write(graph), source);
      assert.equal(recognise(source), form);
    });
  }
}

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
