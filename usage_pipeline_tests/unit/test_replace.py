"""Replacing windows: what is written, what is not, and what is remembered of it."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from usage_pipeline.endpoints import ENDPOINTS, BucketWidth
from usage_pipeline.errors import LakeUnwritable
from usage_pipeline.lake.delta_table import LakeTable
from usage_pipeline.lake.landing import land
from usage_pipeline.lake.ledger import CoverageLog, day_states
from usage_pipeline.lake.replace import replace_window
from usage_pipeline.lake.store import Lake
from usage_pipeline.lake.tables import normalize
from usage_pipeline.records import Bucket, RawPage, WindowRead
from usage_pipeline.windows import WIDTH_SECONDS, Window

ROW = ENDPOINTS["vector_stores"]
FIRST = date(2026, 11, 3)
AT = datetime(2026, 11, 5, 12, tzinfo=UTC)

Days = dict[date, dict[str | None, int]]


class Bench:
    """A lake of one endpoint, and reads of it made from `{day: {project: bytes}}`."""

    def __init__(self, root: Path) -> None:
        self.lake = Lake(root / "lake")
        self.raw = root / "raw"
        self.reads = 0

    def read(self, days: Days, *, at: datetime = AT, width: BucketWidth = "1d") -> WindowRead:
        """A complete read of the days, one bucket (the day's first of that width) holding the rows."""
        window = Window.of_days(min(days), max(days) + timedelta(days=1))
        size = WIDTH_SECONDS[width]
        buckets = []
        for start in window.bucket_starts(width):
            day = datetime.fromtimestamp(start, UTC)
            rows = days.get(day.date(), {}) if day.hour == day.minute == 0 else {}
            results = [{"project_id": project, "usage_bytes": size_} for project, size_ in rows.items()]
            buckets.append(Bucket(start_time=start, end_time=start + size, results=results))
        page = RawPage.of("/vector_stores", at, json.dumps(str(days)).encode())
        return WindowRead(
            endpoint=ROW.name, window=window, bucket_width=width, group_by=("project_id",), fetched_at=at,
            pages=[page], buckets=buckets, requests=1,
        )  # fmt: skip

    def replace(
        self, days: Days, *, at: datetime = AT, organization: str = "default", width: BucketWidth = "1d"
    ) -> dict[str, Any]:
        """Sync the days."""
        self.reads += 1
        read = self.read(days, at=at, width=width)
        content = normalize(ROW, organization, read)
        sync_id = f"sync-{self.reads}"
        log = CoverageLog(self.lake)
        row = replace_window(log, content, sync_id, at, lambda: land(self.raw, organization, sync_id, at, read))
        log.flush()
        return row

    def stored(self, organization: str = "default") -> Days:
        """What the table holds."""
        found: Days = {}
        for row in self.rows(self.lake.usage(ROW)):
            if row["organization"] == organization:
                found.setdefault(row["date"], {})[row["project_id"]] = row["usage_bytes"]
        return found

    def rows(self, table: LakeTable) -> list[dict[str, Any]]:
        """All rows of a lake table."""
        from usage_pipeline.lake.engine import connect

        with connect() as con:
            return con.sql(table.scan(table.open())).to_arrow_table().to_pylist()

    def version(self) -> int:
        """Version of the endpoint's table."""
        opened = self.lake.usage(ROW).open()
        assert opened is not None
        return opened.version()

    def raw_files(self) -> int:
        """Number of landed files."""
        return len(list(self.raw.rglob("*.zst")))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An empty lake."""
    return Bench(tmp_path)


def days(*contents: dict[str | None, int]) -> Days:
    """Consecutive days from FIRST."""
    return {FIRST + timedelta(days=n): content for n, content in enumerate(contents)}


def test_a_first_load_is_no_restatement(bench: Bench) -> None:
    """Rows of days never read before are inserted, and the restatement ledger stays empty."""
    row = bench.replace(days({"a": 1, None: 2}, {"a": 3}))
    assert (row["outcome"], row["inserted"], row["restated"], row["rows"]) == ("replaced", 3, 0, 3)
    assert bench.stored() == days({"a": 1, None: 2}, {"a": 3})
    assert bench.rows(bench.lake.restatements) == []


def test_the_same_content_again_writes_no_data_and_no_raw(bench: Bench) -> None:
    """A second read of equal content leaves table, raw and restatements as they were, and is logged as a check."""
    bench.replace(days({"a": 1}, {}))
    version, files = bench.version(), bench.raw_files()
    row = bench.replace(days({"a": 1}, {}), at=AT + timedelta(hours=1))
    assert (row["outcome"], row["inserted"], row["updated"], row["deleted"]) == ("unchanged", 0, 0, 0)
    assert (bench.version(), bench.raw_files()) == (version, files)
    state = day_states(CoverageLog(bench.lake), "default", ROW.name, Window.of_days(FIRST, FIRST + timedelta(days=2)))[
        FIRST
    ]
    assert (state.changed_at, state.checked_at) == (AT, AT + timedelta(hours=1))


def test_restated_vanished_and_late_groups_are_replaced_and_remembered(bench: Bench) -> None:
    """Changes of known days land in the ledger with the key, the value before and the value after."""
    bench.replace(days({"a": 1, "b": 2, "same": 9}))
    row = bench.replace(days({"a": 5, "c": 3, "same": 9}), at=AT + timedelta(days=1))
    assert (row["inserted"], row["updated"], row["deleted"], row["restated"]) == (1, 1, 1, 3)
    assert bench.stored() == days({"a": 5, "c": 3, "same": 9})
    ledger = {
        json.loads(r["key"])["project_id"]: (
            r["change"],
            r["before"] and json.loads(r["before"])["usage_bytes"],
            r["after"] and json.loads(r["after"])["usage_bytes"],
        )
        for r in bench.rows(bench.lake.restatements)
    }
    assert ledger == {"a": ("updated", 1, 5), "b": ("deleted", 2, None), "c": ("inserted", None, 3)}


def test_an_emptied_day_empties_and_its_neighbours_stay(bench: Bench) -> None:
    """A day whose buckets came empty loses its rows; days outside the window keep theirs."""
    bench.replace(days({"a": 1}, {"a": 2}, {"a": 3}))
    row = bench.replace({FIRST + timedelta(days=1): {}}, at=AT + timedelta(hours=1))
    assert row["deleted"] == 1
    assert bench.stored() == {FIRST: {"a": 1}, FIRST + timedelta(days=2): {"a": 3}}


def test_a_change_while_the_bucket_was_open_is_provisional(bench: Bench) -> None:
    """Growth of a bucket last read before it closed is marked, and is not counted as restated."""
    morning = datetime(2026, 11, 3, 9, tzinfo=UTC)
    bench.replace(days({"a": 1}), at=morning)
    row = bench.replace(days({"a": 2}), at=morning + timedelta(hours=5))
    assert (row["updated"], row["restated"]) == (1, 0)
    assert [r["was_provisional"] for r in bench.rows(bench.lake.restatements)] == [True]
    assert bench.replace(days({"a": 3}), at=AT)["restated"] == 0  # last read at 14:00, the bucket was still open
    assert bench.replace(days({"a": 4}), at=AT + timedelta(hours=1))["restated"] == 1


def test_of_two_reads_the_later_begun_is_the_truth_in_any_order(bench: Bench) -> None:
    """A read that began earlier but arrives later changes nothing: backfill and daily run commute."""
    bench.replace(days({"a": 2}, {"b": 2}), at=AT + timedelta(hours=2))
    row = bench.replace({FIRST - timedelta(days=1): {"z": 1}, FIRST: {"a": 1}}, at=AT)
    assert bench.stored() == {FIRST - timedelta(days=1): {"z": 1}, FIRST: {"a": 2}, FIRST + timedelta(days=1): {"b": 2}}
    assert [day["date"] for day in row["days"]] == [FIRST - timedelta(days=1)]


def test_a_later_read_that_found_nothing_new_is_not_overwritten(bench: Bench) -> None:
    """A read that comes late to the lake leaves days alone which a read begun after it found as they are."""
    bench.replace({FIRST: {"a": 1}})
    bench.replace({FIRST: {"a": 1}}, at=AT + timedelta(hours=2))
    late = bench.replace({FIRST: {"a": 9}}, at=AT + timedelta(hours=1))
    assert late["outcome"] == "unchanged"
    assert bench.stored() == {FIRST: {"a": 1}}


@pytest.mark.parametrize(("first", "then"), [("1d", "1h"), ("1h", "1d"), ("1d", "1m"), ("1m", "1d"), ("1h", "1m")])
def test_changing_the_bucket_width_replaces_days(bench: Bench, first: BucketWidth, then: BucketWidth) -> None:
    """A day holds rows of one bucket width only, so two grains never add up."""
    bench.replace(days({"a": 1}, {"a": 1}), width=first)
    bench.replace(days({"a": 1}), at=AT + timedelta(hours=1), width=then)
    found = [(row["date"], row["bucket_width"]) for row in bench.rows(bench.lake.usage(ROW))]
    assert sorted(found) == [(FIRST, then), (FIRST + timedelta(days=1), first)]


def test_organizations_do_not_touch_each_other(bench: Bench) -> None:
    """Replacing one organization's days leaves another's rows of the same days."""
    bench.replace(days({"a": 1}), organization="one")
    bench.replace(days({"a": 2}), organization="two")
    bench.replace(days({}), organization="one", at=AT + timedelta(hours=1))
    assert bench.stored("one") == {}
    assert bench.stored("two") == days({"a": 2})


def test_a_writer_that_lost_the_race_compares_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that another writer beat is decided anew on what that writer left, and nothing is lost or doubled."""
    bench.replace(days({"a": 1}, {"b": 1}))
    real = LakeTable.replace
    raced: list[int] = []

    def slow(table: LakeTable, *args: Any, **kwargs: Any) -> None:
        if not raced:
            raced.append(1)
            bench.replace(days({"a": 7}, {"b": 7}), at=AT + timedelta(hours=1))
        real(table, *args, **kwargs)

    monkeypatch.setattr(LakeTable, "replace", slow)  # the only way to put another writer exactly in between
    row = bench.replace(days({"a": 2}, {"b": 1}), at=AT + timedelta(hours=2))
    assert bench.stored() == days({"a": 2}, {"b": 1})
    assert row["updated"] == 2


@pytest.mark.parametrize(
    ("step", "older", "newer"),
    [("replace", {"a": 1}, {}), ("claim", {}, {"a": 1}), ("claim", {}, {})],
    ids=["rows, then none", "none, then rows", "none twice"],
)
def test_days_never_read_before_conflict_without_rows_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str, older: dict[str | None, int], newer: dict[str | None, int]
) -> None:
    """Of two first reads of a day the later begun is the truth, also where one found no rows that could conflict."""
    real = getattr(LakeTable, step)

    def slow(*args: Any, **kwargs: Any) -> None:
        monkeypatch.undo()
        bench.replace({FIRST: newer}, at=AT + timedelta(hours=1))
        real(*args, **kwargs)

    monkeypatch.setattr(LakeTable, step, slow)  # the only way to put another writer exactly in between
    row = bench.replace({FIRST: older})
    assert row["outcome"] == "unchanged"
    assert bench.stored() == ({FIRST: newer} if newer else {})
    assert bench.raw_files() == 1
    window = Window.of_days(FIRST, FIRST + timedelta(days=1))
    state = day_states(CoverageLog(bench.lake), "default", ROW.name, window)[FIRST]
    assert (state.rows, state.changed_at) == (len(newer), AT + timedelta(hours=1))


def test_threads_on_one_window_leave_one_of_their_contents(bench: Bench) -> None:
    """Writers at once end with the content of the read that began last, whoever commits last."""
    failures: list[BaseException] = []

    def work(n: int) -> None:
        try:
            bench.replace(days({"a": n}, {"b": n}), at=AT + timedelta(minutes=n))
        except BaseException as wrong:
            failures.append(wrong)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert bench.stored() == days({"a": 6}, {"b": 6})


def _interrupt_after(monkeypatch: pytest.MonkeyPatch, target: Any, name: str, *, before: bool) -> None:
    """Make a step die just before or just after its work, as a killed process would there."""
    real: Callable[..., Any] = getattr(target, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.undo()
        if not before:
            real(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(target, name, dying)


@pytest.mark.parametrize(
    ("step", "before", "is_new"),
    [("replace", True, False), ("replace", False, True), ("append", True, False), ("append", False, False)],
)
def test_dying_between_steps_leaves_old_or_new(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str, before: bool, is_new: bool
) -> None:
    """Killed around any step, the window is old or new; the next sync completes the log and loses nothing."""
    bench.replace(days({"a": 1}))
    _interrupt_after(monkeypatch, LakeTable, step, before=before)
    with pytest.raises(KeyboardInterrupt):
        bench.replace(days({"a": 2}), at=AT + timedelta(hours=1))
    assert bench.stored() == days({"a": 2 if is_new else 1})
    bench.replace(days({"a": 2}), at=AT + timedelta(hours=2))
    assert bench.stored() == days({"a": 2})
    window = Window.of_days(FIRST, FIRST + timedelta(days=1))
    changed_at = AT + timedelta(hours=1 if is_new else 2)
    assert day_states(CoverageLog(bench.lake), "default", ROW.name, window)[FIRST].changed_at == changed_at


def test_a_refused_write_is_named_and_changes_nothing(bench: Bench) -> None:
    """Where the lake's folder refuses, the error names endpoint and window, and the raw file is taken back."""
    bench.replace(days({"a": 1}))
    files = bench.raw_files()
    (bench.raw / "default" / "vector_stores" / "2026-12").write_text("a file where a folder belongs")
    with pytest.raises(LakeUnwritable, match=r"vector_stores 2026-11-03\.\.2026-11-04.*is unchanged"):
        bench.replace(days({"a": 2}), at=AT + timedelta(days=30))
    assert bench.stored() == days({"a": 1})
    assert bench.raw_files() == files
