import assert from "node:assert/strict";
import test from "node:test";

import * as commands from "../../web/editor/commands.mjs";
import { History } from "../../web/editor/session.mjs";
import { describe as asText, revise } from "../../web/editor/files.mjs";
import { readJson, toObject } from "../../web/editor/json.mjs";
import { conceptOf, edgeOf, makeEdge, makeGraph } from "../../web/editor/model.mjs";
import { randomGraph, uniform } from "./random.mjs";


const graph = readJson(JSON.stringify({
  base_prompt: "a street",
  concepts: [
    { name: "weather", value: "sunny", values: { sunny: "sunny weather", rainy: "rain" } },
    { name: "ground", value: "dry", values: { dry: "dry ground", wet: "wet ground" } },
    { name: "umbrella", value: "none", values: { none: "", open: "an open umbrella" } },
  ],
  edges: [{ cause: "weather", effect: "ground", reason: "rain" }, { cause: "weather", effect: "umbrella", status: "proposed" }],
  interventions: { weather: "rainy" },
}));
const weatherGround = { cause: "weather", effect: "ground" };

test("renaming follows through edges and do()s", () => {
  const renamed = commands.renameConcept(graph, "weather", " sky ");
  assert.deepEqual(renamed.edges.map(({ cause }) => cause), ["sky", "sky"]);
  assert.deepEqual([...renamed.interventions], [["sky", "rainy"]]);
  assert.throws(() => commands.renameConcept(graph, "weather", "ground"), { code: "duplicate_name" });
  assert.throws(() => commands.renameConcept(graph, "weather", " "), { code: "empty_name" });
});

test("removing a concept takes its edges and do() along", () => {
  const rest = commands.removeConcepts(graph, ["weather"]);
  assert.deepEqual([rest.concepts.length, rest.edges.length, rest.interventions.size], [2, 0, 0]);
});

test("a new value joins the domain as its own phrase", () => {
  const changed = commands.setValue(graph, "ground", "muddy");
  assert.equal(conceptOf(changed, "ground").value, "muddy");
  assert.equal(conceptOf(changed, "ground").values.get("muddy"), "muddy");
  assert.throws(() => commands.setValue(graph, "ground", " "), { code: "empty_value" });
});

test("the factual value cannot leave its domain; another takes its do() along", () => {
  assert.throws(() => commands.removeValue(graph, "weather", "sunny"), { code: "factual_value" });
  assert.equal(commands.removeValue(graph, "weather", "rainy").interventions.size, 0);
});

test("renaming a value keeps its phrase, its place and its do()", () => {
  const renamed = commands.renameValue(graph, "weather", "rainy", "pouring");
  assert.deepEqual([...conceptOf(renamed, "weather").values], [["sunny", "sunny weather"], ["pouring", "rain"]]);
  assert.equal(renamed.interventions.get("weather"), "pouring");
  assert.equal(conceptOf(commands.renameValue(graph, "weather", "sunny", "clear"), "weather").value, "clear");
  assert.throws(() => commands.renameValue(graph, "weather", "sunny", "rainy"), { code: "duplicate_value" });
});

test("an empty phrase stands for nothing to see", () => {
  assert.equal(conceptOf(commands.setPhrase(graph, "ground", "wet", " "), "ground").values.get("wet"), "");
});

test("why an edge cannot be drawn is known before it is", () => {
  assert.equal(commands.refusal(graph, "ground", "umbrella"), null);
  assert.equal(commands.refusal(graph, "ground", "ground")?.code, "self_loop");
  assert.equal(commands.refusal(graph, "weather", "ground")?.code, "duplicate_edge");
  assert.deepEqual(commands.refusal(graph, "ground", "weather")?.details.names, ["ground", "weather", "ground"]);
  assert.throws(() => commands.connect(graph, "ground", "weather"), { code: "cycle" });
});

test("edges are confirmed, proposed, rejected and turned round", () => {
  const proposed = { cause: "weather", effect: "umbrella" };
  assert.equal(edgeOf(commands.confirm(graph, proposed), "weather", "umbrella")?.status, "confirmed");
  assert.equal(edgeOf(commands.propose(graph, weatherGround), "weather", "ground")?.status, "proposed");
  assert.equal(commands.disconnect(graph, proposed).edges.length, 1);
  assert.equal(edgeOf(commands.reverse(graph, weatherGround), "ground", "weather")?.reason, "rain");
  const long = commands.connect(commands.confirm(graph, proposed), "ground", "umbrella");
  assert.throws(() => commands.reverse(long, proposed), { code: "cycle" });
  assert.throws(() => commands.confirm(graph, { cause: "ground", effect: "umbrella" }), { code: "unknown_edge" });
  assert.ok(commands.confirmAll(graph).edges.every(({ status }) => status === "confirmed"));
});

test("a proposed edge may point backwards; confirming it is refused with the path", () => {
  const back = { cause: "umbrella", effect: "weather" };
  const long = commands.connect(graph, "ground", "umbrella");
  const turned = commands.reverse(long, { cause: "weather", effect: "umbrella" });
  assert.equal(edgeOf(turned, "umbrella", "weather")?.status, "proposed");
  const names = ["umbrella", "weather", "ground", "umbrella"];
  assert.deepEqual(commands.closing(turned, back)?.details.names, names);
  const refused = { code: "cycle", details: { path: names.join(" → "), names } };
  assert.throws(() => commands.confirm(turned, back), refused);
  assert.equal(commands.confirmAll(turned), turned, "nothing can be confirmed, nothing is recorded");
  assert.throws(() => commands.reverse(commands.reverse(turned, back), back), { code: "unknown_edge" });
  const both = makeGraph({ ...graph, edges: [...graph.edges, makeEdge({ cause: "umbrella", effect: "weather", status: "proposed" })] });
  assert.deepEqual(commands.confirmAll(both).edges.map(({ status }) => status), ["confirmed", "confirmed", "proposed"]);
  assert.throws(() => commands.reverse(both, back), { code: "duplicate_edge" });
});

test("a fresh name is one that nobody has", () => {
  assert.equal(commands.freshName(graph, "ground"), "ground 2");
  assert.equal(commands.freshName(graph, "moon"), "moon");
});

test("undo and redo walk the same steps; equal keys make one step", () => {
  const history = new History(graph);
  const moved = (x) => commands.place(history.present, new Map([["ground", [x, 0]]]));
  history.record(moved(1), "drag");
  history.record(moved(2), "drag");
  history.seal();
  history.record(moved(3), "drag");
  assert.ok(history.undo());
  assert.deepEqual(conceptOf(history.present, "ground").position, [2, 0]);
  assert.ok(history.undo());
  assert.equal(history.present, graph);
  assert.equal(history.undo(), false);
  assert.ok(history.redo());
  assert.deepEqual(conceptOf(history.present, "ground").position, [2, 0]);
  history.record(moved(9));
  assert.equal(history.canRedo, false);
  assert.equal(history.record(history.present), false);
});

test("history forgets beyond its limit", () => {
  const history = new History(graph, 5);
  for (let x = 0; x < 20; x += 1) history.record(commands.place(history.present, new Map([["ground", [x, 0]]])));
  let steps = 0;
  while (history.undo()) steps += 1;
  assert.equal(steps, 5);
});

/** One random command; refused ones leave the graph as it is. */
function step(current, draw) {
  const pick = (items) => items[Math.floor(draw() * items.length)];
  const names = current.concepts.map(({ name }) => name);
  const [one, other] = [pick(names), pick(names)];
  const edge = pick(current.edges) ?? { cause: one, effect: other };
  const moves = [
    () => commands.addConcept(current, { name: commands.freshName(current, "new"), value: "a" }),
    () => commands.connect(current, one, other),
    () => commands.disconnect(current, edge),
    () => commands.reverse(current, edge),
    () => commands.removeConcepts(current, [one]),
    () => commands.renameConcept(current, one, `${one}'`),
    () => commands.setValue(current, one, pick(["a", "b", "c"])),
    () => commands.intervene(current, one, pick(["a", "b", "c"])),
    () => commands.renameValue(current, one, "a", "z"),
  ];
  try {
    return pick(moves)();
  } catch (error) {
    assert.ok(error.code, error.stack);
    return current;
  }
}

test("any series of commands leaves a valid graph, and undo returns to the start", () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const draw = uniform(seed);
    const history = new History(randomGraph(seed, { size: 5 }), 1000);
    const start = JSON.stringify(toObject(history.present));
    for (let count = 0; count < 60 && history.present.concepts.length; count += 1) history.record(step(history.present, draw));
    makeGraph(history.present);
    assert.deepEqual(toObject(readJson(JSON.stringify(toObject(history.present)))), toObject(history.present));
    while (history.undo());
    assert.equal(JSON.stringify(toObject(history.present)), start, `seed ${seed}`);
  }
});

test("the Text tab says what the graph is, and reading it back changes nothing", () => {
  assert.match(asText(graph), /weather -> umbrella \[proposed\]/);
  assert.match(asText(graph), /weather \[value="sunny", exposure, do="rainy"\]/);
  assert.deepEqual(toObject(revise(graph, asText(graph))), toObject(graph));
});

test("typing in the Text tab adds, removes and keeps what it does not say", () => {
  const typed = revise(graph, 'dag { weather [value="foggy"]; weather -> ground -> mud }');
  assert.deepEqual(typed.concepts.map(({ name }) => name), ["weather", "ground", "mud"]);
  assert.deepEqual([...conceptOf(typed, "weather").values.keys()], ["sunny", "rainy", "foggy"]);
  assert.equal(edgeOf(typed, "weather", "ground")?.reason, "rain");
  assert.equal(typed.interventions.size, 0);
  assert.equal(typed.basePrompt, "a street");
});

test("a new name in the Text tab, where the old one stood, renames", () => {
  const typed = revise(graph, asText(graph).replaceAll("weather", "sky"), new Set(["weather"]));
  assert.deepEqual(toObject(typed), toObject(commands.renameConcept(graph, "weather", "sky", new Set(["weather"]))));
  const other = revise(graph, asText(graph).replaceAll("weather", "sky").replace("sunny", "clear"));
  assert.deepEqual([...conceptOf(other, "sky").values.keys()], ["clear", "rainy"]);
});

test("names of any kind survive the Text tab", () => {
  for (const name of ["dag", "a b", 'say "x"', "back\\slash", "<script>", "‮rtl", "日本", "1st", "a->b", "[x]"]) {
    const one = commands.addConcept(makeGraph(), { name, value: name });
    assert.deepEqual(toObject(revise(one, asText(one))), toObject(one), name);
  }
});

for (const [text, code, line] of [
  ["dag {\n a -> \n}", "text_expected", 3],
  ["dag {\n\n {a b} -> c [csg=\"{}\"]\n}", "text_shared", 3],
  ["dag {\n a ? b }", "text_unreadable", 2],
  ["picture {}", "text_expected", 1],
  ["dag { a", "text_expected", 1],
  ["dag {} b", "text_expected", 1],
]) {
  test(`the Text tab marks line ${line} of ${JSON.stringify(text)}`, () => {
    assert.throws(() => revise(graph, text), (error) => error.code === code && error.details.line === line);
  });
}

test("concepts are copied with the edges between them, under names that nobody has", () => {
  const chosen = commands.part(graph, new Set(["weather", "ground"]));
  assert.deepEqual([chosen.concepts.length, chosen.edges.length, chosen.interventions.size, chosen.basePrompt], [2, 1, 0, ""]);
  const placed = commands.place(chosen, new Map([["weather", [10, 20]]]));
  const twice = commands.include(commands.include(graph, placed, 36), placed, 36);
  assert.deepEqual(twice.concepts.map(({ name }) => name), ["weather", "ground", "umbrella", "weather 2", "ground 2", "weather 3", "ground 3"]);
  assert.deepEqual(twice.edges.slice(2).map(({ cause, effect }) => [cause, effect]), [["weather 2", "ground 2"], ["weather 3", "ground 3"]]);
  assert.deepEqual([conceptOf(twice, "weather 2").position, conceptOf(twice, "ground 2").position], [[46, 56], null]);
  assert.deepEqual([...twice.interventions], [["weather", "rainy"]]);
});

test("what another program's file only names can be there or not", () => {
  const foreign = commands.withAbsence(readJson(JSON.stringify({ concepts: [
    { name: "rain", value: "present", values: { present: "rain" } }, { name: "sky", value: "blue" }] })), "absent");
  assert.deepEqual(foreign.concepts.map(({ values }) => [...values]), [[["present", "rain"], ["absent", ""]], [["blue", "blue"]]]);
});
