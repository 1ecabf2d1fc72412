/**
 * What the nodes after the editor found out, joined per concept.
 *
 * @typedef {{
 *   factual: string, counterfactual: string, role: string, reason: string,
 *   mask: string | null, effective: boolean | undefined
 * }} Result
 * @typedef {{filename: string, subfolder: string, type: string}} ImageFile
 * @typedef {{
 *   counterfactual: Record<string, Partial<Result>>, masks: Record<string, ImageFile>, effective: Record<string, boolean>
 * }} Found what has been reported so far, as plain JSON
 */

/** @returns {Found} */
export const nothing = () => ({ counterfactual: {}, masks: {}, effective: {} });

/**
 * Joins one node's `ui` output to what is known. A new counterfactual starts afresh; one that
 * comes again, or after its masks (ComfyUI tells what it has cached in any order), does not.
 * @param {Found} found
 * @param {Record<string, unknown>} output
 * @returns {Found | null} null when the output says nothing about concepts
 */
export function join(found, output) {
  const { csg_counterfactual: changes, csg_masks: masks, csg_effectiveness: answers } = output;
  let result = null;
  if (changes) result = renewed(found, table(first(changes)));
  if (Array.isArray(masks)) result = { ...(result ?? found), masks: byConcept(masks, ({ image }) => image) };
  if (Array.isArray(answers)) result = { ...(result ?? found), effective: byConcept(answers, ({ answer }) => answer) };
  return result;
}

/** @param {Found} found @param {Record<string, Partial<Result>>} counterfactual @returns {Found} */
function renewed(found, counterfactual) {
  const same = [JSON.stringify({}), JSON.stringify(counterfactual)].includes(JSON.stringify(found.counterfactual));
  return { ...(same ? found : nothing()), counterfactual };
}

/** @param {unknown} value ComfyUI sends lists */
const first = (value) => (Array.isArray(value) ? value[0] : value);

/** @param {unknown} value JSON, as text or as it is @returns {Record<string, any>} */
function table(value) {
  const data = typeof value === "string" ? JSON.parse(value) : value;
  return data !== null && typeof data === "object" ? data : {};
}

/**
 * @template T
 * @param {any[]} items
 * @param {(item: any) => T} pick
 * @returns {Record<string, T>}
 */
const byConcept = (items, pick) => Object.fromEntries(items.map((each) => [String(each?.concept), pick(each)]));

/** @param {unknown} value as a text; what is none is passed over */
const text = (value) => (typeof value === "string" ? value : "");

/**
 * What is known of each concept. It may come from a stranger's workflow file, so nothing is taken for granted.
 * @param {Found} found
 * @param {(image: ImageFile) => string} address
 * @returns {Map<string, Result>}
 */
export function resultsOf(found, address) {
  const { counterfactual, masks, effective } = { ...nothing(), ...found };
  return new Map(Object.entries(counterfactual ?? {}).map(([name, told]) => {
    const change = told ?? {};
    const image = masks && Object.hasOwn(masks, name) ? masks[name] : null;
    const result = {
      factual: text(change.factual),
      counterfactual: text(change.counterfactual) || text(change.factual),
      role: text(change.role),
      reason: text(change.reason),
      mask: typeof image?.filename === "string" && image.filename ? address(image) : null,
      effective: effective && Object.hasOwn(effective, name) ? Boolean(effective[name]) : undefined,
    };
    return [name, result];
  }));
}
