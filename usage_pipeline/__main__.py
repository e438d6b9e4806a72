"""`python -m usage_pipeline` is `usage-pipeline`."""

from usage_pipeline.cli.main import run

run()
