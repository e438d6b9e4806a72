"""The published file: one consistent version, readable by anyone at any time, safe to query."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import FixConfig, LakeDamaged, WarehouseBusy
from usage_pipeline.lake.engine import OFFLINE, connect
from usage_pipeline.lake.locks import REBUILD_LOCK, REPLAY_LOCK, WAREHOUSE_LOCK, exclusive, shared
from usage_pipeline.lake.schemas import columns
from usage_pipeline.lake.seals import seal_new
from usage_pipeline.name_lists import NAME_LISTS
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import Window
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.world import TODAY, World, last_days, open_world, rows, versions

pytestmark = pytest.mark.marts("cost_daily_by_project")

NOW = datetime(2026, 11, 20, tzinfo=UTC)
FIRST = 1793577600
DAY = 86400


def test_every_table_is_there_before_any_row_is(data_dir: Path) -> None:
    """A warehouse synced for one empty day has all usage, marts and meta tables with their columns."""
    service, settings = Played(NOW), played_settings(data_dir)
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "images")
    for name, endpoint in ENDPOINTS.items():
        found = rows(settings, f"select column_name from (describe usage.{name})")
        assert [column for (column,) in found] == [column for column, _, _ in columns(endpoint)]
    names = {
        name
        for (name,) in rows(settings, "select table_name from information_schema.tables where table_schema = 'meta'")
    }
    assert names == {"sync_log", "restatements", "coverage"}


def test_a_folder_where_nothing_was_synced_can_be_published(data_dir: Path) -> None:
    """Usage and marts are there, without rows."""
    settings = played_settings(data_dir)
    refresh(settings)
    assert rows(settings, "from usage.costs") == rows(settings, "from marts.cost_daily_by_project") == []


def test_columns_have_the_types_others_rely_on(data_dir: Path) -> None:
    """Amounts are DECIMAL(38,20), times are zone-less UTC timestamps, flags booleans, counts BIGINT."""
    service, settings = Played(NOW), played_settings(data_dir)
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "costs")
    costs = dict(rows(settings, "select column_name, column_type from (describe usage.costs)"))
    assert costs["amount"] == "DECIMAL(38,20)"
    assert costs["bucket_start"] == costs["bucket_end"] == "TIMESTAMP"
    assert (costs["date"], costs["amount_literal"], costs["extras"]) == ("DATE", "VARCHAR", "VARCHAR")
    completions = dict(rows(settings, "select column_name, column_type from (describe usage.completions)"))
    assert (completions["batch"], completions["input_tokens"]) == ("BOOLEAN", "BIGINT")


def test_tables_and_columns_carry_comments(data_dir: Path) -> None:
    """What a table and a column mean is in the file itself."""
    service, settings = Played(NOW), played_settings(data_dir)
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "vector_stores")
    comment = "select comment from duckdb_columns() where table_name = 'vector_stores' and column_name = 'usage_bytes'"
    assert "never to be summed over time" in rows(settings, comment)[0][0]
    assert rows(settings, "select comment from duckdb_views() where view_name = 'cost_daily'")[0][0].startswith(
        "Billed cost"
    )


@pytest.mark.marts("focus", "cost_by_key", "cost_by_user")
def test_every_column_says_what_it_means_and_common_questions_have_a_name(
    settings: Settings, still_world: World
) -> None:
    """No published column lacks its comment; `cost_between` adds up to the bill, `top_spenders` to what users cost."""
    still_world.sync(settings, last_days(3), lists=[NAME_LISTS["projects"], NAME_LISTS["users"]])
    silent = "select table_name, column_name from duckdb_columns() where comment is null and schema_name in $schemas"
    assert rows(settings, silent, {"schemas": ["usage", "meta", "marts", "dims"]}) == []
    between = "select sum(amount) from cost_between($first, $end)"
    days = {"first": str(TODAY - timedelta(days=2)), "end": str(TODAY)}
    billed = "select sum(amount) from usage.costs where date >= $first::date and date < $end::date"
    assert rows(settings, between, days) == rows(settings, billed, days)
    spenders = rows(settings, "select user_id, user_name, amount from top_spenders(2)")
    by_user = "select user_id, sum(amount) as amount from marts.cost_by_user where user_id is not null group by all"
    assert [(user, amount) for user, _, amount in spenders] == rows(
        settings, f"{by_user} order by amount desc, user_id limit 2"
    )
    assert all(name for _, name, _ in spenders)


def test_plain_duckdb_in_another_process_opens_it_from_any_folder(
    settings: World, still_world: World, tmp_path: Path
) -> None:
    """A fresh process with nothing but duckdb reads the file, times included, whatever its folder or zone."""
    still_world.sync(settings, last_days(2), ["completions"])
    script = (
        "import duckdb, sys\n"
        "con = duckdb.connect(sys.argv[1], read_only=True)\n"
        "con.execute(\"set timezone = 'America/New_York'\")\n"
        "print(con.execute('select min(bucket_start), max(bucket_end) from usage.completions').fetchall())\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(settings.warehouse_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "2026, 11, 19, 0, 0" in answer.stdout
    assert "2026, 11, 21, 0, 0" in answer.stdout


@pytest.mark.slow
def test_readers_are_never_blocked_and_never_see_half(tmp_path: Path) -> None:
    """While syncs restate days, another process's every query works and sees marts and usage of one version."""
    service, settings = Played(NOW), played_settings(tmp_path)
    window = Window.of_times(FIRST, FIRST + 3 * DAY)

    def state(value: int) -> None:
        for n in range(3):
            result = {"object": "organization.costs.result", "amount": {"value": value, "currency": "usd"}}
            service.put("costs", FIRST + n * DAY, result)
        service.now += timedelta(minutes=1)
        service.sync(settings, window, "costs")

    state(1)
    script = """
import duckdb, select, sys
query = sys.argv[2]
seen, told = set(), False
while not select.select([sys.stdin], [], [], 0)[0]:
    with duckdb.connect(sys.argv[1], read_only=True) as con:
        low, high, mart, known = con.execute(query).fetchall()[0]
    if not (low == high == mart and known == 3):
        print("torn", low, high, mart, known)
    seen.add(low)
    if not told:
        told = True
        print("reading", flush=True)
print(len(seen))
"""
    query = """
        select (select min(amount) from usage.costs), (select max(amount) from usage.costs),
            (select min(amount) from marts.cost_daily_by_project), (select sum(rows) from meta.coverage)
    """
    command = [sys.executable, "-c", script, str(settings.warehouse_path), query]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        for value in range(2, 8):
            state(value)
        answer, _ = reader.communicate("stop\n", timeout=60)
    assert "torn" not in answer, answer
    assert int(answer.strip()) > 1, "the reader never saw a change"


def test_an_open_session_keeps_its_version(data_dir: Path) -> None:
    """An analyst's open connection answers from the version it opened, even after later syncs."""
    service, settings = Played(NOW), played_settings(data_dir)
    window = Window.of_times(FIRST, FIRST + DAY)
    service.put("vector_stores", FIRST, {"object": "organization.usage.vector_stores.result", "usage_bytes": 1})
    service.sync(settings, window, "vector_stores")
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as con:
        service.put("vector_stores", FIRST, {"object": "organization.usage.vector_stores.result", "usage_bytes": 2})
        service.now += timedelta(hours=1)
        service.sync(settings, window, "vector_stores")
        assert con.execute("select usage_bytes from usage.vector_stores").fetchall() == [(1,)]
    assert rows(settings, "select usage_bytes from usage.vector_stores") == [(2,)]


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('.env')",
        "copy (select 1) to 'out.csv'",
        "install httpfs",
        "set enable_external_access = true",
        "create table usage.t (a int)",
        "attach 'other.duckdb'",
    ],
)
def test_a_query_reaches_no_other_file_and_changes_nothing(data_dir: Path, query: str) -> None:
    """Queries read the lake and nothing else: no file, no network, no write, no loosening."""
    service, settings = Played(NOW), played_settings(data_dir)
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "images")
    with pytest.raises(FixConfig, match="the query failed"):
        rows(settings, query)


@pytest.mark.parametrize(
    "query",
    [
        "copy (select 1) to 'FILE'",
        "CoPy (select 1) to 'FILE'",
        "select 'äö😀' as x; /* so */ copy (select 1) to 'FILE'",
        "explain analyze copy (select 1) to 'FILE'",
        "prepare p as copy (select 1) to 'FILE'; execute p",
        "with x as (copy (select 1) to 'FILE') select 1",
        "from json_execute_serialized_sql(json_serialize_sql('with x as (copy (select 1) to ''FILE'') from x'))",
        "export database 'FILE'",
    ],
)
def test_a_query_does_not_write_into_the_lake(data_dir: Path, query: str) -> None:
    """Views need the lake's folder open to the engine, and still no form of COPY or EXPORT writes a file there."""
    service, settings = Played(NOW), played_settings(data_dir)
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "images")
    victim = settings.lake_dir / "new.parquet"
    with pytest.raises(FixConfig, match=r"read and never write.*--csv"):
        rows(settings, query.replace("FILE", str(victim)))
    assert not victim.exists()


def test_writing_words_are_free_as_names_and_text(data_dir: Path) -> None:
    """Only the words themselves are refused: in quotes, text and comments they are like any other."""
    service, settings = Played(NOW), played_settings(data_dir)
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "images")
    query = """select 'copy' as "copy", $$export$$ as exported -- copy"""
    assert rows(settings, query) == [("copy", "export")]


def test_no_connection_fetches_or_loads_extensions() -> None:
    """Neither the pipeline's own connections nor those of queries install, load or trust an extension by themselves."""
    with connect() as con:
        kept = con.execute("select name, value from duckdb_settings() where name in ?", [list(OFFLINE)]).fetchall()
    assert dict(kept) == OFFLINE


def test_no_warehouse_yet_says_what_to_run(data_dir: Path) -> None:
    """Asking before the first sync names the commands that make a warehouse."""
    with pytest.raises(FixConfig, match=r"does not exist yet: run `usage-pipeline sync`"):
        rows(played_settings(data_dir), "select 1")


def test_hostile_names_are_data(data_dir: Path) -> None:
    """Ids with quotes, statements and markup come back as they are and harm nothing."""
    names = [
        "'; drop view usage.costs; --",
        'a"b',
        "back\\slash",
        "new\nline",
        "{}$1?",
        "<script>",
        "\uff07",
        "x" * 10_000,
    ]
    service, settings = Played(NOW), played_settings(data_dir)
    results = [{"object": "organization.usage.vector_stores.result", "project_id": n, "usage_bytes": 1} for n in names]
    service.put("vector_stores", FIRST, *results)
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "vector_stores")
    service.put("vector_stores", FIRST, *[result | {"usage_bytes": 2} for result in results])
    service.now += timedelta(hours=1)
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "vector_stores")
    assert sorted(n for (n,) in rows(settings, "select project_id from usage.vector_stores")) == sorted(names)
    assert sorted(n for (n,) in rows(settings, "select key->>'project_id' from meta.restatements")) == sorted(names)


def test_a_lock_held_elsewhere_is_waited_for_then_named(tmp_path: Path) -> None:
    """A second builder waits its time, then says who holds the lock; shared holders do not block each other."""
    path = tmp_path / WAREHOUSE_LOCK
    with (
        exclusive(path),
        pytest.raises(WarehouseBusy, match=r"held, last by process \d+"),
        exclusive(path, deadline_seconds=0),
    ):
        pass
    other = tmp_path / REPLAY_LOCK
    with shared(other), shared(other), pytest.raises(WarehouseBusy), exclusive(other, deadline_seconds=0):
        pass
    with exclusive(path, deadline_seconds=0):
        pass


_HOLDS = """
import sys
from pathlib import Path
from usage_pipeline.lake.locks import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""
_READS = """
import sys, duckdb
with duckdb.connect(sys.argv[1], read_only=True) as con:
    while True:
        print(con.execute("select usage_bytes from usage.vector_stores").fetchall(), flush=True)
        if not sys.stdin.readline():
            break
"""


@contextmanager
def _another_process(script: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has begun what the script does with the path, until its standard input ends."""
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.communicate(timeout=60)


def _sync_value(service: Played, settings: Settings, value: int) -> None:
    service.now += timedelta(hours=1)
    service.put("vector_stores", FIRST, {"object": "organization.usage.vector_stores.result", "usage_bytes": value})
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "vector_stores")


def test_a_second_process_is_told_who_works_and_changes_nothing(data_dir: Path) -> None:
    """While one process rebuilds, a replay of another one is refused with the first one's number, nothing begun."""
    settings = played_settings(data_dir)
    _sync_value(Played(NOW), settings, 1)
    before = versions(settings)
    with _another_process(_HOLDS, data_dir / REBUILD_LOCK) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(WarehouseBusy, match=f"process {holder.pid}"):
            replay(settings)
    assert versions(settings) == before
    replay(settings)


def test_an_analyst_s_process_hinders_no_sync(data_dir: Path) -> None:
    """With the published file open in another process a sync stores and publishes; that process sees its version."""
    service, settings = Played(NOW), played_settings(data_dir)
    _sync_value(service, settings, 1)
    with _another_process(_READS, settings.warehouse_path) as analyst:
        assert analyst.stdin is not None
        assert analyst.stdout is not None
        assert analyst.stdout.readline() == "[(1,)]\n"
        _sync_value(service, settings, 2)
        analyst.stdin.write("again\n")
        analyst.stdin.flush()
        assert analyst.stdout.readline() == "[(1,)]\n"
    assert rows(settings, "select usage_bytes from usage.vector_stores") == [(2,)]


def test_a_snapshot_holds_only_what_the_log_describes(tmp_path: Path) -> None:
    """Many syncs at once in one folder: the published coverage always describes the published rows."""
    with open_world() as world:
        settings = world.settings(tmp_path)
        names = ["moderations", "embeddings", "images", "vector_stores"]
        threads = [threading.Thread(target=world.sync, args=(settings, last_days(4), [name])) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name in names:
            counted = rows(settings, f"select date, count(*) from usage.{name} group by all order by all")
            covered = rows(
                settings,
                "select date, rows from meta.coverage where endpoint = $name and rows > 0 order by all",
                {"name": name},
            )
            assert counted == covered


def _store_bytes(service: Played, day: int, size: int) -> None:
    service.put("vector_stores", day, {"object": "organization.usage.vector_stores.result", "usage_bytes": size})


def _key(settings: Settings) -> str:
    """What the published file says it was made of."""
    return str(rows(settings, "select pinned.definition()")[0][0])


def test_a_publishing_changes_what_the_views_read_and_nothing_else(data_dir: Path) -> None:
    """New days appear in the views there are; comments and questions stay, and the file does not grow."""
    service, settings = Played(NOW), played_settings(data_dir)
    _store_bytes(service, FIRST, 5)
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "vector_stores")
    key, size = _key(settings), settings.warehouse_path.stat().st_size
    comments = rows(settings, "select count(*) from duckdb_columns() where comment is not null")
    for day in range(1, 8):
        _store_bytes(service, FIRST + day * DAY, 5 + day)
        service.sync(settings, Window.of_times(FIRST + day * DAY, FIRST + (day + 1) * DAY), "vector_stores")
    assert rows(settings, "select sum(usage_bytes) from usage.vector_stores") == [(sum(range(5, 13)),)]
    assert rows(settings, "select count(*) from meta.coverage") == [(8,)]
    assert _key(settings) == key
    assert rows(settings, "select count(*) from duckdb_columns() where comment is not null") == comments
    assert settings.warehouse_path.stat().st_size < 2 * size


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes().replace(b"Date", b"Dato")),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        Path.unlink,
    ],
    ids=["altered", "cut short", "gone"],
)
def test_a_published_file_that_is_not_what_was_written_is_made_anew(
    data_dir: Path, spoil: Callable[[Path], None]
) -> None:
    """What somebody changed in the published file, or damage did, is not carried into the next one."""
    service, settings = Played(NOW), played_settings(data_dir)
    _store_bytes(service, FIRST, 5)
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "vector_stores")
    whole = rows(settings, "select table_name, column_name, comment from duckdb_columns() order by all")
    spoil(settings.warehouse_path)
    refresh(settings)
    assert rows(settings, "select table_name, column_name, comment from duckdb_columns() order by all") == whole
    assert rows(settings, "select usage_bytes from usage.vector_stores") == [(5,)]


def test_a_published_file_of_another_making_is_made_anew(data_dir: Path) -> None:
    """A file of an older version, which does not say what it was made of, or says something else, is replaced whole."""
    service, settings = Played(NOW), played_settings(data_dir)
    _store_bytes(service, FIRST, 5)
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "vector_stores")
    key = _key(settings)
    for change in ("drop macro pinned.definition", "create or replace macro pinned.definition() as 'older'"):
        with duckdb.connect(str(settings.warehouse_path)) as con:
            con.execute(f"{change}; create table strange as select 1 as x")
        seal_new(settings.lake_dir, set, settings.warehouse_path)  # as the older version had
        refresh(settings)
        assert _key(settings) == key
        assert rows(settings, "select count(*) from duckdb_tables() where table_name = 'strange'") == [(0,)]


@pytest.mark.parametrize("damage", [lambda held: held[:100], lambda held: bytes(4096) + held[4096:], lambda _: b"x"])
def test_a_file_that_cannot_be_opened_says_how_to_make_it_anew(
    data_dir: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Cut short, or with another head: the query names the file and `publish`, which mends it."""
    service, settings = Played(NOW), played_settings(data_dir)
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY), "vector_stores")
    path = settings.warehouse_path
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(LakeDamaged, match=r"warehouse\.duckdb cannot be opened .*usage-pipeline publish"):
        rows(settings, "select 1")
    refresh(settings)
    assert rows(settings, "select 1") == [(1,)]
