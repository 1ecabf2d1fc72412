/**
 * How strongly one concept is edited, beside the others.
 *
 * @import { Translate } from "./i18n.mjs"
 */
import { html } from "./dom.mjs";

/** The slider ends here; a text may say more. */
const MOST = 3;

/** @param {number} strength */
export const shortStrength = (strength) => `×${Number(strength.toPrecision(3))}`;

/**
 * @param {Translate} t
 * @param {number} strength
 * @param {(strength: number) => void} change
 */
export function strengthSlider(t, strength, change) {
  const slider = html("input", {
    type: "range", min: 0, max: Math.max(MOST, strength), step: 0.05, value: strength, "data-field": "strength",
    oninput: () => { shown.textContent = shortStrength(Number(slider.value)); },
    onchange: () => change(Number(slider.value)),
  });
  const shown = html("output", {}, shortStrength(strength));
  return html("label", { class: "strength", title: t("panel.strength_help") }, html("span", {}, t("panel.strength")), html("div", {}, slider, shown));
}
