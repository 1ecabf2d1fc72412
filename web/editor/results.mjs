/**
 * What the nodes after the editor report, joined per concept; and which nodes those are.
 *
 * @typedef {{
 *   factual: string, counterfactual: string, role: string, reason: string,
 *   mask: string | null, effective: boolean | undefined
 * }} Result
 * @typedef {{filename: string, subfolder: string, type: string}} ImageFile
 * @typedef {{
 *   counterfactual: Record<string, Partial<Result>>, masks: Record<string, ImageFile>, effective: Record<string, boolean>
 * }} Found what has been reported so far, as plain JSON
 */

/** @returns {Found} */
export const nothing = () => ({ counterfactual: {}, masks: {}, effective: {} });

/**
 * Joins one node's `ui` output to what is known. A new counterfactual starts afresh; one that
 * comes again, or after its masks (ComfyUI tells what it has cached in any order), does not.
 * @param {Found} found
 * @param {Record<string, unknown>} output
 * @returns {Found | null} null when the output says nothing about concepts
 */
export function join(found, output) {
  const { csg_counterfactual: changes, csg_masks: masks, csg_effectiveness: answers } = output;
  let result = null;
  if (changes) result = renewed(found, table(first(changes)));
  if (Array.isArray(masks)) result = { ...(result ?? found), masks: byConcept(masks, ({ image }) => image) };
  if (Array.isArray(answers)) result = { ...(result ?? found), effective: byConcept(answers, ({ answer }) => answer) };
  return result;
}

/** @param {Found} found @param {Record<string, Partial<Result>>} counterfactual @returns {Found} */
function renewed(found, counterfactual) {
  const same = [JSON.stringify({}), JSON.stringify(counterfactual)].includes(JSON.stringify(found.counterfactual));
  return { ...(same ? found : nothing()), counterfactual };
}

/** @param {unknown} value ComfyUI sends lists */
const first = (value) => (Array.isArray(value) ? value[0] : value);

/** @param {unknown} value JSON, as text or as it is @returns {Record<string, any>} */
function table(value) {
  const data = typeof value === "string" ? JSON.parse(value) : value;
  return data !== null && typeof data === "object" ? data : {};
}

/**
 * @template T
 * @param {any[]} items
 * @param {(item: any) => T} pick
 * @returns {Record<string, T>}
 */
const byConcept = (items, pick) => Object.fromEntries(items.map((each) => [String(each?.concept), pick(each)]));

/** @param {unknown} value as a text; what is none is passed over */
const text = (value) => (typeof value === "string" ? value : "");

/**
 * What is known of each concept. It may come from a stranger's workflow file, so nothing is taken for granted.
 * @param {Found} found
 * @param {(image: ImageFile) => string} address
 * @returns {Map<string, Result>}
 */
export function resultsOf(found, address) {
  const { counterfactual, masks, effective } = { ...nothing(), ...found };
  return new Map(Object.entries(counterfactual ?? {}).map(([name, told]) => {
    const change = told ?? {};
    const image = masks && Object.hasOwn(masks, name) ? masks[name] : null;
    const result = {
      factual: text(change.factual),
      counterfactual: text(change.counterfactual) || text(change.factual),
      role: text(change.role),
      reason: text(change.reason),
      mask: typeof image?.filename === "string" && image.filename ? address(image) : null,
      effective: effective && Object.hasOwn(effective, name) ? Boolean(effective[name]) : undefined,
    };
    return [name, result];
  }));
}

const SUBGRAPH_INPUT = "-10";
const SUBGRAPH_OUTPUT = "-20";

/**
 * Every node that a node's outputs reach.
 * @param {any} start
 * @param {any} rootGraph
 * @returns {Set<any>}
 */
export function downstream(start, rootGraph) {
  const reached = new Set([start]);
  for (const node of reached) {
    for (const output of node.outputs ?? []) {
      for (const next of ends(node.graph, output.links ?? [], rootGraph)) reached.add(next);
    }
  }
  reached.delete(start);
  return reached;
}

/**
 * The nodes where links end; a subgraph is entered, and left where it ends.
 * @param {any} graph
 * @param {Iterable<any>} links
 * @param {any} rootGraph
 * @returns {any[]}
 */
function ends(graph, links, rootGraph) {
  return [...links].flatMap((id) => {
    const link = linkOf(graph, id);
    if (!link) return [];
    if (String(link.target_id) === SUBGRAPH_OUTPUT) return outside(graph, link.target_slot, rootGraph);
    const node = graph.getNodeById(link.target_id);
    if (!node) return [];
    return node.subgraph ? ends(node.subgraph, node.subgraph.inputs[link.target_slot]?.linkIds ?? [], rootGraph) : [node];
  });
}

/** Where the output of a subgraph leads. @param {any} subgraph @param {number} slot @param {any} rootGraph @returns {any[]} */
function outside(subgraph, slot, rootGraph) {
  return hosts(subgraph, rootGraph).flatMap((host) => ends(host.graph, host.outputs[slot]?.links ?? [], rootGraph));
}

/** The nodes that stand for a subgraph. @param {any} subgraph @param {any} rootGraph @returns {any[]} */
function hosts(subgraph, rootGraph) {
  const graphs = [rootGraph, ...(rootGraph.subgraphs?.values() ?? [])];
  return graphs.flatMap((graph) => graph.nodes.filter((/** @type {any} */ node) => node.subgraph === subgraph));
}

/**
 * Where the value of a node's widget is kept: in the node, or, promoted, in the nodes that stand for its subgraph.
 * @param {any} node
 * @param {string} name
 * @param {any} rootGraph
 * @returns {{widgets: any[], linked: boolean}} `linked`: another node gives the value
 */
export function keepersOf(node, name, rootGraph) {
  const own = (node.widgets ?? []).filter((/** @type {any} */ each) => each.name === name);
  const input = node.inputs?.find((/** @type {any} */ each) => each.name === name);
  const link = input?.link == null ? null : linkOf(node.graph, input.link);
  if (!link) return { widgets: own, linked: false };
  if (String(link.origin_id) !== SUBGRAPH_INPUT) return { widgets: own, linked: true };
  const outer = hosts(node.graph, rootGraph).map((host) => keepersOf(host, host.inputs[link.origin_slot]?.name, rootGraph));
  const widgets = outer.flatMap((each) => each.widgets);
  return { widgets: widgets.length ? widgets : own, linked: outer.some((each) => each.linked) };
}

/** @param {any} graph @param {any} id */
const linkOf = (graph, id) => graph.getLink?.(id) ?? graph.links?.get?.(id) ?? graph.links?.[id];
