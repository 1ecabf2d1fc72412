/**
 * The sentence with which one of this pack's nodes failed, on that node, in the server's words. It stands in the widget in
 * which ComfyUI itself shows what a running node says, and goes when the next run starts.
 */
const EDITOR = "CSG_GraphEditor";
const LONGEST = 400;
const WIDGET = "$$node-text-preview";
/** @type {{node: any, size: number[]}[]} nodes that say why they failed, and how large they were before */ const shown = [];

/** One paragraph, of a bounded length. @param {unknown} message */
function sentenceOf(message) {
  const text = String(message ?? "").replace(/\s+/g, " ").trim();
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text;
}

/**
 * On the node itself, unless it is an editor, and on the editors before it.
 * @param {any} failure as ComfyUI tells of it
 * @param {{node: any, size: number[]}} failed the node, and how large it was before
 * @param {{api: any, root: any, editors: Promise<any> | undefined}} comfy
 */
export async function showFailure({ node_id: id, node_type: type, exception_message: message }, { node, size }, comfy) {
  const sentence = sentenceOf(message);
  if (node?.comfyClass === type && type !== EDITOR) {
    shown.push({ node, size });
    comfy.api.dispatchCustomEvent("progress_text", { nodeId: String(id), text: sentence });
    comfy.api.addEventListener("execution_start", forget, { once: true });
  }
  (await comfy.editors)?.failed(String(id), sentence, comfy.root);
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
