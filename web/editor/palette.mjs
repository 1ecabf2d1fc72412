/** One fixed colour per concept, by its place in the graph: the same as in masks and drawings. */
export const PALETTE = Object.freeze([
  "#e09a2b", "#56a5dc", "#12876a", "#d285b4", "#e6d254", "#2b5f9e", "#cb5a30", "#5f544b",
  "#1ae0bc", "#aa4a8c", "#e6b6a4", "#62b068", "#ceb6f8", "#8c6ece", "#146814", "#9e3214",
  "#6e8614", "#743280", "#f27a74", "#68809e", "#86b0aa", "#14d4f2", "#986868", "#922656",
  "#b692f8", "#86d47a", "#9e8c68", "#866220", "#146e7a", "#d46280", "#1480c2", "#bc8014",
  "#329e98", "#f8a4ce", "#bc68b6", "#745074", "#bcb074", "#8050aa", "#9eced4", "#b03e50",
  "#563e9e", "#688cec", "#b6bc38", "#92a420", "#c89892", "#aaa4ce", "#a48092", "#f8b068",
  "#e692e6", "#506e44", "#389856", "#14c298", "#98c8a4", "#14bcc8", "#8c8cc2", "#5662c2",
  "#68501a", "#92b0f8", "#148032", "#68689e", "#748050", "#f886a4", "#ce9262", "#f8987a",
]);

/** @param {number} index the concept's place in the graph; past 64 the colours repeat */
export const colourOf = (index) => PALETTE[index % PALETTE.length];
