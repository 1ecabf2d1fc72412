"""Asking a vision-language model: which concepts a picture shows, and what an intervention changes."""
