/**
 * The menu at the pointer: what can be done with a card, an edge, several cards or the ground.
 *
 * @import { Editor } from "./editor.mjs"
 * @import { Target } from "./scene.mjs"
 * @typedef {{label: string, act: () => unknown, checked?: boolean}} Item `checked`: one of a list, chosen or not
 * @typedef {{title: string, items: Item[]}} Part
 */
import { html, icon } from "./dom.mjs";
import { reverse, unspoken } from "./commands.mjs";
import { walkItems } from "./menu.mjs";
import { conceptOf, edgeKey, edgeOf, roles } from "./model.mjs";
import { wordsFor } from "./wording.mjs";

export class ContextMenu {
  /** @param {Editor} editor */
  constructor(editor) {
    this.editor = editor;
    const close = () => this.close();
    this.element = html("div", {
      class: "csg-menu csg-context", role: "menu", "aria-label": editor.t("context.label"), hidden: true,
      onkeydown: (/** @type {KeyboardEvent} */ event) => walkItems(this.element, event, close),
      onfocusout: (/** @type {FocusEvent} */ { relatedTarget }) => { if (!this.element.contains(/** @type {Node | null} */ (relatedTarget))) this.close(false); },
    });
    this.element.addEventListener("contextmenu", (event) => {
      event.preventDefault();
      event.stopPropagation();
    });
    editor.element.append(this.element);
  }

  /** @param {Target | null} target @param {{clientX: number, clientY: number}} at */
  open(target, at) {
    const { editor } = this;
    const key = target && ("name" in target ? target.name : edgeKey(target));
    if (key !== null && !editor.selected.has(key)) editor.select([key], key);
    const parts = target ? ("name" in target ? this.#concept(target.name) : this.#edge(target)) : this.#ground(at);
    this.element.replaceChildren(...parts.map((part) => this.#part(part)));
    this.element.hidden = false;
    this.#place(at);
    this.element.querySelector("button")?.focus({ preventScroll: true });
  }

  /** Beside the pointer, and inside the editor. @param {{clientX: number, clientY: number}} at */
  #place({ clientX, clientY }) {
    const whole = this.editor.element.getBoundingClientRect();
    Object.assign(this.element.style, { left: "0px", top: "0px" });
    const box = this.element.getBoundingClientRect();
    const scale = box.width / this.element.offsetWidth;
    const within = (/** @type {number} */ wanted, /** @type {number} */ most) => `${Math.max(4, Math.min(wanted, most)) / scale}px`;
    this.element.style.left = within(clientX - whole.left, whole.width - box.width - 6);
    this.element.style.top = within(clientY - whole.top, whole.height - box.height - 6);
  }

  /** @param {boolean} [home] whether the drawing gets the keyboard back */
  close(home = true) {
    if (this.element.hidden) return;
    this.element.hidden = true;
    const { editor } = this;
    if (home) editor.rest();
  }

  /** @param {Part} part */
  #part({ title, items }) {
    return html("div", { role: "group", "aria-label": title }, title && html("h4", {}, title), ...items.map((each) => this.#item(each)));
  }

  /** @param {Item} item */
  #item({ label, act, checked }) {
    const choose = () => {
      this.close();
      act();
    };
    const mark = checked !== undefined && html("span", { class: "mark" }, checked && icon("check", 13));
    return html("button", {
      type: "button", role: checked === undefined ? "menuitem" : "menuitemradio", "aria-checked": checked === undefined ? null : String(checked), onclick: choose,
    }, mark, label);
  }

  /** @param {string} name @returns {Part[]} */
  #concept(name) {
    const { editor } = this;
    const { actions, mode, selected, t } = editor;
    const duplicate = { label: t("context.duplicate"), act: () => editor.transfer.duplicate() };
    const remove = { label: t("context.remove"), act: () => actions.remove() };
    if (selected.size > 1) return [{ title: t("context.several", { count: selected.size }), items: [duplicate, remove] }];
    const details = { label: t("do.panel"), act: () => editor.setPanel(true, "values") };
    const mends = { title: "", items: this.#mends(name) };
    if (mode === "intervene") return [...this.#question(name), mends, { title: "", items: [details] }];
    return [this.#values(name, name, conceptOf(editor.graph, name).value, (value) => actions.choose(name, value)), mends, { title: "", items: [
      details,
      { label: t("context.rename"), act: () => editor.setPanel(true, "name") },
      { label: t("context.connect"), act: () => editor.keyboard.startEdge() },
      duplicate,
      remove,
    ] }];
  }

  /** @param {string} title @param {string} name @param {string | undefined} chosen @param {(value: string) => unknown} choose @returns {Part} */
  #values(title, name, chosen, choose) {
    const values = [...conceptOf(this.editor.graph, name).values.keys()];
    return { title, items: values.map((value) => ({ label: value, checked: value === chosen, act: () => choose(value) })) };
  }

  /** do(), and what follows. @param {string} name @returns {Part[]} */
  #question(name) {
    const { actions, graph, t } = this.editor;
    const forced = graph.interventions.get(name);
    const follows = roles(graph).get(name) === "descendant";
    const parts = [this.#values(t("panel.do", { name }), name, forced, (value) => actions.intervene(name, value))];
    if (follows) parts.unshift(this.#values(t("panel.expect", { name }), name, graph.effects.get(name), (value) => actions.expect(name, value)));
    if (forced !== undefined) parts.push({ title: "", items: [{ label: t("panel.release"), act: () => actions.release(name) }] });
    return parts;
  }

  /** How a caption that lacks the concept's words is mended. @param {string} name @returns {Item[]} */
  #mends(name) {
    const { actions, graph, t } = this.editor;
    if (!unspoken(graph).has(name)) return [];
    const words = wordsFor(graph, name);
    const take = words === null ? [] : [{ label: t("words.take", { words }), act: () => actions.adopt(name, words) }];
    return [{ label: t("words.add"), act: () => actions.speak(name) }, ...take];
  }

  /** @param {{cause: string, effect: string}} edge @returns {Part[]} */
  #edge({ cause, effect }) {
    const { editor } = this;
    const { actions, t } = editor;
    const proposed = edgeOf(editor.graph, cause, effect)?.status === "proposed";
    const edge = { cause, effect };
    return [{ title: `${cause} → ${effect}`, items: [
      { label: t(proposed ? "edge_confirm" : "edge_propose"), act: () => actions.toggleStatus(edge) },
      { label: t("edge_reverse"), act: () => editor.run((graph) => reverse(graph, edge)) && editor.select([edgeKey({ cause: effect, effect: cause })]) },
      { label: t("do.panel"), act: () => editor.setPanel(true, "reason") },
      { label: t(proposed ? "edge_reject" : "edge_remove"), act: () => actions.reject(edge) },
    ] }];
  }

  /** @param {{clientX: number, clientY: number}} at @returns {Part[]} */
  #ground(at) {
    const { editor } = this;
    const { actions, graph, mode, t } = editor;
    const place = editor.viewport.point(at);
    const names = graph.concepts.map(({ name }) => name);
    const add = { label: t("context.add"), act: () => editor.quick.addAt(place) };
    const release = { label: t("notice.release_all"), act: () => actions.releaseAll() };
    const confirm = { label: t("notice.confirm_all"), act: () => actions.confirmAll() };
    const other = mode === "edit" ? "intervene" : "edit";
    return [{ title: "", items: [
      ...(mode === "edit" ? [add] : []),
      { label: t(`modes.${other}`), act: () => editor.setMode(other) },
      ...(graph.interventions.size ? [release] : []),
      ...(graph.edges.some(({ status }) => status === "proposed") ? [confirm] : []),
      { label: t("context.all"), act: () => editor.select(names, editor.focus) },
      { label: t("do.arrange"), act: () => actions.arrange() },
      { label: t("do.fit"), act: () => editor.fit() },
    ] }];
  }
}
