/**
 * The sentence with which one of this pack's nodes failed, on that node, in the server's words. It stands in the widget in
 * which ComfyUI itself shows what a running node says, and goes when the next run starts.
 */
const LONGEST = 400;
const WIDGET = "$$node-text-preview";
/** @type {{node: any, size: number[]}[]} nodes that say why they failed, and how large they were before */ const shown = [];

/** One paragraph, of a bounded length. @param {unknown} message */
export function sentenceOf(message) {
  const text = String(message ?? "").replace(/\s+/g, " ").trim();
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text;
}

/**
 * @param {string} sentence
 * @param {{id: string, node: any, size: number[]}} failed the node, what the server calls it, how large it was before
 * @param {any} api
 */
export function showFailure(sentence, { id, node, size }, api) {
  shown.push({ node, size });
  api.dispatchCustomEvent("progress_text", { nodeId: id, text: sentence });
  api.addEventListener("execution_start", forget, { once: true });
}

/** Nothing has failed yet. */
function forget() {
  for (const { node, size } of shown.splice(0)) {
    const place = node.widgets?.findIndex((/** @type {any} */ each) => each.name === WIDGET) ?? -1;
    if (place < 0) continue;
    node.widgets[place].onRemove?.();
    node.widgets.splice(place, 1);
    node.setSize(size);
  }
}
