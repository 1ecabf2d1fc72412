/**
 * What the fields of Intervene may hold: the concepts of the graph before it, and the values of the one that it names.
 *
 * @typedef {{concepts: {name: string, values: Map<string, string>}[]}} Graph
 */
const OTHER = "…";

/** @param {Graph} graph @param {any} node @param {string} field @returns {string[]} none where the graph knows none */
export function choicesFor({ concepts }, node, field) {
  if (field === "concept") return concepts.map(({ name }) => name);
  const name = String(node.widgets.find((/** @type {any} */ each) => each.name === "concept")?.value ?? "").trim();
  return [...(concepts.find((each) => each.name === name)?.values.keys() ?? [])];
}

/**
 * Shows them at the pointer, as ComfyUI shows the choices of a list; the last one is to type.
 * @param {string[]} choices
 * @param {{node: any, widget: any, event: MouseEvent, type: () => void, app: any}} field
 */
export function openList(choices, { node, widget, event, type, app }) {
  const { LiteGraph } = /** @type {any} */ (window);
  const choose = (/** @type {string} */ choice) => {
    if (choice === OTHER) return type();
    app.canvas?.emitBeforeChange?.();
    widget.value = choice;
    widget.callback?.(choice, app.canvas, node);
    app.canvas?.emitAfterChange?.();
    node.graph?.setDirtyCanvas?.(true, true);
  };
  new LiteGraph.ContextMenu([...choices, OTHER], { event, className: "dark", scale: Math.max(1, app.canvas?.ds?.scale ?? 1), callback: choose });
}
