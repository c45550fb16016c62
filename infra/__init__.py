"""Adapters between the core and the world: engines, sandbox, grading, catalog, artifacts, training."""
