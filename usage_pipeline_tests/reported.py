"""Warehouses to report on: a hostile, hourly one in another currency, made from bills written by hand.

Put the making of such warehouses here; no test and no assertion.
"""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.name_lists import NAME_LISTS
from usage_pipeline.settings import Settings
from usage_pipeline.sync import choose_endpoints, sync
from usage_pipeline.windows import Window, day_start
from usage_pipeline_tests.played import Played, played_settings

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAYS = 20
# What a name could try: to end the data, to be markup, to be an expression or a format of Vega, to steer, to fill.
TRICKS = [
    "</script><script>alert('planted')</script>",
    "<img src=x onerror=alert('planted')>",
    "\"><svg onload=alert('planted')>",
    "datum.constructor.constructor('alert(1)')()",
    "{{ 7 * 7 }}{% raw %}",
    "%d %{x} {0} ~s",
    "https://beacon.example/x.png",
    "\u202egnp.exe\x1b[31m",
    "=cmd|'/c calc'!A0",
    "--><!--<script>",
    "W" * 5_000,
]
PROJECTS = 200


class Planted(Played):
    """Two hundred projects with hostile names, billed in euros, used by the hour."""

    def __init__(self, projects: int = PROJECTS) -> None:
        super().__init__(NOW)
        self.names = {f"proj_{n}": TRICKS[n] if n < len(TRICKS) else f"Project {n}" for n in range(projects)}
        for n in range(DAYS):
            day = NOW.date() - timedelta(days=DAYS - 1 - n)
            self.put("costs", _at(day), *(self._cost(place, one, n) for place, one in enumerate(self.names)))
            for hour in (9, 14):
                self.put("completions", _at(day) + hour * 3600, self._completion(hour * 10 + day.isoweekday()))

    def _cost(self, place: int, project: str, day: int) -> dict[str, Any]:
        trick = TRICKS[place % len(TRICKS)]
        spike = 40 if (place, day) == (0, DAYS - 3) else 1
        value = f"{(len(self.names) - place) * spike}.{place:017d}1"
        return {
            "object": ENDPOINTS["costs"].result_object,
            "project_id": project,
            "user_id": trick,
            "api_key_id": trick,
            "line_item": trick,
            "amount": {"value": value, "currency": "eur"},
        }

    @staticmethod
    def _completion(requests: int) -> dict[str, Any]:
        row = ENDPOINTS["completions"]
        dims = {d.name: TRICKS[0] for d in row.dimensions if d.kind == "text"}
        counts = {"input_tokens": 500 * requests, "output_tokens": 100 * requests, "num_model_requests": requests}
        return {"object": row.result_object, **dims, **counts, TRICKS[1]: 1}

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Projects have their names; costs are whole days."""
        if request.url.path != "/v1/organization/projects":
            return super().handle(request)
        kind = {"object": "organization.project", "created_at": 1, "status": "active"}
        data = [{**kind, "id": one, "name": name} for one, name in self.names.items()]
        body = {"object": "list", "data": data, "has_more": False, "last_id": data[-1]["id"]}
        return httpx.Response(200, json=json.loads(json.dumps(body)))


def planted(data_dir: Path, **more: str) -> Settings:
    """The hostile warehouse, synced."""
    service = Planted()
    settings = played_settings(data_dir, USAGE_PIPELINE_BUCKET_WIDTH="1h", **more)
    window = Window.of_days(NOW.date() - timedelta(days=DAYS - 1), NOW.date() + timedelta(days=1))
    report = sync(
        settings,
        choose_endpoints(["completions", "costs"]),
        window,
        lists=[NAME_LISTS["projects"]],
        clock=lambda: service.now,
        client_factory=service.client,
    )
    if report.failed or report.refresh_error or any(one.error for one in report.names):
        raise RuntimeError([str(one.error) for one in (*report.failed, *report.names)] + [str(report.refresh_error)])
    return settings


def _at(day: date) -> int:
    return int(day_start(day).timestamp())
