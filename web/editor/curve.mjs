/**
 * The lines between cards: from the cause's rim to the effect's, with an arrow's head.
 *
 * @import { Box, Flow } from "./layout.mjs"
 * @import { Point } from "./model.mjs"
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
