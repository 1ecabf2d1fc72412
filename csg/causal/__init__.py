"""Concepts, causal graphs, interventions and counterfactuals."""
