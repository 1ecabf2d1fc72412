import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import test from "node:test";

import { reasonOf, translator } from "../../web/editor/i18n.mjs";
import { GraphError } from "../../web/editor/model.mjs";
import { PRESETS, titleOf } from "../../web/presets.mjs";

const languages = ["en", "zh", "ja"];
const read = (language, file) => JSON.parse(readFileSync(new URL(`../../locales/${language}/${file}.json`, import.meta.url), "utf8"));
const messages = Object.fromEntries(languages.map((each) => [each, read(each, "main")]));
const web = new URL("../../web/", import.meta.url);
const files = readdirSync(web, { recursive: true }).map(String).filter((file) => file.endsWith(".mjs") && !file.startsWith("vendor"));
const code = files.map((file) => readFileSync(new URL(file, web), "utf8")).join("\n");

function leaves(node, path = "") {
  if (typeof node === "string") return [[path, node]];
  return Object.entries(node).flatMap(([key, value]) => leaves(value, path ? `${path}.${key}` : key));
}
const words = (language) => new Map(leaves(messages[language].csg.editor));
const gaps = (text) => [...new Set(text.match(/\{\w+\}/g) ?? [])].sort().join();

for (const language of ["zh", "ja"]) {
  test(`${language} says everything that English says, with the same gaps`, () => {
    const [english, other] = [words("en"), words(language)];
    assert.deepEqual([...other.keys()].sort(), [...english.keys()].sort());
    for (const [key, text] of english) assert.equal(gaps(other.get(key)), gaps(text), key);
  });

  test(`${language} explains every node as English does; inputs keep the names that workflows, help and errors use`, () => {
    const told = (each) => new Map(leaves(read(each, "nodeDefs")).filter(([, text]) => text));
    const [english, other] = [told("en"), told(language)];
    assert.deepEqual([...other.keys()].sort(), [...english.keys()].filter((key) => !key.endsWith(".name")).sort());
    const figures = (text) => new Set(text.match(/\d+\.\d+|\d{2,}/g));
    for (const [key, text] of other) assert.deepEqual(figures(text), figures(english.get(key)), key);
  });
}

test("every sentence that the code asks for exists", () => {
  const english = words("en");
  const asked = [...code.matchAll(/\bt\("([\w.-]+)"/g)].map(([, key]) => key);
  assert.ok(asked.length > 80);
  for (const key of asked) assert.ok(english.has(key), key);
  const refused = [...code.matchAll(/(?:new GraphError|#refusal)\("(\w+)"/g)].map(([, each]) => `error.${each}`);
  assert.ok(refused.length > 15);
  for (const key of refused) assert.ok(english.has(key), key);
});

test("the settings offered in a node's menu have a name in every language", () => {
  assert.deepEqual(PRESETS.map((each) => titleOf(each, translator(messages, "en"))), PRESETS.map((each) => titleOf(each)));
  assert.deepEqual(PRESETS.map(({ key }) => `settings.${key}`).sort(), [...words("zh").keys()].filter((key) => key.startsWith("settings.")).sort());
});

test("a language falls back to its family, then to English, then to the key", () => {
  assert.equal(translator(messages, "zh-TW")("modes.edit"), words("zh").get("modes.edit"));
  assert.equal(translator(messages, "fr")("modes.edit"), "Edit");
  assert.equal(translator({}, "en")("said.released_all"), "released all");
});

test("what fills a gap cannot turn the sentence round", () => {
  const t = translator(messages, "en");
  assert.equal(t("badge.held", { value: "‮dry" }), "held at ⁨‮dry⁩");
  assert.equal(t("badge.held", { value: "{name}" }), "held at {name}");
});

test("a refusal becomes a sentence, with its line if it has one", () => {
  const t = translator(messages, "en");
  assert.equal(reasonOf(t, new GraphError("self_loop", { name: "car" })), "car cannot be its own cause.");
  assert.match(reasonOf(t, new GraphError("text_expected", { expected: "}", got: "]", line: 4 })), /^Line 4: expected }, got ]/);
  assert.ok(reasonOf(t, new GraphError("self_loop", { name: "x".repeat(10_000) })).length < 300);
});
