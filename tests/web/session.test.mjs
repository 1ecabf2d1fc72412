import assert from "node:assert/strict";
import test from "node:test";

import * as commands from "../../web/editor/commands.mjs";
import { expect, open, unlock } from "../../web/editor/commands.mjs";
import { meaningOf, readJson, writeJson } from "../../web/editor/json.mjs";
import { Session } from "../../web/editor/session.mjs";

const scene = (values) => readJson(JSON.stringify({
  base_prompt: `a street, ${values.weather}`,
  concepts: Object.entries(values).map(([name, value]) => ({ name, value, values: ["sunny", "rainy", "red", "blue", "dry", "wet"] })),
  edges: [{ cause: "weather", effect: "ground" }],
}));
const THREE = scene({ weather: "sunny", ground: "dry", house: "red" });
const TWELVE = scene({ weather: "rainy", ground: "wet", house: "blue" });

/** A session and the texts that it stored. */
function started(text = "") {
  const stored = [];
  const session = new Session((each) => stored.push(each));
  session.load(text);
  return { session, stored };
}

/** @param {Session} session */
const values = ({ graph }) => Object.fromEntries(graph.concepts.map(({ name, value }) => [name, value]));

test("what was never edited is the connected graph, whichever comes", () => {
  const { session, stored } = started();
  for (const graph of [THREE, TWELVE, THREE]) {
    session.setUpstream(graph);
    assert.equal(writeJson(session.graph), writeJson(graph));
    assert.deepEqual([session.conflicts, stored], [[], []]);
  }
  session.load("");
  assert.equal(writeJson(session.graph), writeJson(THREE));
});

test("an edit stands over another picture, and what both changed is asked", () => {
  const { session, stored } = started();
  session.setUpstream(THREE);
  session.run((graph) => commands.setValue(graph, "house", "dry"));
  session.setUpstream(TWELVE);
  assert.deepEqual(values(session), { weather: "rainy", ground: "wet", house: "dry" });
  assert.deepEqual(session.conflicts.map(({ kind, subject, theirs }) => [kind, subject, theirs]), [["value", "house", "blue"]]);
  session.settle(session.conflicts[0], "theirs");
  assert.deepEqual([values(session).house, session.conflicts], ["blue", []]);
  const again = started(stored.at(-1)).session;
  again.setUpstream(TWELVE);
  assert.deepEqual([values(again), again.conflicts], [values(session), []]);
});

test("what was taken in is no step of undo, and what is undone counts as edited", () => {
  const { session, stored } = started();
  session.setUpstream(THREE);
  assert.equal(session.undo(), false);
  session.run((graph) => commands.intervene(graph, "weather", "rainy"));
  assert.equal(session.undo(), true);
  assert.deepEqual([...readJson(stored.at(-1)).interventions], []);
  assert.deepEqual(values(session), values({ graph: THREE }));
  assert.equal(session.redo(), true);
  assert.deepEqual([...session.graph.interventions], [["weather", "rainy"]]);
});

test("a refusal changes nothing and is stored nowhere", () => {
  const { session, stored } = started(writeJson(THREE));
  assert.throws(() => session.run((graph) => commands.connect(graph, "ground", "weather")), { code: "cycle" });
  assert.deepEqual([writeJson(session.graph), stored], [writeJson(THREE), []]);
});

test("what cannot be stored has not happened, and can be tried again", () => {
  const { session, stored } = started(writeJson(THREE));
  session.run((graph) => commands.setValue(graph, "house", "blue"));
  session.run((graph) => commands.setValue(graph, "house", "dry"));
  session.undo();
  session.select(["house"]);
  const state = () => [writeJson(session.graph), session.history.canUndo, session.history.canRedo, [...session.selected]];
  const [before, keep] = [state(), session.write];
  session.write = () => {
    throw new Error("full");
  };
  for (const act of [
    () => session.run((graph) => commands.setValue(graph, "weather", "rainy")), () => session.undo(), () => session.redo(),
    () => session.run((graph) => commands.removeConcepts(graph, ["house"])),
  ]) {
    assert.throws(act, { code: "not_stored" });
    assert.deepEqual(state(), before);
  }
  session.write = keep;
  session.redo();
  assert.equal(values(session).house, "dry");
  assert.equal(values({ graph: readJson(stored.at(-1)) }).house, "dry");
});

test("a conflict whose answer cannot be stored stays open", () => {
  const { session } = started();
  session.setUpstream(THREE);
  session.run((graph) => commands.setValue(graph, "house", "dry"));
  session.setUpstream(TWELVE);
  const keep = session.write;
  session.write = () => {
    throw new Error("full");
  };
  assert.throws(() => session.settle(session.conflicts[0], "theirs"), ({ code, details }) => code === "not_stored" && details.reason.includes("full"));
  assert.deepEqual([values(session).house, session.conflicts.length], ["dry", 1]);
  session.write = keep;
  session.settle(session.conflicts[0], "theirs");
  assert.deepEqual([values(session).house, session.conflicts.length], ["blue", 0]);
});

test("a broken text is kept with its reason until one comes that reads", () => {
  const { session } = started("{");
  assert.equal(session.broken?.text, "{");
  assert.equal(session.graph.concepts.length, 0);
  session.load("dag { a -> b }");
  assert.equal(session.broken, null);
  assert.deepEqual(session.graph.edges.map(({ cause, effect }) => [cause, effect]), [["a", "b"]]);
});

test("what goes with an undo is no longer selected", () => {
  const { session } = started(writeJson(THREE));
  session.run((graph) => commands.addConcept(graph, { name: "lamp", value: "on" }));
  session.select(["lamp", "house"]);
  session.undo();
  assert.deepEqual([...session.selected], ["house"]);
});

/** Weather and time with what follows from each. */
const STREET = readJson(JSON.stringify({
  concepts: [
    { name: "weather", value: "sunny", values: ["sunny", "rainy", "snowy"] }, { name: "time", value: "day", values: ["day", "night"] },
    { name: "ground", value: "dry", values: ["dry", "wet"] }, { name: "lamp", value: "off", values: ["off", "on"] },
    { name: "shine", value: "none", values: ["none", "some"] }, { name: "house", value: "red", values: ["red", "blue"] },
  ],
  edges: [["weather", "ground"], ["time", "lamp"], ["lamp", "shine"], ["ground", "shine"]].map(([cause, effect]) => ({ cause, effect })),
}));

/** @param {Session} session */
const effects = ({ graph }) => Object.fromEntries(graph.effects);

test("effects that no longer follow from do() are let go, and undo brings them back", () => {
  const { session, stored } = started(writeJson(STREET));
  const act = (command, ...rest) => session.run((graph) => command(graph, ...rest));
  act(commands.intervene, "weather", "rainy");
  assert.deepEqual(open(session.graph), ["ground", "shine"]);
  act(expect, "ground", "wet");
  act(expect, "shine", "some");
  assert.deepEqual(open(session.graph), []);
  act(commands.intervene, "time", "night");
  assert.deepEqual([effects(session), open(session.graph)], [{ ground: "wet", shine: "some" }, ["lamp"]], "another do() doubts nothing");
  act(expect, "lamp", "on");
  act(commands.intervene, "weather", "snowy");
  assert.deepEqual(effects(session), { lamp: "on" }, "what followed from rain");
  session.undo();
  assert.deepEqual(effects(session), { ground: "wet", shine: "some", lamp: "on" });
  act(commands.intervene, "ground", "wet");
  assert.deepEqual(effects(session), { lamp: "on", shine: "some" }, "cut off, at the value that was to follow");
  act(unlock, "ground");
  assert.deepEqual(effects(session), { lamp: "on", shine: "some", ground: "wet" }, "and given back");
  session.undo();
  session.undo();
  act(commands.release, "time");
  assert.deepEqual(effects(session), { ground: "wet" });
  act(commands.disconnect, { cause: "weather", effect: "ground" });
  assert.deepEqual(effects(session), {});
  session.undo();
  assert.deepEqual(Object.fromEntries(readJson(stored.at(-1)).effects), { ground: "wet" }, "and it is stored so");
});

test("what follows is taken back by the same value, and goes with its value, its name and its concept", () => {
  const raining = expect(commands.intervene(STREET, "weather", "rainy"), "ground", "wet");
  assert.equal(expect(raining, "ground", "wet").effects.size, 0);
  assert.deepEqual([...expect(raining, "ground", "dry").effects], [["ground", "dry"]], "it may also be said to stay");
  assert.deepEqual([...commands.renameConcept(raining, "ground", "street").effects], [["street", "wet"]]);
  assert.deepEqual([...commands.renameValue(raining, "ground", "wet", "soaked").effects], [["ground", "soaked"]]);
  assert.equal(commands.removeValue(raining, "ground", "wet").effects.size, 0);
  assert.equal(commands.removeConcepts(raining, ["ground"]).effects.size, 0);
  assert.throws(() => expect(raining, "ground", "on fire"), { code: "outside_domain" });
  assert.throws(() => expect(raining, "grund", "wet"), { code: "unknown_concept" });
  assert.notEqual(meaningOf(raining), meaningOf(expect(raining, "ground", "wet")), "results of another question are out of date");
});
