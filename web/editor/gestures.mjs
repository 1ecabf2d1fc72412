/**
 * Mouse, pen and touch on the drawing: select, move, connect, pan, pinch.
 *
 * @import { Actions } from "./actions.mjs"
 * @import { Translate } from "./i18n.mjs"
 * @import { Point } from "./model.mjs"
 * @import { Scene, Target, Viewport } from "./scene.mjs"
 * @import { Session } from "./session.mjs"
 * @typedef {{
 *   session: Session, scene: Scene, viewport: Viewport, actions: Actions, t: Translate, element: HTMLElement,
 *   select: (keys: Iterable<string>, focus?: string | null) => void,
 *   say: (words: string, kind?: "plain" | "refused") => void, unsay: () => void,
 *   setPanel: (open: boolean, field?: string) => void, addAt: (point: Point) => void, wheel: (event: WheelEvent) => void,
 *   menuAt: (target: Target | null, at: {clientX: number, clientY: number}) => void
 * }} Desk what gestures need: `unsay` takes a refusal back, `wheel` is for an editor without the keyboard, `menuAt` shows what can
 *   be done with a thing, at a place of the page
 * @typedef {{
 *   move: (event: PointerEvent) => void, end: (event: PointerEvent) => void, cancel: () => void
 * }} Gesture what the pointer does until it is lifted
 */
import * as commands from "./commands.mjs";
import { pathOf, towards } from "./layout.mjs";
import { reasonOf } from "./i18n.mjs";
import { edgeKey } from "./model.mjs";

const STILL = 5;
const TWICE = 350;
const RIGHT = 2;

export class Gestures {
  /** @type {Map<number, PointerEvent>} */ #down = new Map();
  /** @type {Gesture | null} */ #gesture = null;
  /** Whether a pointer is just moving the focus to what it touches. */ attending = false;
  /** @type {{time: number, x: number, y: number}} */ #lastTap = { time: 0, x: 0, y: 0 };

  /**
   * @param {Desk} desk
   * @param {AbortSignal} signal
   */
  constructor(desk, signal) {
    this.desk = desk;
    const stage = desk.scene.element;
    /** @type {Record<string, (event: any) => void>} */
    const acts = {
      pointerdown: (event) => this.#press(event),
      pointermove: (event) => this.#move(event),
      pointerup: (event) => this.#lift(event),
      pointercancel: (event) => this.#abandon(event),
    };
    stage.addEventListener("pointerdown", (event) => hold(stage, event), { signal });
    // Or else the browser lets what was flicked glide on, and takes the next tap anywhere for a hand that stops it.
    stage.addEventListener("touchstart", (event) => event.preventDefault(), { signal, passive: false });
    for (const [type, act] of Object.entries(acts)) stage.addEventListener(type, act, { signal });
    stage.addEventListener("contextmenu", (event) => {
      event.preventDefault();
      event.stopPropagation();
      desk.menuAt(desk.scene.targetOf(event.target), event);
    }, { signal });
    desk.element.addEventListener("wheel", (event) => this.#wheel(event), { signal, passive: false });
  }

  /** @param {PointerEvent} event */
  #press(event) {
    if (event.button > 1) return;
    const { scene } = this.desk;
    this.desk.unsay();
    this.#down.set(event.pointerId, event);
    if (this.#down.size === 2) return this.#pinch();
    if (this.#down.size > 2) return;
    const target = event.button === 1 ? null : scene.targetOf(event.target);
    this.#attend(target);
    if (target && !event.shiftKey && !this.desk.session.selected.has(keyOf(target))) this.desk.select([keyOf(target)], keyOf(target));
    this.#gesture = this.#begin(event, target);
  }

  /** Gives the keyboard to what was touched. @param {Target | null} target */
  #attend(target) {
    const { desk } = this;
    const key = target && keyOf(target);
    this.attending = true;
    (key ? desk.scene.elementOf(key) : desk.scene.element)?.focus({ preventScroll: true });
    if (!desk.element.contains(document.activeElement)) desk.scene.element.focus({ preventScroll: true });
    this.attending = false;
  }

  /** @param {PointerEvent} event @param {Target | null} target @returns {Gesture} */
  #begin(event, target) {
    if (!target) return event.shiftKey && event.button === 0 ? this.#framing(event) : this.#panning(event);
    if (target.kind === "rim" && this.desk.session.mode === "edit") return this.#connecting(event, target.name);
    if ("name" in target) return this.#moving(event, target);
    return this.#tapping(event, () => this.#tapEdge(target));
  }

  /** @param {PointerEvent} event */
  #move(event) {
    if (!this.#down.has(event.pointerId)) return;
    event.stopPropagation();
    this.#gesture?.move(event);
    this.#down.set(event.pointerId, event);
  }

  /** @param {PointerEvent} event */
  #lift(event) {
    if (!this.#down.delete(event.pointerId)) return;
    event.stopPropagation();
    this.#gesture?.end(event);
    this.#gesture = null;
  }

  /** @param {PointerEvent} event */
  #abandon(event) {
    this.#down.delete(event.pointerId);
    this.cancel();
  }

  /** Undoes the gesture that is under way, as Escape does. @returns {boolean} whether there was one */
  cancel() {
    const active = this.#gesture !== null;
    this.#gesture?.cancel();
    this.#gesture = null;
    return active;
  }

  /** @param {PointerEvent} start @param {(event: PointerEvent) => void} tap @returns {Gesture} */
  #tapping(start, tap) {
    return { move: () => {}, end: (event) => far(start, event) || tap(event), cancel: () => {} };
  }

  /** Two fingers move and stretch the drawing. */
  #pinch() {
    this.#gesture?.cancel();
    const { viewport } = this.desk;
    const frame = () => [...this.#down.values()].slice(0, 2).map((each) => viewport.framePoint(each));
    let before = frame();
    this.#gesture = {
      move: (event) => {
        this.#down.set(event.pointerId, event);
        const after = frame();
        if (after.length < 2) return;
        const [from, to] = [middle(before), middle(after)];
        viewport.pan(to[0] - from[0], to[1] - from[1]);
        viewport.zoom(distance(after) / (distance(before) || 1), to);
        before = after;
      },
      end: () => {},
      cancel: () => {},
    };
  }

  /** @param {PointerEvent} start @returns {Gesture} */
  #panning(start) {
    const { viewport } = this.desk;
    let before = viewport.framePoint(start);
    let moved = false;
    return {
      move: (event) => {
        moved ||= far(start, event);
        if (!moved) return;
        const [x, y] = viewport.framePoint(event);
        viewport.pan(x - before[0], y - before[1]);
        before = [x, y];
      },
      end: (event) => moved || this.#tapGround(event),
      cancel: () => {},
    };
  }

  /** A frame drawn over concepts selects them, beside those that were. @param {PointerEvent} start @returns {Gesture} */
  #framing(start) {
    const { scene, viewport, session: { selected } } = this.desk;
    const from = viewport.point(start);
    /** @type {string[]} */ let inside = [];
    return {
      move: (event) => {
        const box = boxBetween(from, viewport.point(event));
        scene.showFrame(box);
        inside = [...scene.boxes].filter(([, each]) => touch(box, each)).map(([name]) => name);
      },
      end: () => {
        scene.showFrame(null);
        this.desk.select(new Set([...selected, ...inside]), inside.at(-1) ?? this.desk.session.focus);
      },
      cancel: () => scene.showFrame(null),
    };
  }

  /** @param {PointerEvent} event */
  #tapGround(event) {
    const { desk } = this;
    if (this.#isTwice(event) && desk.session.mode === "edit") desk.addAt(desk.viewport.point(event));
    else desk.select([], desk.session.focus);
  }

  /** Whether this is the second tap at the same place. @param {PointerEvent} event */
  #isTwice({ timeStamp, clientX, clientY }) {
    const { time, x, y } = this.#lastTap;
    const twice = timeStamp - time < TWICE && Math.hypot(clientX - x, clientY - y) < 24;
    this.#lastTap = { time: twice ? 0 : timeStamp, x: clientX, y: clientY };
    return twice;
  }

  /** @param {PointerEvent} start @param {Extract<Target, {name: string}>} target @returns {Gesture} */
  #moving(start, target) {
    const { desk } = this;
    const names = desk.session.selected.has(target.name) ? [...desk.session.selected] : [target.name];
    const origin = desk.viewport.point(start);
    const from = new Map(names.flatMap((name) => {
      const box = desk.scene.boxOf(name);
      return box ? [/** @type {const} */ ([name, /** @type {Point} */ ([box.x, box.y])])] : [];
    }));
    let moved = false;
    let frame = 0;
    /** @type {Map<string, Point>} */
    let places = new Map();
    return {
      move: (event) => {
        moved ||= far(start, event);
        if (!moved) return;
        const [x, y] = desk.viewport.point(event);
        places = new Map([...from].map(([name, [left, top]]) => [name, [left + x - origin[0], top + y - origin[1]]]));
        frame ||= requestAnimationFrame(() => {
          frame = 0;
          desk.scene.move(places);
        });
      },
      end: (event) => {
        cancelAnimationFrame(frame);
        if (moved) desk.actions.place(places);
        else this.#tapConcept(event, target);
      },
      cancel: () => {
        cancelAnimationFrame(frame);
        desk.scene.move(from);
      },
    };
  }

  /** @param {PointerEvent} event @param {Extract<Target, {name: string}>} target */
  #tapConcept(event, { kind, name, value }) {
    const { desk } = this;
    const twice = this.#isTwice(event);
    if (event.shiftKey) return desk.select(toggled(desk.session.selected, name), name);
    desk.select([name], name);
    if (kind === "chip" && value !== undefined) return desk.actions.choose(name, value);
    if (kind === "words") return desk.actions.speak(name);
    if (kind === "lock") return desk.actions.lock(name);
    const unread = desk.session.mode === "intervene" && desk.scene.element.classList.contains("far");
    if (kind === "more" || twice || unread) desk.setPanel(true, twice && desk.session.mode === "edit" ? "name" : "values");
  }

  /** @param {Exclude<Target, {name: string}>} target */
  #tapEdge(target) {
    const { desk } = this;
    if (target.kind === "confirm") return desk.actions.confirm(target);
    if (target.kind === "reject") return desk.actions.reject(target);
    desk.select([edgeKey(target)], edgeKey(target));
  }

  /** Draws a new edge from a concept's rim. @param {PointerEvent} start @param {string} cause @returns {Gesture} */
  #connecting(start, cause) {
    const { desk, desk: { scene, viewport } } = this;
    const box = /** @type {import("./layout.mjs").Box} */ (scene.boxOf(cause));
    const from = /** @type {Point} */ ([box.x + box.width, box.y + box.height / 2]);
    /** @type {string | null} */ let aimed = null;
    const clear = () => {
      scene.ghost.removeAttribute("d");
      scene.showTarget(null);
      scene.showCycle([]);
      delete scene.element.dataset.refused;
    };
    return {
      move: (event) => {
        const point = viewport.point(event);
        scene.ghost.setAttribute("d", pathOf(towards(from, point)));
        const effect = this.#conceptAt(point);
        if (effect !== aimed) this.#aim(cause, (aimed = effect));
      },
      end: (event) => {
        clear();
        const effect = this.#conceptAt(viewport.point(event));
        if (!far(start, event)) this.#tapConcept(event, { kind: "card", name: cause });
        else if (effect !== null && effect !== cause) desk.actions.connect(cause, effect);
      },
      cancel: () => {
        clear();
        desk.unsay();
      },
    };
  }

  /** While an edge is being drawn: shows whether it may end here, and if not, why. @param {string} cause @param {string | null} effect */
  #aim(cause, effect) {
    const { desk, desk: { scene } } = this;
    const refused = effect === null || effect === cause ? null : commands.refusal(desk.session.graph, cause, effect);
    scene.element.dataset.refused = String(Boolean(refused));
    scene.showTarget(refused ? null : effect === cause ? null : effect);
    const names = /** @type {string[]} */ (refused?.details.names ?? []);
    scene.showCycle(names);
    if (refused) desk.say(reasonOf(desk.t, refused), "refused");
    else if (effect !== null && effect !== cause) desk.say(desk.t("label.edge", { cause, effect }));
    else desk.unsay();
  }

  /** @param {Point} point @returns {string | null} */
  #conceptAt([x, y]) {
    const reach = 10;
    for (const [name, box] of [...this.desk.scene.boxes].reverse()) {
      const inside = x > box.x - reach && x < box.x + box.width + reach && y > box.y - reach && y < box.y + box.height + reach;
      if (inside) return name;
    }
    return null;
  }

  /** The wheel zooms here only while the editor has the keyboard. @param {WheelEvent} event */
  #wheel(event) {
    const { desk } = this;
    if (!desk.element.contains(document.activeElement)) return desk.wheel(event);
    event.stopPropagation();
    if (!desk.scene.element.contains(/** @type {Node} */ (event.target))) return;
    event.preventDefault();
    const factor = Math.exp(-Math.max(-80, Math.min(80, event.deltaY)) * (event.deltaMode ? 0.05 : 0.0025));
    desk.viewport.zoom(factor, desk.viewport.framePoint(event));
  }
}

/** Keeps a pressed pointer from reaching ComfyUI's canvas below. @param {Element} stage @param {PointerEvent} event */
function hold(stage, event) {
  if (event.button <= RIGHT) event.stopPropagation();
  if (event.button > 1) return;
  event.preventDefault();
  stage.setPointerCapture(event.pointerId);
}

/** @param {Target} target */
const keyOf = (target) => ("name" in target ? target.name : edgeKey(target));

/** @param {Point} one @param {Point} other */
const boxBetween = ([a, b], [c, d]) => ({ x: Math.min(a, c), y: Math.min(b, d), width: Math.abs(a - c), height: Math.abs(b - d) });

/** @typedef {import("./layout.mjs").Box} Box @param {Box} one @param {Box} other */
const touch = (one, other) =>
  one.x < other.x + other.width && other.x < one.x + one.width && one.y < other.y + other.height && other.y < one.y + one.height;

/** @param {PointerEvent} start @param {PointerEvent} event */
const far = (start, event) => Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > STILL;

/** @param {Point[]} points @returns {Point} */
const middle = ([[a, b], [c, d]]) => [(a + c) / 2, (b + d) / 2];

/** @param {Point[]} points */
const distance = ([[a, b], [c, d]]) => Math.hypot(a - c, b - d);

/** @param {ReadonlySet<string>} set @param {string} key */
const toggled = (set, key) => (set.has(key) ? [...set].filter((each) => each !== key) : [...set, key]);
