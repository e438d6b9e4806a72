"""PyAirbyte with a declarative (low-code) source of one stream, merged into its DuckDB cache.

The key has no column that may be null, for rows whose key has one are never found again. Here project and model tell
the rows of a minute apart; real ones would need all seven dimensions in it, as one text.
"""

import os
import sys

BASE, START, END, FOLDER = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
os.environ |= {"DO_NOT_TRACK": "1", "AIRBYTE_OFFLINE_MODE": "1", "AIRBYTE_LOGGING_ROOT": FOLDER}
os.chdir(FOLDER)  # it keeps files beside itself

import airbyte as ab  # noqa: E402
from airbyte.caches import DuckDBCache  # noqa: E402
from airbyte.strategies import WriteStrategy  # noqa: E402

TEXT = ("project_id", "user_id", "api_key_id", "model", "service_tier", "api_source")
COUNTS = ("start_time", "input_tokens", "output_tokens", "num_model_requests", "input_uncached_tokens")
COUNTS += ("input_cached_tokens", "input_audio_tokens", "output_audio_tokens")
COLUMNS = {
    "batch": {"type": ["boolean", "null"]},
    **{name: {"type": ["string", "null"]} for name in TEXT},
    **{name: {"type": ["integer", "null"]} for name in COUNTS},
}
STREAM = {
    "type": "DeclarativeStream",
    "name": "completions",
    "primary_key": ["start_time", "project_id", "model"],
    "schema_loader": {
        "type": "InlineSchemaLoader",
        "schema": {"type": "object", "additionalProperties": True, "properties": COLUMNS},
    },
    "retriever": {
        "type": "SimpleRetriever",
        "requester": {
            "type": "HttpRequester",
            "url_base": f"{BASE}/",
            "path": "organization/usage/completions",
            "request_parameters": {
                "start_time": f"{START}",
                "end_time": f"{END}",
                "bucket_width": "1m",
                "limit": "1440",
            },
        },
        "record_selector": {
            "type": "RecordSelector",
            "extractor": {
                "type": "DpathExtractor",
                "field_path": ["data"],
                "record_expander": {
                    "type": "RecordExpander",
                    "expand_records_from_field": ["results"],
                    "parent_fields": [
                        {"type": "ParentFieldPath", "parent_path": ["start_time"], "record_path": ["start_time"]}
                    ],
                },
            },
        },
        "paginator": {
            "type": "DefaultPaginator",
            "page_token_option": {"type": "RequestOption", "inject_into": "request_parameter", "field_name": "page"},
            "pagination_strategy": {
                "type": "CursorPagination",
                "cursor_value": "{{ response.get('next_page') }}",
                "stop_condition": "{{ not response.get('has_more') }}",
            },
        },
    },
}
MANIFEST = {
    "version": "7.0.0",
    "type": "DeclarativeSource",
    "check": {"type": "CheckStream", "stream_names": ["completions"]},
    "streams": [STREAM],
    "spec": {"type": "Spec", "connection_specification": {"type": "object", "properties": {}}},
}


def main() -> None:
    """Load the window."""
    source = ab.get_source("source-usage", source_manifest=MANIFEST, config={}, streams=["completions"])
    cache = DuckDBCache(db_path=f"{FOLDER}/pyairbyte.duckdb", schema_name="usage", cache_dir=f"{FOLDER}/cache")
    source.read(cache=cache, write_strategy=WriteStrategy.MERGE)


main()
