"""A service that plays given buckets: for captured answers, restatements by hand and hostile content."""

import json
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx

from usage_pipeline.api.client import UsageClient
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.settings import Settings
from usage_pipeline.sync import SyncReport, choose_endpoints, sync
from usage_pipeline.windows import WIDTH_SECONDS, Window

GOLDEN = Path(__file__).parent / "golden"
PAYLOADS = GOLDEN / "api" / "payloads"


_NO_NAMES = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


class Played:
    """Answers every request with the given results per bucket start, empty buckets elsewhere; `results` may change.

    Results are JSON texts, so that numbers reach the wire exactly as written.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.results: dict[str, dict[int, list[str]]] = {name: {} for name in ENDPOINTS}
        self.requests: list[httpx.URL] = []

    def put(self, endpoint: str, start_time: int, *results: str | Mapping[str, Any]) -> None:
        """Set the results of one bucket."""
        texts = [one if isinstance(one, str) else json.dumps(one) for one in results]
        self.results[endpoint][start_time] = texts

    def handle(self, request: httpx.Request) -> httpx.Response:
        """One whole page for the asked window."""
        self.requests.append(request.url)
        if request.url.path.endswith("/spend_limit"):
            return httpx.Response(404, json={"error": {"message": "Spend limit not found."}})
        if "/organization/usage/" not in request.url.path and not request.url.path.endswith("/organization/costs"):
            return httpx.Response(200, json=_NO_NAMES)
        query = request.url.params
        endpoint = next(row for row in ENDPOINTS.values() if request.url.path.endswith(row.path))
        width = WIDTH_SECONDS[query["bucket_width"]]
        end = min(int(query["end_time"]), int(self.now.timestamp()))
        starts = range(int(query["start_time"]), end, width)[: int(query["limit"])]
        following = starts[-1] + width if starts else end
        buckets = ",".join(
            f'{{"object":"bucket","start_time":{start},"end_time":{start + width},'
            f'"results":[{",".join(self.results[endpoint.name].get(start, []))}]}}'
            for start in starts
        )
        body = f'{{"object":"page","data":[{buckets}],"has_more":false,"next_page":null}}'
        assert following >= end, "a played service answers in one page"
        headers = {"content-type": "application/json", "date": format_datetime(self.now, usegmt=True)}
        return httpx.Response(200, content=body.encode(), headers=headers)

    def client(self, settings: Settings) -> UsageClient:
        """A client of this service."""
        return UsageClient(
            base_url=settings.base_url,
            key=settings.require_key(),
            transport=httpx.MockTransport(self.handle),
            clock=lambda: self.now,
        )

    def sync(self, settings: Settings, window: Window, *names: str) -> SyncReport:
        """Sync the endpoints from this service and let no failure pass."""
        report = sync(settings, choose_endpoints(names), window, clock=lambda: self.now, client_factory=self.client)
        assert not report.failed, [str(one.error) for one in report.failed]
        return report


def played_settings(data_dir: Path, **more: str) -> Settings:
    """Settings whose host is never reached."""
    values = {"OPENAI_ADMIN_KEY": "sk-admin-played", "USAGE_PIPELINE_DATA_DIR": str(data_dir)}
    return Settings(_env_file=None, **{**values, **more})
