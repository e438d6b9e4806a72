"""Runs that are killed, starved or interrupted: what is left is the old or the new, and the next run puts it right."""
