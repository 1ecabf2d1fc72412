/**
 * The node that the server calls by an execution id such as "5" or "12:5" (node 5 in the subgraph that node 12 stands for), or
 * the page by the subgraph's own name and the node's id.
 * @param {any} rootGraph
 * @param {string} id
 */
export function nodeCalled(rootGraph, id) {
  const path = String(id).split(":");
  const last = path.pop();
  const graph = path.reduce((inner, step) => inner?.getNodeById(step)?.subgraph ?? rootGraph.subgraphs?.get(step), rootGraph);
  return graph?.getNodeById(last) ?? null;
}
