/**
 * A concept's card: how large it is, what stands where on it, and how it is drawn.
 *
 * @import { Translate } from "./i18n.mjs"
 * @import { Concept, Role } from "./model.mjs"
 * @import { Result } from "./results.mjs"
 * @import { Registry } from "./scene.mjs"
 * @typedef {{value: string, text: string, x: number, y: number, width: number}} Chip
 * @typedef {{y: number, height: number, left: number, room: number, outcome: string[], reason: string[]}} Told the last run's
 *   result: where its words begin and how wide they may be, what became of the value and why, in lines
 * @typedef {{
 *   width: number, height: number, title: string, chips: Chip[], more: number,
 *   moreAt: {x: number, y: number, width: number} | null, told: Told | null
 * }} Card
 * @typedef {{
 *   concept: Concept, card: Card, role: Role, forced: string | undefined, behind: boolean, expected: string | undefined, mode: "edit" | "intervene",
 *   colour: string, result: Result | undefined, stale: boolean, unspoken: boolean, label: string
 * }} CardState
 */
import { iconPath, svg } from "./dom.mjs";
import { shortStrength } from "./strength.mjs";

export const WIDTH = 196;
export const CHIP_HEIGHT = 22;
export const THUMB = 40;
/** How far apart two lines of an outcome are. */
export const OUTCOME = 15;
export const FONTS = Object.freeze({
  title: "600 14px Inter, system-ui, sans-serif",
  chip: "500 12px Inter, system-ui, sans-serif",
  result: "500 12.5px Inter, system-ui, sans-serif",
  reason: "400 11px Inter, system-ui, sans-serif",
});

const LEFT = 18;
const TICK = 22;
const RIGHT = 12;
const HEAD = 34;
const GAP = 6;
const ROWS = 2;
const MORE = 34;
/** Room for the lock at the right of the title, and for a strength. */
const LOCK = 22;
const STRENGTH = 42;

/**
 * @param {Concept} concept
 * @param {Result} [result] of the last run
 * @returns {Card}
 */
export function layOut(concept, result) {
  const icons = LOCK + (concept.scope === "global" ? 22 : 0) + (concept.strength === 1 ? 0 : STRENGTH);
  const title = fitted(concept.name, WIDTH - LEFT - RIGHT - icons - 4, FONTS.title);
  const { chips, more, moreAt, rows } = chipRows(concept);
  const chipsEnd = HEAD + rows * (CHIP_HEIGHT + GAP) + 4;
  const told = result ? tell(result, chipsEnd) : null;
  return { width: WIDTH, height: chipsEnd + (told?.height ?? 0), title, chips, more, moreAt, told };
}

/** @param {Result} result @param {number} y @returns {Told} */
function tell({ factual, counterfactual, effective, reason, mask }, y) {
  const right = RIGHT + (mask ? THUMB + 8 : 0);
  const left = LEFT + (effective === undefined ? 0 : TICK);
  const room = WIDTH - left - right;
  const outcome = factual === counterfactual ? [] : wrapped(`${factual} → ${counterfactual}`, room, FONTS.result, 2);
  const lines = wrapped(reason, WIDTH - LEFT - right, FONTS.reason, 2);
  const height = 34 + (outcome.length > 1 ? OUTCOME : 0) + 14 * lines.length;
  return { y, height: Math.max(height, mask ? THUMB + 12 : 0), left, room, outcome, reason: lines };
}

/** @param {Concept} concept */
function chipRows(concept) {
  /** @type {Chip[]} */
  const chips = [];
  const values = [...concept.values.keys()];
  let [x, row] = [LEFT, 0];
  for (const [index, value] of values.entries()) {
    const text = fitted(value, WIDTH - LEFT - RIGHT - 20, FONTS.chip);
    const width = Math.ceil(widthOf(text, FONTS.chip)) + 18;
    const reserve = row === ROWS - 1 && index < values.length - 1 ? MORE + GAP : 0;
    if (x > LEFT && x + width > WIDTH - RIGHT - reserve) {
      if (row === ROWS - 1) break;
      [x, row] = [LEFT, row + 1];
    }
    chips.push({ value, text, x, y: HEAD + row * (CHIP_HEIGHT + GAP), width });
    x += width + GAP;
  }
  const more = values.length - chips.length;
  const moreAt = more ? { x: Math.min(x, WIDTH - RIGHT - MORE), y: HEAD + row * (CHIP_HEIGHT + GAP), width: MORE } : null;
  return { chips, more, moreAt, rows: row + 1 };
}

const LONGEST = 300;
/** @type {Map<string, number>} */
const widths = new Map();
/** @type {CanvasRenderingContext2D | null} */
let context = null;

/**
 * @param {string} text
 * @param {string} font a CSS font
 * @returns {number} pixels
 */
export function widthOf(text, font) {
  const key = `${font}|${text}`;
  const known = widths.get(key);
  if (known !== undefined) return known;
  context ??= document.createElement("canvas").getContext("2d");
  if (context) context.font = font;
  const width = context?.measureText(text).width ?? text.length * 7;
  if (widths.size > 4000) widths.clear();
  widths.set(key, width);
  return width;
}

/**
 * The text in lines, cut between words; the last one ends in an ellipsis if there is more.
 * @param {string} text
 * @param {number} room pixels
 * @param {string} font
 * @param {number} most lines
 * @returns {string[]}
 */
export function wrapped(text, room, font, most) {
  const words = text.slice(0, LONGEST).split(/\s+/).filter(Boolean);
  /** @type {string[]} */
  const lines = [];
  while (words.length && lines.length < most - 1) {
    let count = 1;
    while (count < words.length && widthOf(words.slice(0, count + 1).join(" "), font) <= room) count += 1;
    if (widthOf(words[0], font) > room) break;
    lines.push(words.splice(0, count).join(" "));
  }
  return words.length ? [...lines, fitted(words.join(" "), room, font)] : lines;
}

/**
 * The text, or its beginning and an ellipsis; line breaks and control marks are drawn as blanks.
 * @param {string} text
 * @param {number} room pixels
 * @param {string} font
 * @returns {string}
 */
export function fitted(text, room, font) {
  const head = text.slice(0, LONGEST).replace(/[\x00-\x1f\x7f\u2028\u2029]/g, " ");
  if (head.length === text.length && widthOf(head, font) <= room) return head;
  const letters = [...head];
  let [low, high] = [0, letters.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (widthOf(`${letters.slice(0, middle).join("")}…`, font) <= room) low = middle;
    else high = middle - 1;
  }
  return `${letters.slice(0, low).join("").trimEnd()}…`;
}

/** One fixed colour per concept, by its place in the graph: the same as in masks and drawings. */
export const PALETTE = Object.freeze([
  "#e09a2b", "#56a5dc", "#12876a", "#d285b4", "#e6d254", "#2b5f9e", "#cb5a30", "#5f544b",
  "#1ae0bc", "#aa4a8c", "#e6b6a4", "#62b068", "#ceb6f8", "#8c6ece", "#146814", "#9e3214",
  "#6e8614", "#743280", "#f27a74", "#68809e", "#86b0aa", "#14d4f2", "#986868", "#922656",
  "#b692f8", "#86d47a", "#9e8c68", "#866220", "#146e7a", "#d46280", "#1480c2", "#bc8014",
  "#329e98", "#f8a4ce", "#bc68b6", "#745074", "#bcb074", "#8050aa", "#9eced4", "#b03e50",
  "#563e9e", "#688cec", "#b6bc38", "#92a420", "#c89892", "#aaa4ce", "#a48092", "#f8b068",
  "#e692e6", "#506e44", "#389856", "#14c298", "#98c8a4", "#14bcc8", "#8c8cc2", "#5662c2",
  "#68501a", "#92b0f8", "#148032", "#68689e", "#748050", "#f886a4", "#ce9262", "#f8987a",
]);

/** @param {number} index the concept's place in the graph; past 64 the colours repeat */
export const colourOf = (index) => PALETTE[index % PALETTE.length];

const RADIUS = 10;
const BADGE = "600 11px Inter, system-ui, sans-serif";

/**
 * Fills the group of a card. Called only when something on the card has changed.
 * @param {SVGGElement} group
 * @param {CardState} state
 * @param {Translate} t
 * @param {Registry} targets what each drawn part stands for
 */
export function drawCard(group, state, t, targets) {
  const { concept, card } = state;
  const { width, height } = card;
  const rim = svg("rect", { class: "rim", width, height, rx: RADIUS });
  const handle = svg("circle", { class: "handle", cx: width, cy: height / 2, r: 6 });
  targets.set(rim, { kind: "rim", name: concept.name });
  targets.set(handle, { kind: "rim", name: concept.name });
  group.replaceChildren(
    svg("title", {}, tooltip(concept)),
    rim,
    svg("rect", { class: "body", width, height, rx: RADIUS }),
    svg("rect", { class: "bar", x: 6, y: 9, width: 4, height: height - 18, rx: 2, fill: state.colour }),
    near(state, t, targets),
    far(state, t),
    ...badge(state, t),
    state.unspoken ? words(concept, t, targets) : "",
    handle,
  );
}

/** @param {Concept} concept */
const tooltip = ({ name, value, values, description }) =>
  [`${name} = ${value}`, values.get(value), description].filter(Boolean).join("\n").slice(0, 600);

/**
 * What is read from near: name, chips, result.
 * @param {CardState} state
 * @param {Translate} t
 * @param {Registry} targets
 */
function near(state, t, targets) {
  const { concept, card, result } = state;
  const group = svg("g", { class: "near" }, svg("text", { class: "title", x: 18, y: 22 }, card.title));
  if (state.mode === "intervene" && ["descendant", "intervened", "held"].includes(state.role)) group.append(lock(state, t, targets));
  if (concept.scope === "global") group.append(smallIcon("globe", card.width - 26, 10, t("scope.global")));
  if (concept.strength !== 1) group.append(factor(concept, card, t));
  for (const chip of card.chips) group.append(drawChip(chip, state, t, targets));
  if (card.moreAt) group.append(drawMore(card, concept.name, targets));
  if (result && card.told) group.append(drawResult(result, card.told, state, t));
  return group;
}

/**
 * @param {import("./dom.mjs").Icon} name
 * @param {number} x
 * @param {number} y
 * @param {string} title
 */
const smallIcon = (name, x, y, title) =>
  svg("g", { class: "small-icon", transform: `translate(${x},${y}) scale(.9)` }, svg("title", {}, title), svg("path", { d: iconPath(name) }));

/** A strength other than the node's. @param {Concept} concept @param {Card} card @param {Translate} t */
const factor = ({ scope, strength }, card, t) =>
  svg("text", { class: "strength", x: card.width - (scope === "global" ? 56 : 34), y: 22 },
    svg("title", {}, t("card.strength", { strength })), shortStrength(strength));

/** A mark: the caption lacks its words; a click adds them. @param {Concept} concept @param {Translate} t @param {Registry} targets */
function words({ name, value, values }, t, targets) {
  const group = svg("g", { class: "words", transform: "translate(16,0)" },
    svg("title", {}, t("words.missing", { phrase: values.get(value) })),
    svg("circle", { r: 10 }), svg("path", { d: "M0,-5V1.5M0,4.8V5" }));
  targets.set(group, { kind: "words", name });
  return group;
}

/** Cuts a concept off from its causes. @param {CardState} state @param {Translate} t @param {Registry} targets */
function lock({ concept, card, role }, t, targets) {
  const right = concept.scope === "global" ? 50 : 28;
  const group = svg("g", { class: "lock", "data-on": String(role !== "descendant"), transform: `translate(${card.width - right},8)` },
    svg("title", {}, t(role === "descendant" ? "lock.cut" : "lock.release")),
    svg("rect", { x: -4, y: -4, width: 24, height: 24, rx: 6 }), svg("path", { d: iconPath("lock"), transform: "translate(1,1) scale(.9)" }));
  targets.set(group, { kind: "lock", name: concept.name });
  return group;
}

/**
 * @param {Chip} chip
 * @param {CardState} state
 * @param {Translate} t
 * @param {Registry} targets
 */
function drawChip({ value, text, x, y, width }, { concept, forced, expected }, t, targets) {
  const kind = value === forced ? "forced" : value === expected ? "expected" : value === concept.value ? "factual" : "other";
  const group = svg("g", { class: "chip", "data-kind": kind, transform: `translate(${x},${y})` },
    svg("title", {}, [value, concept.values.get(value) || t("panel.no_phrase")].join("\n").slice(0, 600)),
    svg("rect", { width, height: CHIP_HEIGHT, rx: CHIP_HEIGHT / 2 }),
    svg("text", { x: width / 2, y: 15.5 }, text));
  targets.set(group, { kind: "chip", name: concept.name, value });
  return group;
}

/** @param {Card} card @param {string} name @param {Registry} targets */
function drawMore({ moreAt, more }, name, targets) {
  const { x, y, width } = /** @type {{x: number, y: number, width: number}} */ (moreAt);
  const group = svg("g", { class: "chip", "data-kind": "more", transform: `translate(${x},${y})` },
    svg("rect", { width, height: CHIP_HEIGHT, rx: CHIP_HEIGHT / 2 }),
    svg("text", { x: width / 2, y: 15.5 }, `+${more}`));
  targets.set(group, { kind: "more", name });
  return group;
}

/** What is read from afar: the name, the value and the verdict, large; from farther still the name alone. @param {CardState} state @param {Translate} t */
function far({ concept, card, forced, expected, result, stale }, t) {
  const value = forced ?? expected ?? (result?.counterfactual !== concept.value ? result?.counterfactual : undefined);
  const judged = result?.effective !== undefined;
  const room = card.width - 28;
  const [name, shown] = ["24px", "22px"].map((size) => FONTS.title.replace("14px", size));
  const alone = Math.round(Math.max(28, Math.min(40, (14 * room) / widthOf(concept.name.slice(0, 60), FONTS.title))));
  const middle = card.height / 2;
  return svg("g", { class: "far", "data-stale": String(stale && forced === undefined && expected === undefined && value !== undefined) },
    svg("text", { class: "far-name", x: 18, y: middle - 6 }, fitted(concept.name, room - (judged ? 32 : 0), name)),
    svg("text", { class: "far-value", x: 18, y: middle + 20 }, fitted(value ? `→ ${value}` : concept.value, room, shown)),
    svg("text", { class: "far-alone", x: 18, y: middle + alone * 0.35, style: `font-size: ${alone}px` },
      fitted(concept.name, room, FONTS.title.replace("14px", `${alone}px`))),
    judged && tick("far-tick", /** @type {boolean} */ (result?.effective), `translate(${card.width - 40},${middle - 28}) scale(1.7)`, t));
}

/** @param {CardState} state @param {Translate} t @returns {SVGElement[]} */
function badge({ concept, card, role, forced, behind, expected }, t) {
  const text = role === "descendant" && expected !== undefined ? t("badge.expected", { value: expected }) : badgeText(role, concept, forced, t);
  if (!text) return [];
  const shown = fitted(text, card.width - 72, BADGE);
  const locked = role !== "descendant";
  const width = widthOf(shown, BADGE) + (locked ? 32 : 18);
  const inner = svg("g", {}, behind && svg("title", {}, t("label.behind")),
    svg("rect", { x: -width, width, height: 22, rx: 11 }),
    locked && svg("path", { class: "badge-icon", transform: `translate(${8 - width},4.5) scale(.8)`, d: iconPath(role === "held" ? "pin" : "lock") }),
    svg("text", { x: (locked ? 24 : 9) - width, y: 15 }, shown));
  return [svg("g", { class: "badge", "data-behind": String(behind), "data-open": String(role === "descendant" && expected === undefined), transform: `translate(${card.width - 10},-14)` }, inner)];
}

/**
 * @param {Role} role
 * @param {Concept} concept
 * @param {string | undefined} forced
 * @param {Translate} t
 */
function badgeText(role, concept, forced, t) {
  if (role === "intervened") return t("badge.do", { name: concept.name, value: forced });
  if (role === "held") return t("badge.held", { value: concept.value });
  return role === "descendant" ? t("badge.descendant") : "";
}

/**
 * @param {Result} result
 * @param {Told} told
 * @param {CardState} state
 * @param {Translate} t
 */
function drawResult(result, { y, height, left, room, outcome, reason }, { card, stale, colour }, t) {
  const changed = result.factual !== result.counterfactual;
  const words = changed ? `${result.factual} → ${result.counterfactual}` : t("result.same", { value: result.factual });
  const lines = changed ? outcome : [fitted(words, room, FONTS.result)];
  const below = 37 + OUTCOME * (lines.length - 1);
  const group = svg("g", { class: "result", "data-changed": String(changed), "data-stale": String(stale), transform: `translate(0,${y})` },
    svg("title", {}, [words, result.reason].filter(Boolean).join("\n")),
    svg("path", { class: "rule", d: `M18,0H${card.width - 12}` }),
    svg("text", { class: "outcome", y: 21 }, ...lines.map((line, index) =>
      svg("tspan", { x: left, dy: index ? OUTCOME : 0 }, index < lines.length - 1 ? `${line} ` : line))),
    ...reason.map((line, index) => svg("text", { class: "reason", x: 18, y: below + 14 * index }, line)));
  if (result.mask) group.append(thumbnail(result.mask, card.width, height, colour));
  if (result.effective !== undefined) group.append(tick("tick", result.effective, "translate(18,9)", t));
  return group;
}

/**
 * The mask in the concept's colour. A picture that the server no longer has leaves no hole.
 * @param {string} href
 * @param {number} width
 * @param {number} height
 * @param {string} colour
 */
function thumbnail(href, width, height, colour) {
  const box = { x: width - THUMB - 8, y: Math.min(8, (height - THUMB) / 2), width: THUMB, height: THUMB };
  const group = svg("g", { class: "thumb" },
    svg("rect", { class: "tint", ...box, fill: colour }),
    svg("image", { ...box, href, preserveAspectRatio: "xMidYMid slice", onerror: () => group.remove() }),
    svg("rect", { class: "frame", ...box, rx: 3 }));
  return group;
}

/** @param {string} name @param {boolean} good @param {string} transform @param {Translate} t */
function tick(name, good, transform, t) {
  return svg("g", { class: name, "data-good": String(good), transform },
    svg("title", {}, t(good ? "result.effective" : "result.ineffective")),
    svg("circle", { cx: 8, cy: 8, r: 8 }),
    svg("path", { d: iconPath(good ? "check" : "close"), transform: "translate(2.4,2.4) scale(.7)" }));
}
