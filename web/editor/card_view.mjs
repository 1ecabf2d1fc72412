/**
 * Drawing one concept: its name, its values as chips, its part under do(), its result.
 *
 * @import { Card, Chip } from "./card.mjs"
 * @import { Translate } from "./i18n.mjs"
 * @import { Concept, Role } from "./model.mjs"
 * @import { Result } from "./results.mjs"
 * @import { Registry } from "./scene.mjs"
 * @typedef {{
 *   concept: Concept, card: Card, role: Role, forced: string | undefined, behind: boolean, expected: string | undefined, mode: "edit" | "intervene",
 *   colour: string, result: Result | undefined, stale: boolean, unspoken: boolean, label: string
 * }} CardState
 */
import { CHIP_HEIGHT, FONTS, OUTCOME, THUMB } from "./card.mjs";
import { iconPath, svg } from "./dom.mjs";
import { fitted, widthOf } from "./text_size.mjs";

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
  if (state.mode === "intervene" && ["affected", "intervened", "held"].includes(state.role)) group.append(lock(state, t, targets));
  if (concept.scope === "global") group.append(smallIcon("globe", card.width - 26, 10, t("scope.global")));
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
  const group = svg("g", { class: "lock", "data-on": String(role !== "affected"), transform: `translate(${card.width - right},8)` },
    svg("title", {}, t(role === "affected" ? "lock.cut" : "lock.release")),
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
  const text = role === "affected" && expected !== undefined ? t("badge.expected", { value: expected }) : badgeText(role, concept, forced, t);
  if (!text) return [];
  const shown = fitted(text, card.width - 72, BADGE);
  const locked = role !== "affected";
  const width = widthOf(shown, BADGE) + (locked ? 32 : 18);
  const inner = svg("g", {}, behind && svg("title", {}, t("label.behind")),
    svg("rect", { x: -width, width, height: 22, rx: 11 }),
    locked && svg("path", { class: "badge-icon", transform: `translate(${8 - width},4.5) scale(.8)`, d: iconPath(role === "held" ? "pin" : "lock") }),
    svg("text", { x: (locked ? 24 : 9) - width, y: 15 }, shown));
  return [svg("g", { class: "badge", "data-behind": String(behind), "data-open": String(role === "affected" && expected === undefined), transform: `translate(${card.width - 10},-14)` }, inner)];
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
  return role === "affected" ? t("badge.affected") : "";
}

/**
 * @param {Result} result
 * @param {import("./card.mjs").Told} told
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
