/**
 * Places for concepts by dagre's layered layout: causes above their effects, or to their
 * left, whichever fills a picture better. A crowd is packed into columns instead.
 *
 * @import { Graph, Point } from "./model.mjs"
 * @typedef {{width: number, height: number}} Size
 * @typedef {{x: number, y: number, width: number, height: number}} Box top left corner and size
 */
import dagre from "../vendor/dagre.mjs";
import { compact } from "./compact.mjs";
import { forwardEdges } from "./model.mjs";

/** @typedef {"TB" | "LR"} Flow from top to bottom, or from left to right */
const GAPS = { TB: { nodesep: 26, ranksep: 58, edgesep: 12 }, LR: { nodesep: 20, ranksep: 64, edgesep: 12 } };
const ASPECT = 1.45;
/** More of either would keep dagre busy for longer than a drawing may take to appear. */
const CROWD = { concepts: 32, edges: 64 };
/** How much larger the packed drawing must be shown before it is preferred to dagre's. */
const WORTH = 1.4;

/**
 * Top left corners of all concepts. Those in `fixed` stay where they are.
 * @param {Graph} graph
 * @param {(name: string) => Size} sizeOf
 * @param {ReadonlyMap<string, Point>} [fixed]
 * @returns {Map<string, Point>}
 */
export function arrange(graph, sizeOf, fixed = new Map()) {
  const free = graph.concepts.filter(({ name }) => !fixed.has(name));
  if (free.length === 0) return new Map(fixed);
  const drawn = best(graph, sizeOf);
  if (fixed.size === 0) return drawn;
  const [dx, dy] = drift(drawn, fixed);
  const places = new Map(fixed);
  for (const { name } of free) {
    const [x, y] = drawn.get(name) ?? [0, 0];
    places.set(name, clear([x + dx, y + dy], sizeOf(name), places, sizeOf));
  }
  return places;
}

/**
 * An edge that runs back is laid out as if it were turned round: dagre itself might turn
 * a confirmed one of its cycle instead.
 * @param {Graph} graph
 * @param {(name: string) => Size} sizeOf
 * @param {Flow} flow
 * @returns {Map<string, Point>}
 */
function layered(graph, sizeOf, flow) {
  const drawing = new dagre.graphlib.Graph();
  drawing.setGraph({ rankdir: flow, ...GAPS[flow] });
  drawing.setDefaultEdgeLabel(() => ({}));
  const ids = new Map(graph.concepts.map(({ name }, index) => [name, String(index)]));
  for (const [name, id] of ids) drawing.setNode(id, { ...sizeOf(name) });
  const forward = new Set(forwardEdges(graph));
  for (const edge of graph.edges) {
    const [first, last] = forward.has(edge) ? [edge.cause, edge.effect] : [edge.effect, edge.cause];
    drawing.setEdge(ids.get(first), ids.get(last));
  }
  dagre.layout(drawing);
  return new Map([...ids].map(([name, id]) => {
    const { x, y, width, height } = drawing.node(id);
    return [name, [Math.round(x - width / 2), Math.round(y - height / 2)]];
  }));
}

/**
 * The drawing that is larger when it is shown whole.
 * @param {Graph} graph
 * @param {(name: string) => Size} sizeOf
 */
function best(graph, sizeOf) {
  const packed = compact(graph, sizeOf, ASPECT);
  if (graph.concepts.length > CROWD.concepts || graph.edges.length > CROWD.edges) return packed;
  const ranked = [layered(graph, sizeOf, "LR"), layered(graph, sizeOf, "TB"), packed]
    .map((places, index) => ({ places, cost: costOf(places, sizeOf) * (index === 2 ? WORTH : 1) }));
  return ranked.reduce((one, other) => (other.cost < one.cost ? other : one)).places;
}

/** @param {Map<string, Point>} places @param {(name: string) => Size} sizeOf */
function costOf(places, sizeOf) {
  const { width, height } = bounds([...places].map(([name, [x, y]]) => ({ x, y, ...sizeOf(name) })));
  return Math.max(width / ASPECT, height);
}

/**
 * Which way most edges run.
 * @param {Iterable<{from: Box, to: Box}>} edges
 * @returns {Flow}
 */
export function flowOf(edges) {
  let [right, down] = [0, 0];
  for (const { from, to } of edges) {
    right += Number(to.x >= from.x + from.width);
    down += Number(to.y >= from.y + from.height);
  }
  return right > down ? "LR" : "TB";
}

/**
 * How far the fixed concepts lie, on average, from where the layout would put them.
 * @param {ReadonlyMap<string, Point>} drawn
 * @param {ReadonlyMap<string, Point>} fixed
 * @returns {Point}
 */
function drift(drawn, fixed) {
  let [dx, dy, count] = [0, 0, 0];
  for (const [name, [x, y]] of fixed) {
    const place = drawn.get(name);
    if (!place) continue;
    dx += x - place[0];
    dy += y - place[1];
    count += 1;
  }
  return count ? [Math.round(dx / count), Math.round(dy / count)] : [0, 0];
}

/**
 * The nearest place below that covers nothing yet.
 * @param {Point} wanted
 * @param {Size} size
 * @param {ReadonlyMap<string, Point>} places
 * @param {(name: string) => Size} sizeOf
 * @returns {Point}
 */
export function clear([x, y], size, places, sizeOf) {
  const boxes = [...places].map(([name, [left, top]]) => ({ x: left, y: top, ...sizeOf(name) }));
  for (let top = y; ; top += 24) {
    const box = { x, y: top, ...size };
    if (!boxes.some((other) => overlap(box, other))) return [x, top];
  }
}

/** @param {Box} one @param {Box} other */
const overlap = (one, other) =>
  one.x < other.x + other.width + 12 && other.x < one.x + one.width + 12 &&
  one.y < other.y + other.height + 12 && other.y < one.y + one.height + 12;

/**
 * Moves cards down, as little as needed, so that none covers another. Cards grow when
 * results arrive; what is stored stays as it is.
 * @param {ReadonlyMap<string, Point>} places
 * @param {(name: string) => Size} sizeOf
 * @returns {Map<string, Point>}
 */
export function spread(places, sizeOf) {
  /** @type {Map<string, Point>} */
  const settled = new Map();
  const byHeight = [...places].sort(([, [, one]], [, [, other]]) => one - other);
  for (const [name, place] of byHeight) settled.set(name, lowered(place, sizeOf(name), settled, sizeOf));
  return new Map([...places.keys()].map((name) => [name, /** @type {Point} */ (settled.get(name))]));
}

/**
 * @param {Point} place
 * @param {Size} size
 * @param {ReadonlyMap<string, Point>} settled all drawn higher up
 * @param {(name: string) => Size} sizeOf
 * @returns {Point}
 */
function lowered([x, y], { width }, settled, sizeOf) {
  const above = [...settled].map(([name, [left, top]]) => ({ left, top, ...sizeOf(name) }));
  const beside = above.filter((box) => box.left < x + width && x < box.left + box.width);
  return [x, Math.max(y, ...beside.map((box) => box.top + box.height + 12))];
}

/**
 * The box around all boxes.
 * @param {Iterable<Box>} boxes
 * @returns {Box}
 */
export function bounds(boxes) {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { x, y, width, height } of boxes) {
    left = Math.min(left, x);
    top = Math.min(top, y);
    right = Math.max(right, x + width);
    bottom = Math.max(bottom, y + height);
  }
  return right < left ? { x: 0, y: 0, width: 0, height: 0 } : { x: left, y: top, width: right - left, height: bottom - top };
}
