/** What the editor uses of dagre. */
declare const dagre: {
  graphlib: { Graph: new () => any };
  layout(graph: any): void;
};
export default dagre;
