/**
 * The state of an editor, without anything that is drawn: the graph and its history, what it remembers of
 * the extraction under it, the open conflicts, what is selected, and what the last run found.
 *
 * @import { Conflict } from "./merge.mjs"
 * @import { Graph } from "./model.mjs"
 * @import { Result } from "./results.mjs"
 */
import { letGo } from "./commands.mjs";
import { readAny } from "./files.mjs";
import { fromObject, readJson, toObject, writeJson } from "./json.mjs";
import { mergeAgain } from "./merge.mjs";
import { edgeKey, EMPTY, GraphError, makeGraph } from "./model.mjs";

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
   * Takes the graph of the connected input. Where nothing was edited it becomes the graph; otherwise the
   * edits are merged into it. Nothing is stored before the next edit: taking a graph in is not one, and
   * as a step of undo it would count as the removal of everything new.
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
    this.#whole(() => {
      this.#memory = { ...this.#memory, settled: new Set([...this.#memory.settled, conflict.key]) };
      this.conflicts = this.conflicts.filter((each) => each !== conflict);
      this.history.record(letGo(this.graph, graph));
      this.store();
    });
  }

  /**
   * Does one thing to the graph. Throws GraphError when it is refused, and what storing throws; nothing has changed then.
   * @param {(graph: Graph) => Graph} command
   * @param {string | null} [merge] one undo step with the last of that name
   * @param {boolean} [whole] whether the command says all that follows too
   */
  run(command, merge = null, whole = false) {
    this.#whole(() => {
      const graph = command(this.graph);
      if (this.history.record(whole ? graph : letGo(this.graph, graph), merge)) this.store();
    });
  }

  /** Does something whole or not at all: what cannot be stored has not happened. @template T @param {() => T} change @returns {T} */
  #whole(change) {
    const [memory, edited, conflicts, selected] = [this.#memory, this.#edited, this.conflicts, this.selected];
    try {
      return this.history.whole(change);
    } catch (error) {
      [this.#memory, this.#edited, this.conflicts, this.selected] = [memory, edited, conflicts, selected];
      throw error;
    }
  }

  store() {
    this.#edited = true;
    const text = this.text();
    try {
      this.write(text);
    } catch (error) {
      throw new GraphError("not_stored", { reason: String(error) });
    }
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
    return this.#whole(() => this.history.undo() && this.#restored());
  }

  /** @returns {boolean} whether there was a step to take again */
  redo() {
    return this.#whole(() => this.history.redo() && this.#restored());
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

  /** Does something whole or not at all: a change that throws leaves everything as it was. @template T @param {() => T} change @returns {T} */
  whole(change) {
    const [present, past, future, open] = [this.present, [...this.#past], [...this.#future], this.#open];
    try {
      return change();
    } catch (error) {
      [this.present, this.#past, this.#future, this.#open] = [present, past, future, open];
      throw error;
    }
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

/**
 * What a stored graph remembers of the extraction it was edited over, so that a new
 * extraction can be merged into it: the keys `extracted`, `latest` and `settled` of its text.
 *
 * @typedef {{base: Graph, latest: Graph, settled: ReadonlySet<string>}} Memory `base`: the extraction
 *   the artist edited; `latest`: another one merged since, while conflicts with it are open, or else
 *   the same; `settled`: the keys of conflicts decided for the artist
 */

/** @param {Graph} stored @returns {Memory} */
export function remembered(stored) {
  const { extracted, latest, settled } = stored.extra;
  const base = extracted ? fromObject(extracted) : makeGraph();
  return {
    base,
    latest: latest ? fromObject(latest) : base,
    settled: new Set(Array.isArray(settled) ? settled.map(String) : []),
  };
}

/** The graph with what a later merge needs to know. @param {Graph} graph @param {Memory} memory @returns {Graph} */
export function remember(graph, { base, latest, settled }) {
  const kept = {
    extracted: plain(base),
    ...(latest !== base && { latest: plain(latest) }),
    ...(settled.size && { settled: [...settled] }),
  };
  return makeGraph({ ...graph, extra: { ...forget(graph).extra, ...kept } });
}

/** @param {Graph} graph */
const plain = (graph) => toObject(forget(graph));

/** @param {Graph} graph @returns {Graph} the graph without what only a merge needs */
export function forget(graph) {
  const { extracted, latest, settled, ...extra } = graph.extra;
  return makeGraph({ ...graph, extra });
}
