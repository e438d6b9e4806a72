"""Brings OpenAI usage and cost buckets, exactly and for good, into a warehouse people can query.

The package root exports nothing: the command line (`usage-pipeline`), the Dagster definitions
(`usage_pipeline.definitions`) and the SQL tables are the public interface.
"""
