/**
 * How far a run is, from what ComfyUI reports of each node; and how long the node that runs will still take.
 *
 * @typedef {{node_id: string, display_node_id?: string, state: string, value: number, max: number}} NodeProgress
 * @typedef {{id: string, value: number, max: number, left: number | null}} Step `left` in seconds
 */

export class Pace {
  #id = "";
  /** When the node was first heard of, and how far it was. */ #start = { time: 0, value: 0 };

  /**
   * The node that runs, of those that count steps.
   * @param {Record<string, NodeProgress>} nodes
   * @param {(id: string) => boolean} ours
   * @param {number} now in milliseconds
   * @returns {Step | null}
   */
  follow(nodes, ours, now) {
    const running = Object.values(nodes).find((each) => each.state === "running" && each.max > 1 && ours(each.display_node_id ?? each.node_id));
    if (!running) return null;
    const { node_id: id, value, max } = running;
    if (id !== this.#id || value < this.#start.value) {
      this.#id = id;
      this.#start = { time: now, value };
    }
    const done = value - this.#start.value;
    const left = done > 0 ? ((now - this.#start.time) / done) * (max - value) / 1000 : null;
    return { id: running.display_node_id ?? id, value, max, left };
  }
}
