"""Property tests measure no time: on a busy machine a slow example is no failure."""

from hypothesis import HealthCheck, settings

settings.register_profile("causal", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("causal")
