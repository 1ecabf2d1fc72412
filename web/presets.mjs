/**
 * Settings that belong together, offered in the menu of the nodes that hold them.
 *
 * @import { Translate } from "./editor/i18n.mjs"
 * @typedef {{key: string, name: string, values: Record<string, Record<string, number | string>>}} Preset `key` its name's among the words of all languages
 */

/** @type {Preset[]} steps and warm-up scale together; the rest is the paper's; edits by hand keep their own scale and threshold */
const PAPERS = [["paper", "Paper: 100 steps", 100, 10], ["balanced", "Balanced: 50 steps", 50, 5], ["fast", "Fast: 20 steps", 20, 2]].map(
  ([key, name, steps, warmup]) => ({
    key: String(key), name: String(name),
    values: {
      CSG_Invert: { steps: Number(steps), skip: 0.15, source_guidance: 3.5 },
      CSG_EncodeEdits: { scale: 8, threshold: 0.7, warmup: Number(warmup) },
      CSG_ConceptEdit: { warmup: Number(warmup) },
      CSG_Sampler: { mask: "intersect", contrast: "unconditional", mask_source: "edit", cut: "quantile", release: 0, release_below: 0 },
    },
  }),
);

/** @type {Preset[]} a beginning for flow transformers, as their templates have it; see Which model in the help of Inversion (DPM-Solver++) */
const FAMILIES = [["sd35", "SD3.5", 0.5], ["flux", "Flux.1 dev", 0.15], ["flow", "Qwen-Image, Z-Image and other flow models", 0.5]].map(([key, name, skip]) => ({
  key: String(key), name: `${name}: 50 steps`,
  values: {
    CSG_Invert: { steps: 50, skip: Number(skip), source_guidance: 3.5 },
    CSG_EncodeEdits: { scale: 5, threshold: 0.7, warmup: 5 },
    CSG_ConceptEdit: { warmup: 5 },
    CSG_Sampler: {
      base: "unconditional", mask: "intersect", preserve: "blend", contrast: "unconditional", mask_source: "edit", cut: "quantile",
      release: 0, release_below: 0,
    },
  },
}));

/** @type {Preset} what does best on the toy world, beyond the paper; it wants the source prompt at the inversion */
const CAPTIONS = {
  key: "captions", name: "Captions, best on Town: 22 steps",
  values: {
    CSG_Invert: { steps: 22, skip: 0, source_guidance: 1 },
    CSG_EncodeEdits: { scale: 1.5, threshold: 0.5, warmup: 2, global_scale: 1 },
    CSG_Sampler: {
      base: "source", mask: "intersect", preserve: "concepts", contrast: "captions", mask_source: "both", cut: "otsu",
      release: 1, release_below: 0.75,
    },
  },
};

export const PRESETS = [...PAPERS, ...FAMILIES, CAPTIONS];

/** @param {any} node @returns {boolean} whether presets are offered on this node */
export const offersPresets = (node) => PRESETS.some(({ values }) => Object.hasOwn(values, node.comfyClass));

/** @param {Preset} preset @param {Translate} [t] @returns {string} its name, in English where the words are not there yet */
export const titleOf = ({ key, name }, t) => t?.(`settings.${key}`) ?? name;

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
