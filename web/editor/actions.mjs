/**
 * What hands do, whichever hands: each action changes the graph and says what it did.
 *
 * @import { Editor } from "./editor.mjs"
 * @import { GraphError, Point } from "./model.mjs"
 */
import * as commands from "./commands.mjs";
import { expect, speak, unlock } from "./commands.mjs";
import { reasonOf } from "./i18n.mjs";
import { clear } from "./layout.mjs";
import { conceptOf, edgeKey, edgeOf, roles } from "./model.mjs";

export class Actions {
  /** @param {Editor} editor */
  constructor(editor) {
    this.editor = editor;
  }

  /** Picks a value: the factual one in Edit; in Intervene do(), or what follows where a do() comes before. @param {string} name @param {string} value */
  choose(name, value) {
    const { editor } = this;
    const { t } = editor;
    if (editor.mode === "edit") {
      editor.run((graph) => commands.setValue(graph, name, value), { say: t("said.value", { name, value }) });
      return;
    }
    if (roles(editor.graph).get(name) === "affected") return this.expect(name, value);
    this.intervene(name, value);
  }

  /** do(name = value), whatever comes before it. @param {string} name @param {string} value */
  intervene(name, value) {
    const { editor } = this;
    const { t } = editor;
    if (conceptOf(editor.graph, name).value === value) return this.hold(name);
    const released = editor.graph.interventions.get(name) === value;
    const say = released ? t("said.released", { name }) : t("said.do", { name, value });
    editor.run((graph) => commands.toggleDo(graph, name, value), { say });
  }

  /** Says what becomes of a descendant. @param {string} name @param {string} value */
  expect(name, value) {
    const { editor } = this;
    const again = editor.graph.effects.get(name) === value;
    editor.run((graph) => expect(graph, name, value), { say: editor.t(again ? "said.unexpected" : "said.expected", { name, value }) });
  }

  /** Cuts a descendant off from its causes, at the value that was to follow; or gives it back to them. @param {string} name */
  lock(name) {
    const { editor } = this;
    const { graph } = editor;
    if (graph.interventions.has(name)) return editor.run((now) => unlock(now, name), { say: editor.t("said.released", { name }) });
    this.intervene(name, graph.effects.get(name) ?? conceptOf(graph, name).value);
  }

  /** Puts a concept's words into the picture's caption. @param {string} name */
  speak(name) {
    this.editor.run((graph) => speak(graph, name), { say: this.editor.t("said.spoken", { name }) });
  }

  /** The value at a place in the domain, from 1. @param {string} name @param {number} place */
  chooseNth(name, place) {
    const value = [...conceptOf(this.editor.graph, name).values.keys()][place - 1];
    if (value !== undefined) this.choose(name, value);
  }

  /** @param {string} name */
  hold(name) {
    const { editor } = this;
    const held = editor.graph.interventions.get(name) === conceptOf(editor.graph, name).value;
    editor.run((graph) => commands.toggleHold(graph, name), { say: editor.t(held ? "said.released" : "said.held", { name }) });
  }

  /** @param {string} name */
  release(name) {
    this.editor.run((graph) => commands.release(graph, name), { say: this.editor.t("said.released", { name }) });
  }

  /** @param {string} cause @param {string} effect */
  connect(cause, effect) {
    const { editor } = this;
    return editor.run((graph) => commands.connect(graph, cause, effect), { say: editor.t("said.connected", { cause, effect }) });
  }

  /** @param {{cause: string, effect: string}} edge */
  confirm(edge) {
    const { editor } = this;
    const refused = commands.closing(editor.graph, edge);
    if (refused) return this.#showCycle(refused);
    editor.run((graph) => commands.confirm(graph, edge), { say: editor.t("said.confirmed", { ...edge }) });
  }

  /** @param {GraphError} refused a cycle @param {string} [before] what was done all the same */
  #showCycle(refused, before = "") {
    const { editor } = this;
    editor.say([before, reasonOf(editor.t, refused)].filter(Boolean).join(" "), "refused");
    editor.scene.showCycle(/** @type {string[]} */ (refused.details.names));
  }

  /** Whatever can be; what would close a cycle is shown and stays proposed. */
  confirmAll() {
    const { editor } = this;
    const proposed = () => editor.graph.edges.filter(({ status }) => status === "proposed");
    const count = proposed().length;
    editor.run(commands.confirmAll);
    const left = proposed();
    const done = left.length < count ? editor.t("said.confirmed_all", { count: count - left.length }) : "";
    const refused = left.length ? commands.closing(editor.graph, left[0]) : null;
    if (refused) this.#showCycle(refused, done);
    else editor.say(done);
  }

  releaseAll() {
    this.editor.run(commands.releaseAll, { say: this.editor.t("said.released_all") });
  }

  /** @param {{cause: string, effect: string}} edge */
  reject(edge) {
    const { editor } = this;
    const back = editor.selected.has(edgeKey(edge)) ? edge.cause : null;
    const done = editor.run((graph) => commands.disconnect(graph, edge), { say: editor.t("said.rejected", { ...edge }) });
    if (done && back !== null) editor.visit(back);
  }

  /** Removes what is selected. */
  remove() {
    const { editor } = this;
    const edge = this.selectedEdge;
    if (edge) return this.reject(edge);
    const names = [...editor.selected].filter((key) => editor.graph.concepts.some(({ name }) => name === key));
    if (names.length === 0) return;
    const next = this.#neighbour(names);
    editor.run((graph) => commands.removeConcepts(graph, names), { say: editor.t("said.removed", { names: names.join(", ") }) });
    if (next) editor.visit(next);
    else editor.scene.element.focus({ preventScroll: true });
  }

  /** Who is given the keyboard when concepts go. @param {string[]} names */
  #neighbour(names) {
    const { graph } = this.editor;
    const near = graph.edges.flatMap(({ cause, effect }) => (names.includes(cause) ? [effect] : names.includes(effect) ? [cause] : []));
    return [...near, ...graph.concepts.map(({ name }) => name)].find((name) => !names.includes(name));
  }

  /** @returns {{cause: string, effect: string} | undefined} */
  get selectedEdge() {
    const { graph, selected } = this.editor;
    return selected.size === 1 ? graph.edges.find((edge) => selected.has(edgeKey(edge))) : undefined;
  }

  /** @returns {string | undefined} the one selected concept */
  get selectedConcept() {
    const { graph, selected } = this.editor;
    return selected.size === 1 ? graph.concepts.find(({ name }) => selected.has(name))?.name : undefined;
  }

  /**
   * A new concept with something to intervene on: it is there, or it is not.
   * @param {Point} wanted
   * @returns {string | null} its name
   */
  add(wanted) {
    const { editor } = this;
    const name = commands.freshName(editor.graph, editor.t("fresh.name"));
    const [present, absent] = [editor.t("fresh.present"), editor.t("fresh.absent")];
    const values = new Map([[present, name], [absent, ""]]);
    const place = clear(wanted, { width: 196, height: 66 }, editor.painter.places, (each) => editor.painter.sizeOf(each));
    const position = /** @type {Point} */ ([Math.round(place[0]), Math.round(place[1])]);
    const added = editor.run((graph) => commands.addConcept(graph, { name, value: present, values, position }),
      { merge: `add ${name}`, say: editor.t("said.added", { name }) });
    return added ? name : null;
  }

  /** Lays everything out afresh. */
  arrange() {
    const { editor } = this;
    editor.painter.forget();
    editor.run((graph) => commands.place(graph, new Map(graph.concepts.map(({ name }) => [name, null]))));
    editor.run((graph) => commands.place(graph, editor.painter.places), { say: editor.t("said.arranged") });
    editor.fit();
  }

  /**
   * Puts concepts somewhere; the others stay where they are drawn.
   * @param {ReadonlyMap<string, Point>} places
   * @param {string} [merge]
   */
  place(places, merge) {
    const all = new Map([...this.editor.painter.places, ...places]);
    const whole = new Map([...all].map(([name, [x, y]]) => [name, /** @type {Point} */ ([Math.round(x), Math.round(y)])]));
    this.editor.run((graph) => commands.place(graph, whole), merge ? { merge } : {});
  }

  /** @param {string} name @param {Point} place */
  move(name, place) {
    this.place(new Map([[name, place]]), `move ${name}`);
  }

  /** @param {{cause: string, effect: string}} edge */
  toggleStatus({ cause, effect }) {
    const { editor } = this;
    const proposed = edgeOf(editor.graph, cause, effect)?.status === "proposed";
    if (proposed) return this.confirm({ cause, effect });
    editor.run((graph) => commands.propose(graph, { cause, effect }), { say: editor.t("said.proposed", { cause, effect }) });
  }
}
