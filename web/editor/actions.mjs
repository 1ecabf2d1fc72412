/**
 * What a person does to the graph, by mouse, by keys or in the panel: each action changes the graph and reports it.
 *
 * @import { Translate } from "./i18n.mjs"
 * @import { Size } from "./layout.mjs"
 * @import { Session } from "./session.mjs"
 * @import { Graph, GraphError, Point } from "./model.mjs"
 * @typedef {{
 *   places: ReadonlyMap<string, Point>, sizeOf: (name: string) => Size, forget: () => void
 * }} Drawn where concepts are drawn, and how large; `forget` has unplaced ones laid out afresh
 * @typedef {{
 *   session: Session, drawn: Drawn, t: Translate,
 *   run: (command: (graph: Graph) => Graph, options?: {merge?: string, say?: string}) => boolean,
 *   say: (words: string, kind?: "plain" | "refused") => void,
 *   showCycle: (names: readonly string[]) => void,
 *   visit: (key: string) => void, rest: () => void, fit: () => void
 * }} Desk what actions need: `run` does a command and says whether it was not refused, `visit` selects one thing and
 *   gives it the keyboard, `rest` gives the keyboard to the drawing
 */
import * as commands from "./commands.mjs";
import { expect, speak, unlock } from "./commands.mjs";
import { reasonOf } from "./i18n.mjs";
import { clear } from "./layout.mjs";
import { conceptOf, edgeKey, edgeOf, neighbours, roles } from "./model.mjs";

export class Actions {
  /** @param {Desk} desk */
  constructor(desk) {
    this.desk = desk;
  }

  get #graph() {
    return this.desk.session.graph;
  }

  /** Picks a value: the factual one in Edit; in Intervene do(), or what follows where a do() comes before. @param {string} name @param {string} value */
  choose(name, value) {
    const { desk, desk: { t } } = this;
    if (desk.session.mode === "edit") {
      desk.run((graph) => commands.setValue(graph, name, value), { say: t("said.value", { name, value }) });
      return;
    }
    if (roles(this.#graph).get(name) === "descendant") return this.expect(name, value);
    this.intervene(name, value);
  }

  /** do(name = value), whatever comes before it. @param {string} name @param {string} value */
  intervene(name, value) {
    const { desk, desk: { t } } = this;
    if (conceptOf(this.#graph, name).value === value) return this.hold(name);
    const released = this.#graph.interventions.get(name) === value;
    const say = released ? t("said.released", { name }) : t("said.do", { name, value });
    desk.run((graph) => commands.toggleDo(graph, name, value), { say });
  }

  /** Says what becomes of a descendant. @param {string} name @param {string} value */
  expect(name, value) {
    const { desk } = this;
    const again = this.#graph.effects.get(name) === value;
    desk.run((graph) => expect(graph, name, value), { say: desk.t(again ? "said.unexpected" : "said.expected", { name, value }) });
  }

  /** Cuts a descendant off from its causes, at the value that was to follow; or gives it back to them. @param {string} name */
  lock(name) {
    const { desk } = this;
    const graph = this.#graph;
    if (graph.interventions.has(name)) return desk.run((now) => unlock(now, name), { say: desk.t("said.released", { name }) });
    this.intervene(name, graph.effects.get(name) ?? conceptOf(graph, name).value);
  }

  /** Puts a concept's words into the picture's caption. @param {string} name */
  speak(name) {
    this.desk.run((graph) => speak(graph, name), { say: this.desk.t("said.spoken", { name }) });
  }

  /** Takes words of the picture's caption as a concept's own. @param {string} name @param {string} words */
  adopt(name, words) {
    this.desk.run((graph) => commands.setPhrase(graph, name, conceptOf(graph, name).value, words), { say: this.desk.t("said.adopted", { name, words }) });
  }

  /** The value at a place in the domain, from 1. @param {string} name @param {number} place */
  chooseNth(name, place) {
    const value = [...conceptOf(this.#graph, name).values.keys()][place - 1];
    if (value !== undefined) this.choose(name, value);
  }

  /** @param {string} name */
  hold(name) {
    const { desk } = this;
    const held = this.#graph.interventions.get(name) === conceptOf(this.#graph, name).value;
    desk.run((graph) => commands.toggleHold(graph, name), { say: desk.t(held ? "said.released" : "said.held", { name }) });
  }

  /** @param {string} name */
  release(name) {
    this.desk.run((graph) => commands.release(graph, name), { say: this.desk.t("said.released", { name }) });
  }

  /** @param {string} cause @param {string} effect */
  connect(cause, effect) {
    const { desk } = this;
    return desk.run((graph) => commands.connect(graph, cause, effect), { say: desk.t("said.connected", { cause, effect }) });
  }

  /** @param {{cause: string, effect: string}} edge */
  confirm(edge) {
    const { desk } = this;
    const refused = commands.closing(this.#graph, edge);
    if (refused) return this.#showCycle(refused);
    desk.run((graph) => commands.confirm(graph, edge), { say: desk.t("said.confirmed", { ...edge }) });
  }

  /** @param {GraphError} refused a cycle @param {string} [before] what was done all the same */
  #showCycle(refused, before = "") {
    const { desk } = this;
    desk.say([before, reasonOf(desk.t, refused)].filter(Boolean).join(" "), "refused");
    desk.showCycle(/** @type {string[]} */ (refused.details.names));
  }

  /** Whatever can be; what would close a cycle is shown and stays proposed. */
  confirmAll() {
    const { desk } = this;
    const proposed = () => this.#graph.edges.filter(({ status }) => status === "proposed");
    const count = proposed().length;
    desk.run(commands.confirmAll);
    const remaining = proposed();
    const done = remaining.length < count ? desk.t("said.confirmed_all", { count: count - remaining.length }) : "";
    const refused = remaining.length ? commands.closing(this.#graph, remaining[0]) : null;
    if (refused) this.#showCycle(refused, done);
    else desk.say(done);
  }

  releaseAll() {
    this.desk.run(commands.releaseAll, { say: this.desk.t("said.released_all") });
  }

  /** @param {{cause: string, effect: string}} edge */
  reject(edge) {
    const { desk } = this;
    const back = desk.session.selected.has(edgeKey(edge)) ? edge.cause : null;
    const done = desk.run((graph) => commands.disconnect(graph, edge), { say: desk.t("said.rejected", { ...edge }) });
    if (done && back !== null) desk.visit(back);
  }

  /** Removes what is selected. */
  remove() {
    const { desk } = this;
    const edge = this.selectedEdge;
    if (edge) return this.reject(edge);
    const names = [...desk.session.selected].filter((key) => this.#graph.concepts.some(({ name }) => name === key));
    if (names.length === 0) return;
    const next = this.#neighbour(names);
    desk.run((graph) => commands.removeConcepts(graph, names), { say: desk.t("said.removed", { names: names.join(", ") }) });
    if (next) desk.visit(next);
    else desk.rest();
  }

  /** Who is given the keyboard when concepts go. @param {string[]} names */
  #neighbour(names) {
    const graph = this.#graph;
    const near = names.flatMap((name) => neighbours(graph, name));
    return [...near, ...graph.concepts.map(({ name }) => name)].find((name) => !names.includes(name));
  }

  /** @returns {{cause: string, effect: string} | undefined} */
  get selectedEdge() {
    const { graph, selected } = this.desk.session;
    return selected.size === 1 ? graph.edges.find((edge) => selected.has(edgeKey(edge))) : undefined;
  }

  /** @returns {string | undefined} the one selected concept */
  get selectedConcept() {
    const { graph, selected } = this.desk.session;
    return selected.size === 1 ? graph.concepts.find(({ name }) => selected.has(name))?.name : undefined;
  }

  /**
   * A new concept with something to intervene on: it is there, or it is not.
   * @param {Point} wanted
   * @returns {string | null} its name
   */
  add(wanted) {
    const { desk } = this;
    const name = commands.freshName(this.#graph, desk.t("fresh.name"));
    const [present, absent] = [desk.t("fresh.present"), desk.t("fresh.absent")];
    const values = new Map([[present, name], [absent, ""]]);
    const place = clear(wanted, { width: 196, height: 66 }, desk.drawn.places, (each) => desk.drawn.sizeOf(each));
    const position = /** @type {Point} */ ([Math.round(place[0]), Math.round(place[1])]);
    const added = desk.run((graph) => commands.addConcept(graph, { name, value: present, values, position }),
      { merge: `add ${name}`, say: desk.t("said.added", { name }) });
    return added ? name : null;
  }

  /** Lays everything out afresh. */
  arrange() {
    const { desk } = this;
    desk.drawn.forget();
    desk.run((graph) => commands.place(graph, new Map(graph.concepts.map(({ name }) => [name, null]))));
    desk.run((graph) => commands.place(graph, desk.drawn.places), { say: desk.t("said.arranged") });
    desk.fit();
  }

  /**
   * Puts concepts somewhere; the others stay where they are drawn.
   * @param {ReadonlyMap<string, Point>} places
   * @param {string} [merge]
   */
  place(places, merge) {
    const all = new Map([...this.desk.drawn.places, ...places]);
    const whole = new Map([...all].map(([name, [x, y]]) => [name, /** @type {Point} */ ([Math.round(x), Math.round(y)])]));
    this.desk.run((graph) => commands.place(graph, whole), merge ? { merge } : {});
  }

  /** @param {string} name @param {Point} place */
  move(name, place) {
    this.place(new Map([[name, place]]), `move ${name}`);
  }

  /** @param {{cause: string, effect: string}} edge */
  toggleStatus({ cause, effect }) {
    const { desk } = this;
    const proposed = edgeOf(this.#graph, cause, effect)?.status === "proposed";
    if (proposed) return this.confirm({ cause, effect });
    desk.run((graph) => commands.propose(graph, { cause, effect }), { say: desk.t("said.proposed", { cause, effect }) });
  }
}
