"""Prefect flows and the `rstar` command line: a table of contents of the factory."""
