"""Fixtures for all levels."""

pytest_plugins = ["tests.pg"]
