/**
 * The drawing as a file of its own: SVG with every style written out, and PNG from it.
 *
 * @import { Scene } from "./scene.mjs"
 * @typedef {{text: string, width: number, height: number}} Drawing
 */
import { svg } from "./dom.mjs";
import { bounds } from "./layout.mjs";

const STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "opacity",
  "fill-opacity", "font-family", "font-size", "font-weight", "text-anchor", "filter", "mix-blend-mode", "isolation"];
/** What no XML file may contain. */
const UNWRITABLE = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;
const MARGIN = 32;
const SHARPNESS = 2;

/** @param {Scene} scene @returns {Promise<Drawing>} */
export async function pictureOf(scene) {
  const box = bounds(scene.boxes.values());
  const [width, height] = [box.width + 2 * MARGIN, box.height + 2 * MARGIN];
  const far = scene.element.classList.contains("far");
  scene.element.classList.remove("far");
  const content = copied(scene.viewport);
  const ground = getComputedStyle(scene.element).getPropertyValue("background-color");
  scene.element.classList.toggle("far", far);
  content?.setAttribute("transform", `translate(${MARGIN - box.x},${MARGIN - box.y})`);
  const whole = svg("svg", { xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `0 0 ${width} ${height}` },
    svg("rect", { width, height, fill: ground }), content);
  await Promise.all([...whole.querySelectorAll("image")].map(embed));
  return { text: new XMLSerializer().serializeToString(whole).replace(UNWRITABLE, "\ufffd"), width, height };
}

/** A copy without what cannot be seen, its styles written out. @param {Element} element @returns {Element | null} */
function copied(element) {
  const style = getComputedStyle(element);
  if (style.display === "none" || style.visibility === "hidden") return null;
  const copy = /** @type {Element} */ (element.cloneNode(false));
  for (const name of ["class", "tabindex", "role", "aria-label", "aria-roledescription"]) copy.removeAttribute(name);
  for (const name of Object.keys(/** @type {SVGElement} */ (element).dataset)) delete /** @type {SVGElement} */ (copy).dataset[name];
  for (const name of STYLES) {
    const value = style.getPropertyValue(name);
    if (value && value !== "none" || name === "fill") copy.setAttribute(name, value);
  }
  if (element instanceof SVGTextContentElement && element.childElementCount === 0) keepWidth(element, copy);
  for (const child of element.childNodes) {
    const inner = child instanceof Element ? copied(child) : child.cloneNode();
    if (inner) copy.append(inner);
  }
  return copy;
}

/** The page's font may be missing where the file is seen; words stay as wide as they were. @param {SVGTextContentElement} text @param {Element} copy */
function keepWidth(text, copy) {
  const width = text.getComputedTextLength();
  if (width > 0) for (const [name, value] of [["textLength", width.toFixed(1)], ["lengthAdjust", "spacingAndGlyphs"]]) copy.setAttribute(name, value);
}

/** A file carries its pictures inside. @param {SVGImageElement} image */
async function embed(image) {
  const answer = await fetch(image.getAttribute("href") ?? "");
  const blob = await answer.blob();
  const data = await new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(blob);
  });
  image.setAttribute("href", String(data));
}

/** @param {Drawing} drawing @returns {Promise<Blob>} a PNG */
export async function rasterOf({ text, width, height }) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  const scale = Math.min(SHARPNESS, 8192 / Math.max(width, height));
  Object.assign(canvas, { width: Math.ceil(width * scale), height: Math.ceil(height * scale) });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The browser drew no PNG."))), "image/png"));
}
