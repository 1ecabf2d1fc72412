"""Measuring counterfactual pictures."""
