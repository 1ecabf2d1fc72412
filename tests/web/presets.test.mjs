import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { readJson } from "../../web/editor/json.mjs";
import { phraseOf, speak, stands, unspoken } from "../../web/editor/commands.mjs";
import { wordsFor } from "../../web/editor/wording.mjs";
import { applyPreset, offersPresets, PRESETS } from "../../web/presets.mjs";

const node = (comfyClass, values) => ({
  comfyClass,
  widgets: Object.entries(values).map(([name, value]) => ({ name, value, callback(v) { this.told = v; } })),
});
const value = ({ widgets }, name) => widgets.find((one) => one.name === name).value;

test("a preset sets inversions and encoders of the whole graph alike, and tells their widgets", () => {
  const invert = node("CSG_Invert", { steps: 7, skip: 0.5, source_guidance: 1, seed: 3 });
  const encode = node("CSG_EncodeEdits", { scale: 1, threshold: 0, warmup: 0 });
  const byHand = node("CSG_ConceptEdit", { scale: 5, threshold: 0.9, warmup: 10 });
  const other = node("KSampler", { steps: 30 });
  const graph = { nodes: [invert, encode, byHand, other] };
  invert.graph = graph;
  applyPreset(invert, PRESETS[2]);
  assert.deepEqual([value(invert, "steps"), value(encode, "warmup"), value(encode, "scale")], [20, 2, 8]);
  assert.deepEqual(byHand.widgets.map((widget) => widget.value), [5, 0.9, 2]);
  assert.equal(invert.widgets[0].told, 20);
  assert.deepEqual([value(invert, "seed"), value(other, "steps")], [3, 30]);
});

test("the paper's preset is the paper's settings", () => {
  assert.deepEqual(PRESETS[0].values, {
    CSG_Invert: { steps: 100, skip: 0.15, source_guidance: 3.5 },
    CSG_EncodeEdits: { scale: 8, threshold: 0.7, warmup: 10 },
    CSG_ConceptEdit: { warmup: 10 },
    CSG_Sampler: { mask: "intersect", contrast: "unconditional", mask_source: "edit", cut: "quantile", release: 0, release_below: 0 },
  });
});

test("the captions' preset is what the Town workflow has, and the paper's leads back from it", () => {
  const file = new URL("../../workflows/api/town_counterfactual.json", import.meta.url);
  const nodes = Object.values(JSON.parse(readFileSync(file, "utf8"))).map(({ class_type, inputs }) => node(class_type, inputs));
  const graph = { nodes };
  for (const each of nodes) each.graph = graph;
  const shown = () => nodes.map(({ widgets }) => widgets.map((widget) => widget.value));
  const shipped = shown();
  applyPreset(nodes[0], PRESETS[0]);
  assert.notDeepEqual(shown(), shipped);
  applyPreset(nodes[0], PRESETS.at(-1));
  assert.deepEqual(shown(), shipped);
});

test("the preset of a family is what its template has", () => {
  for (const [name, file] of [["SD3.5", "sd35"], ["Flux.1 dev", "flux"], ["Qwen-Image", "qwen_image"], ["Z-Image", "z_image"]]) {
    const path = new URL(`../../workflows/api/${file}_counterfactual.json`, import.meta.url);
    const nodes = Object.values(JSON.parse(readFileSync(path, "utf8"))).map(({ class_type, inputs }) => node(class_type, inputs));
    for (const each of nodes) each.graph = { nodes };
    const shown = () => nodes.map(({ widgets }) => widgets.map((widget) => widget.value));
    const shipped = shown();
    applyPreset(nodes[0], PRESETS[0]);
    assert.notDeepEqual(shown(), shipped);
    const preset = PRESETS.find((one) => one.name.includes(name));
    assert.ok(preset, name);
    applyPreset(nodes[0], preset);
    assert.deepEqual(shown(), shipped, name);
  }
});

test("only nodes that a preset sets offer presets", () => {
  assert.ok(offersPresets(node("CSG_Invert", {})) && offersPresets(node("CSG_EncodeEdits", {})));
  assert.ok(!offersPresets(node("KSampler", {})));
});

test("what presets and templates show is said in the words of their concepts", () => {
  const texts = readdirSync(new URL("../../web/editor/presets/", import.meta.url)).map((file) =>
    [file, readFileSync(new URL(`../../web/editor/presets/${file}`, import.meta.url), "utf8")]);
  for (const file of readdirSync(new URL("../../workflows/", import.meta.url)).filter((each) => each.endsWith(".json"))) {
    const { nodes } = JSON.parse(readFileSync(new URL(`../../workflows/${file}`, import.meta.url), "utf8"));
    for (const { type, widgets_values: [text] = [] } of nodes) if (type === "CSG_GraphEditor" && text) texts.push([file, text]);
  }
  assert.ok(texts.length >= 6);
  for (const [file, text] of texts) {
    const graph = readJson(text);
    assert.deepEqual([[...unspoken(graph)], Boolean(graph.basePrompt)], [[], true], file);
  }
});

test("words stand in a caption whole, in any case", () => {
  for (const [text, phrase, there] of [
    ["A Red House, dry ground", "a red house", true], ["a red houseboat", "a red house", false],
    ["dry (ground)", "dry (ground)", true], ["", "house", false], ["雨、黒い雲", "雨", true], ["snowy road", "snow", false],
    ["a man\u2019s hat", "a man's hat", true], ["晴天的街道", "晴天", true], ["a dry\n  road", "dry road", true], ["cafe\u0301", "caf\u00e9", true],
  ]) assert.equal(stands(text, phrase), there, `${phrase} in ${text}`);
});

test("a mark is mended by putting the words in", () => {
  const graph = readJson(JSON.stringify({ base_prompt: "a street.", concepts: [
    { name: "ground", value: "dry", values: { dry: "dry ground" } }, { name: "car", value: "none", values: { none: "", red: "a red car" } }] }));
  assert.deepEqual([...unspoken(graph)], ["ground"]);
  assert.equal(speak(graph, "ground").basePrompt, "a street, dry ground");
  assert.equal(unspoken(speak(graph, "ground")).size, 0);
  assert.equal(unspoken({ ...graph, basePrompt: "" }).size, 0);
});

test("or by taking the words of the picture that seem to mean it, if there are any", () => {
  const graph = readJson(JSON.stringify({ base_prompt: "a portrait of a smiling young woman with a red hat, soft daylight", concepts: [
    { name: "age", value: "young", values: { young: "a young girl", old: "an old woman" } },
    { name: "hat", value: "red", values: { red: "hat painted red" } },
    { name: "light", value: "day", values: { day: "daytime" } },
    { name: "soft light", value: "day", values: { day: "daylight" } },
    { name: "car", value: "parked" }] }));
  assert.deepEqual(["age", "hat", "light", "car"].map((name) => wordsFor(graph, name)), ["young", "red hat", null, null]);
  const street = readJson(JSON.stringify({ base_prompt: "一条街道，晴朗的天气，红色的房子", concepts: [{ name: "天气", value: "晴", values: { 晴: "晴天" } }] }));
  assert.equal(wordsFor(street, "天气"), "天气");
});

test("nothing to see gets the empty phrase, and no name is doubled", () => {
  assert.deepEqual(["none", "reading", "Sunglasses"].map((value) => phraseOf(value, "glasses")), ["", "reading glasses", "Sunglasses"]);
  assert.deepEqual(["off", "no", "without", "absent", "on"].map((value) => phraseOf(value, "lamp")), ["", "", "", "", "on lamp"]);
});
