"""Reading windows: dividing, paging, proving, giving up dimensions, and failing whole."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from usage_pipeline.api.page_query import PageQuery
from usage_pipeline.api.transport import RetryPolicy
from usage_pipeline.errors import (
    BadPayload,
    FixConfig,
    GroupingRefused,
    HistoryExceeded,
    IncompleteListing,
    PageTooLarge,
    PermissionRefused,
    RequestRefused,
    RetryLater,
    SourceChanged,
)
from usage_pipeline.windows import Window
from usage_pipeline_tests.scripted import (
    COMPLETIONS,
    COSTS,
    DAY,
    NOW,
    WEEK,
    Script,
    asked,
    bucket,
    buckets,
    completion,
    days,
    error,
    ok,
    page,
    read,
    read_finest,
    script,
    whole,
)

YEAR_BACK = days("2025-12-01", "2026-03-01")
REFUSED_CURSOR = "The page token is invalid, have you modified the query parameters?"
FLOOR = 1764979200  # 2025-12-06


def paged(size: int, cursor: Callable[[int], str] = "page_{}".format) -> Callable[[httpx.Request], httpx.Response]:
    """Answers a window in pages of `size` buckets, each page cursor bound to the page before."""

    def answer(request: httpx.Request) -> httpx.Response:
        everything = buckets(asked(request))
        at = int(request.url.params.get("page", "_0").rsplit("_", 1)[1])
        more = at + size < len(everything)
        return ok(page(everything[at : at + size], cursor(at + size) if more else None))

    return answer


def starts(done: Any) -> list[int]:
    """The starts of a read's buckets."""
    return [b.start_time for b in done.buckets]


# Dividing and paging


def test_a_window_is_divided_into_full_pages() -> None:
    """Ninety days are three requests of at most 31 buckets with limit 31, and join in order."""
    far_side = script(whole)
    done = read(far_side, YEAR_BACK)
    assert done is not None
    assert starts(done) == list(YEAR_BACK.bucket_starts("1d"))
    assert [asked(r) for r in far_side.requests] == list(YEAR_BACK.pages("1d", 31))
    assert {r.url.params["limit"] for r in far_side.requests} == {"31"}
    assert (done.window, done.requests, done.retries, len(done.pages), done.notes) == (YEAR_BACK, 3, 0, 3, ())


def test_list_parameters_travel_in_brackets() -> None:
    """Grouping and filters go as repeated name[]; without a choice all dimensions are asked for."""
    far_side = script(whole)
    read(far_side)
    read(far_side, group_by=["model", "batch"], filters={"models": ["a", "b"], "batch": False})
    assert [v for k, v in far_side.params(0) if k == "group_by[]"] == list(COMPLETIONS.dimension_names)
    assert far_side.params(1) == [
        ("start_time", str(WEEK.start_time)),
        ("end_time", str(WEEK.end_time)),
        ("bucket_width", "1d"),
        ("group_by[]", "model"),
        ("group_by[]", "batch"),
        ("models[]", "a"),
        ("models[]", "b"),
        ("batch", "false"),
        ("limit", "31"),
    ]


def test_no_grouping_is_a_choice() -> None:
    """An empty grouping is sent as none, not as all."""
    far_side = script(whole)
    done = read(far_side, group_by=[])
    assert done is not None
    assert done.group_by == ()
    assert not [pair for pair in far_side.params(0) if pair[0].startswith("group_by")]


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_cursors_are_followed_with_all_parameters_identical(size: int) -> None:
    """Pages are followed to the end however few buckets they hold; only the page cursor differs."""
    far_side = script(paged(size))
    done = read(far_side)
    assert done is not None
    assert starts(done) == list(WEEK.bucket_starts("1d"))
    assert len(done.pages) == len(far_side.requests) == -(-7 // size)
    without_cursor = [[p for p in far_side.params(n) if p[0] != "page"] for n in range(len(far_side.requests))]
    assert all(params == without_cursor[0] for params in without_cursor)


def test_cursors_are_opaque() -> None:
    """A page cursor that looks like an address is sent back as a value and never visited."""
    far_side = script(paged(4, "https://elsewhere.example/?a=b&group_by[]=x_{}".format))
    assert read(far_side) is not None
    assert {r.url.host for r in far_side.requests} == {"api.example"}
    assert far_side.requests[1].url.params["page"] == "https://elsewhere.example/?a=b&group_by[]=x_4"


def test_an_empty_page_in_the_middle_is_passed() -> None:
    """A page without buckets that promises more is no end."""
    data = buckets(WEEK)
    done = read(script(ok(page(data[:3], "page_a")), ok(page([], "page_b")), ok(page(data[3:]))))
    assert done is not None
    assert len(done.buckets) == 7


@pytest.mark.parametrize("cursor", [{"next_page": None}, {"next_page": ""}, {}])
def test_more_without_a_cursor_is_no_end(cursor: dict[str, Any]) -> None:
    """has_more=true without a page cursor fails, even when every bucket is there."""
    document = page(buckets(WEEK), has_more=True) | cursor
    if not cursor:
        del document["next_page"]
    with pytest.raises(SourceChanged, match=r"completions 2026-11-01\.\.2026-11-08: has_more=true came without"):
        read(script(ok(document)))


def test_has_more_wins_over_a_cursor() -> None:
    """has_more=false ends the listing though a page cursor is given; a note says so."""
    far_side = script(ok(page(buckets(WEEK), next_page="page_x", has_more=False)))
    done = read(far_side)
    assert done is not None
    assert len(far_side.requests) == 1
    assert any("has_more decided" in note for note in done.notes)


@pytest.mark.parametrize("cycle", [["page_a"], ["page_a", "page_b", "page_c"]], ids=["at once", "later"])
def test_cursors_in_a_circle_are_noticed(cycle: list[str]) -> None:
    """A page cursor seen before ends the read at its first repeat."""
    steps = [ok(page(buckets(WEEK)[:1], cursor)) for cursor in cycle * 3]
    far_side = script(*steps)
    with pytest.raises(SourceChanged, match="a page cursor came twice"):
        read(far_side)
    assert len(far_side.requests) == len(cycle) + 1


def test_endless_pages_without_buckets_end() -> None:
    """Fresh page cursors for ever, with nothing new, run out of budget."""
    far_side = Script([])
    far_side.steps = [lambda _: ok(page([], f"page_{len(far_side.requests)}"))]
    with pytest.raises(IncompleteListing, match="brought no new bucket and still more were promised"):
        read(far_side)
    assert len(far_side.requests) < 25


def test_a_page_past_the_end_is_ignored() -> None:
    """Costs can hand out a page cursor past the end: after a whole listing such a page ends it, with a note."""
    past = [bucket(WEEK.end_time), bucket(WEEK.end_time + DAY)]
    far_side = script(ok(page(buckets(WEEK), "page_a")), ok(page(past, "page_b")))
    done = read(far_side)
    assert done is not None
    assert (done.window, len(done.buckets), len(far_side.requests)) == (WEEK, 7, 2)
    assert any("past the end" in note for note in done.notes)


def test_a_refused_cursor_restarts_the_window() -> None:
    """An expired page cursor restarts from the first page; nothing of the first pass is mixed in."""
    old = [bucket(b["start_time"], completion(input_tokens=1)) for b in buckets(WEEK)]
    far_side = script(ok(page(old[:3], "page_old")), error(400, REFUSED_CURSOR), paged(4))
    done = read(far_side)
    assert done is not None
    assert [b.results[0]["input_tokens"] for b in done.buckets] == list(WEEK.bucket_starts("1d"))
    assert (len(done.pages), done.requests) == (2, 4)
    assert "page" not in far_side.requests[2].url.params
    assert any("read again from the first page" in note for note in done.notes)


def test_cursors_refused_for_ever_end() -> None:
    """After two restarts the refusal is the answer; on the very first page it is at once."""
    far_side = script(lambda r: error(400, REFUSED_CURSOR) if "page" in r.url.params else paged(3)(r))
    with pytest.raises(RequestRefused, match="page cursor was refused"):
        read(far_side)
    assert len(far_side.requests) == 6
    at_once = script(error(400, REFUSED_CURSOR))
    with pytest.raises(RequestRefused):
        read(at_once)
    assert len(at_once.requests) == 1


def test_other_refusals_on_a_later_page_do_not_restart() -> None:
    """Only a refused page cursor restarts a window; another refusal would come again."""
    far_side = script(ok(page(buckets(WEEK)[:3], "page_a")), error(400, "Invalid type for 'start_time'."))
    with pytest.raises(RequestRefused, match="start_time"):
        read(far_side)
    assert len(far_side.requests) == 2


def test_a_later_page_failing_for_good_fails_the_read() -> None:
    """Good pages before a lasting failure are not handed out."""
    with pytest.raises(RetryLater):
        read(script(ok(page(buckets(WEEK)[:3], "page_a")), httpx.Response(503)))


def test_buckets_repeated_on_two_pages() -> None:
    """An identical bucket counts once, a different one fails the read."""
    data = buckets(WEEK)
    done = read(script(ok(page(data[:4], "page_a")), ok(page(data[3:]))))
    assert done is not None
    assert len(done.buckets) == 7
    other = [bucket(data[3]["start_time"], completion(input_tokens=0)), *data[4:]]
    with pytest.raises(IncompleteListing, match="came twice with different content"):
        read(script(ok(page(data[:4], "page_a")), ok(page(other))))


def test_an_empty_answer_is_no_deletion() -> None:
    """`data: []` for closed days fails."""
    with pytest.raises(IncompleteListing, match="7 of 7 buckets are missing"):
        read(script(ok(page([]))))


# Time


def test_the_read_ends_with_the_last_bucket_that_began() -> None:
    """A window into the future proves only as far as buckets came, the open one with its nominal end."""
    window = days("2026-11-18", "2026-11-25")
    today = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp())
    data = [*buckets(days("2026-11-18", "2026-11-20")), bucket(today, completion(), end=int(NOW.timestamp()))]
    done = read(script(ok(page(data))), window)
    assert done is not None
    assert done.window == days("2026-11-18", "2026-11-21")
    assert done.buckets[-1].end_time == done.window.end_time


def test_nothing_begun_is_no_read() -> None:
    """A window wholly in the future gives None, and no reads at the finest."""
    window = days("2027-01-01", "2027-01-05")
    assert read(script(ok(page([]))), window) is None
    assert read(script(ok(page([bucket(window.start_time)]))), window) is None
    assert read_finest(script(ok(page([]))), window) == []


def test_the_services_clock_decides() -> None:
    """With a Date header the local clock does not matter: too fast or too slow, the same buckets are required."""
    window = days("2026-11-18", "2026-11-21")
    served = {"date": "Fri, 20 Nov 2026 00:05:00 GMT"}
    for skew in (-600, 0, 600, 90_000):
        now = datetime(2026, 11, 20, 0, 5, tzinfo=UTC) + timedelta(seconds=skew)
        done = read(script(ok(page(buckets(window)[:2]), **served), now=now), window)
        assert done is not None
        assert done.window == days("2026-11-18", "2026-11-20")
        assert any("clock differs" in note for note in done.notes) == (skew != 0)
        with pytest.raises(IncompleteListing):
            read(script(ok(page(buckets(window)[:1]), **served), now=now), window)


def test_fetched_at_is_when_the_read_began() -> None:
    """Retries do not move fetched_at; each raw page has the time it came."""
    done = read(script(httpx.Response(429, headers={"retry-after": "60"}), whole))
    assert done is not None
    assert done.fetched_at == NOW
    assert done.pages[0].received_at >= NOW + timedelta(seconds=60)


# Refusing what would go wrong


def test_unaligned_windows_are_refused() -> None:
    """A window that cuts a bucket is refused before anything is sent."""
    far_side = script(whole)
    odd = Window.of_times(WEEK.start_time + 3600, WEEK.end_time)
    with pytest.raises(FixConfig, match="whole 1d buckets"):
        read(far_side, odd)
    with pytest.raises(FixConfig, match="no bucket width '1h'; it serves 1d"):
        read(far_side, WEEK, COSTS, width="1h")
    with pytest.raises(FixConfig, match="cannot group by 'colour'; it takes project_id"):
        read(far_side, group_by=["colour"])
    with pytest.raises(FixConfig, match="no filter 'user_ids'; it takes project_ids, line_items, api_key_ids"):
        read(far_side, WEEK, COSTS, filters={"user_ids": ["u"]})
    assert far_side.requests == []


def test_read_page_sends_what_is_asked() -> None:
    """A single page is read as asked, with its cursor, and nothing is proven about it."""
    far_side = script(ok(page(buckets(WEEK)[:2], "page_b"), date="Fri, 20 Nov 2026 12:00:00 GMT"))

    async def run() -> Any:
        async with far_side.client() as client:
            return await client.read_page(COMPLETIONS, PageQuery(start_time=WEEK.start_time, page="page_a", limit=2))

    got = asyncio.run(run())
    assert (len(got.page.buckets), got.page.has_more, got.page.next_page) == (2, True, "page_b")
    assert (got.served_at, got.requests, got.retries) == (NOW, 1, 0)
    assert far_side.params(0) == [("start_time", str(WEEK.start_time)), ("limit", "2"), ("page", "page_a")]


# Concurrency


class _Gauge:
    """Counts requests under way; each waits until the loop has started all it may."""

    def __init__(self) -> None:
        self.under_way = self.most = self.cancelled = 0

    async def hold(self) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            for _ in range(50):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1


class _Slow(Script):
    """A script whose answers take a while."""

    gauge: _Gauge

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The next step, later."""
        if asked(request).start != YEAR_BACK.start or self.steps[0] is whole:
            await self.gauge.hold()
        return await super().handle_async_request(request)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_requests_under_way_are_bounded_over_all_reads(concurrency: int) -> None:
    """One bound holds for everything a client reads at once, and it is used in full."""
    far_side = _Slow([whole])
    far_side.gauge = _Gauge()

    async def run() -> None:
        async with far_side.client(concurrency=concurrency) as client:
            await asyncio.gather(*(client.read_window(COMPLETIONS, YEAR_BACK, bucket_width="1d") for _ in range(3)))

    asyncio.run(run())
    assert len(far_side.requests) == 9
    assert far_side.gauge.most == concurrency


@pytest.mark.parametrize(
    ("step", "kind"),
    [(ok([]), BadPayload), (error(401, "no"), PermissionRefused), (error(400, "no"), RequestRefused)],
)
def test_one_failure_cancels_the_siblings(step: httpx.Response, kind: type[Exception]) -> None:
    """The first sub-window's failure is raised itself, not in a group, and the others are cancelled."""
    far_side = _Slow([step])
    far_side.gauge = _Gauge()
    with pytest.raises(kind) as refused:
        read(far_side, YEAR_BACK)
    assert type(refused.value) is kind
    assert len(far_side.requests) == 1
    assert far_side.gauge.cancelled == 2


def test_cancelling_a_read_ends_its_requests() -> None:
    """A cancelled read cancels what is under way and leaves no task behind."""
    far_side = _Slow([whole])
    far_side.gauge = _Gauge()

    async def run() -> set[Any]:
        async with far_side.client() as client:
            task = asyncio.create_task(client.read_window(COMPLETIONS, YEAR_BACK, bucket_width="1d"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(run()) == set()
    assert far_side.gauge.under_way == 0
    assert far_side.requests == []


def test_a_refused_key_outranks_other_failures() -> None:
    """When sub-windows fail in different ways at once, the one to mend is raised."""
    second = list(YEAR_BACK.pages("1d", 31))[1]
    far_side = script(lambda r: error(403, "no") if asked(r) == second else ok([]))
    with pytest.raises(PermissionRefused):
        read(far_side, YEAR_BACK)
    assert len(far_side.requests) == 3


# The finest grouping


def grouped(request: httpx.Request) -> set[str]:
    """The dimensions of a request."""
    return {value for name, value in request.url.params.multi_items() if name == "group_by[]"}


def keys_from_floor(request: httpx.Request) -> httpx.Response:
    """Refuses api_key_id before the floor, in the captured words."""
    if "api_key_id" in grouped(request) and asked(request).start_time < FLOOR:
        words = f"group_by=api_key_id is not available for this time range. Try a start_time on or after {FLOOR}."
        return error(400, words, param="start_time", code="invalid_request_error")
    return whole(request)


def test_a_floor_is_learned_and_the_window_split() -> None:
    """Days before a dimension's floor are read without it, later days with it; the notes say so."""
    window = days("2025-11-01", "2026-01-01")
    before, after = read_finest(script(keys_from_floor), window)
    assert (before.window, after.window) == (days("2025-11-01", "2025-12-06"), days("2025-12-06", "2026-01-01"))
    assert before.group_by == ("project_id", "user_id", "line_item", "api_source")
    assert after.group_by == COSTS.dimension_names
    assert any("not grouped by api_key_id before 2025-12-06" in note for note in before.notes)
    assert after.notes == ()
    assert (before.requests, after.requests) == (2, 1)


def test_floors_are_remembered_per_client() -> None:
    """The second window of a client is split at once, without being refused."""
    far_side = script(keys_from_floor)

    async def run() -> None:
        async with far_side.client() as client:
            for month in ("2025-11-01", "2025-10-01"):
                await client.read_finest(COSTS, days(month, "2026-01-01"), bucket_width="1d")

    asyncio.run(run())
    refused = [r for r in far_side.requests if "api_key_id" in grouped(r) and asked(r).start_time < FLOOR]
    assert len(refused) == 1
    assert len(far_side.requests) == 5


def test_a_refused_combination_gives_up_the_next_dimension() -> None:
    """user_id with project_id refused: the user is given up, once, with a note that quotes the reason."""

    def no_users(request: httpx.Request) -> httpx.Response:
        if {"user_id", "project_id"} <= grouped(request):
            return error(400, "user_id cannot be combined with project_id in this range.")
        return whole(request)

    (done,) = read_finest(script(no_users))
    assert done.group_by == ("project_id", "line_item", "api_key_id", "api_source")
    assert any("not grouped by user_id" in note and "cannot be combined" in note for note in done.notes)
    assert done.requests == 2


def test_floor_and_combination_together() -> None:
    """Both refusals on one window heal together, each part with what its days can have."""

    def both(request: httpx.Request) -> httpx.Response:
        if {"user_id", "project_id"} <= grouped(request):
            return error(400, "Unsupported group_by combination.")
        return keys_from_floor(request)

    reads = read_finest(script(both), days("2025-12-01", "2025-12-11"))
    assert [r.group_by for r in reads] == [
        ("project_id", "line_item", "api_source"),
        ("project_id", "line_item", "api_key_id", "api_source"),
    ]
    assert [r.window for r in reads] == [days("2025-12-01", "2025-12-06"), days("2025-12-06", "2025-12-11")]


def test_a_grouping_refused_for_ever_ends() -> None:
    """When nothing that may go is left, GroupingRefused is raised, after a bounded number of requests."""
    for endpoint, tries in ((COSTS, 4), (COMPLETIONS, 1)):
        far_side = script(error(400, "This group_by is not supported."))
        with pytest.raises(GroupingRefused, match="grouping was refused"):
            read_finest(far_side, WEEK, endpoint)
        assert len(far_side.requests) == tries


def test_floors_that_keep_moving_end() -> None:
    """A service whose floor moves with every request runs out of tries."""
    far_side = Script([])

    def moving(request: httpx.Request) -> httpx.Response:
        floor = asked(request).start_time + DAY
        return error(
            400, f"group_by=line_item is not available for this time range. Try a start_time on or after {floor}."
        )

    far_side.steps = [lambda r: moving(r) if "line_item" in grouped(r) else whole(r)]
    with pytest.raises(GroupingRefused):
        read_finest(far_side, days("2026-01-01", "2026-06-01"))
    assert len(far_side.requests) < 40


def test_read_window_does_not_relent() -> None:
    """A grouping asked for by name is not weakened in silence."""
    with pytest.raises(GroupingRefused) as refused:
        read(script(keys_from_floor), YEAR_BACK, COSTS)
    assert (refused.value.dimension, refused.value.floor) == ("api_key_id", FLOOR)


def test_history_beyond_the_service_is_not_a_grouping() -> None:
    """A window before what is kept is HistoryExceeded, whatever the grouping."""
    with pytest.raises(HistoryExceeded):
        read_finest(script(error(400, "group_by too far back", code="reporting_lookback_exceeded")))


def size_of_page(count: int) -> int:
    """Bytes of a page of so many buckets."""
    return len(ok(page(buckets(days("2026-10-01", f"2026-10-{count + 1:02}")))).content)


def test_a_page_too_large_to_take_is_read_in_quarters() -> None:
    """A page beyond the cap on a body's size is asked for again, a quarter of its buckets at a time."""
    far_side = script(whole)
    found = read(far_side, days("2026-10-01", "2026-11-01"), policy=RetryPolicy(max_body_bytes=size_of_page(6)))
    assert found is not None
    assert [bucket.start_time for bucket in found.buckets] == list(days("2026-10-01", "2026-11-01").bucket_starts("1d"))
    limits = [int(dict(far_side.params(n))["limit"]) for n in range(len(far_side.requests))]
    assert limits[:3] == [31, 7, 1]
    assert set(limits[3:]) == {1}, "no page of seven was tried again"
    assert any("a page of 31 buckets was too large to take; read 7 at a time" in note for note in found.notes)


def test_a_window_read_later_begins_with_what_could_be_taken() -> None:
    """What a client learned of an endpoint's pages holds for its next windows: none is received in vain twice."""
    far_side = script(whole)

    async def run() -> None:
        async with far_side.client(policy=RetryPolicy(max_body_bytes=size_of_page(10))) as client:
            for window in (days("2026-10-01", "2026-11-01"), WEEK):
                await client.read_window(COMPLETIONS, window, bucket_width="1d")

    asyncio.run(run())
    limits = [int(dict(far_side.params(n))["limit"]) for n in range(len(far_side.requests))]
    assert limits == [31, *[7] * 5, 7]


def test_a_single_bucket_too_large_to_take_is_an_error() -> None:
    """A body that is beyond the cap however little is asked for ends the read after a few requests."""
    far_side = script(whole)
    with pytest.raises(PageTooLarge, match="exceeds 100 bytes"):
        read(far_side, days("2026-10-01", "2026-11-01"), policy=RetryPolicy(max_body_bytes=100))
    assert len(far_side.requests) == 3
