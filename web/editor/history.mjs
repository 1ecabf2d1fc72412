/** @import { Graph } from "./model.mjs" */

/**
 * Undo and redo. Steps that share a `merge` key become one (dragging, typing).
 */
export class History {
  #limit;
  /** @type {Graph[]} */ #past = [];
  /** @type {Graph[]} */ #future = [];
  /** @type {string | null} */ #open = null;

  /**
   * @param {Graph} graph
   * @param {number} [limit] how many steps are remembered
   */
  constructor(graph, limit = 200) {
    this.present = graph;
    this.#limit = limit;
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  /**
   * @param {Graph} graph
   * @param {string | null} [merge]
   * @returns {boolean} whether anything changed
   */
  record(graph, merge = null) {
    if (graph === this.present) return false;
    if (merge === null || merge !== this.#open) this.#past.push(this.present);
    if (this.#past.length > this.#limit) this.#past.shift();
    this.#open = merge;
    this.#future = [];
    this.present = graph;
    return true;
  }

  /** The next step stands alone, whatever its key. */
  seal() {
    this.#open = null;
  }

  undo() {
    return this.#step(this.#past, this.#future);
  }

  redo() {
    return this.#step(this.#future, this.#past);
  }

  /**
   * @param {Graph[]} from
   * @param {Graph[]} to
   */
  #step(from, to) {
    const graph = from.pop();
    if (!graph) return false;
    to.push(this.present);
    this.present = graph;
    this.seal();
    return true;
  }
}
