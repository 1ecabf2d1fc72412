/**
 * The editor inside a ComfyUI node: its text is the node's `graph_json`, its results come
 * from the nodes behind it.
 *
 * @import { Run } from "./asked.mjs"
 * @import { Look } from "./editor.mjs"
 */
import { askAgain, asking, digestOf, factsOf, pictureIn, wordsOf } from "./asked.mjs";
import { Editor } from "./editor.mjs";
import { translatorFor } from "./i18n.mjs";
import { readJson } from "./json.mjs";
import { Pace } from "./live.mjs";
import { nodeCalled } from "../called.mjs";
import { downstream, join, keepersOf, nothing, resultsOf } from "./results.mjs";
import { forget } from "./session.mjs";
import { GraphError } from "./model.mjs";

const TEXT = "graph_json";
const KEPT = "csg_result";
const PULSE = 200;
const REMEMBERED = 12;
/** Of earlier questions, how many are saved with the workflow. */
const SAVED = 6;
const MASKS = /^CSG_MaskOverlay$/;
const SAMPLER = /^CSG_(Sampler|ApplyToModel|Guider|EditWithPrompt)$/;

/** @type {Map<string, {look: Look, runs: Map<string, Run>}>} how each node's editor was left, by the workflow's tab and the node */ const left = new Map();
/** For how many pulses an editor looks whether its tab is shown by now. */
const ARRIVING = 20;
/** @type {Look} */
const FIRST = { mode: "edit", tab: "drawing", view: null, panel: false };
const BYPASSED = 4;
/** @type {Set<NodeEditor>} */ const live = new Set();

/**
 * Puts an editor into the element that the node shows, unless the node is gone by then.
 * @param {any} node
 * @param {HTMLElement} element
 * @param {{app: any, api: any, messages: Record<string, unknown>}} comfy `messages`: the words of all languages
 */
export function mount(node, element, { app, api, messages }) {
  if (!isPresent(node)) return;
  live.add(new NodeEditor(node, element, { app, api }, translatorFor(app, messages)));
}

/**
 * What a run reports, to every editor it concerns.
 * @param {{node: string, output: Record<string, unknown>, prompt_id?: string}} detail
 * @param {any} rootGraph
 */
export function report({ node: id, output, prompt_id: run }, rootGraph) {
  if (!output || live.size === 0) return;
  const node = nodeCalled(rootGraph, id);
  for (const each of live) {
    if (each.node === node) each.ran(output, run);
    else if (downstream(each.node, rootGraph).has(node)) each.found(output, node, run);
  }
}

/** How far a run is. @param {{nodes: Record<string, import("./live.mjs").NodeProgress>}} detail @param {any} rootGraph */
export function progress({ nodes }, rootGraph) {
  for (const each of live) each.progress(nodes ?? {}, rootGraph);
}

/** The picture as far as a node has drawn it. @param {{blob: Blob, displayNodeId: string}} detail @param {any} rootGraph */
export function preview({ blob, displayNodeId }, rootGraph) {
  for (const each of live) if (each.leadsTo(displayNodeId, rootGraph)) each.editor.strip.preview(blob);
}

/** A run is over, well or not. @param {{prompt_id?: string}} detail */
export function ended({ prompt_id: run }) {
  for (const each of live) {
    each.follow(run);
    each.editor.strip.progress(null);
  }
}

/** A node failed: the editors before it say so. @param {string} id @param {string} sentence @param {any} rootGraph */
export function failed(id, sentence, rootGraph) {
  const node = nodeCalled(rootGraph, id);
  for (const { node: own, editor } of live) {
    if (own === node || downstream(own, rootGraph).has(node)) editor.say(`${node.title}: ${sentence}`, "refused");
  }
}

/** The graph of the nearest editor before a node, none where there is none. @param {any} node @param {any} rootGraph */
export function graphBefore(node, rootGraph) {
  const before = [...live].map(({ node: own, editor }) => ({ behind: downstream(own, rootGraph), graph: editor.graph })).filter(({ behind }) => behind.has(node));
  return before.sort((one, other) => one.behind.size - other.behind.size)[0]?.graph ?? null;
}

class NodeEditor {
  /** @type {Map<string, Run>} results by the meaning of the graph they belong to */ #runs = new Map();
  /** @type {string} */ #running = "";
  /** @type {Pick<Run, "question" | "facts">} what the last run was asked */ #asked = {};
  #pace = new Pace();
  /** @type {string | undefined} the run that this node told its graph of last */ #run;
  /** @type {{output: Record<string, unknown>, node: any, run: string | undefined}[]} told before the graph it belongs to */ #early = [];
  /** The tab's name, the graph's and the node's: the same when ComfyUI builds the node anew. */ #place = "";
  #pulses = 0;
  /** @type {string | null} the text last read or written */ #text = null;
  /** Whether a graph was connected when the text was read. */
  #wasLinked = false;

  /**
   * @param {any} node
   * @param {HTMLElement} element
   * @param {{app: any, api: any}} comfy
   * @param {import("./i18n.mjs").Translate} t
   */
  constructor(node, element, comfy, t) {
    this.node = node;
    this.comfy = comfy;
    this.editor = new Editor({
      t,
      write: (text) => this.#write(text),
      undo: () => comfy.app.extensionManager.command.execute("Comfy.Undo"),
      redo: () => comfy.app.extensionManager.command.execute("Comfy.Redo"),
      wheel: (event) => this.#wheel(event),
    });
    this.element = element;
    element.replaceChildren(this.editor.element);
    const resumed = this.#resume();
    this.#pulse();
    const timer = setInterval(() => {
      if (!isPresent(node)) return leave();
      this.#pulse();
      this.#arrive(resumed);
    }, PULSE);
    const leave = whenRemoved(node, () => {
      clearInterval(timer);
      this.#dispose();
    });
  }

  /** Where the text is kept. */
  get #keepers() {
    return keepersOf(this.node, TEXT, this.#root);
  }

  /** As the editor was left, when ComfyUI builds its node anew. @returns {boolean} whether it was there before */
  #resume() {
    this.#place = this.#here;
    const before = left.get(this.#place);
    if (before) this.editor.resume(before.look);
    this.#runs = before?.runs ?? new Map();
    const { found, meaning, upstream, earlier } = this.node.properties?.[KEPT] ?? {};
    const pairs = Array.isArray(earlier) ? earlier.filter(Array.isArray) : []; // A stranger's file may hold anything.
    for (const [each, run] of pairs) if (!this.#runs.has(String(each))) this.#runs.set(String(each), run ?? nothing());
    this.#runs.delete(String(meaning));
    if (found) this.#runs.set((this.#running = String(meaning)), found);
    if (upstream) this.#takeUpstream(String(upstream));
    return Boolean(before);
  }

  /** @returns {any} the workflow in the page's active tab */
  get #shown() {
    return this.comfy.app.extensionManager?.workflow?.activeWorkflow;
  }

  get #here() {
    const { graph, id } = this.node;
    return `${this.#shown?.path} ${graph === this.#root ? "" : graph.id} ${id}`;
  }

  /** Looks for what no event tells: a value set by others, the canvas's zoom, a link. */
  #pulse() {
    const { app } = this.comfy;
    if (!this.element.isConnected && this.node.graph === app.canvas?.graph) this.#claim();
    this.editor.setOuter(app.canvas?.ds?.scale ?? 1);
    this.editor.element.classList.toggle("bypassed", this.node.mode === BYPASSED);
    this.#read();
  }

  /**
   * ComfyUI builds a tab's nodes before it says which tab they are of; and it keeps what runs reported to a tab that was not shown.
   * @param {boolean} resumed as the tab before was left, of which this may be a copy
   */
  #arrive(resumed) {
    this.#pulses += 1;
    const moved = this.#place !== this.#here;
    if (this.#pulses > (moved ? ARRIVING : 1)) return;
    if (moved) {
      if (!this.#resume() && resumed) this.editor.resume(FIRST);
      this.#show();
    }
    const outputs = Object.entries(this.#shown?.changeTracker?.nodeOutputs ?? {});
    const ours = outputs.filter(([id]) => nodeCalled(this.#root, id) === this.node);
    for (const [, output] of ours) this.ran(output);
    const behind = downstream(this.node, this.#root);
    for (const [id, output] of outputs) if (behind.has(nodeCalled(this.#root, id))) this.found(output, nodeCalled(this.#root, id));
  }

  get #root() {
    const { app } = this.comfy;
    return app.rootGraph ?? app.graph;
  }

  /** A new link alone takes no step of undo away from a text that was edited. */
  #read() {
    const { widgets, linked: given } = this.#keepers;
    const text = String(widgets[0]?.value ?? "");
    const linked = this.#linked;
    if (given !== this.editor.linked) {
      this.editor.linked = given;
      this.editor.render();
    }
    const fresh = text !== this.#text;
    if (!fresh && linked === this.#wasLinked) return;
    this.#text = text;
    this.#wasLinked = linked;
    if (!linked) this.upstream = this.editor.session.upstream = null;
    const untouched = this.#untouched(text);
    if (!fresh && linked && !untouched) return;
    this.editor.load(untouched ? "" : text);
    this.#show();
  }

  /** Nodes 2.0 goes on showing the element, empty now, of a node before that had the same id: ours takes its place. */
  #claim() {
    const shown = document.querySelector(`[data-node-id="${CSS.escape(String(this.node.id))}"] .csg-host`);
    if (shown && !shown.hasChildNodes()) shown.replaceWith(this.element);
  }

  get #linked() {
    return this.node.inputs?.some((/** @type {any} */ each) => each.name === "graph" && each.link != null);
  }

  /** With a graph connected, the sample that every node starts with is no edit. @param {string} text */
  #untouched(text) {
    const [, options] = this.node.constructor.nodeData?.input?.required?.[TEXT] ?? [];
    return this.#linked && ["", String(options?.default ?? "").trim()].includes(text.trim());
  }

  /** One edit is one step of ComfyUI's undo. @param {string} text */
  #write(text) {
    const { canvas } = this.comfy.app;
    this.#text = text;
    canvas?.emitBeforeChange?.();
    for (const widget of this.#keepers.widgets) {
      widget.value = text;
      widget.callback?.(text);
    }
    canvas?.emitAfterChange?.();
    canvas?.setDirty?.(true, true);
    this.#show();
  }

  /** The node itself ran. @param {Record<string, any>} output @param {string} [run] */
  ran({ graph, extracted }, run) {
    this.#read();
    if (extracted?.[0]) this.#takeUpstream(extracted[0]);
    else if (this.#linked && graph?.[0] && this.#untouched(this.#text ?? "")) this.#takeUpstream(graph[0]);
    if (graph?.[0]) {
      const asked = forget(readJson(graph[0]));
      this.#running = digestOf(asked);
      this.#asked = asking(asked);
    }
    if (this.upstream) this.#keep({ ...this.node.properties[KEPT], upstream: this.upstream });
    this.follow(run);
    this.#show();
  }

  /** A graph that cannot be read is not there; nor is one that a run reported before its link was cut. @param {string} text */
  #takeUpstream(text) {
    if (!this.#linked) return;
    try {
      const graph = forget(readJson(text));
      this.upstream = text;
      this.editor.setUpstream(graph);
    } catch (error) {
      if (!(error instanceof GraphError)) throw error;
    }
  }

  /** A node behind this one ran; ComfyUI tells what it has cached in any order. @param {Record<string, unknown>} output @param {any} node @param {string} [run] */
  found(output, node, run) {
    if (run === undefined || run === this.#run) this.#join(output, node);
    else this.#early.push({ output, node, run });
  }

  /** Takes in what was told of a run before its graph was known. @param {string} [run] */
  follow(run) {
    this.#run = run;
    for (const early of this.#early.splice(0)) if (early.run === run) this.#join(early.output, early.node);
  }

  /** @param {Record<string, unknown>} output @param {any} node */
  #join(output, node) {
    const meaning = this.#running || digestOf(this.editor.graph);
    const before = this.#runs.get(meaning);
    const joined = join(before ?? nothing(), output);
    const drawn = pictureIn(output, node.comfyClass, this.#isSampled(node));
    if (!joined && !drawn) return;
    const picture = drawn && drawn.rank >= (before?.picture?.rank ?? 0) ? drawn : before?.picture;
    const found = { ...(joined ?? before ?? nothing()), ...(this.#running ? this.#asked : asking(this.editor.graph)), ...(picture && { picture }) };
    this.#runs.delete(meaning);
    this.#runs.set(meaning, found);
    shorten(this.#runs);
    const earlier = [...this.#runs].slice(-1 - SAVED, -1);
    this.#keep({ meaning, found, ...(earlier.length && { earlier }), ...(this.upstream && { upstream: this.upstream }) });
    this.#show();
  }

  /** Whether a node shows what a sampler behind this editor drew, and not where. @param {any} node */
  #isSampled(node) {
    const behind = [...downstream(this.node, this.#root)];
    const follows = (/** @type {RegExp} */ kind) => behind.some((each) => kind.test(each.comfyClass) && downstream(each, this.#root).has(node));
    return follows(SAMPLER) && !follows(MASKS);
  }

  /** @param {string} id of a node, as the server calls it @param {any} rootGraph */
  leadsTo(id, rootGraph) {
    return downstream(this.node, rootGraph).has(nodeCalled(rootGraph, id));
  }

  /** @param {Record<string, import("./live.mjs").NodeProgress>} nodes @param {any} rootGraph */
  progress(nodes, rootGraph) {
    const step = this.#pace.follow(nodes, (id) => this.leadsTo(id, rootGraph), performance.now());
    this.editor.strip.progress(step && { ...step, title: String(nodeCalled(rootGraph, step.id)?.title ?? "") });
  }

  /** Results are saved with the workflow; its draft, which a reload shows, is written only when told of a change. @param {object} kept */
  #keep(kept) {
    const { api } = this.comfy;
    if (JSON.stringify(kept) === JSON.stringify(this.node.properties[KEPT])) return;
    this.node.properties[KEPT] = kept;
    api.dispatchCustomEvent("graphChanged", this.#root.serialize());
  }

  /** Shows the results of this very graph, or else the last ones, marked stale. */
  #show() {
    const meaning = digestOf(this.editor.graph);
    this.#showAsked(meaning);
    if (this.#runs.size === 0) return;
    const own = this.#runs.get(meaning);
    const found = own ?? /** @type {Run} */ ([...this.#runs.values()].at(-1));
    this.editor.setResults(resultsOf(found, (image) => this.#address(image)), !own);
  }

  /** The questions asked of this picture. @param {string} meaning of the graph that is shown */
  #showAsked(meaning) {
    const { editor } = this;
    const facts = factsOf(editor.graph);
    const asked = [...this.#runs].filter(([, run]) => run.facts === facts && run.question);
    editor.strip.show(asked.map(([each, run]) => {
      const words = wordsOf(run);
      const question = /** @type {import("./asked.mjs").Question} */ (run.question);
      const again = () => editor.run((graph) => askAgain(graph, question), { say: editor.t("said.asked", { question: words }), whole: true });
      return { key: each, words, current: each === meaning, picture: run.picture?.filename ? this.#address(run.picture) : null, again };
    }));
  }

  /** @param {import("./results.mjs").ImageFile} image */
  #address({ filename, subfolder, type }) {
    return this.comfy.api.apiURL(`/view?${new URLSearchParams({ filename, subfolder: subfolder ?? "", type: type ?? "temp" })}`);
  }

  /** The canvas zooms while the editor has no keyboard. @param {WheelEvent} event */
  #wheel(event) {
    if (this.editor.element.closest("[data-node-id]")) return;
    event.preventDefault();
    event.stopPropagation();
    this.comfy.app.canvas.processMouseWheel(event);
  }

  #dispose() {
    left.delete(this.#place);
    left.set(this.#place, { look: this.editor.look, runs: this.#runs });
    shorten(left);
    live.delete(this);
    this.editor.dispose();
  }
}

/** A node may go before its editor comes; and the nodes of a subgraph are not told that it was deleted. @param {any} node */
function isPresent(node) {
  const { graph, id } = node;
  const root = graph?.rootGraph ?? graph;
  return graph?.getNodeById(id) === node && (graph === root || root.subgraphs.has(graph.id));
}

/**
 * Acts once, as a node goes. ComfyUI may hold the node, and an error its stack, for longer:
 * nothing of ours can be reached from there any more.
 * @param {any} node
 * @param {(() => void) | null} act
 * @returns {() => void} to act at once
 */
function whenRemoved(node, act) {
  const before = node.onRemoved;
  const leave = () => {
    act?.();
    act = null;
    node.onRemoved = before;
  };
  node.onRemoved = (/** @type {unknown[]} */ ...rest) => {
    leave();
    return before?.apply(node, rest);
  };
  return leave;
}

/** Forgets the oldest. @param {Map<string, unknown>} memory */
function shorten(memory) {
  while (memory.size > REMEMBERED) memory.delete(/** @type {string} */ (memory.keys().next().value));
}
