/**
 * An artist's edits, kept over a graph that may be extracted again.
 *
 * A three-way merge: `base` is the extraction the artist last edited, `mine` what became
 * of it, `theirs` the new extraction. What only one side changed is taken from that side;
 * where both changed the same thing, mine stands and the conflict is listed. The same
 * steps, in the same order, as `csg/causal/merge.py`.
 *
 * @import { Memory } from "./session.mjs"
 * @import { Concept, Edge, Graph } from "./model.mjs"
 * @typedef {"base_prompt" | "value" | "phrase" | "scope" | "description" | "concept" | "edge" | "cycle" | "reason" | "do"} ConflictKind
 * @typedef {{
 *   kind: ConflictKind, key: string, subject: string, mine: string | null, theirs: string | null,
 *   apply: (graph: Graph) => Graph
 * }} Conflict `key` is the same whenever the same disagreement returns; `apply` takes theirs
 */
import * as commands from "./commands.mjs";
import * as details from "./commands.mjs";
import { MAX_CONCEPTS, cycleClosedBy, edgeOf, findPath, makeConcept, makeEdge, makeGraph } from "./model.mjs";

/**
 * Takes in an extraction. While conflicts are open, `memory.base` is the extraction before
 * them, and `memory.latest` the one whose news are in the graph already.
 * @param {Memory} memory
 * @param {Graph} mine
 * @param {Graph} theirs
 * @returns {{graph: Graph, conflicts: Conflict[]}}
 */
export function mergeAgain({ base, latest, settled }, mine, theirs) {
  const { graph, conflicts } = merge(latest, mine, theirs, settled);
  if (latest === base) return { graph, conflicts };
  const before = merge(base, graph, theirs, settled).conflicts;
  const known = new Set(before.map(({ key }) => key));
  return { graph, conflicts: [...before, ...conflicts.filter(({ key }) => !known.has(key))] };
}

/**
 * @param {Graph} base
 * @param {Graph} mine
 * @param {Graph} theirs
 * @param {ReadonlySet<string>} [settled] keys of conflicts already decided for mine
 * @returns {{graph: Graph, conflicts: Conflict[]}}
 */
export function merge(base, mine, theirs, settled = new Set()) {
  const names = originalNames(mine);
  const merging = new Merging(renamed(base, names), mine, renamed(theirs, names), settled);
  return { graph: merging.graph(), conflicts: merging.conflicts };
}

/** Names in the extraction → names the artist gave instead. @param {Graph} mine */
function originalNames(mine) {
  const taken = new Set(mine.concepts.map(({ name }) => name));
  const pairs = mine.concepts.flatMap(({ name, extra }) =>
    typeof extra.origin === "string" && extra.origin !== name && !taken.has(extra.origin)
      ? [/** @type {const} */ ([extra.origin, name])] : []);
  return new Map(pairs);
}

/** @param {Graph} graph @param {ReadonlyMap<string, string>} names */
function renamed(graph, names) {
  const present = new Set(graph.concepts.map(({ name }) => name));
  const wanted = [...names].filter(([from, to]) => present.has(from) && !present.has(to));
  return wanted.reduce((result, [from, to]) => commands.renameConcept(result, from, to), graph);
}

class Merging {
  /** @type {Conflict[]} */ conflicts = [];

  /**
   * @param {Graph} base
   * @param {Graph} mine
   * @param {Graph} theirs
   * @param {ReadonlySet<string>} settled
   */
  constructor(base, mine, theirs, settled) {
    this.base = byName(base);
    this.mine = byName(mine);
    this.theirs = byName(theirs);
    this.graphs = { base, mine, theirs };
    this.settled = settled;
  }

  graph() {
    const { base, mine, theirs } = this.graphs;
    const basePrompt = this.field("base_prompt", "", base.basePrompt, mine.basePrompt, theirs.basePrompt,
      (graph) => details.setBasePrompt(graph, theirs.basePrompt));
    const concepts = this.concepts();
    const extra = keys(base.extra, mine.extra, theirs.extra);
    const bare = makeGraph({ basePrompt, concepts, extra });
    const graph = this.edges(bare);
    const merged = byName(graph);
    return makeGraph({ ...graph, interventions: this.interventions(merged), effects: this.effects(merged) });
  }

  /** What is to follow: mine where I said it. @param {ReadonlyMap<string, Concept>} merged */
  effects(merged) {
    const [base, mine, theirs] = [this.graphs.base, this.graphs.mine, this.graphs.theirs].map((each) => each.effects);
    return new Map([...new Set([...mine.keys(), ...theirs.keys()])].flatMap((name) => {
      const value = mine.get(name) === base.get(name) ? theirs.get(name) : mine.get(name);
      return value !== undefined && merged.get(name)?.values.has(value) ? [/** @type {const} */ ([name, value])] : [];
    }));
  }

  /** @param {ReadonlyMap<string, Concept>} merged */
  interventions(merged) {
    const sides = [this.graphs.base, this.graphs.mine, this.graphs.theirs].map((each) => each.interventions);
    const names = new Set([...sides[1].keys(), ...sides[2].keys()]);
    return new Map([...names].filter((name) => merged.has(name)).flatMap((name) => {
      const value = this.intervention(name, ...sides.map((each) => each.get(name)));
      return value !== undefined && merged.get(name)?.values.has(value) ? [/** @type {const} */ ([name, value])] : [];
    }));
  }

  /**
   * @param {string} name
   * @param {(string | undefined)[]} sides the do() of base, mine and theirs
   */
  intervention(name, ...[base, mine, theirs]) {
    if (mine === base || mine === theirs) return theirs;
    if (theirs !== base) {
      const apply = (/** @type {Graph} */ graph) =>
        (theirs === undefined ? commands.release(graph, name)
          : commands.intervene(commands.addValue(graph, name, theirs, this.theirs.get(name)?.values.get(theirs)), name, theirs));
      this.report({ kind: "do", subject: name, mine: mine ?? null, theirs: theirs ?? null, apply });
    }
    return mine;
  }

  /**
   * One text that both sides may have changed.
   * @param {ConflictKind} kind
   * @param {string} subject
   * @param {string | undefined} base
   * @param {string} mine
   * @param {string} theirs
   * @param {(graph: Graph) => Graph} apply
   */
  field(kind, subject, base, mine, theirs, apply) {
    if (mine === base || mine === theirs) return theirs;
    if (theirs !== base) this.report({ kind, subject, mine, theirs, apply });
    return mine;
  }

  /** @param {Omit<Conflict, "key">} conflict */
  report(conflict) {
    const key = JSON.stringify([conflict.kind, conflict.subject, conflict.theirs]);
    if (!this.settled.has(key)) this.conflicts.push({ ...conflict, key });
  }

  concepts() {
    const kept = this.graphs.mine.concepts.flatMap((mine) => this.concept(mine) ?? []);
    const more = this.graphs.theirs.concepts.filter(({ name }) => !this.mine.has(name));
    const wanted = more.filter(({ name }) => !this.base.has(name));
    const added = wanted.slice(0, MAX_CONCEPTS - kept.length);
    for (const theirs of more) if (!added.includes(theirs)) this.left(theirs);
    return [...kept, ...added];
  }

  /** A concept that I removed, or that found no room. @param {Concept} theirs */
  left(theirs) {
    if (this.base.get(theirs.name)?.value === theirs.value) return;
    const apply = (/** @type {Graph} */ graph) => commands.addConcept(graph, theirs);
    this.report({ kind: "concept", subject: theirs.name, mine: null, theirs: theirs.value, apply });
  }

  /** @param {Concept} mine @returns {Concept | null} null where the extraction dropped it and nobody touched it */
  concept(mine) {
    const { name } = mine;
    const base = this.base.get(name);
    const theirs = this.theirs.get(name);
    if (theirs) return this.both(base, mine, theirs);
    if (!base) return mine;
    const [before, now] = [this.graphs.base, this.graphs.mine];
    if (same(base, mine) && before.interventions.get(name) === now.interventions.get(name) && before.effects.get(name) === now.effects.get(name)) return null;
    const apply = (/** @type {Graph} */ graph) => commands.removeConcepts(graph, [name]);
    this.report({ kind: "concept", subject: name, mine: mine.value, theirs: null, apply });
    return mine;
  }

  /** @param {Concept | undefined} base @param {Concept} mine @param {Concept} theirs */
  both(base, mine, theirs) {
    const { name } = mine;
    const value = this.field("value", name, base?.value, mine.value, theirs.value,
      (graph) => commands.setValue(commands.addValue(graph, name, theirs.value, theirs.values.get(theirs.value)), name, theirs.value));
    const values = this.values(base, mine, theirs, value);
    const scope = /** @type {"local" | "global"} */ (this.field("scope", name, base?.scope, mine.scope, theirs.scope,
      (graph) => details.setScope(graph, name, theirs.scope)));
    const description = this.field("description", name, base?.description, mine.description, theirs.description,
      (graph) => details.setDescription(graph, name, theirs.description));
    const position = mine.position ?? theirs.position;
    const strength = mine.strength === base?.strength ? theirs.strength : mine.strength;
    const extra = keys(base?.extra ?? {}, mine.extra, theirs.extra);
    return makeConcept({ name, value, values, scope, description, position, strength, extra });
  }

  /**
   * The domain: values that one side removed and the other left alone are gone.
   * @param {Concept | undefined} base
   * @param {Concept} mine
   * @param {Concept} theirs
   * @param {string} factual
   */
  values(base, mine, theirs, factual) {
    const needed = new Set([factual, this.graphs.mine.interventions.get(mine.name), this.graphs.mine.effects.get(mine.name)]);
    const untouched = base && [...base.values.keys()].join("\0") === [...mine.values.keys()].join("\0");
    const [first, second] = untouched ? [theirs, mine] : [mine, theirs];
    const all = new Set([...first.values.keys(), ...second.values.keys()]);
    return new Map([...all].flatMap((value) => {
      const [b, m, t] = [base, mine, theirs].map((side) => side?.values.get(value));
      const gone = b !== undefined && (m === undefined || t === undefined) && (m ?? t) === b;
      if (gone && !needed.has(value)) return [];
      return [/** @type {const} */ ([value, this.phrase(mine.name, value, b, m, t)])];
    }));
  }

  /**
   * @param {string} name
   * @param {string} value
   * @param {string | undefined} base
   * @param {string | undefined} mine
   * @param {string | undefined} theirs
   */
  phrase(name, value, base, mine, theirs) {
    if (mine === undefined || theirs === undefined) return mine ?? theirs ?? value;
    return this.field("phrase", `${name} = ${value}`, base, mine, theirs,
      (graph) => details.setPhrase(graph, name, value, theirs));
  }

  /** Without what only the extraction confirms where that would close a cycle. @param {Graph} bare the merged concepts, without edges */
  edges(bare) {
    const alive = new Set(bare.concepts.map(({ name }) => name));
    const ends = (/** @type {Edge} */ { cause, effect }) => alive.has(cause) && alive.has(effect);
    const kept = this.graphs.mine.edges.filter(ends).flatMap((mine) => this.edge(mine) ?? []);
    const news = this.graphs.theirs.edges.filter((each) => ends(each) && this.#isNew(each));
    const theirs = kept.filter((each) => this.#onlyTheyConfirm(each));
    const refused = closing(kept.filter((each) => !theirs.includes(each)), [...theirs, ...news]);
    const edges = [
      ...kept.map((each) => (refused.includes(each) ? makeEdge({ ...each, status: "proposed" }) : each)),
      ...news.filter((each) => !refused.includes(each)),
    ];
    const graph = makeGraph({ ...bare, edges });
    for (const edge of refused) this.#cycle(graph, edge);
    return graph;
  }

  /** @param {Edge} edge */
  #isNew({ cause, effect }) {
    return !edgeOf(this.graphs.mine, cause, effect) && !edgeOf(this.graphs.base, cause, effect);
  }

  /** Whether an edge is my proposal, confirmed by the extraction. @param {Edge} merged */
  #onlyTheyConfirm({ cause, effect, status }) {
    return status === "confirmed" && edgeOf(this.graphs.mine, cause, effect)?.status === "proposed";
  }

  /** @param {Graph} graph the merged one @param {Edge} edge confirmed by the extraction */
  #cycle(graph, edge) {
    const { cause, effect, reason } = edge;
    const apply = (/** @type {Graph} */ now) => {
      const open = withoutWayBack(now, edge);
      return edgeOf(open, cause, effect) ? commands.confirm(open, edge) : makeGraph({ ...open, edges: [...open.edges, edge] });
    };
    const back = findPath(graph, effect, cause) ?? [];
    this.report({ kind: "cycle", subject: `${cause} → ${effect}`, mine: back.join(" → "), theirs: reason, apply });
  }

  /** @param {Edge} mine @returns {Edge | null} */
  edge(mine) {
    const { cause, effect } = mine;
    const base = edgeOf(this.graphs.base, cause, effect);
    const theirs = edgeOf(this.graphs.theirs, cause, effect);
    if (theirs) return this.bothEdges(base, mine, theirs);
    if (!base) return mine;
    if (same(base, mine)) return null;
    const apply = (/** @type {Graph} */ graph) => commands.disconnect(graph, mine);
    this.report({ kind: "edge", subject: `${cause} → ${effect}`, mine: mine.status, theirs: null, apply });
    return mine;
  }

  /** @param {Edge | undefined} base @param {Edge} mine @param {Edge} theirs */
  bothEdges(base, mine, theirs) {
    const reason = this.field("reason", `${mine.cause} → ${mine.effect}`, base?.reason, mine.reason, theirs.reason,
      (graph) => details.setReason(graph, mine, theirs.reason));
    const status = mine.status === base?.status ? theirs.status : mine.status;
    const extra = keys(base?.extra ?? {}, mine.extra, theirs.extra);
    return makeEdge({ cause: mine.cause, effect: mine.effect, reason, status, extra });
  }
}

/**
 * Keys that we do not know: what one side changed is taken from it, mine where both did.
 * @typedef {Readonly<Record<string, unknown>>} Extra
 * @param {Extra} base
 * @param {Extra} mine
 * @param {Extra} theirs
 * @returns {Extra}
 */
function keys(base, mine, theirs) {
  const text = (/** @type {Extra} */ side, /** @type {string} */ key) => (Object.hasOwn(side, key) ? JSON.stringify(side[key]) : undefined);
  return Object.fromEntries(Object.entries({ ...theirs, ...mine }).flatMap(([key]) => {
    const side = text(mine, key) === text(base, key) ? theirs : mine;
    return Object.hasOwn(side, key) ? [[key, side[key]]] : [];
  }));
}

/**
 * Those of the further edges, taken one after the other, whose confirmation closes a cycle.
 * @param {Edge[]} edges
 * @param {Edge[]} further
 */
function closing(edges, further) {
  const taken = [...edges];
  return further.filter((edge) => {
    const closes = edge.status === "confirmed" && findPath({ edges: taken }, edge.effect, edge.cause) !== null;
    if (!closes) taken.push(edge);
    return closes;
  });
}

/** The graph without the edges that would close a cycle with a new one. @param {Graph} graph @param {Edge} edge @returns {Graph} */
function withoutWayBack(graph, { cause, effect }) {
  const path = cycleClosedBy(graph, cause, effect);
  if (!path) return graph;
  return withoutWayBack(commands.disconnect(graph, { cause: path[path.length - 2], effect: cause }), makeEdge({ cause, effect }));
}

/** @param {Graph} graph */
const byName = (graph) => new Map(graph.concepts.map((concept) => [concept.name, concept]));

/**
 * Alike but for where they are drawn and where they came from.
 * @param {Concept | Edge} one
 * @param {Concept | Edge} other
 */
function same(one, other) {
  const plain = (/** @type {any} */ { position, extra, values, ...rest }) =>
    JSON.stringify([Object.entries(rest).sort(), [...(values ?? [])].sort()]);
  return plain(one) === plain(other);
}
