"""The service behind a transport: answers from the truth in small pages, and badly where a fault is planted.

Put paging and faults of the wire here; what is true is truth.py's. No socket is opened and nobody sleeps.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from email.utils import format_datetime

import httpx

from usage_pipeline.api.client import UsageClient
from usage_pipeline.settings import Settings
from usage_pipeline_tests.oracle.truth import Truth

_DAY = 86400

PASSING = ("429 once", "500 once", "cut body once", "html once")
FATAL = (
    "500 for ever", "repeated cursor", "missing bucket", "missing at the end", "data is null", "wrong width",
    "foreign bucket", "error in a 200", "beyond any bill", "cursor missing",
)  # fmt: skip
_HAVE_A_PLACE = ("missing at the end", "beyond any bill")  # whatever the page they were planted on


@dataclass(frozen=True)
class Fault:
    """What goes wrong on which page (from 0) of every window of an endpoint."""

    kind: str
    endpoint: str
    page: int


class Service:
    """Serves the truth; `now` is everybody's clock."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.truth = Truth()
        self.per_page = 2
        self.faults: Sequence[Fault] = ()
        self.failing: set[str] = set()  # endpoints whose read met a fatal fault
        self._passed: set[tuple[str, str, int]] = set()

    def plant(self, faults: Sequence[Fault], per_page: int) -> None:
        """Begin a sync: its faults, its page size."""
        self.faults, self.per_page = faults, per_page
        self.failing, self._passed = set(), set()

    def client(self, settings: Settings) -> UsageClient:
        """A client of this service that never waits."""

        async def at_once(_seconds: float) -> None:
            return None

        return UsageClient(
            base_url=settings.base_url,
            key=settings.require_key(),
            transport=httpx.MockTransport(self._handle),
            clock=lambda: self.now,
            sleep=at_once,
            rng=random.Random(0),
        )

    def _handle(self, request: httpx.Request) -> httpx.Response:
        query = request.url.params
        endpoint = request.url.path.rpartition("/")[2]
        first, end = int(query["start_time"]), int(query["end_time"])
        end = min(end, int(self.now.timestamp()) // _DAY * _DAY + _DAY)
        start = int(query["page"].removeprefix("cursor ")) if "page" in query else first
        page = (start - first) // _DAY // self.per_page
        starts = list(range(start, end, _DAY))[: self.per_page]
        following = start + len(starts) * _DAY
        found = [self._bucket(endpoint, one) for one in starts]
        cursor = f'"cursor {following}"' if following < end else "null"
        text = _page(found, cursor)
        for fault in self.faults:
            is_here = fault.page == page or fault.kind in _HAVE_A_PLACE
            if fault.endpoint == endpoint and is_here and starts:
                key = (fault.kind, endpoint, start)
                if fault.kind in FATAL:
                    spoiled = self._spoil(fault.kind, starts, found, cursor)
                    if spoiled is not None:
                        self.failing.add(endpoint)
                        return spoiled
                elif key not in self._passed:
                    self._passed.add(key)
                    return self._passing(fault.kind, text)
        return self._answer(200, text)

    def _bucket(self, endpoint: str, start: int, width: int = _DAY) -> str:
        day = date(1970, 1, 1) + timedelta(days=start // _DAY)
        results = ",".join(self.truth.days[endpoint].get(day, ()))
        return f'{{"object":"bucket","start_time":{start},"end_time":{start + width},"results":[{results}]}}'

    def _passing(self, kind: str, text: str) -> httpx.Response:
        """A fault that the next attempt no longer meets."""
        if kind == "429 once":
            return self._answer(429, '{"error":{"message":"slow down"}}')
        if kind == "500 once":
            return self._answer(500, "{}")
        return self._answer(200, text[: len(text) // 2] if kind == "cut body once" else "<html>one moment</html>")

    def _spoil(self, kind: str, starts: list[int], found: list[str], cursor: str) -> httpx.Response | None:
        """The page as the fault leaves it; None where it has nothing to spoil."""
        is_closed = starts[0] + _DAY <= self.now.timestamp() - 120
        if kind == "500 for ever":
            return self._answer(500, "{}")
        if kind == "repeated cursor":
            return self._answer(200, _page(found, f'"cursor {starts[0]}"'))
        if kind == "missing bucket":
            return self._answer(200, _page(found[1:], cursor)) if is_closed else None
        if kind == "missing at the end":
            is_last_closed = cursor == "null" and starts[-1] + _DAY <= self.now.timestamp() - 120
            return self._answer(200, _page(found[:-1], cursor)) if is_last_closed else None
        if kind == "data is null":
            return self._answer(200, '{"object":"page","data":null,"has_more":false,"next_page":null}')
        if kind == "wrong width":
            return self._answer(200, _page([_swap(found[0], starts[0]), *found[1:]], cursor)) if is_closed else None
        if kind == "foreign bucket":
            other = f'{{"object":"bucket","start_time":{starts[0] - 400 * _DAY},'
            other += f'"end_time":{starts[0] - 399 * _DAY},"results":[]}}'
            return self._answer(200, _page([*found, other], cursor))
        if kind == "error in a 200":
            return self._answer(200, '{"error":{"message":"internal"}}')
        if kind == "beyond any bill":
            if '"line_item"' not in found[-1] or starts[-1] + _DAY <= self.now.timestamp():
                return None  # only today: windows of earlier days are good, and must not be stored either
            head, _, tail = found[-1].partition('"results":[')
            row = '{"object":"organization.costs.result","amount":{"value":1e25,"currency":"usd"}},'
            return self._answer(200, _page([*found[:-1], f'{head}"results":[{row}{tail}'], cursor))
        return self._answer(200, _page(found, "null").replace('"has_more":false', '"has_more":true'))

    def _answer(self, status: int, text: str) -> httpx.Response:
        headers = {"content-type": "application/json", "date": format_datetime(self.now, usegmt=True)}
        return httpx.Response(status, content=text.encode(), headers=headers)


def _swap(bucket: str, start: int) -> str:
    return bucket.replace(f'"end_time":{start + _DAY}', f'"end_time":{start + 3600}')


def _page(buckets: list[str], cursor: str) -> str:
    more = str(cursor != "null").lower()
    return f'{{"object":"page","data":[{",".join(buckets)}],"has_more":{more},"next_page":{cursor}}}'
