"""The sockets of the pack, declared once. What travels through them are frozen dataclasses of `csg`."""

from __future__ import annotations

from comfy_api.latest import io

Graph = io.Custom("CSG_GRAPH")
"""A `csg.causal.graph.CausalGraph`: concepts, edges, base prompt and pending do()s."""

Counterfactual = io.Custom("CSG_COUNTERFACTUAL")
"""A `csg.causal.counterfactual.Counterfactual`: every concept before and after, and why."""

Edits = io.Custom("CSG_EDITS")
"""Encoded concept edits, ready to guide a sampler."""

Inversion = io.Custom("CSG_INVERSION")
"""Everything an edit needs to replay a picture."""

VLM = io.Custom("CSG_VLM")
"""Something that answers questions about a picture."""
