/**
 * Settings that belong together, offered in the menu of the nodes that hold them.
 *
 * @typedef {{name: string, values: Record<string, Record<string, number>>}} Preset
 */

/** @type {Preset[]} steps and warm-up scale together; the rest is the paper's; edits by hand keep their own scale and threshold */
export const PRESETS = [["Paper: 100 steps", 100, 10], ["Balanced: 50 steps", 50, 5], ["Fast: 20 steps", 20, 2]].map(
  ([name, steps, warmup]) => ({
    name: String(name),
    values: {
      CSG_Invert: { steps: Number(steps), skip: 0.15, source_guidance: 3.5 },
      CSG_EncodeEdits: { scale: 8, threshold: 0.7, warmup: Number(warmup) },
      CSG_ConceptEdit: { warmup: Number(warmup) },
    },
  }),
);

/** @param {any} node @returns {boolean} whether presets are offered on this node */
export const offersPresets = (node) => PRESETS.some(({ values }) => Object.hasOwn(values, node.comfyClass));

/**
 * Sets every inversion and every encoder of the node's graph, so that their steps and warm-ups agree.
 * @param {any} node
 * @param {Preset} preset
 */
export function applyPreset(node, preset) {
  for (const each of node.graph?.nodes ?? node.graph?._nodes ?? [node]) {
    for (const [name, value] of Object.entries(preset.values[each.comfyClass] ?? {})) {
      const widget = each.widgets?.find((/** @type {any} */ one) => one.name === name);
      if (!widget) continue;
      widget.value = value;
      widget.callback?.(value);
    }
  }
  node.graph?.setDirtyCanvas?.(true, true);
}
