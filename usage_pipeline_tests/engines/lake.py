"""A lake made for comparing engines: a simulated fortnight whose days changed, and bills and counts at their limits.

Put making of the lake here, and how it is told to engines; what is asked of it is queries.py's.
"""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.name_lists import LISTS
from usage_pipeline.settings import Settings
from usage_pipeline.windows import DAY_SECONDS, day_start
from usage_pipeline_tests.engines.queries import questions, tables
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.world import NOW, TODAY, last_days, open_world

_DAYS = 14
# Sums of these have 20 places, and more digits than a binary float holds.
_AMOUNTS = ("0.00000000000000000001", "-12.34567890123456789012", "98765432109.87654321098765432109", "0", "1e-20")
_TOKENS = (2**53 + 1, 0, 2**55 + 3)
_TEXTS = ("it's", 'say "hi"', "two\nlines", "", " ", "null", "naïve 👩‍👩‍👧", "back\\slash", "%2f/..")


def make_lake(data_dir: Path) -> Settings:
    """Two organizations: one simulated, read twice with two days between, and one of limits."""
    before = NOW - timedelta(days=2)
    with open_world(now=before) as world:
        settings = world.settings(data_dir)
        for moment in (before, NOW):
            world.clock.set(moment)
            report = world.sync(settings, last_days(_DAYS, moment.date()), lists=list(LISTS.values()))
            if report.failed or report.refresh_error:
                raise RuntimeError([str(one.error) for one in report.failed] + [str(report.refresh_error)])
    service = Played(NOW)
    for n in range(3):
        start = int(day_start(TODAY).timestamp()) - n * DAY_SECONDS
        service.put("costs", start, *(_cost(text, amount) for text in _TEXTS for amount in _AMOUNTS))
        service.put("completions", start, *(_completion(text, tokens) for text in _TEXTS for tokens in _TOKENS[n:]))
    limits = played_settings(data_dir, USAGE_PIPELINE_ORGANIZATION="limits")
    service.sync(limits, last_days(3), "costs", "completions")
    return settings


def _cost(text: str, amount: str) -> str:
    """A billed row as JSON text: the amount is on the wire as it stands here."""
    texts = {"project_id": text, "line_item": f"{text} {amount}", "api_key_id": None if text == "null" else text}
    told = json.dumps({"object": ENDPOINTS["costs"].result_object, **texts})
    return f'{told[:-1]}, "amount": {{"value": {amount}, "currency": "usd"}}}}'


def _completion(text: str, tokens: int) -> dict[str, Any]:
    counts = {"input_tokens": tokens, "output_tokens": 1, "num_model_requests": 1}
    return {"object": ENDPOINTS["completions"].result_object, "project_id": text, "model": f"{text}{tokens}", **counts}


def published(settings: Settings) -> dict[str, pa.Table]:
    """What the published file answers to every question."""
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as con:
        con.execute("set timezone = 'UTC'")
        return {name: con.sql(query).to_arrow_table() for name, query in questions().items()}


def lake_tables(settings: Settings) -> list[dict[str, Any]]:
    """The tables that are asked: folder, files of the newest version, and the schema in Delta's log."""
    found = []
    for name in sorted(tables()):
        folder = settings.lake_dir / name.replace(".", "/")
        table = DeltaTable(folder)
        told = {"files": table.file_uris(), "schema": json.loads(table.schema().to_json())}
        found.append({"name": name.replace(".", "_"), "folder": str(folder), **told})
    return found
