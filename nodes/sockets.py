"""The sockets of the pack, declared once. What travels through them are frozen dataclasses of `csg`."""

from __future__ import annotations

from dataclasses import fields

from comfy_api.latest import io

SHOWN_AGAIN = {name: True for name in ("has_intermediate_output",) if name in {field.name for field in fields(io.Schema)}}
"""For a schema: what the node shows is sent to the page again when its result is cached. ComfyUI 0.18 cannot do that."""

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
