"""One script per engine, each run by an interpreter that has that engine and pyarrow, not the package."""
