"""Dagster's door: assets, checks, job and schedule."""
