"""A tap made with singer-sdk: one stream, a record a row, the page cursor followed; its target is another process."""

import sys
from collections.abc import Iterable
from typing import Any

import requests
from singer_sdk import Stream, Tap
from singer_sdk import typing as th

BASE, START, END = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
TEXT = ("project_id", "user_id", "api_key_id", "model", "service_tier", "api_source")
COUNTS = ("input_tokens", "output_tokens", "num_model_requests", "input_uncached_tokens")
COUNTS += ("input_cached_tokens", "input_audio_tokens", "output_audio_tokens")


class Completions(Stream):
    """Minute buckets; a key with nulls keeps no rows apart, so there is one of its own for them."""

    name = "completions"
    primary_keys = ("key",)
    schema = th.PropertiesList(
        th.Property("key", th.StringType, required=True),
        th.Property("start_time", th.IntegerType),
        th.Property("batch", th.BooleanType),
        *(th.Property(name, th.StringType) for name in TEXT),
        *(th.Property(name, th.IntegerType) for name in COUNTS),
    ).to_dict()

    def get_records(self, context: Any) -> Iterable[dict[str, Any]]:  # noqa: ARG002 - the base's
        """The rows of all pages."""
        query = {"start_time": START, "end_time": END, "bucket_width": "1m", "limit": 1440}
        while True:
            page = requests.get(f"{BASE}/organization/usage/completions", params=query, timeout=600).json()
            for bucket in page["data"]:
                for result in bucket["results"]:
                    del result["object"]
                    start = bucket["start_time"]
                    key = "|".join(str(one) for one in (start, *(result[name] for name in TEXT), result["batch"]))
                    yield {"key": key, "start_time": start, **result}
            if not page["has_more"]:
                return
            query["page"] = page["next_page"]


class UsageTap(Tap):
    """The tap."""

    name = "tap-usage"
    config_jsonschema = th.PropertiesList().to_dict()

    def discover_streams(self) -> list[Stream]:
        """Its one stream."""
        return [Completions(self)]


UsageTap(config={}).sync_all()
