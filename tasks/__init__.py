"""Prefect tasks: one retryable unit each, with ids and small models as arguments and results."""
