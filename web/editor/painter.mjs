/**
 * From the editor's state to the picture that the scene draws.
 *
 * @import { Editor } from "./editor.mjs"
 * @import { Card } from "./card.mjs"
 * @import { CardState } from "./card.mjs"
 * @import { Concept, Edge, Point, Role } from "./model.mjs"
 * @import { Result } from "./results.mjs"
 * @import { EdgeState } from "./scene.mjs"
 */
import { colourOf, layOut } from "./card.mjs";
import { arrange, spread } from "./layout.mjs";
import { isCut, roles } from "./model.mjs";
import { unspoken } from "./commands.mjs";

const FURTHEST = 20000;

export class Painter {
  /** @type {Map<string, Point>} where each concept was drawn last */ places = new Map();
  /** @type {WeakMap<Concept, {card: Card, result: Result | undefined}>} */ #cards = new WeakMap();

  /** @param {Editor} editor */
  constructor(editor) {
    this.editor = editor;
  }

  paint() {
    const { editor } = this;
    const { graph } = editor;
    const parts = roles(graph);
    const missing = unspoken(graph);
    const cards = new Map(graph.concepts.map((concept, index) => [concept.name, this.#card(concept, index, parts, missing)]));
    const sizeOf = (/** @type {string} */ name) => /** @type {CardState} */ (cards.get(name)).card;
    this.places = spread(arrange(graph, sizeOf, this.#placed()), sizeOf);
    const edges = graph.edges.map((edge) => this.#edge(edge, parts));
    const focus = this.#focus();
    editor.scene.update({ cards, places: this.places, edges, selected: editor.selected, focus });
    editor.scene.element.setAttribute("tabindex", graph.concepts.length ? "-1" : "0");
  }

  /** The concept or edge that Tab reaches. */
  #focus() {
    const { editor } = this;
    const { focus, graph } = editor;
    const present = graph.concepts.some(({ name }) => name === focus) || (focus?.startsWith("[") && editor.scene.elementOf(focus));
    editor.focus = present ? focus : (graph.concepts[0]?.name ?? null);
    return editor.focus;
  }

  /** Stored places first, then where a concept was last seen. */
  #placed() {
    const { concepts } = this.editor.graph;
    const places = concepts.flatMap(({ name, position }) => {
      const place = position ?? this.places.get(name);
      return place ? [/** @type {const} */ ([name, within(place)])] : [];
    });
    return new Map(places);
  }

  /** Forgets where unplaced concepts were drawn. */
  forget() {
    this.places = new Map();
  }

  /** @param {string} name */
  sizeOf(name) {
    const { graph, results } = this.editor;
    const concept = graph.concepts.find((each) => each.name === name);
    return concept ? this.#layOut(concept, telling(results.get(name))) : { width: 0, height: 0 };
  }

  /** @param {Concept} concept @param {Result | undefined} result */
  #layOut(concept, result) {
    const before = this.#cards.get(concept);
    if (before && before.result === result) return before.card;
    const card = layOut(concept, result);
    this.#cards.set(concept, { card, result });
    return card;
  }

  /**
   * @param {Concept} concept
   * @param {number} index
   * @param {Map<string, Role>} parts
   * @param {Set<string>} missing
   * @returns {CardState}
   */
  #card(concept, index, parts, missing) {
    const { graph, mode, results, stale } = this.editor;
    const result = telling(results.get(concept.name));
    const intervention = graph.interventions.get(concept.name);
    const behind = intervention === undefined && !stale && result?.role === "intervened" ? result.counterfactual : undefined;
    const role = behind === undefined ? (parts.get(concept.name) ?? "factual") : "intervened";
    return {
      concept,
      role,
      mode,
      result,
      stale,
      card: this.#layOut(concept, result),
      forced: intervention ?? behind,
      behind: behind !== undefined,
      expected: role === "descendant" ? graph.effects.get(concept.name) : undefined,
      colour: colourOf(index),
      unspoken: missing.has(concept.name),
      label: [
        this.#label(concept, role, intervention ?? behind),
        behind === undefined ? "" : this.editor.t("label.behind"),
        missing.has(concept.name) ? this.editor.t("words.missing_short") : "",
      ].filter(Boolean).join(" "),
    };
  }

  /** What a screen reader says of a concept. @param {Concept} concept @param {Role} role @param {string | undefined} forced */
  #label({ name, value, values }, role, forced) {
    const { t, graph, results, stale } = this.editor;
    const listed = (/** @type {string[]} */ names) => names.join(", ") || t("none");
    const ends = (/** @type {"cause" | "effect"} */ end, /** @type {"cause" | "effect"} */ here) => listed(graph.edges
      .filter((edge) => edge[here] === name)
      .map((edge) => (edge.status === "proposed" ? t("label.proposed", { name: edge[end] }) : edge[end])));
    const result = results.get(name);
    return [
      t("label.concept", { name, value }),
      t("label.values", { names: listed([...values.keys()]) }),
      role === "factual" ? "" : t(`role.${role}`, { value: forced }),
      role === "descendant" && graph.effects.has(name) ? t("label.expected", { value: graph.effects.get(name) }) : "",
      t("label.causes", { names: ends("cause", "effect") }),
      t("label.effects", { names: ends("effect", "cause") }),
      result ? t("label.result", { factual: result.factual, counterfactual: result.counterfactual }) : "",
      result?.reason ?? "",
      result?.effective === undefined ? "" : `${t(result.effective ? "result.effective" : "result.ineffective")}.`,
      result && stale ? t("label.stale") : "",
    ].filter(Boolean).join(" ").slice(0, 1200);
  }

  /** @param {Edge} edge @param {Map<string, Role>} parts @returns {EdgeState} */
  #edge(edge, parts) {
    const { t, graph } = this.editor;
    const { cause, effect, reason, status } = edge;
    const cut = isCut(graph, edge);
    const moving = ["intervened", "descendant"].includes(parts.get(cause) ?? "");
    const flows = status === "confirmed" && !cut && moving && parts.get(effect) === "descendant";
    const share = percentOf(edge);
    const steady = share === null ? "" : t("label.share", { share });
    const words = [t("label.edge", { cause, effect }), t(cut ? "label.cut" : `status.${status}`), steady, reason];
    return { edge, cut, flows, dim: graph.interventions.size > 0 && !flows, label: words.filter(Boolean).join(" ").slice(0, 800) };
  }
}

/** In how many per cent of the readings an edge was drawn; null where none voted, or the text holds something else. @param {Edge} edge */
export const percentOf = ({ extra: { share } }) => (typeof share === "number" && share >= 0 && share <= 1 ? Math.round(100 * share) : null);

/** @param {Point} point @returns {Point} */
const within = ([x, y]) => [Math.max(-FURTHEST, Math.min(FURTHEST, x)), Math.max(-FURTHEST, Math.min(FURTHEST, y))];

/** A concept that the run left alone needs no words, unless somebody judged whether it stayed. @param {Result | undefined} result */
export const telling = (result) =>
  (result && (result.role !== "preserved" || result.factual !== result.counterfactual || result.effective !== undefined) ? result : undefined);
