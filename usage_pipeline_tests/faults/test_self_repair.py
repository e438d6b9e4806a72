"""Any one file damaged in any way: found by `verify`, mended by `doctor`, to the same content.

FAULTS E15, E16, E19 (files), G02 (marts against a recompute), G05 and G06 (days against what was recorded). E13, E14,
E17 and E18 are about a database that is written in place: the published file is replaced whole, and has no .wal.

More than the suite's sample: USAGE_REPAIR_CASES=2000 pytest usage_pipeline_tests/faults/test_self_repair.py
"""

import os
import random
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from usage_pipeline import doctor as doctor_module
from usage_pipeline import repairs as repairs_module
from usage_pipeline.cli.main import app
from usage_pipeline.doctor import Treatment, doctor
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake import writing
from usage_pipeline.lake.landing import landed_files
from usage_pipeline.lake.names import replace_names
from usage_pipeline.lake.seals import change_seals
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.name_lists import LISTS
from usage_pipeline.records import ListedName
from usage_pipeline.settings import Settings
from usage_pipeline.verify import UNFINISHED, verify
from usage_pipeline.warehouse import refresh
from usage_pipeline_tests.faults.stated import NOW, WINDOW, StatedService, power_lost
from usage_pipeline_tests.few_marts import only_marts
from usage_pipeline_tests.played import played_settings
from usage_pipeline_tests.world import everything, last_days, open_world

MARTS = ("budget_status", "cost_daily", "usage_daily")
pytestmark = pytest.mark.marts(*MARTS)

SCHEMAS = ("usage", "dims", "marts", "meta")
ENDPOINT_NAMES = ["vector_stores", "costs"]
SAMPLE = int(os.environ.get("USAGE_REPAIR_CASES", "40"))
TREATED = 10  # of a sample's cases one in so many is repaired, too: that takes a hundred times as long


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small warehouse with names, restatements, a read without news, and checkpoints; never changed."""
    with open_world() as world, only_marts(*MARTS):
        settings = world.settings(tmp_path_factory.mktemp("origin") / "data")
        lists = [LISTS[name] for name in ("projects", "users", "organization_spend_limits")]
        world.sync(settings, last_days(4), ENDPOINT_NAMES, lists=lists)
        world.clock.advance(timedelta(hours=26))
        for table in ("usage/costs", "meta/sync_log"):
            DeltaTable(settings.lake_dir / table).create_checkpoint()
        today = world.clock().date()
        world.sync(settings, last_days(5, today), ENDPOINT_NAMES, lists=lists)
        world.sync(settings, last_days(2, today), ENDPOINT_NAMES)
    return settings.data_dir


def _copy(origin: Path, folder: Path) -> Settings:
    """A copy to damage, published where it is, with the service out of reach."""
    shutil.copytree(origin, folder / "data")
    settings = played_settings(folder / "data", OPENAI_BASE_URL="http://127.0.0.1:9")
    refresh(settings)
    return settings


@pytest.fixture
def patient(origin: Path, tmp_path: Path) -> Settings:
    """A copy of the test's own, for damage that leaves a trace."""
    return _copy(origin, tmp_path)


@pytest.fixture(scope="module")
def regular(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One copy for all damage that is cured: each test leaves it as it found it."""
    with only_marts(*MARTS):
        return _copy(origin, tmp_path_factory.mktemp("regular"))


def _flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    place = chance.randrange(len(content) * 8)
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


def _truncate(path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def _delete(path: Path, _chance: random.Random) -> None:
    path.unlink()


DAMAGES = [_flip, _truncate, _delete]
# One pattern per kind of file; of several files the last is taken: the one in use.
KINDS = {
    "usage data": "lake/usage/costs/organization=*/*/*.parquet",
    "usage log": "lake/usage/costs/_delta_log/*.json",
    "usage checkpoint": "lake/usage/costs/_delta_log/*.checkpoint.parquet",
    "checkpoint pointer": "lake/usage/costs/_delta_log/_last_checkpoint",
    "names": "lake/dims/users/*.parquet",
    "names' log": "lake/dims/users/_delta_log/*.json",
    "spend limits": "lake/dims/organization_spend_limits/*.parquet",
    "prices": "lake/dims/prices/*.parquet",
    "coverage log": "lake/meta/sync_log/*.parquet",
    "coverage log's log": "lake/meta/sync_log/_delta_log/*.json",
    "restatements": "lake/meta/restatements/*.parquet",
    "mart log": "lake/meta/mart_log/*.parquet",
    "mart": "lake/marts/cost_daily/organization=*/*/*.parquet",
    "mart's log": "lake/marts/budget_status/_delta_log/*.json",
    "published": "warehouse.duckdb",
    "seals": "lake/seals.txt",
}


def _files(settings: Settings) -> list[Path]:
    """Every file of the pipeline's with content: locks have none."""
    return [path for path in sorted(settings.data_dir.rglob("*")) if path.is_file() and not path.name.startswith(".")]


def _newest(settings: Settings, pattern: str) -> Path:
    return max(settings.data_dir.glob(pattern), key=lambda path: path.stat().st_mtime_ns)


def _assert_cured(settings: Settings, before: dict[str, list[tuple[object, ...]]]) -> Treatment:
    """The doctor brings everything back, and a second one has nothing to do."""
    done = doctor(settings, is_quick=True)
    assert done.found.findings
    assert done.is_cured, (done.lost, done.after.findings)
    assert everything(settings, SCHEMAS) == before
    again = doctor(settings, is_quick=True)
    assert (again.found.findings, again.found.notes) == ([], [])
    return done


def _tear(settings: Settings, kind: str, *, is_empty: bool) -> Path:
    """Leave the newest file of a kind as a loss of power does: committed by its name, not yet sealed, never written."""
    path = _newest(settings, KINDS[kind])
    name = str(path.relative_to(settings.data_dir))
    path.write_bytes(b"" if is_empty else bytes(path.stat().st_size))
    change_seals(settings.lake_dir, lambda seals: {one: held for one, held in seals.items() if one != name})
    return path


@pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "zeros"])
@pytest.mark.parametrize(
    "kind",
    [
        "usage data", "usage log", "names", "names' log", "spend limits", "coverage log", "coverage log's log",
        "restatements", "mart log", "mart", "mart's log",
    ],
)  # fmt: skip
@pytest.mark.slow
def test_what_a_loss_of_power_tore_is_found_and_mended(regular: Settings, kind: str, is_empty: bool) -> None:
    """A file that was committed and never reached the disk is found though nothing was sealed, and mended offline."""
    before = everything(regular, SCHEMAS)
    _tear(regular, kind, is_empty=is_empty)
    done = doctor(regular)
    assert done.found.findings
    assert done.is_cured, (done.lost, done.after.findings)
    assert everything(regular, SCHEMAS) == before
    assert verify(regular).findings == []


@pytest.mark.parametrize("lost", [".", "dims/projects"], ids=["the lake", "a list"])
def test_what_is_lost_with_its_seals_comes_back_from_raw(patient: Settings, lost: str) -> None:
    """Where even the record of files is gone, raw tells what the lake should have: days, and names."""
    before = everything(patient, ("usage", "dims"))
    shutil.rmtree(patient.lake_dir / lost)
    (patient.lake_dir / "seals.txt").unlink(missing_ok=True)
    done = doctor(patient)
    assert done.is_cured, (done.lost, done.after.findings)
    assert everything(patient, ("usage", "dims")) == before


@pytest.mark.parametrize("kind", ["names' log", "coverage log's log"])
def test_a_torn_log_entry_is_not_published_as_an_older_state(regular: Settings, kind: str) -> None:
    """An entry that says nothing would make the table seem older: publishing says what to run, and then it is whole."""
    before = everything(regular, SCHEMAS)
    path = _tear(regular, kind, is_empty=True)
    with pytest.raises(LakeDamaged, match=rf"{path.name} is not what was written .*usage-pipeline doctor"):
        refresh(regular)
    assert everything(regular, SCHEMAS) == before
    assert doctor(regular, is_quick=True).is_cured
    assert everything(regular, SCHEMAS) == before


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_file_is_mended(regular: Settings, kind: str) -> None:
    """A flipped bit, a truncation and a deletion in each kind of file are found; one of them is mended, offline."""
    before, chance = everything(regular, SCHEMAS), random.Random(kind)
    if "checkpoint" in kind:  # the table may have been made anew by the test before
        DeltaTable(regular.lake_dir / "usage" / "costs").create_checkpoint()
        refresh(regular)
    path = _newest(regular, KINDS[kind])
    held = path.read_bytes()
    for damage in chance.sample(DAMAGES, len(DAMAGES)):
        path.write_bytes(held)
        damage(path, chance)
        found = verify(regular, is_quick=True)
        assert [one.path for one in found.findings] == [str(path.relative_to(regular.data_dir))]
    _assert_cured(regular, before)


@pytest.mark.parametrize(("table", "damage"), [("costs", _flip), ("costs", _delete), ("dims.users", _truncate)])
def test_a_damaged_raw_file_is_put_aside_and_said(patient: Settings, table: str, damage: Callable[..., None]) -> None:
    """Raw cannot be made again: the file is named, put aside, and the lake keeps what it held; it is said once."""
    before = everything(patient, SCHEMAS)
    path = _newest(patient, f"raw/*/{table}/*/*.zst")
    damage(path, random.Random(table))
    done = doctor(patient, is_quick=True)
    assert [one.path for one in done.found.findings] == [str(path.relative_to(patient.data_dir))]
    assert len(done.lost) == 1
    assert "the lake keeps what it held" in done.lost[0]
    assert not done.is_cured
    assert everything(patient, SCHEMAS) == before
    again = doctor(patient, is_quick=True)
    assert again.is_cured
    assert "is lost" in again.found.notes[0]
    assert path not in landed_files(patient.raw_dir)


@pytest.mark.parametrize("kind", ["names", "names' log", "restatements", "restatements' log"])
def test_what_raw_lost_earlier_is_kept_where_a_file_has_it(patient: Settings, kind: str) -> None:
    """Names and restatements are taken from intact files first: of what raw lost before nothing goes with a repair."""
    for path in patient.raw_dir.rglob("*.zst"):
        path.unlink()
    assert not doctor(patient, is_quick=True).is_cured
    before = everything(patient, SCHEMAS)
    damaged = _newest(patient, KINDS.get(kind, "lake/meta/restatements/_delta_log/*.json"))
    if damaged.suffix == ".json":
        damaged.unlink()
    else:  # as compacting leaves it: the rows are in two files
        pq.write_table(pq.read_table(damaged), damaged.with_name(f"again-{damaged.name}"))
        _flip(damaged, random.Random(1))
    done = doctor(patient, is_quick=True)
    assert (done.lost, done.after.findings) == ([], [])
    assert everything(patient, SCHEMAS) == before


def test_of_each_organization_the_newest_names_that_a_file_has_are_kept(synced: Settings) -> None:
    """A list that was read before another organization's, and stored after it, is not in the newest state by time."""
    lake = Lake(synced.lake_dir)
    columns = {"email": "e", "role": "owner", "added_at": None}
    replace_names(lake, "users", "other", [ListedName(id="x", columns={**columns, "name": "x"}, extras={})], NOW)
    for n in range(6):
        listed = [ListedName(id="u", columns={**columns, "name": f"name {n}"}, extras={})]
        replace_names(lake, "users", "default", listed, NOW - timedelta(hours=9 - n))
    refresh(synced)
    before = everything(synced, SCHEMAS)
    max((synced.lake_dir / "dims" / "users" / "_delta_log").glob("*.json")).unlink()
    _assert_cured(synced, before)


@pytest.mark.parametrize("table", ["meta/restatements", "usage/vector_stores"])
def test_a_doctor_killed_while_it_exchanges_a_log_is_gone_on_with(
    synced: Settings, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """Between the old log and the new one the table has none: that is found, also of what no other table tells."""
    before, real = everything(synced, SCHEMAS), Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.parts[-3:] == (*table.split("/"), "_delta_log") and "lake.doctor" in path.parts:
            raise KeyboardInterrupt
        return real(path, target)

    _newest(synced, f"lake/{table}/**/part-*.parquet").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            doctor(synced, is_quick=True)
    assert not (synced.lake_dir / table / "_delta_log").exists()
    _assert_cured(synced, before)


def test_any_bit_of_any_file_is_found(regular: Settings) -> None:
    """A seeded sample of files and damages: each is found at its path, and some are repaired."""
    before, files, chance = everything(regular, SCHEMAS), _files(regular), random.Random(4)
    for n in range(SAMPLE):
        path, damage = chance.choice(files), chance.choice(DAMAGES)
        held = path.read_bytes()
        damage(path, chance)
        found = verify(regular, is_quick=True)
        assert [one.path for one in found.findings] == [str(path.relative_to(regular.data_dir))], n
        if n % TREATED == 0 and "raw" not in path.relative_to(regular.data_dir).parts:
            _assert_cured(regular, before)
            files = _files(regular)
        else:
            path.write_bytes(held)
    assert verify(regular, is_quick=True).findings == []


@pytest.mark.parametrize("n", range(4))
def test_two_files_exchanged_are_put_back(regular: Settings, n: int) -> None:
    """Two files that hold each other's content, raw ones too, hold their own again, and nothing is lost."""
    before, chance = everything(regular, SCHEMAS), random.Random(n)
    raw = list(landed_files(regular.raw_dir))
    others = [regular.lake_dir / "seals.txt", raw[1], regular.warehouse_path, chance.choice(_files(regular))]
    one, other = raw[0], others[n]
    held = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)
    assert len(verify(regular, is_quick=True).findings) >= 1
    _assert_cured(regular, before)
    assert one.read_bytes() == held


def test_a_file_that_is_there_twice_is_named_and_counts_once(synced: Settings) -> None:
    """A copy of a data file under another name is in no table: its rows are not read twice."""
    before = everything(synced)
    file = next((synced.lake_dir / "usage").rglob("part-*.parquet"))
    copy = shutil.copyfile(file, file.with_name("part-00009-again.parquet"))
    report = verify(synced)
    assert report.findings == []
    assert report.notes == [f"{copy.relative_to(synced.data_dir)} is in no table: a writer was killed; harmless"]
    refresh(synced)
    assert everything(synced) == before


def test_what_is_whole_is_found_whole_and_nothing_is_written(synced: Settings) -> None:
    """Over a right warehouse, days and marts compared too, verify finds nothing and writes nothing."""
    before = {path: path.stat().st_mtime_ns for path in synced.data_dir.rglob("*")}
    report = verify(synced)
    assert (report.findings, report.notes) == ([], [])
    assert report.days == 2
    assert report.marts == len(load_marts())
    assert {path: path.stat().st_mtime_ns for path in synced.data_dir.rglob("*")} == before


@pytest.mark.slow
def test_wrong_rows_in_whole_files_are_found(synced: Settings) -> None:
    """Rows someone wrote into a usage table or a mart with Delta's own tools differ, though every file is whole."""
    before = everything(synced, SCHEMAS)
    lake = Lake(synced.lake_dir)
    for path, part in (("usage/vector_stores", "usage.vector_stores"), ("marts/usage_daily", "marts.usage_daily")):
        DeltaTable(lake.root / path).update(updates={"organization": "'default'", "project_id": "'another'"})
        assert [one.part for one in verify(synced).findings] == [part]
        done = doctor(synced)
        assert done.is_cured, done
        assert everything(synced, SCHEMAS) == before


@pytest.mark.slow
def test_a_lake_without_seals_is_judged_by_its_content(synced: Settings) -> None:
    """A lake older than the seals says so; a wrong day in it is found all the same, and the doctor seals it."""
    before = everything(synced, SCHEMAS)
    (synced.lake_dir / "seals.txt").unlink()
    newest, older = sorted(
        (synced.lake_dir / "usage" / "vector_stores").rglob("organization*/**/*.parquet"),
        key=lambda path: -path.stat().st_mtime_ns,
    )
    newest.write_bytes(older.read_bytes())
    report = verify(synced)
    assert (report.findings[0].part, report.findings[0].problem) == ("seals", "missing, or never written")
    assert report.findings[1].problem.startswith("2 days are not what was recorded (default 2026-11-02")
    assert "by its content alone" in report.notes[0]
    assert doctor(synced).is_cured
    assert everything(synced, SCHEMAS) == before
    assert verify(synced).findings == []


def _kill_before_logging(service: StatedService, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read state 3; the writer is killed after its commit."""

    def killed(*_args: object) -> None:
        raise KeyboardInterrupt

    service.state(3)
    with monkeypatch.context() as patched:
        patched.setattr("usage_pipeline.sync.logged", killed)
        with pytest.raises(KeyboardInterrupt):
            service.sync(settings, WINDOW, "vector_stores")


@pytest.mark.slow
def test_a_killed_writer_leaves_nothing_to_mend(
    service: StatedService, synced: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data file no log names is a note, not a finding; a commit not yet logged is named, and the doctor logs it."""
    (orphan := synced.lake_dir / "usage" / "vector_stores" / "part-0.parquet").write_bytes(b"PAR1")
    report = verify(synced, is_quick=True)
    assert report.findings == []
    assert str(orphan.relative_to(synced.data_dir)) in report.notes[0]

    _kill_before_logging(service, synced, monkeypatch)
    monkeypatch.setattr("usage_pipeline.verify._PAUSE_SECONDS", 0)
    assert [one.problem for one in verify(synced).findings] == [UNFINISHED]
    assert doctor(synced).is_cured
    assert {row[6] for row in everything(synced)["usage.vector_stores"]} == {3}


def test_a_killed_writer_s_commit_is_logged_once_though_its_table_is_damaged(
    service: StatedService, synced: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the same table is damaged: the read is not taken for one that never reached the lake."""
    _kill_before_logging(service, synced, monkeypatch)
    monkeypatch.setattr("usage_pipeline.verify._PAUSE_SECONDS", 0)
    oldest = min((synced.lake_dir / "usage").rglob("part-*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    _flip(oldest, random.Random(1))
    assert doctor(synced).is_cured
    log = [(row[2], row[4]) for row in everything(synced, ("meta",))["meta.sync_log"]]
    assert len(log) == len(set(log)) == 3
    assert {row[6] for row in everything(synced)["usage.vector_stores"]} == {3}


def test_a_damaged_mart_of_another_version_is_taken_away(synced: Settings) -> None:
    """What this version does not know it cannot make anew; nobody reads it."""
    before = everything(synced)
    other = synced.lake_dir / "marts" / "retired"
    shutil.copytree(synced.lake_dir / "marts" / "usage_daily", other)
    refresh(synced)
    [current, *_] = Lake(synced.lake_dir).table("marts", "retired", pa.schema([])).files(DeltaTable(other))
    _flip(Path(current), random.Random(1))
    assert doctor(synced).is_cured
    assert everything(synced) == before
    assert list(other.rglob("*.parquet")) == []


@pytest.mark.slow
def test_days_in_no_file_any_more_are_said_and_can_be_read_again(service: StatedService, synced: Settings) -> None:
    """With raw and every data file of a table gone, the doctor says what is lost and how to fetch it; a sync does."""
    before = everything(synced)
    for path in [*landed_files(synced.raw_dir), *(synced.lake_dir / "usage" / "vector_stores").rglob("org*/**/*.*et")]:
        path.unlink()
    done = doctor(synced)
    assert not done.is_cured
    assert done.after.findings == []
    assert done.lost[-1].endswith(
        "`usage-pipeline sync --endpoint vector_stores --since 2026-11-02 --until 2026-11-04`"
    )
    assert everything(synced)["usage.vector_stores"] == []
    assert doctor(synced).is_cured
    service.now += timedelta(minutes=1)
    service.sync(synced, WINDOW, "vector_stores")
    assert everything(synced) == before


@pytest.mark.slow
def test_raw_that_never_reached_the_lake_is_brought_in(service: StatedService, synced: Settings) -> None:
    """After a loss of power raw knows a read the lake does not: it is named, and the doctor brings it in."""
    with power_lost(synced):
        service.sync_state(synced, 3)
        newest = everything(synced)
    assert any(one.problem == "the lake does not have this read" for one in verify(synced).findings)
    assert doctor(synced).is_cured
    assert everything(synced) == newest


@pytest.mark.slow
@pytest.mark.parametrize("step", ["remake", "refresh", "tidy"])
def test_a_killed_doctor_is_finished_by_the_next(synced: Settings, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Killed before a table is exchanged, before publishing or before tidying up, the next doctor ends the work."""
    before = everything(synced, SCHEMAS)
    _flip(_newest(synced, "lake/usage/vector_stores/organization=*/*/*.parquet"), random.Random(1))

    def killed(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(doctor_module if step == "refresh" else repairs_module, step, killed)
        with pytest.raises(KeyboardInterrupt):
            doctor(synced)
    assert doctor(synced).is_cured
    assert everything(synced, SCHEMAS) == before
    assert verify(synced).findings == []


def test_log_entries_outlive_delta_s_own_tidying() -> None:
    """delta-rs would delete log entries older than its retention at each checkpoint; here they stay."""
    assert writing.HOOKS.cleanup_expired_logs is False


def _run(arguments: list[str], settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    from typer.testing import CliRunner

    monkeypatch.setenv("USAGE_PIPELINE_DATA_DIR", str(settings.data_dir))
    result = CliRunner().invoke(app, arguments)
    code = getattr(result.exception, "exit_code", result.exit_code)
    return code, result.stdout


@pytest.mark.slow
def test_the_commands_say_what_they_found(synced: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verify names the file and ends with 3, doctor says what it did and ends with 0, both as JSON too."""
    import json

    table = Lake(synced.lake_dir).usage(ENDPOINTS["vector_stores"])
    Path(table.files(table.open())[0]).unlink()
    code, said = _run(["verify", "--quick"], synced, monkeypatch)
    assert (code, "missing" in said, "usage.vector_stores" in said) == (3, True, True)
    code, said = _run(["verify", "--quick", "--json"], synced, monkeypatch)
    assert (code, json.loads(said)["intact"]) == (3, False)
    code, said = _run(["doctor", "--json"], synced, monkeypatch)
    assert (code, json.loads(said)["cured"]) == (0, True)
    assert json.loads(said)["repaired"] == ["usage.vector_stores: made anew (missing)"]
    code, said = _run(["verify"], synced, monkeypatch)
    assert (code, said.startswith("Everything is what was written")) == (0, True)
    code, said = _run(["doctor"], synced, monkeypatch)
    assert (code, said.startswith("Everything is what was written")) == (0, True)
