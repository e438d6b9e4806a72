"""dlt as its documentation has it: rest_api, merge into DuckDB, Parquet between. The results are a child table."""

import os
import sys

BASE, START, END, FOLDER = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "DLT_DATA_DIR": FOLDER, "RUNTIME__LOG_LEVEL": "ERROR"}

import dlt  # noqa: E402
from dlt.sources.rest_api import rest_api_source  # noqa: E402


def main() -> None:
    """Load the window."""
    source = rest_api_source(
        {
            "client": {
                "base_url": f"{BASE}/",
                "paginator": {"type": "cursor", "cursor_path": "next_page", "cursor_param": "page"},
            },
            "resources": [
                {
                    "name": "completions",
                    "write_disposition": "merge",
                    "primary_key": "start_time",
                    "endpoint": {
                        "path": "organization/usage/completions",
                        "params": {"start_time": START, "end_time": END, "bucket_width": "1m", "limit": 1440},
                        "data_selector": "data",
                    },
                }
            ],
        }
    )
    pipeline = dlt.pipeline(
        "rest",
        destination=dlt.destinations.duckdb(f"{FOLDER}/dlt_rest.duckdb"),
        dataset_name="usage",
        pipelines_dir=f"{FOLDER}/pipelines",
    )
    pipeline.run(source, loader_file_format="parquet")


main()
