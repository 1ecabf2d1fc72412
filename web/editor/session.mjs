/**
 * What an editor holds, without anything that is drawn: the graph and its history, what it remembers of
 * the extraction under it, the open conflicts, what is selected, and what the last run found.
 *
 * @import { Memory } from "./memory.mjs"
 * @import { Conflict } from "./merge.mjs"
 * @import { Graph } from "./model.mjs"
 * @import { Result } from "./results.mjs"
 */
import { letGo } from "./effects.mjs";
import { readAny } from "./formats.mjs";
import { History } from "./history.mjs";
import { readJson, writeJson } from "./json.mjs";
import { forget, remember, remembered } from "./memory.mjs";
import { mergeAgain } from "./merge.mjs";
import { EMPTY, edgeKey } from "./model.mjs";

export class Session {
  history = new History(EMPTY);
  /** @type {"edit" | "intervene"} */ mode = "edit";
  /** @type {Set<string>} names of concepts, or the key of one edge */ selected = new Set();
  /** @type {string | null} the concept or edge that has the keyboard */ focus = null;
  /** @type {{text: string, error: unknown} | null} a stored text that is no graph */ broken = null;
  /** @type {ReadonlyMap<string, Result>} */ results = new Map();
  /** Whether the results belong to another graph than the one shown. */ stale = false;
  /** @type {Graph | null} the graph of the connected input, once it is known */ upstream = null;
  /** @type {Conflict[]} */ conflicts = [];
  /** @type {Memory} */ #memory = { base: EMPTY, latest: EMPTY, settled: new Set() };
  /** Whether the text holds anything of the artist's. */ #edited = false;

  /** @param {(text: string) => void} write stores a text */
  constructor(write) {
    this.write = write;
  }

  /** @returns {Graph} */
  get graph() {
    return this.history.present;
  }

  /**
   * Takes in a text from outside: a loaded workflow, ComfyUI's undo, a paste.
   * @param {string} text JSON, DAGitty or DOT
   */
  load(text) {
    try {
      const stored = /^\s*[^{\s]/.test(text) ? readAny(text) : readJson(text);
      this.#memory = remembered(stored);
      this.history = new History(forget(stored));
      this.broken = null;
    } catch (error) {
      this.history = new History(EMPTY);
      this.broken = { text, error };
    }
    this.#edited = text.trim() !== "";
    this.selected = new Set();
    if (this.upstream) this.setUpstream(this.upstream);
  }

  /**
   * The graph of the connected input has been made again. Where nothing was edited it is the graph;
   * otherwise the edits are laid over it. Nothing is stored before the next edit: this is none, and
   * undone it would count as the removal of all that is new.
   * @param {Graph | null} upstream
   */
  setUpstream(upstream) {
    this.upstream = upstream;
    this.conflicts = [];
    if (!upstream || this.broken) return;
    const { graph, conflicts } = this.#edited ? mergeAgain(this.#memory, this.graph, upstream) : { graph: upstream, conflicts: [] };
    this.conflicts = conflicts;
    if (writeJson(graph) !== writeJson(this.graph)) this.history = new History(graph);
    this.#forgetGone();
  }

  /**
   * Decides one conflict. Throws GraphError when theirs cannot be taken; nothing has changed then.
   * @param {Conflict} conflict
   * @param {"mine" | "theirs"} side
   */
  settle(conflict, side) {
    const graph = side === "mine" ? this.graph : conflict.apply(this.graph);
    this.#memory = { ...this.#memory, settled: new Set([...this.#memory.settled, conflict.key]) };
    this.conflicts = this.conflicts.filter((each) => each !== conflict);
    this.history.record(letGo(this.graph, graph));
    this.store();
  }

  /**
   * Does one thing to the graph. Throws GraphError when it is refused; nothing has changed then.
   * @param {(graph: Graph) => Graph} command
   * @param {string | null} [merge] one undo step with the last of that name
   */
  run(command, merge = null) {
    if (this.history.record(letGo(this.graph, command(this.graph)), merge)) this.store();
  }

  store() {
    this.#edited = true;
    this.write(this.text());
  }

  /** The graph as it is stored, with what a later merge needs. */
  text() {
    const { upstream } = this;
    if (upstream && this.conflicts.length) this.#memory = { ...this.#memory, latest: upstream };
    else if (upstream) this.#memory = { base: upstream, latest: upstream, settled: new Set() };
    return writeJson(this.#memory.latest.concepts.length ? remember(this.graph, this.#memory) : this.graph);
  }

  /** Names in the extraction, which a renamed concept remembers. */
  get extracted() {
    return new Set((this.upstream ?? this.#memory.latest).concepts.map(({ name }) => name));
  }

  /** @returns {boolean} whether there was a step to take back */
  undo() {
    return this.history.undo() && this.#restored();
  }

  /** @returns {boolean} whether there was a step to take again */
  redo() {
    return this.history.redo() && this.#restored();
  }

  #restored() {
    this.#forgetGone();
    this.store();
    return true;
  }

  /** What is no longer there is not selected. */
  #forgetGone() {
    const { concepts, edges } = this.graph;
    const present = new Set([...concepts.map(({ name }) => name), ...edges.map(edgeKey)]);
    this.selected = new Set([...this.selected].filter((each) => present.has(each)));
  }

  /** @param {Iterable<string>} keys @param {string | null} [focus] */
  select(keys, focus) {
    this.selected = new Set(keys);
    this.focus = focus ?? [...this.selected].at(-1) ?? this.focus;
  }
}

