import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import * as commands from "../../web/editor/commands.mjs";
import { fromObject, readJson, toObject, writeJson } from "../../web/editor/json.mjs";
import { forget, remember, remembered } from "../../web/editor/session.mjs";
import { merge, mergeAgain } from "../../web/editor/merge.mjs";
import { conceptOf, edgeOf, makeGraph } from "../../web/editor/model.mjs";
import { randomGraph } from "./random.mjs";


const source = {
  base_prompt: "a street",
  concepts: [
    { name: "weather", value: "sunny", values: { sunny: "sunny weather", rainy: "rain" } },
    { name: "ground", value: "dry", values: { dry: "dry ground", wet: "wet ground" } },
    { name: "car", value: "red", values: { red: "a red car", blue: "a blue car" } },
  ],
  edges: [
    { cause: "weather", effect: "ground", reason: "rain wets", status: "proposed" },
    { cause: "weather", effect: "car", reason: "", status: "proposed" },
  ],
};
const base = fromObject(source);
const extractedWith = (change) => {
  const copy = structuredClone(source);
  change(copy);
  return fromObject(copy);
};
const cases = JSON.parse(readFileSync(new URL("../fixtures/graphs/merges.json", import.meta.url), "utf8"));
const kinds = ({ conflicts }) => conflicts.map(({ kind, subject }) => `${kind} ${subject}`);

test("nothing new changes nothing", () => {
  const mine = commands.setPhrase(commands.intervene(base, "weather", "rainy"), "ground", "wet", "shining puddles");
  const { graph, conflicts } = merge(base, mine, base);
  assert.deepEqual(toObject(graph), toObject(mine));
  assert.deepEqual(conflicts, []);
});

test("an untouched graph follows the extraction", () => {
  const theirs = extractedWith((it) => {
    it.concepts[0].value = "rainy";
    it.concepts.splice(2, 1, { name: "dog", value: "none" });
    it.edges.pop();
  });
  const merged = merge(base, base, theirs);
  assert.deepEqual(toObject(merged.graph), toObject(theirs));
  assert.deepEqual(merged.conflicts, []);
});

test("the artist's work survives a new extraction", () => {
  let mine = commands.confirm(base, base.edges[0]);
  mine = commands.removeConcepts(mine, ["car"]);
  mine = commands.addConcept(mine, { name: "mood", value: "calm" });
  mine = commands.connect(mine, "weather", "mood");
  mine = commands.place(mine, new Map([["ground", [5, 6]]]));
  mine = commands.intervene(mine, "weather", "rainy");
  const theirs = extractedWith((it) => {
    it.concepts.push({ name: "lamp", value: "off", values: { off: "a dark lamp", on: "a lit lamp" } });
    it.edges.push({ cause: "weather", effect: "lamp", status: "proposed" });
    it.base_prompt = "a town street";
  });
  const { graph, conflicts } = merge(base, mine, theirs);
  assert.deepEqual(graph.concepts.map(({ name }) => name), ["weather", "ground", "mood", "lamp"]);
  assert.equal(edgeOf(graph, "weather", "ground")?.status, "confirmed");
  assert.deepEqual(conceptOf(graph, "ground").position, [5, 6]);
  assert.equal(graph.interventions.get("weather"), "rainy");
  assert.equal(graph.basePrompt, "a town street");
  assert.ok(edgeOf(graph, "weather", "lamp") && edgeOf(graph, "weather", "mood"));
  assert.deepEqual(conflicts, []);
});

test("a rejected edge stays rejected", () => {
  const { graph } = merge(base, commands.disconnect(base, base.edges[1]), base);
  assert.equal(edgeOf(graph, "weather", "car"), undefined);
});

test("where both changed the value, mine stands, theirs is offered and joins the domain", () => {
  const mine = commands.setValue(base, "weather", "rainy");
  const theirs = extractedWith((it) => {
    it.concepts[0].value = "foggy";
    it.concepts[0].values.foggy = "thick fog";
  });
  const merged = merge(base, mine, theirs);
  assert.equal(conceptOf(merged.graph, "weather").value, "rainy");
  assert.deepEqual(kinds(merged), ["value weather"]);
  const [conflict] = merged.conflicts;
  assert.deepEqual([conflict.mine, conflict.theirs], ["rainy", "foggy"]);
  const taken = conceptOf(conflict.apply(merged.graph), "weather");
  assert.equal(taken.values.get(taken.value), "thick fog");
  assert.deepEqual(merge(base, mine, theirs, new Set([conflict.key])).conflicts, []);
});

test("conflicts of phrase, prompt, description, scope and reason are shown", () => {
  let mine = commands.setBasePrompt(base, "my street");
  mine = commands.setPhrase(mine, "ground", "wet", "mirrors of water");
  mine = commands.setDescription(commands.setScope(mine, "weather", "global"), "weather", "mine");
  mine = commands.setReason(mine, base.edges[0], "mine");
  const theirs = extractedWith((it) => {
    it.base_prompt = "their street";
    it.concepts[1].values.wet = "soaked ground";
    it.concepts[0].description = "theirs";
    it.edges[0].reason = "theirs";
  });
  const merged = merge(base, mine, theirs);
  assert.deepEqual(kinds(merged), ["base_prompt ", "description weather", "phrase ground = wet", "reason weather → ground"]);
  assert.equal(conceptOf(merged.graph, "weather").scope, "global");
  const all = merged.conflicts.reduce((graph, { apply }) => apply(graph), merged.graph);
  assert.equal(all.basePrompt, "their street");
  assert.equal(conceptOf(all, "ground").values.get("wet"), "soaked ground");
});

test("a concept that I changed and the extraction dropped stays, and is asked about", () => {
  const mine = commands.setValue(base, "car", "blue");
  const theirs = extractedWith((it) => {
    it.concepts.pop();
    it.edges.pop();
  });
  const merged = merge(base, mine, theirs);
  assert.deepEqual(kinds(merged), ["concept car"]);
  assert.equal(conceptOf(merged.graph, "car").value, "blue");
  assert.equal(merged.conflicts[0].apply(merged.graph).concepts.length, 2);
});

test("an extracted edge against one of mine is not drawn, and taking it turns mine round", () => {
  let mine = commands.disconnect(base, base.edges[0]);
  mine = commands.connect(mine, "ground", "car");
  const theirs = extractedWith((it) => it.edges.push({ cause: "car", effect: "ground" }));
  const merged = merge(base, mine, theirs);
  assert.deepEqual(kinds(merged), ["cycle car → ground"]);
  assert.ok(edgeOf(merged.conflicts[0].apply(merged.graph), "car", "ground"));
});

for (const { name, settled, merged, conflicts, ...sides } of cases) {
  test(`as in Python: ${name}`, () => {
    const [base, mine, theirs] = [sides.base, sides.mine, sides.theirs].map(fromObject);
    const latest = sides.latest ? fromObject(sides.latest) : base;
    const found = mergeAgain({ base, latest, settled: new Set(settled) }, mine, theirs);
    assert.equal(JSON.stringify(toObject(found.graph)), JSON.stringify(merged));
    assert.deepEqual(found.conflicts.map((each) => [each.kind, each.subject, each.mine, each.theirs]), conflicts);
    found.conflicts.reduce((graph, { apply }) => (graph.concepts.length < 64 ? apply(graph) : graph), found.graph);
  });
}

test("taking an extracted edge takes out the whole way back that mine has", () => {
  const chain = ["weather", "ground", "car"].map((cause, place, all) => ({ cause, effect: all[place + 1] })).slice(0, 2);
  const mine = fromObject({ ...source, edges: chain });
  const theirs = fromObject({ ...source, edges: [{ cause: "car", effect: "weather" }] });
  const { graph, conflicts } = merge(fromObject({ ...source, edges: [] }), mine, theirs);
  assert.deepEqual(conflicts.map(({ kind, mine: path }) => [kind, path]), [["cycle", "weather → ground → car"]]);
  const taken = conflicts[0].apply(graph);
  assert.deepEqual(taken.edges.map(({ cause, effect }) => `${cause} ${effect}`), ["weather ground", "car weather"]);
});

test("taking what an extraction confirms takes out mine, and the proposal is confirmed", () => {
  const [there, back] = [{ cause: "weather", effect: "ground", reason: "rain" }, { cause: "ground", effect: "weather", reason: "mist" }];
  const proposed = (edge) => ({ ...edge, status: "proposed" });
  const [old, mine, theirs] = [[proposed(there), proposed(back)], [there, proposed(back)], [proposed(there), back]].map((edges) => fromObject({ ...source, edges }));
  const { graph, conflicts } = merge(old, mine, theirs);
  assert.deepEqual(toObject(graph), toObject(mine));
  assert.deepEqual(kinds({ conflicts }), ["cycle ground → weather"]);
  assert.deepEqual(conflicts[0].apply(graph).edges.map(({ cause, status, reason }) => [cause, status, reason]), [["ground", "confirmed", "mist"]]);
});

test("a concept that I rename remembers which one it was, and follows its extraction", () => {
  const extracted = new Set(base.concepts.map(({ name }) => name));
  const mine = commands.renameConcept(base, "weather", "sky", extracted);
  assert.equal(conceptOf(mine, "sky").extra.origin, "weather");
  assert.equal(conceptOf(commands.renameConcept(mine, "sky", "heaven", extracted), "heaven").extra.origin, "weather");
  assert.deepEqual(toObject(commands.renameConcept(mine, "sky", "weather", extracted)), toObject(base));
  const theirs = extractedWith((it) => { it.concepts[0].value = "rainy"; });
  const { graph, conflicts } = merge(base, mine, theirs);
  assert.deepEqual(graph.concepts.map(({ name, value }) => `${name} ${value}`), ["sky rainy", "ground dry", "car red"]);
  assert.equal(graph.edges.length, 2);
  assert.deepEqual(conflicts, []);
});

test("a concept that no extraction knows is renamed without a trace", () => {
  assert.deepEqual(conceptOf(commands.renameConcept(base, "car", "bus"), "bus").extra, {});
  assert.deepEqual(conceptOf(commands.renameConcept(base, "car", "bus", new Set(["weather"])), "bus").extra, {});
});

test("merging again changes nothing, on random graphs", () => {
  for (let seed = 1; seed <= 120; seed += 1) {
    const [one, two, three] = [seed, seed + 500, seed + 900].map((each) => randomGraph(each, { size: 6 }));
    const first = merge(one, two, three);
    const second = merge(one, first.graph, three);
    assert.deepEqual(toObject(second.graph), toObject(first.graph), `seed ${seed}`);
    assert.deepEqual(kinds(second), kinds(first), `seed ${seed}`);
  }
});

test("a conflict taken or settled does not return", () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const [one, two, three] = [seed, seed + 500, seed + 900].map((each) => randomGraph(each, { size: 6 }));
    const { graph, conflicts } = merge(one, two, three);
    const settled = new Set(conflicts.map(({ key }) => key));
    assert.deepEqual(merge(one, graph, three, settled).conflicts, []);
  }
});

test("what a merge needs is stored in the graph and survives its text", () => {
  const latest = extractedWith((it) => { it.concepts[0].value = "rainy"; });
  const memory = { base, latest, settled: new Set(["k"]) };
  const stored = readJson(writeJson(remember(commands.setValue(base, "car", "blue"), memory)));
  const again = remembered(stored);
  assert.deepEqual([again.base, again.latest].map(toObject), [base, latest].map(toObject));
  assert.deepEqual([...again.settled], ["k"]);
  assert.deepEqual(Object.keys(forget(stored).extra), []);
  assert.equal(remembered(base).base.concepts.length, 0);
  const settled = remember(stored, { base, latest: base, settled: new Set() });
  assert.deepEqual(Object.keys(settled.extra), ["extracted"]);
});
