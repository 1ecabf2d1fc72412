/**
 * Making elements. Text only ever becomes text: there is no way from here to HTML.
 */

const SVG = "http://www.w3.org/2000/svg";

/** @typedef {Node | string | null | undefined | false} Child */

/**
 * @param {Element} element
 * @param {Record<string, unknown>} attributes `on…` adds a listener, false and null leave out
 */
export function assign(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else if (value === false || value === null || value === undefined) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * ComfyUI's undo listens to keys before anyone else and leaves alone only what looks
 * like a text field; so these keys reach the editor alone. Its older pages go by the
 * type, its newer ones by what can be edited, and for drawings by the name of the tag.
 * @param {Element} element
 */
export function keepsKeys(element) {
  Object.defineProperty(element, "type", { value: "textarea" });
  if (element instanceof HTMLElement) Object.defineProperty(element, "isContentEditable", { value: true });
  else Object.defineProperty(element, "tagName", { value: "TEXTAREA" });
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function html(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  assign(element, attributes);
  if (tag === "button" || tag === "aside") keepsKeys(element);
  append(element, children);
  return element;
}

/**
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[T]}
 */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  assign(element, attributes);
  append(element, children);
  return element;
}

/**
 * @param {Element} element
 * @param {Child[]} children
 */
function append(element, children) {
  for (const child of children) if (child || child === "") element.append(child);
}

/** Paths of the icons, on a grid of 16. */
const ICONS = Object.freeze({
  add: "M8 3v10M3 8h10",
  undo: "M6 4 3 7l3 3M3 7h6a4 4 0 0 1 0 8H7",
  redo: "m10 4 3 3-3 3M13 7H7a4 4 0 0 0 0 8h2",
  layout: "M6 2h4v3H6zM2 11h4v3H2zM10 11h4v3h-4zM8 5v3M4 11V8h8v3",
  fit: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4",
  more: "M3 8h.01M8 8h.01M13 8h.01",
  close: "m4 4 8 8M12 4l-8 8",
  check: "m3 8.5 3.5 3.5L13 4.5",
  lock: "M4 7.5h8V14H4zM5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5",
  pin: "M8 9.5V14M4.5 9.5h7L10 7V3h1V2H5v1h1v4z",
  globe: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2ZM2 8h12M8 2c-4 4-4 8 0 12M8 2c4 4 4 8 0 12",
  trash: "M3 4.5h10M6.5 4V2.5h3V4M4.5 4.5 5 14h6l.5-9.5",
  panel: "M2 3h12v10H2zM10 3v10",
});

/** @typedef {keyof typeof ICONS} Icon */

/**
 * @param {Icon} name
 * @param {number} [size] in pixels
 */
export const icon = (name, size = 16) =>
  svg("svg", { class: "csg-icon", viewBox: "0 0 16 16", width: size, height: size, "aria-hidden": "true" },
    svg("path", { d: ICONS[name] }));

/** @param {Icon} name */
export const iconPath = (name) => ICONS[name];

/**
 * @param {string} label what it does, for eyes and screen readers
 * @param {Icon} name
 * @param {(event: Event) => void} act
 * @param {Record<string, unknown>} [attributes]
 */
export const iconButton = (label, name, act, attributes = {}) =>
  html("button", { type: "button", class: "csg-button", title: label, "aria-label": label, onclick: act, ...attributes }, icon(name));
