"""Dagster's door: assets, checks, job and schedule, all derived from the endpoint table and the marts' files."""
