/**
 * Places for a crowded graph: columns of a bounded height, causes in earlier columns than
 * their effects. Unlike dagre it keeps no lanes free for long edges, so that sixty cards
 * can still be read when all are shown, and it takes a few milliseconds instead of a second.
 *
 * @import { Size } from "./layout.mjs"
 * @import { Graph, Point } from "./model.mjs"
 */
import { children, forwardEdges, parents, topologicalOrder } from "./model.mjs";

/** @typedef {ReadonlyMap<string, string[]>} Links */

const GAP = Object.freeze({ x: 44, y: 16 });
const SWEEPS = 4;

/**
 * @param {Graph} graph
 * @param {(name: string) => Size} sizeOf
 * @param {number} aspect the width of a good drawing over its height
 * @returns {Map<string, Point>}
 */
export function compact(graph, sizeOf, aspect) {
  const cost = (/** @type {string[][]} */ columns) => Math.max(widthOf(columns, sizeOf) / aspect, ...columns.map((each) => heightOf(each, sizeOf)));
  const names = graph.concepts.map(({ name }) => name);
  const forward = forwardEdges(graph);
  const causes = new Map(names.map((name) => [name, parents({ edges: forward }, name)]));
  const near = new Map(names.map((name) => [name, [...parents(graph, name), ...children(graph, name)]]));
  const alone = (/** @type {string} */ name) => Number(near.get(name)?.length === 0);
  const order = topologicalOrder(graph, forward).sort((one, other) => alone(one) - alone(other));
  let best = layers(causes, order, names.length);
  for (let rows = Math.ceil(Math.sqrt(names.length / 3)); rows < names.length; rows += 1) {
    const columns = layers(causes, order, rows);
    if (cost(columns) < cost(best)) best = columns;
  }
  return placed(untangled(near, best), sizeOf);
}

/**
 * Each concept in the first column after all its causes that has room.
 * @param {Links} causes
 * @param {string[]} order causes before effects
 * @param {number} rows
 */
function layers(causes, order, rows) {
  /** @type {string[][]} */
  const columns = [];
  const at = new Map();
  for (const name of order) {
    let column = Math.max(-1, ...(causes.get(name) ?? []).map((cause) => at.get(cause))) + 1;
    while ((columns[column] ??= []).length >= rows) column += 1;
    columns[column].push(name);
    at.set(name, column);
  }
  return columns;
}

/** Orders columns by the middle of their neighbours, there and back. @param {Links} near @param {string[][]} columns */
function untangled(near, columns) {
  const height = new Map(columns.flatMap((column) => column.map((name, row) => [name, (row + 1) / (column.length + 1)])));
  let sorted = columns;
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    sorted = sorted.map((column) => {
      const wish = new Map(column.map((name) => [name, mean((near.get(name) ?? []).map((each) => height.get(each) ?? 0), height.get(name) ?? 0)]));
      const next = [...column].sort((one, other) => (wish.get(one) ?? 0) - (wish.get(other) ?? 0));
      next.forEach((name, row) => height.set(name, (row + 1) / (next.length + 1)));
      return next;
    });
  }
  return sorted;
}

/** @param {number[]} values @param {number} otherwise */
const mean = (values, otherwise) => (values.length ? values.reduce((sum, each) => sum + each, 0) / values.length : otherwise);

/** @param {string[][]} columns @param {(name: string) => Size} sizeOf @returns {Map<string, Point>} */
function placed(columns, sizeOf) {
  const tallest = Math.max(...columns.map((column) => heightOf(column, sizeOf)));
  /** @type {Map<string, Point>} */
  const places = new Map();
  let x = 0;
  for (const column of columns) {
    let y = (tallest - heightOf(column, sizeOf)) / 2;
    for (const name of column) {
      places.set(name, [x, Math.round(y)]);
      y += sizeOf(name).height + GAP.y;
    }
    x += widest(column, sizeOf) + GAP.x;
  }
  return places;
}

/** @param {string[]} column @param {(name: string) => Size} sizeOf */
const widest = (column, sizeOf) => Math.max(...column.map((name) => sizeOf(name).width));

/** @param {string[][]} columns @param {(name: string) => Size} sizeOf */
const widthOf = (columns, sizeOf) => columns.reduce((sum, column) => sum + widest(column, sizeOf) + GAP.x, -GAP.x);

/** @param {string[]} column @param {(name: string) => Size} sizeOf */
const heightOf = (column, sizeOf) => column.reduce((sum, name) => sum + sizeOf(name).height + GAP.y, -GAP.y);
