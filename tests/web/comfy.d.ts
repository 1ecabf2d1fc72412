/** ComfyUI's frontend serves these; the editor uses them through `any`. */
declare module "*/scripts/app.js" {
  export const app: any;
}
declare module "*/scripts/api.js" {
  export const api: any;
}
