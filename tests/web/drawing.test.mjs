import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import test from "node:test";

import { between, cutMark, cutPath, headOf, pathOf, pointAt, flowOf, spread } from "../../web/editor/layout.mjs";
import { PALETTE, colourOf } from "../../web/editor/card.mjs";
import { readEntry } from "../../web/editor/quick_entry.mjs";

const web = new URL("../../web/", import.meta.url);
const box = (x, y) => ({ x, y, width: 100, height: 50 });

test("a line leaves and arrives on facing sides", () => {
  const [start, , , end] = between(box(0, 0), box(300, 10), "LR");
  assert.deepEqual([start[0], end[0]], [100, 297]);
  const [top, , , bottom] = between(box(0, 0), box(20, 200), "TB");
  assert.deepEqual([top[1], bottom[1]], [50, 197]);
  const [back] = between(box(300, 0), box(0, 0), "LR");
  assert.equal(back[0], 300);
});

test("two lines, there and back, keep apart from end to end", () => {
  for (const [flow, other] of [["LR", box(300, 10)], ["TB", box(20, 200)], ["LR", box(300, 0)]]) {
    const there = between(box(0, 0), other, flow, true);
    const back = between(other, box(0, 0), flow, true);
    for (let at = 0; at <= 1; at += 0.05) {
      const [[x, y], [u, v]] = [pointAt(there, at), pointAt(back, 1 - at)];
      assert.ok(Math.hypot(x - u, y - v) > 12, `${flow} at ${at}`);
    }
  }
});

test("every line is drawn with finite numbers, even between cards in the same place", () => {
  for (const flow of ["TB", "LR"]) {
    const curve = between(box(0, 0), box(0, 0), flow, flow === "TB");
    const drawn = pathOf(curve) + headOf(curve) + cutPath(curve) + cutMark(curve);
    assert.doesNotMatch(drawn, /NaN|Infinity/);
  }
});

test("a curve begins and ends at its ends", () => {
  const curve = between(box(0, 0), box(300, 90), "LR");
  assert.deepEqual([pointAt(curve, 0), pointAt(curve, 1)], [curve[0], curve[3]]);
});

test("the way most edges run is seen", () => {
  assert.equal(flowOf([{ from: box(0, 0), to: box(200, 0) }]), "LR");
  assert.equal(flowOf([{ from: box(0, 0), to: box(0, 200) }]), "TB");
});

test("cards that grow push those below them down, and nothing else", () => {
  const places = new Map([["a", [0, 0]], ["b", [0, 60]], ["far", [500, 10]]]);
  const spreadOut = spread(places, () => ({ width: 100, height: 90 }));
  assert.deepEqual([...spreadOut], [["a", [0, 0]], ["b", [0, 102]], ["far", [500, 10]]]);
});

test("there is a colour for each of 64 concepts", () => {
  assert.equal(new Set(PALETTE).size, 64);
  assert.equal(colourOf(64), PALETTE[0]);
});

for (const [text, name, values] of [
  ["weather", "weather", []],
  ["weather = sunny, rainy,sunny", "weather", ["sunny", "rainy"]],
  ["天气＝晴、雨", "天气", ["晴", "雨"]],
  ["a: b = c", "a", ["b = c"]],
]) {
  test(`"${text}" names a concept`, () => assert.deepEqual(readEntry(text), { name, values }));
}

test("no text can become HTML: the ways to it are not used", () => {
  for (const file of ["csg.js", ...readdirSync(web, { recursive: true }).map(String).filter((each) => each.endsWith(".mjs") && !each.startsWith("vendor"))]) {
    const code = readFileSync(new URL(file, web), "utf8");
    assert.doesNotMatch(code, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|new Function/, file);
  }
});

test("ComfyUI finds one entry only", () => {
  assert.deepEqual(readdirSync(web, { recursive: true }).filter((file) => file.endsWith(".js")), ["csg.js"]);
});

/** The editor's modules and dagre that imports of one kind reach from a file. @param {string} start @param {RegExp} imports */
function reachedFrom(start, imports) {
  const reached = new Set([start]);
  for (const file of reached) {
    const here = new URL(file, web);
    for (const [, path] of readFileSync(here, "utf8").matchAll(imports)) reached.add(new URL(path, here).href.slice(web.href.length));
  }
  return [...reached].sort();
}

const door = readFileSync(new URL("csg.js", web), "utf8");
/** A list of files in the door, as it stands there. @param {string} name */
const listed = (name) => new Function(`return ${new RegExp(`const ${name} = ([^;]+);`).exec(door)[1]}`)();

test("every module of the first drawing is asked for at once, none when another one names it", () => {
  const needed = reachedFrom("editor/node.mjs", /^(?:import|export) [^;]*?"(\.[^"]+)";/gms);
  assert.deepEqual(listed("EDITOR").sort(), needed.filter((file) => !door.includes(`from "./${file}"`)));
});

test("after an update all modules are asked for again", () => {
  const version = /^version\s*=\s*"(.+)"/m.exec(readFileSync(new URL("../pyproject.toml", web), "utf8"))?.[1];
  assert.equal(/const VERSION = "(.+)"/.exec(door)?.[1], version);
  const again = [.../const files = \[\.\.\.EDITOR, \.\.\.LATER, (.+)\];/.exec(door)[1].matchAll(/"(.+?)"/g)].map(([, file]) => file);
  const modules = readdirSync(web, { recursive: true }).map(String).filter((file) => file.endsWith(".mjs"));
  assert.deepEqual([...listed("EDITOR"), ...listed("LATER"), ...again].sort(), modules.sort());
});
