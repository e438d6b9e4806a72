"""The completeness proof: which buckets make a window whole, and which are refused by name."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from usage_pipeline.api.listing import Listing, ServiceTime, join
from usage_pipeline.endpoints import BucketWidth
from usage_pipeline.errors import IncompleteListing
from usage_pipeline.records import Bucket
from usage_pipeline.windows import Window
from usage_pipeline_tests.scripted import DAY, WEEK, days

START = WEEK.start_time
LATER = ServiceTime(closed_until=WEEK.end_time + DAY, begun_until=WEEK.end_time + DAY)
OPEN_DAY = datetime(2026, 11, 5, 8, 0, tzinfo=UTC)


def made(start: int, *results: dict[str, Any], width: int = DAY, end: int | None = None) -> Bucket:
    """A bucket."""
    return Bucket(start_time=start, end_time=end or start + width, results=list(results))


def week() -> list[Bucket]:
    """Every bucket of the week."""
    return [made(start, {"n": start}) for start in WEEK.bucket_starts("1d")]


def prove(
    *pages: list[Bucket], served: ServiceTime = LATER, window: Window = WEEK, width: BucketWidth = "1d"
) -> list[Bucket]:
    """The proof of a listing of these pages."""
    listing = Listing(window, width, "completions 2026-11")
    for page in pages:
        listing.add(page, served)
    return listing.prove()


def test_whole_window_in_any_order() -> None:
    """All buckets once, in whatever order and pages, are a proof; they come back in order."""
    assert prove(week()) == week()
    assert prove(week()[4:], [], list(reversed(week()[:4]))) == week()


def test_identical_bucket_twice_counts_once() -> None:
    """The same bucket on two pages is counted once."""
    assert prove(week()[:4], week()[3:]) == week()


def test_same_bucket_with_other_content_is_refused() -> None:
    """A bucket repeated with other content is neither summed nor taken from either page."""
    with pytest.raises(IncompleteListing, match=f"completions 2026-11: the bucket {START} came twice with different"):
        prove(week(), [made(START, {"n": 0})])


@pytest.mark.parametrize(
    ("bucket", "words"),
    [
        (made(START, end=START - 1), "inverted"),
        (made(START, end=START), "inverted"),
        (made(START + 7), "does not start on a boundary"),
        (made(START - DAY), "outside the window"),
        (made(START, end=START + 2 * DAY), "wrong width: 172800 s instead of 86400 s"),
        (made(START, end=START + 3600), "wrong width: 3600 s instead of 86400 s"),
    ],
)
def test_misplaced_buckets_are_refused(bucket: Bucket, words: str) -> None:
    """Inverted, misaligned, outside and wrongly wide buckets are named, though the rest is whole."""
    if bucket.end_time <= bucket.start_time:
        bucket = Bucket(start_time=START, end_time=bucket.end_time, results=[])
    with pytest.raises(IncompleteListing, match=words):
        prove([bucket, *week()[1:]])


def test_a_bucket_past_the_window_is_outside() -> None:
    """Past the end is outside, save on a page after the listing is whole."""
    past = made(WEEK.end_time)
    with pytest.raises(IncompleteListing, match="outside the window"):
        prove([*week(), past])
    with pytest.raises(IncompleteListing, match="outside the window"):
        prove(week()[:-1], [past])


def test_pages_past_a_whole_listing_are_ignored() -> None:
    """A page wholly past the end of a listing already whole is reported as such and changes nothing."""
    listing = Listing(WEEK, "1d", "costs")
    assert listing.add(week(), LATER)
    assert not listing.add([made(WEEK.end_time), made(WEEK.end_time + DAY)], LATER)
    assert listing.add([], LATER)
    assert listing.prove() == week()


@pytest.mark.parametrize("gap", range(7))
def test_a_missing_closed_bucket_is_never_zero(gap: int) -> None:
    """A closed bucket missing anywhere, at the end too, fails and is named."""
    with pytest.raises(IncompleteListing, match=f"1 of 7 buckets are missing.*the first 2026-11-0{gap + 1}T00:00Z"):
        prove([b for n, b in enumerate(week()) if n != gap])


def test_an_empty_answer_is_no_deletion() -> None:
    """`data: []` for a window of closed buckets fails."""
    with pytest.raises(IncompleteListing, match="7 of 7 buckets are missing"):
        prove([])


def test_buckets_not_closed_may_be_missing_at_the_end_only() -> None:
    """Of the open and the coming buckets a trailing run may be missing; a hole before a later one may not."""
    served = ServiceTime.of(OPEN_DAY, OPEN_DAY)
    assert prove(week()[:4], served=served) == week()[:4]
    assert prove(week()[:5], served=served) == week()[:5]
    with pytest.raises(IncompleteListing, match="1 of 7"):
        prove(week()[:3], served=served)
    both_open = ServiceTime(closed_until=START + 3 * DAY, begun_until=START + 5 * DAY)
    with pytest.raises(IncompleteListing, match="2026-11-04T00:00Z is missing before later ones"):
        prove([*week()[:3], week()[4]], served=both_open)


def test_the_open_bucket_may_end_now_and_reads_with_its_nominal_end() -> None:
    """Usage ends the open bucket now, costs at its full end: both read the same, every time."""
    served = ServiceTime.of(OPEN_DAY, OPEN_DAY)
    day = START + 4 * DAY
    for end in (int(OPEN_DAY.timestamp()), day + 1, day + DAY):
        assert prove([*week()[:4], made(day, {"n": day}, end=end)], served=served) == week()[:5]


def test_buckets_not_begun_prove_nothing() -> None:
    """Empty buckets of the future are left out; one with results means that a clock is wrong."""
    served = ServiceTime.of(OPEN_DAY, OPEN_DAY)
    future = [made(b.start_time) for b in week()[5:]]
    assert prove([*week()[:5], *future], served=served) == week()[:5]
    with pytest.raises(IncompleteListing, match="holds results and has not begun"):
        prove(week(), served=served)


def test_a_window_of_the_future_proves_nothing() -> None:
    """Nothing begun, nothing returned: an empty proof and no error."""
    assert prove([], served=ServiceTime.of(OPEN_DAY - timedelta(days=30), OPEN_DAY)) == []


@pytest.mark.parametrize("skew", [-600, -599, 0, 599, 600])
@pytest.mark.parametrize("says_time", [True, False])
def test_ten_minutes_of_skew_change_nothing(skew: int, says_time: bool) -> None:
    """With our clock ten minutes off either way, minute buckets read the same, Date header or not."""
    now = datetime(2026, 11, 5, 8, 0, 30, tzinfo=UTC)
    window = Window(now.replace(minute=0, second=0, hour=7), now.replace(minute=20, second=0))
    begun = [made(start, {"n": 1}, width=60) for start in window.bucket_starts("1m") if start <= now.timestamp()]
    served = ServiceTime.of(now if says_time else None, now + timedelta(seconds=skew))
    assert prove(begun, served=served, window=window, width="1m") == begun
    assert prove(begun[:-1], served=served, window=window, width="1m") == begun[:-1]


def test_a_bucket_closed_while_the_answer_travelled_is_not_required() -> None:
    """The Date header is stamped after the buckets were looked up: one that closed in between may be short."""
    just_after = datetime(2026, 11, 6, 0, 0, 20, tzinfo=UTC)
    short = made(START + 4 * DAY, {"n": START + 4 * DAY}, end=START + 5 * DAY - 1)
    assert prove([*week()[:4], short], served=ServiceTime.of(just_after, just_after)) == week()[:5]
    much_later = just_after + timedelta(minutes=2)
    with pytest.raises(IncompleteListing, match="wrong width"):
        prove([*week()[:4], short], served=ServiceTime.of(much_later, much_later))


def test_the_earliest_page_decides_what_had_closed() -> None:
    """A bucket that closes between two pages is not required of a listing begun before."""
    listing = Listing(WEEK, "1d", "completions")
    listing.add(week()[:4], ServiceTime.of(OPEN_DAY, OPEN_DAY))
    listing.add([], LATER)
    assert listing.prove() == week()[:4]


def test_windows_join_without_a_gap() -> None:
    """Consecutive windows join; after one that stops early nothing may follow."""
    first, second, third = (days(f"2026-11-0{n}", f"2026-11-0{n + 2}") for n in (1, 3, 5))
    full = [[made(start) for start in window.bucket_starts("1d")] for window in (first, second, third)]
    assert join([(first, full[0]), (second, full[1])], "1d", "x") == full[0] + full[1]
    assert join([(first, full[0]), (second, full[1][:1]), (third, [])], "1d", "x") == full[0] + full[1][:1]
    with pytest.raises(
        IncompleteListing, match=r"2026-11-03\.\.2026-11-05 stops early and 2026-11-05\.\.2026-11-07 has"
    ):
        join([(first, full[0]), (second, full[1][:1]), (third, full[2])], "1d", "x")
