/**
 * Two pictures over each other with a slider between them, and the concepts whose masks are shown while one points at them.
 *
 * @import { Translate } from "./editor/i18n.mjs"
 * @typedef {{filename: string, subfolder?: string, type?: string}} ImageFile
 * @typedef {{csg_before?: ImageFile[], csg_after?: ImageFile[], csg_masks?: {concept: string, colour?: string, image: ImageFile}[]}} Output
 */

const WHOLE = { position: "absolute", inset: "0", width: "100%", height: "100%" };
const PICTURE = { ...WHOLE, objectFit: "contain", pointerEvents: "none" };
const COLOUR = /^#[\da-f]{6}$/i;

/**
 * Shows what a run left. It may come from a stranger's workflow file, so nothing is taken for granted.
 * @param {HTMLElement} element
 * @param {Output} output
 * @param {{api: any, t: Translate}} comfy
 */
export function fill(element, output, { api, t }) {
  const address = (/** @type {Record<string, string>} */ file) => api.apiURL(`/view?${new URLSearchParams(file)}`);
  const [before, after] = [output.csg_before, output.csg_after].map((files) => addressed(files?.[0], address));
  if (!before || !after) return;
  Object.assign(element.style, { display: "flex", flexDirection: "column", width: "100%", height: "100%", minHeight: "240px" });
  const stage = part("div", { position: "relative", flex: "1", minHeight: "0" });
  const top = picture(after, t("before_after.after"));
  const veil = part("div", { ...PICTURE, opacity: "0.7" });
  const edge = part("div", { position: "absolute", top: "0", bottom: "0", width: "2px", background: "#fff", boxShadow: "0 0 3px #000", pointerEvents: "none" });
  const slider = Object.assign(document.createElement("input"), { type: "range", min: "0", max: "100", step: "any", value: "50", ariaLabel: t("before_after.label") });
  Object.assign(slider.style, { ...WHOLE, margin: "0", opacity: "0", cursor: "ew-resize" });
  const slide = () => {
    top.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
    edge.style.left = `calc(${slider.value}% - 1px)`;
  };
  slider.oninput = slide;
  slider.onpointermove = (event) => {
    if (event.pointerType !== "mouse") return; // a mouse need not be pressed
    const { left, width } = slider.getBoundingClientRect();
    slider.value = String(((event.clientX - left) / width) * 100);
    slide();
  };
  slide();
  stage.append(picture(before, t("before_after.before")), top, veil, edge, slider);
  element.replaceChildren(stage, concepts(output.csg_masks, veil, address));
}

/** A button per concept; pointed at or focused, it lays the concept's mask over the pictures. @param {Output["csg_masks"]} masks @param {HTMLElement} veil @param {(file: Record<string, string>) => string} address */
function concepts(masks, veil, address) {
  const row = part("div", { display: "flex", flexWrap: "wrap", gap: "4px", padding: "4px 0" });
  for (const { concept, colour, image } of Array.isArray(masks) ? masks : []) {
    const mask = addressed(image, address);
    if (!mask) continue;
    const ink = COLOUR.test(String(colour)) ? String(colour) : "#e8a33d";
    const button = part("button", { border: `2px solid ${ink}`, borderRadius: "8px", padding: "1px 8px", background: "none", color: "inherit", font: "12px sans-serif" });
    button.textContent = String(concept);
    const show = () => Object.assign(veil.style, { background: ink, mask: `url("${mask}") center / contain no-repeat`, maskMode: "luminance" });
    const hide = () => Object.assign(veil.style, { background: "none" });
    button.onpointerenter = button.onfocus = show;
    button.onpointerleave = button.onblur = hide;
    row.append(button);
  }
  return row;
}

/** @param {unknown} file @param {(file: Record<string, string>) => string} address @returns {string | null} */
function addressed(file, address) {
  const { filename, subfolder, type } = /** @type {Partial<ImageFile>} */ (file ?? {});
  return typeof filename === "string" && filename ? address({ filename, subfolder: String(subfolder ?? ""), type: String(type ?? "temp") }) : null;
}

/** @param {string} source @param {string} name */
function picture(source, name) {
  const image = Object.assign(document.createElement("img"), { src: source, alt: name, draggable: false });
  Object.assign(image.style, PICTURE);
  return image;
}

/** @param {string} kind @param {Record<string, string>} style */
function part(kind, style) {
  const element = document.createElement(kind);
  Object.assign(element.style, style);
  return element;
}
