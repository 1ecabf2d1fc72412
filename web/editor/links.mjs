/**
 * Following links through ComfyUI's graph, into and out of subgraphs.
 */

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

/** @param {any} graph @param {any} id */
const linkOf = (graph, id) => graph.getLink?.(id) ?? graph.links?.get?.(id) ?? graph.links?.[id];

/**
 * The node that the server calls by an execution id such as "5" or "12:5".
 * @param {any} rootGraph
 * @param {string} executionId
 */
export function nodeCalled(rootGraph, executionId) {
  const ids = String(executionId).split(":");
  const last = ids.pop();
  const graph = ids.reduce((inner, id) => inner?.getNodeById(id)?.subgraph, rootGraph);
  return graph?.getNodeById(last) ?? null;
}
