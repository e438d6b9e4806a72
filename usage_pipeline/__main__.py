"""`python -m usage_pipeline` is `usage-pipeline`."""

from usage_pipeline.cli.process import run

run()
