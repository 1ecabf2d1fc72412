/**
 * The panel at the side: everything about the selected concept or edge, the picture's
 * base prompt when nothing is selected, and the conflicts with a new extraction.
 *
 * @import { Editor } from "./editor.mjs"
 * @import { Child } from "./dom.mjs"
 * @import { Conflict } from "./merge.mjs"
 * @import { Concept, Edge, Graph } from "./model.mjs"
 */
import * as commands from "./commands.mjs";
import * as details from "./commands.mjs";
import { html, icon, iconButton } from "./dom.mjs";
import { conceptOf, edgeKey, roles } from "./model.mjs";
import { colourOf } from "./card.mjs";
import { unspoken } from "./commands.mjs";
import { strengthSlider } from "./strength.mjs";
import { wordsFor } from "./wording.mjs";

export class Inspector {
  #pressed = false;
  #late = false;
  /** @type {Map<string, string>} old names to new ones, since the last drawing */ #renamed = new Map();

  /** @param {Editor} editor */
  constructor(editor) {
    this.editor = editor;
    this.t = editor.t;
    this.element = html("aside", {
      class: "csg-panel", tabindex: -1, "aria-label": editor.t("panel.label"),
      onpointerdown: () => { this.#pressed = true; },
      onpointerup: () => this.#released(), onpointercancel: () => this.#released(),
    });
  }

  /** A click must find the button it began on, so drawing waits for its end. */
  #released() {
    setTimeout(() => {
      this.#pressed = false;
      if (this.#late) this.render();
    });
  }

  /** @param {string} field */
  focus(field) {
    const element = /** @type {HTMLElement | null} */ (this.element.querySelector(`[data-field="${CSS.escape(field)}"]`)
      ?? this.element.querySelector("[data-field]"));
    element?.focus({ preventScroll: true });
    if (element instanceof HTMLInputElement) element.select();
  }

  render() {
    this.#late = this.#pressed;
    if (this.#pressed) return;
    this.element.hidden = !this.editor.panelOpen;
    if (this.element.hidden) return;
    const active = document.activeElement;
    const inside = this.element.contains(active);
    const { field } = inside ? /** @type {HTMLElement} */ (active).dataset : {};
    const scroll = this.element.scrollTop;
    this.#renamed.clear();
    this.element.replaceChildren(...this.#content());
    this.element.scrollTop = scroll;
    if (field) this.focus(field);
    else if (inside) this.element.focus({ preventScroll: true });
  }

  /** @returns {HTMLElement[]} */
  #content() {
    const { editor } = this;
    const { actions, graph } = editor;
    const edge = graph.edges.find((each) => actions.selectedEdge && edgeKey(each) === edgeKey(actions.selectedEdge));
    const name = actions.selectedConcept;
    const subject = edge ? this.#edge(edge) : name !== undefined ? this.#concept(conceptOf(graph, name)) : this.#picture();
    return [...this.#conflicts(), ...subject];
  }

  /**
   * @param {string} title
   * @param {...Child} beside
   */
  #heading(title, ...beside) {
    const close = iconButton(this.t("panel.close"), "close", () => {
      this.editor.setPanel(false);
      this.editor.rest();
    });
    return html("header", {}, ...beside, html("h3", {}, title), close);
  }

  /**
   * A line of text that changes the graph when it is left, or at Enter.
   * @param {string} field
   * @param {string} value
   * @param {(text: string) => (graph: Graph) => Graph} command
   * @param {Record<string, unknown>} [attributes]
   */
  #line(field, value, command, attributes = {}) {
    let told = value; // A line that is replaced while it is left tells the same change once more.
    const input = html("input", {
      value, "data-field": field, maxlength: 20000, ...attributes,
      onchange: () => {
        if (input.value === told) return;
        told = input.value;
        if (!this.editor.run(command(told))) input.value = told = value;
      },
      onkeydown: (/** @type {KeyboardEvent} */ event) => { if (event.key === "Enter" && !event.isComposing) input.dispatchEvent(new Event("change")); },
    });
    return input;
  }

  /** @param {string} label @param {Node} control */
  #labelled(label, control) {
    return html("label", {}, html("span", {}, label), control);
  }

  /** @param {string} field @param {string} value @param {(text: string) => (graph: Graph) => Graph} command */
  #area(field, value, command) {
    const area = html("textarea", {
      rows: 2, "data-field": field, onchange: () => this.editor.run(command(area.value)),
    });
    area.value = value;
    return area;
  }

  #picture() {
    const { graph } = this.editor;
    const prompt = this.#area("base_prompt", graph.basePrompt, (text) => (now) => details.setBasePrompt(now, text));
    return [this.#heading(this.t("panel.picture")), this.#labelled(this.t("panel.base_prompt"), prompt), html("p", { class: "hint" }, this.t("panel.nothing"))];
  }

  /** @param {Concept} concept */
  #concept(concept) {
    const { editor } = this;
    const index = editor.graph.concepts.indexOf(concept);
    const dot = html("i", { class: "dot", style: `background:${colourOf(index)}` });
    if (editor.mode !== "edit") return [this.#heading(concept.name, dot), ...this.#doParts(concept), this.#strength(concept), ...this.#result(concept), ...this.#links(concept)];
    const name = this.#line("name", concept.name, (text) => (graph) => commands.renameConcept(graph, this.#now(concept.name), text, this.editor.extracted), { "aria-label": this.t("panel.name") });
    name.addEventListener("change", () => this.#follow(this.#now(concept.name), name.value.trim()));
    const remove = html("button", { type: "button", class: "wide remove", onclick: () => editor.actions.remove() }, icon("trash"), this.t("panel.remove"));
    return [this.#heading(this.t("concept"), dot), this.#labelled(this.t("panel.name"), name), ...this.#words(concept), ...this.#editParts(concept), ...this.#result(concept), ...this.#links(concept), remove];
  }

  /** How to mend a caption that lacks its words. @param {Concept} concept */
  #words({ name, value, values }) {
    const { actions, graph } = this.editor;
    if (!unspoken(graph).has(name)) return [];
    const words = wordsFor(graph, name);
    const button = (/** @type {string} */ field, /** @type {string} */ label, /** @type {() => void} */ act) =>
      html("button", { type: "button", class: "wide", "data-field": field, onclick: act }, label);
    return [html("p", { class: "hint warning" }, this.t("words.missing", { phrase: values.get(value) })),
      html("div", { class: "row stacked" }, button("speak", this.t("words.add"), () => actions.speak(this.#now(name))),
        words !== null && button("adopt", this.t("words.take", { words }), () => actions.adopt(this.#now(name), words)))];
  }

  /** @param {Concept} concept */
  #strength({ name, strength }) {
    return strengthSlider(this.t, strength, (value) =>
      this.editor.run((graph) => details.setStrength(graph, this.#now(name), value), { merge: `strength ${name}` }));
  }

  /** A renamed concept stays selected. @param {string} from @param {string} to */
  #follow(from, to) {
    const { editor } = this;
    if (editor.graph.concepts.some(({ name }) => name === from)) return;
    this.#renamed.set(from, to);
    editor.select([to], to);
  }

  /** What a concept drawn here is called by now: a click may come between its renaming and the next drawing. @param {string} name */
  #now(name) {
    return this.#renamed.get(name) ?? name;
  }

  /** @param {Concept} concept */
  #editParts(concept) {
    const { name, description, scope } = concept;
    const values = html("div", { class: "values" }, ...[...concept.values].map(([value, phrase]) => this.#value(concept, value, phrase)), this.#newValue(name));
    const global = html("input", { type: "checkbox", "data-field": "scope", onchange: () => this.editor.run((graph) => details.setScope(graph, this.#now(name), global.checked ? "global" : "local")) });
    global.checked = scope === "global";
    const about = this.#area("description", description, (text) => (graph) => details.setDescription(graph, this.#now(name), text));
    return [
      html("h4", {}, this.t("panel.values")), values,
      html("label", { class: "check", title: this.t("scope.help") }, global, html("span", {}, this.t("scope.global"))),
      this.#strength(concept),
      this.#labelled(this.t("panel.description"), about),
    ];
  }

  /** @param {Concept} concept @param {string} value @param {string} phrase */
  #value({ name, value: factual }, value, phrase) {
    const pick = html("input", { type: "radio", name: "csg-factual", "data-field": `pick ${value}`, "aria-label": this.t("panel.factual", { value }), onchange: () => this.editor.actions.choose(this.#now(name), value) });
    pick.checked = value === factual;
    const key = this.#line(`value ${value}`, value, (text) => (graph) => details.renameValue(graph, this.#now(name), value, text), { "aria-label": this.t("panel.value") });
    const words = this.#line(`phrase ${value}`, phrase, (text) => (graph) => details.setPhrase(graph, this.#now(name), value, text),
      { class: "phrase", "aria-label": this.t("panel.phrase", { value }), placeholder: this.t("panel.no_phrase"), title: this.t("panel.phrase_help") });
    const remove = iconButton(this.t("panel.remove_value", { value }), "close", () => this.editor.run((graph) => details.removeValue(graph, this.#now(name), value)), { disabled: value === factual });
    return html("div", { class: "value" }, pick, key, remove, words);
  }

  /** @param {string} name */
  #newValue(name) {
    return this.#line("values", "", (text) => (graph) => (text.trim() ? commands.addValue(graph, this.#now(name), text) : graph),
      { class: "new", placeholder: this.t("panel.add_value"), "aria-label": this.t("panel.add_value") });
  }

  /** @param {Concept} concept */
  #doParts({ name, value: factual, values }) {
    const { editor } = this;
    const forced = editor.graph.interventions.get(name);
    const follows = roles(editor.graph).get(name) === "descendant";
    const choices = [...values.keys()].map((value, index) => html("button", {
      type: "button", class: "choice", "data-field": index === 0 ? "values" : `do ${value}`, "aria-pressed": String(value === forced),
      onclick: () => editor.actions.intervene(name, value),
    }, value, value === factual && html("small", {}, this.t("panel.is_factual"))));
    return [...(follows ? this.#expectParts(name, factual, values) : []), html("h4", {}, this.t("panel.do", { name })), html("div", { class: "choices" }, ...choices), this.#holdButton(name, factual, forced)];
  }

  /** What follows, by hand. @param {string} name @param {string} factual @param {ReadonlyMap<string, string>} values */
  #expectParts(name, factual, values) {
    const { actions, graph } = this.editor;
    const choices = [...values.keys()].map((value) => html("button", {
      type: "button", class: "choice expected", "data-field": `expect ${value}`, "aria-pressed": String(value === graph.effects.get(name)),
      onclick: () => actions.expect(name, value),
    }, value, value === factual && html("small", {}, this.t("panel.is_factual"))));
    return [html("h4", {}, this.t("panel.expect", { name })), html("div", { class: "choices" }, ...choices), html("p", { class: "hint" }, this.t("panel.expect_help"))];
  }

  /** @param {string} name @param {string} factual @param {string | undefined} forced */
  #holdButton(name, factual, forced) {
    const { actions } = this.editor;
    const held = forced === factual;
    const hold = html("button", { type: "button", class: "wide", "data-field": "hold", "aria-pressed": String(held), title: this.t("panel.hold_help"), onclick: () => actions.hold(name) }, this.t("panel.hold", { value: factual }));
    const release = html("button", { type: "button", class: "wide", "data-field": "release", onclick: () => actions.release(name) }, this.t("panel.release"));
    return html("div", { class: "row" }, hold, forced !== undefined && release);
  }

  /** What the last run made of a concept. @param {Concept} concept */
  #result(concept) {
    const { graph, results, stale } = this.editor;
    const { name } = concept;
    const result = results.get(name);
    if (!result) return [];
    const words = result.factual === result.counterfactual ? this.t("result.same", { value: result.factual }) : `${result.factual} → ${result.counterfactual}`;
    return [
      html("h4", {}, this.t(stale ? "result.stale_title" : "result.title")),
      html("p", { class: "outcome" }, words),
      result.effective !== undefined && html("p", { class: "seen", "data-good": String(result.effective) }, icon(result.effective ? "check" : "close"), this.t(result.effective ? "result.effective" : "result.ineffective")),
      result.reason && html("p", { class: "hint" }, result.reason),
      result.mask && this.#mask(result.mask, name, colourOf(graph.concepts.indexOf(concept))),
    ].filter((each) => each instanceof HTMLElement);
  }

  /** @param {string} src @param {string} name @param {string} colour */
  #mask(src, name, colour) {
    const image = html("img", { src, alt: this.t("result.mask", { name }), onerror: () => whole.remove() });
    const whole = html("div", { class: "mask", style: `background:${colour}` }, image);
    return whole;
  }

  /** Causes and effects, each a way to go there. @param {Concept} concept */
  #links({ name }) {
    const { edges } = this.editor.graph;
    const list = (/** @type {string} */ title, /** @type {Edge[]} */ found, /** @type {"cause" | "effect"} */ end) =>
      (found.length ? [html("h4", {}, title), html("ul", {}, ...found.map((edge) => this.#link(edge, edge[end])))] : []);
    return [
      ...list(this.t("panel.causes"), edges.filter((edge) => edge.effect === name), "cause"),
      ...list(this.t("panel.effects"), edges.filter((edge) => edge.cause === name), "effect"),
    ];
  }

  /** @param {Edge} edge @param {string} end */
  #link(edge, end) {
    const { actions } = this.editor;
    const go = html("button", { type: "button", class: "link", title: edge.reason, onclick: () => this.editor.select([edgeKey(edge)], edgeKey(edge)) }, end);
    if (this.editor.mode !== "edit") return html("li", { "data-status": edge.status }, go);
    const confirm = edge.status === "proposed" && iconButton(this.t("edge_confirm"), "check", () => actions.confirm(edge));
    const reject = iconButton(this.t(edge.status === "proposed" ? "edge_reject" : "edge_remove"), "close", () => actions.reject(edge));
    return html("li", { "data-status": edge.status }, go, confirm, reject);
  }

  /** @param {Edge} edge */
  #edge(edge) {
    const { editor } = this;
    const { actions } = editor;
    const { cause, effect, reason, status } = edge;
    const why = this.#area("reason", reason, (text) => (graph) => details.setReason(graph, edge, text));
    const button = (/** @type {string} */ label, /** @type {() => void} */ act) => html("button", { type: "button", class: "wide", onclick: act }, label);
    const turn = () => editor.run((graph) => details.reverse(graph, edge)) && editor.select([edgeKey({ cause: effect, effect: cause })]);
    return [
      this.#heading(this.t("edge")),
      html("p", { class: "outcome" }, `${cause} → ${effect}`),
      html("p", { class: "hint" }, this.t(`status.${status}`)),
      this.#labelled(this.t("panel.reason"), why),
      html("div", { class: "row stacked" },
        button(this.t(status === "proposed" ? "edge_confirm" : "edge_propose"), () => actions.toggleStatus(edge)),
        button(this.t(status === "proposed" ? "edge_reject" : "edge_remove"), () => actions.reject(edge)),
        button(this.t("edge_reverse"), turn)),
    ];
  }

  #conflicts() {
    const { conflicts } = this.editor;
    if (conflicts.length === 0) return [];
    return [html("section", { class: "conflicts" }, html("h4", {}, this.t("conflict.title", { count: conflicts.length })), html("ul", {}, ...conflicts.map((each) => this.#conflict(each))))];
  }

  /** @param {Conflict} conflict */
  #conflict(conflict) {
    const { kind, subject, mine, theirs } = conflict;
    const side = (/** @type {"mine" | "theirs"} */ which, /** @type {string | null} */ value) => html("button", {
      type: "button", class: "wide", onclick: () => this.editor.settle(conflict, which),
    }, html("small", {}, this.t(`conflict.${which}`)), value ?? this.t("conflict.nothing"));
    return html("li", {}, html("p", {}, this.t(`conflict.${kind}`, { subject })), html("div", { class: "row" }, side("mine", mine), side("theirs", theirs)));
  }
}
