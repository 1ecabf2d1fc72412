/**
 * The editor's words in the language that ComfyUI speaks, from the pack's `locales/`.
 *
 * @import { GraphError } from "./model.mjs"
 * @typedef {Record<string, unknown>} Messages
 * @typedef {(key: string, gaps?: Record<string, unknown>) => string} Translate
 */

/**
 * @param {Messages} all messages by language, as the server merges them
 * @param {string} language such as "en", "zh" or "zh-TW"
 * @returns {Translate} falls back to English, then to the key's last word
 */
export function translator(all, language) {
  const order = [language, language.split("-")[0], "en"];
  const tables = order.map((each) => reach(all, [each, "csg", "editor"]));
  return (key, gaps = {}) => {
    const message = tables.map((table) => reach(table, key.split("."))).find((each) => typeof each === "string");
    const text = typeof message === "string" ? message : (key.split(".").pop() ?? key).replaceAll("_", " ");
    return fill(text, gaps);
  };
}

/** The same in the page's language. @param {any} app ComfyUI's @param {Messages} all */
export const translatorFor = (app, all) => translator(all, app.extensionManager?.setting?.get("Comfy.Locale") ?? "en");

/**
 * @param {unknown} table
 * @param {string[]} keys
 * @returns {unknown}
 */
function reach(table, keys) {
  return keys.reduce((/** @type {any} */ inner, key) =>
    (inner !== null && typeof inner === "object" && Object.hasOwn(inner, key) ? inner[key] : undefined), table);
}

/**
 * Fills `{gap}`s. What is filled in cannot turn the direction of the words around it.
 * @param {string} text
 * @param {Record<string, unknown>} gaps
 */
const fill = (text, gaps) =>
  text.replace(/\{(\w+)\}/g, (whole, name) => (Object.hasOwn(gaps, name) ? isolated(String(gaps[name])) : whole));

/** @param {string} text */
const isolated = (text) => (/[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069]/.test(text) ? `\u2068${text}\u2069` : text);

/**
 * Why something was refused, as a sentence.
 * @param {Translate} t
 * @param {unknown} error
 */
export function reasonOf(t, error) {
  const { code, details, message } = /** @type {Partial<GraphError> & {message: string}} */ (error);
  if (!code) return message;
  const where = details?.line ? `${t("error.line", { line: details.line })} ` : "";
  return where + t(`error.${code}`, shortened(details ?? {}));
}

/** @param {Record<string, unknown>} details */
const shortened = (details) =>
  Object.fromEntries(Object.entries(details).map(([key, value]) => [key, clipped(String(value))]));

/** @param {string} text */
const clipped = (text) => (text.length > 240 ? `${text.slice(0, 240)}…` : text);
