"""Causal Semantic Guidance: the method itself, free of ComfyUI."""
