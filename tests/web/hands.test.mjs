import assert from "node:assert/strict";
import { setMaxListeners } from "node:events";
import test from "node:test";

import { Actions } from "../../web/editor/actions.mjs";
import { Gestures } from "../../web/editor/gestures.mjs";
import { readJson } from "../../web/editor/json.mjs";
import { Keyboard } from "../../web/editor/keyboard.mjs";
import { edgeKey } from "../../web/editor/model.mjs";
import { Session } from "../../web/editor/session.mjs";

const STREET = JSON.stringify({
  concepts: [
    { name: "lamp", value: "off", values: ["off", "on"] }, { name: "weather", value: "sunny", values: ["sunny", "rainy"] }, { name: "ground", value: "dry", values: ["dry", "wet"] },
    { name: "house", value: "red", values: ["red", "blue"] },
  ],
  edges: [{ cause: "weather", effect: "ground" }, { cause: "ground", effect: "weather", status: "proposed" }],
});
const SIZE = { width: 100, height: 50 };
const PLACES = { lamp: [0, 90], weather: [0, 0], ground: [0, 200], house: [300, 0] };
globalThis.requestAnimationFrame ??= (draw) => setTimeout(draw);
globalThis.cancelAnimationFrame ??= clearTimeout;
globalThis.document ??= { activeElement: null };

/** An element of a page, as far as hands ask. @param {object} more */
const element = (more = {}) =>
  Object.assign(new EventTarget(), { focus() {}, contains: () => true, matches: () => false, setPointerCapture() {}, classList: { contains: () => false }, dataset: {}, setAttribute() {}, removeAttribute() {}, ...more });

/** A session with hands and no page: every call that would show something is noted. */
function desk() {
  /** @type {unknown[][]} */ const shown = [];
  const note = (name, answer) => (...rest) => { shown.push([name, ...rest]); return answer; };
  const session = new Session(() => {});
  session.load(STREET);
  const boxes = new Map(Object.entries(PLACES).map(([name, [x, y]]) => [name, { x, y, ...SIZE }]));
  const stage = element();
  const scene = {
    element: stage, ghost: element(), boxes, target: null, boxOf: (name) => boxes.get(name), elementOf: () => element({ getAttribute: () => "" }),
    targetOf: () => scene.target, showTarget() {}, showCycle: note("cycle"), showFrame() {}, move: note("move"),
  };
  const at = ({ clientX, clientY }) => [clientX, clientY];
  const viewport = { point: at, framePoint: at, pan: note("pan"), zoom: note("zoom") };
  const hands = {
    session, scene, viewport, t: (key) => key, element: element(),
    drawn: { places: new Map(Object.entries(PLACES)), sizeOf: () => SIZE, forget: note("forget") },
    run: (command, { merge, say } = {}) => {
      try {
        session.run(command, merge);
        shown.push(["say", say]);
        return true;
      } catch (error) {
        shown.push(["refused", error.code]);
        return false;
      }
    },
    visit: (key) => { session.select([key], key); shown.push(["visit", key]); },
    select: (keys, focus) => session.select(keys, focus), focusOn: (key) => { session.focus = key; },
    setMode: (mode) => { session.mode = mode; }, pressing: () => false, cancel: () => false, closePanel: () => false,
    ...Object.fromEntries(["say", "unsay", "showCycle", "rest", "fit", "setPanel", "setTab", "addAt", "addNear", "wheel", "zoom", "undo", "redo", "duplicate", "showKeys"].map((name) => [name, note(name)])),
  };
  hands.actions = new Actions(hands);
  const { signal } = new AbortController();
  setMaxListeners(0, signal);
  const gestures = new Gestures(hands, signal);
  new Keyboard(hands, signal);
  const event = (type, more) => Object.assign(new Event(type, { cancelable: true }), more);
  const press = (key, more = {}) => {
    const pressed = event("keydown", { key, ...more });
    Object.defineProperty(pressed, "target", { value: stage });
    hands.element.dispatchEvent(pressed);
    return pressed.defaultPrevented;
  };
  /** @param {object | null} target what lies under the pointer @param {...[number, number]} path */
  const drag = (target, ...path) => {
    scene.target = target;
    const types = ["pointerdown", ...path.slice(1).map(() => "pointermove"), "pointerup"];
    types.forEach((type, index) => {
      const [clientX, clientY] = path[Math.min(index, path.length - 1)];
      stage.dispatchEvent(event(type, { pointerId: 1, button: 0, clientX, clientY }));
    });
  };
  return { session, hands, gestures, shown, press, drag, names: () => shown.map(([name]) => name) };
}

/** @param {Session} session */
const positions = ({ graph }) => Object.fromEntries(graph.concepts.map(({ name, position }) => [name, position]));

test("a chosen value is the factual one in Edit; in Intervene do(), and what follows behind a do()", () => {
  const { session, hands: { actions } } = desk();
  actions.choose("house", "blue");
  session.mode = "intervene";
  actions.choose("weather", "rainy");
  actions.choose("ground", "wet");
  const { graph } = session;
  assert.equal(graph.concepts[3].value, "blue");
  assert.deepEqual([[...graph.interventions], [...graph.effects]], [[["weather", "rainy"]], [["ground", "wet"]]]);
  actions.choose("house", "blue");
  assert.equal(session.graph.interventions.get("house"), "blue", "its own value holds it");
});

test("confirming all shows the cycle that one of them would close", () => {
  const { session, hands: { actions }, shown } = desk();
  actions.confirmAll();
  assert.equal(session.graph.edges[1].status, "proposed");
  assert.deepEqual(shown.at(-1), ["showCycle", ["ground", "weather", "ground"]]);
});

test("who is removed hands the keyboard to a neighbour, the last one to the drawing", () => {
  const { session, hands: { actions }, shown } = desk();
  session.select(["weather"]);
  actions.remove();
  assert.deepEqual(shown.at(-1), ["visit", "ground"]);
  session.select(["ground", "house", "lamp"]);
  actions.remove();
  assert.deepEqual(shown.at(-1), ["rest"]);
});

test("one card moved keeps the others where they are drawn", () => {
  const { session, drag, shown } = desk();
  drag({ kind: "card", name: "weather" }, [10, 10], [40, 30], [61.4, 52]);
  assert.deepEqual(positions(session), { lamp: [0, 90], weather: [51, 42], ground: [0, 200], house: [300, 0] });
  assert.equal(shown.some(([name]) => name === "setPanel"), false, "a drag is no tap");
});

test("an edge is drawn from a rim, and refused where it would close a cycle", () => {
  const { session, drag, shown } = desk();
  drag({ kind: "rim", name: "house" }, [400, 25], [200, 120], [50, 25]);
  assert.deepEqual(session.graph.edges.map(edgeKey).at(-1), edgeKey({ cause: "house", effect: "weather" }));
  drag({ kind: "rim", name: "weather" }, [100, 25], [200, 50], [320, 25]);
  assert.equal(session.graph.edges.length, 3);
  assert.deepEqual(shown.findLast(([name]) => name === "refused"), ["refused", "cycle"]);
  session.mode = "intervene";
  drag({ kind: "rim", name: "house" }, [400, 25], [200, 120], [50, 225]);
  assert.equal(session.graph.edges.length, 3, "in Intervene a rim moves the card");
});

test("a tap on a chip chooses, two taps on a card open the panel, on the ground name a concept", () => {
  const { session, drag, shown } = desk();
  drag({ kind: "chip", name: "house", value: "blue" }, [320, 40]);
  assert.equal(session.graph.concepts[3].value, "blue");
  drag(null, [500, 500]);
  drag(null, [501, 500]);
  assert.deepEqual(shown.at(-1), ["addAt", [501, 500]]);
  drag({ kind: "card", name: "house" }, [310, 5]);
  drag({ kind: "card", name: "house" }, [310, 5]);
  assert.deepEqual(shown.at(-1), ["setPanel", true, "name"]);
});

test("an edge is drawn by keys: c, arrows, Enter", () => {
  const { session, press } = desk();
  session.select(["house"]);
  press("c");
  press("ArrowLeft");
  assert.equal(session.focus, "weather");
  press("Enter");
  assert.equal(edgeKey(session.graph.edges.at(-1)), edgeKey({ cause: "house", effect: "weather" }));
});

test("arrows follow edges first, digits choose, h holds, i turns to Intervene", () => {
  const { session, press } = desk();
  session.select(["weather"]);
  assert.equal(press("ArrowDown"), true);
  assert.equal(session.focus, "ground");
  press("2");
  assert.equal(session.graph.concepts[2].value, "wet");
  press("i");
  press("h");
  assert.deepEqual([session.mode, [...session.graph.interventions]], ["intervene", [["ground", "wet"]]]);
  assert.equal(press("q"), false, "a key without a meaning stays ComfyUI's");
});
