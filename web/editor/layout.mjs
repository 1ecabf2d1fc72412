/**
 * Places for concepts by dagre's layered layout: causes above their effects, or to their
 * left, whichever fills a picture better. A crowd is packed into columns instead. And the lines between them.
 *
 * @import { Graph, Point } from "./model.mjs"
 * @typedef {{width: number, height: number}} Size
 * @typedef {{x: number, y: number, width: number, height: number}} Box top left corner and size
 */
import dagre from "../vendor/dagre.mjs";
import { forwardEdges, neighbours, topologicalOrder } from "./model.mjs";

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

/** @typedef {ReadonlyMap<string, string[]>} Links */

const GAP = Object.freeze({ x: 44, y: 16 });
const SWEEPS = 4;

/**
 * Places for a crowded graph: columns of a bounded height, causes in earlier columns than
 * their effects. Unlike dagre it keeps no lanes free for long edges, so that sixty cards
 * can still be read when all are shown, and it takes a few milliseconds instead of a second.
 * @param {Graph} graph
 * @param {(name: string) => Size} sizeOf
 * @param {number} aspect the width of a good drawing over its height
 * @returns {Map<string, Point>}
 */
function compact(graph, sizeOf, aspect) {
  const cost = (/** @type {string[][]} */ columns) => Math.max(widthOf(columns, sizeOf) / aspect, ...columns.map((each) => heightOf(each, sizeOf)));
  const names = graph.concepts.map(({ name }) => name);
  const forward = forwardEdges(graph);
  const causes = new Map(names.map((name) => [name, forward.filter((edge) => edge.effect === name).map((edge) => edge.cause)]));
  const near = new Map(names.map((name) => [name, neighbours(graph, name)]));
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

/**
 * @typedef {readonly [Point, Point, Point, Point]} Curve a cubic Bézier
 */

const HEAD = 9;
/** How far two edges between the same cards, there and back, keep to their own side of the way. */
const ASIDE = 9;

/**
 * @param {Box} from the cause's box
 * @param {Box} to the effect's box
 * @param {Flow} flow which sides are preferred
 * @param {boolean} [twofold] whether another edge runs back
 * @returns {Curve}
 */
export function between(from, to, flow, twofold = false) {
  const curve = single(from, to, flow);
  if (!twofold) return curve;
  const [[x, y], [u, v]] = [curve[0], curve[1]];
  const shift = [-Math.sign(Math.round(v - y)) * ASIDE, Math.sign(Math.round(u - x)) * ASIDE];
  const moved = (/** @type {Point} */ [left, top]) => /** @type {Point} */ ([left + shift[0], top + shift[1]]);
  return [moved(curve[0]), moved(curve[1]), moved(curve[2]), moved(curve[3])];
}

/**
 * @param {Box} from
 * @param {Box} to
 * @param {Flow} flow
 * @returns {Curve}
 */
function single(from, to, flow) {
  const down = Math.max(to.y - (from.y + from.height), from.y - (to.y + to.height));
  const across = Math.max(to.x - (from.x + from.width), from.x - (to.x + to.width));
  const upright = flow === "TB" ? down > 8 || down > across : across <= 8 && down > across;
  return upright ? vertical(from, to, from.y < to.y ? 1 : -1) : horizontal(from, to);
}

/**
 * @param {Box} from
 * @param {Box} to
 * @param {1 | -1} down
 * @returns {Curve}
 */
function vertical(from, to, down) {
  const start = /** @type {const} */ ([from.x + from.width / 2, down > 0 ? from.y + from.height : from.y]);
  const end = /** @type {const} */ ([to.x + to.width / 2, (down > 0 ? to.y : to.y + to.height) - down * 3]);
  const bend = Math.max(28, Math.abs(end[1] - start[1]) * 0.45) * down;
  return [start, [start[0], start[1] + bend], [end[0], end[1] - bend], end];
}

/**
 * @param {Box} from
 * @param {Box} to
 * @returns {Curve}
 */
function horizontal(from, to) {
  const right = from.x + from.width / 2 < to.x + to.width / 2 ? 1 : -1;
  const start = /** @type {const} */ ([right > 0 ? from.x + from.width : from.x, from.y + from.height / 2]);
  const end = /** @type {const} */ ([(right > 0 ? to.x : to.x + to.width) - right * 3, to.y + to.height / 2]);
  const bend = Math.max(24, Math.abs(end[0] - start[0]) * 0.45) * right;
  return [start, [start[0] + bend, start[1]], [end[0] - bend, end[1]], end];
}

/** @param {Point} from @param {Point} to the pointer @returns {Curve} */
export function towards([x, y], [u, v]) {
  const bend = Math.max(16, Math.abs(u - x) * 0.4) * (u < x ? -1 : 1);
  return [[x, y], [x + bend, y], [u - bend * 0.6, v], [u, v]];
}

/** @param {Curve} curve */
export const pathOf = ([a, b, c, d]) => `M${pair(a)}C${pair(b)} ${pair(c)} ${pair(d)}`;

/** @param {Point} point */
const pair = ([x, y]) => `${round(x)},${round(y)}`;

/** @param {number} value */
const round = (value) => Math.round(value * 10) / 10;

/** @param {Curve} curve @param {number} at in [0, 1] @returns {Point} */
export function pointAt([a, b, c, d], at) {
  const rest = 1 - at;
  const mix = (/** @type {0 | 1} */ axis) =>
    rest ** 3 * a[axis] + 3 * rest ** 2 * at * b[axis] + 3 * rest * at ** 2 * c[axis] + at ** 3 * d[axis];
  return [mix(0), mix(1)];
}

/** The head of the arrow at the curve's end. @param {Curve} curve */
export function headOf(curve) {
  const [x, y] = curve[3];
  const [u, v] = pointAt(curve, 0.94);
  const length = Math.hypot(x - u, y - v) || 1;
  const [dx, dy] = [(x - u) / length, (y - v) / length];
  const [bx, by] = [x - dx * HEAD, y - dy * HEAD];
  const side = HEAD * 0.45;
  return `M${pair([x, y])}L${pair([bx - dy * side, by + dx * side])}L${pair([bx + dy * side, by - dx * side])}Z`;
}

/** Two strokes across the middle of a cut line. @param {Curve} curve */
export function cutMark(curve) {
  const [x, y] = pointAt(curve, 0.5);
  const [u, v] = pointAt(curve, 0.54);
  const length = Math.hypot(u - x, v - y) || 1;
  const [dx, dy] = [(u - x) / length, (v - y) / length];
  const stroke = (/** @type {number} */ shift) => {
    const [cx, cy] = [x + dx * shift, y + dy * shift];
    const [sx, sy] = [-dy * 6 + dx * 3, dx * 6 + dy * 3];
    return `M${pair([cx - sx, cy - sy])}L${pair([cx + sx, cy + sy])}`;
  };
  return stroke(-3) + stroke(3);
}

/** The curve's two ends, with a gap in the middle. @param {Curve} curve */
export function cutPath(curve) {
  return pathOf(part(curve, 0, 0.44)) + pathOf(part(curve, 0.56, 1));
}

/** @param {Curve} curve @param {number} from @param {number} to @returns {Curve} */
function part(curve, from, to) {
  const third = (to - from) / 3;
  const start = pointAt(curve, from);
  const end = pointAt(curve, to);
  const slope = (/** @type {number} */ at) => {
    const [x, y] = pointAt(curve, Math.max(0, at - 0.001));
    const [u, v] = pointAt(curve, Math.min(1, at + 0.001));
    const span = Math.min(1, at + 0.001) - Math.max(0, at - 0.001);
    return [(u - x) / span, (v - y) / span];
  };
  const [leave, arrive] = [slope(from), slope(to)];
  return [start, [start[0] + leave[0] * third, start[1] + leave[1] * third], [end[0] - arrive[0] * third, end[1] - arrive[1] * third], end];
}
