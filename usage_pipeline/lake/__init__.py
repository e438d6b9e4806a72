"""The record: raw archive, Delta tables, ledgers and the published DuckDB file."""
