"""People's door: the `usage-pipeline` command."""
