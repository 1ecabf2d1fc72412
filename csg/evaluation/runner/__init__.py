"""The paper's experiment: starts ComfyUI, runs workflows in it, keeps a journal, and writes tables."""
