"""Fixtures for all levels."""

from hypothesis import HealthCheck, settings

# How long an example takes is a matter of the machine.
settings.register_profile("dray", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dray")

pytest_plugins = ["tests.pg"]
