"""Whether everything stored is what was written: files against their seals, days against the coverage log, marts
against a recompute.

Put what is compared with what here; nothing in this file writes. Repairing is doctor.py's.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from usage_pipeline.api.name_models import listed_names
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake.contents import differing_days, recorded_days, stored_rows
from usage_pipeline.lake.copies import bring, differing
from usage_pipeline.lake.damage import PUBLISHED, RAW, Damage, altered_files, orphans, torn_entries, unsealed_raw
from usage_pipeline.lake.delta_table import LakeTable
from usage_pipeline.lake.dims import DIMS, LISTED, read_dim
from usage_pipeline.lake.landing import Landed, LandedNames, landed_files, load
from usage_pipeline.lake.ledger import CoverageLog, accepted_files, accepted_reads, stored_log, unrecorded
from usage_pipeline.lake.restated import lost_changes, miscounted
from usage_pipeline.lake.schemas import SYNC_LOG
from usage_pipeline.lake.seals import SEALS_FILE, Seal, Seals, read_seals, table_folders
from usage_pipeline.lake.snapshot import Pinned, Snapshot
from usage_pipeline.lake.store import Lake
from usage_pipeline.lake.vouched import LostRead, lost_names, lost_note, lost_reads
from usage_pipeline.marts.recompute import differing_marts
from usage_pipeline.marts.registry import load_marts
from usage_pipeline.marts.tables import pin_mart
from usage_pipeline.name_lists import LISTS
from usage_pipeline.progress import Tell, tell_nobody
from usage_pipeline.settings import Settings

SEALS = "seals"
_TRIES = 4
_PAUSE_SECONDS = 0.5  # a writer between two steps has made the second by then
_SHOWN = 3


@dataclass(kw_only=True, slots=True)
class Report:
    """What was compared, what differs, and what is worth knowing though it does not."""

    files: int = 0
    days: int = 0
    marts: int = 0
    findings: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def differs(self, *schemas: str) -> bool:
        """Whether something differs in one of these schemas."""
        return any(one.part.partition(".")[0] in schemas for one in self.findings)


def verify(settings: Settings, *, is_quick: bool = False, tell: Tell = tell_nobody) -> Report:
    """Compare everything stored with what was recorded; `is_quick`: the files with their seals, and no more.

    While a sync writes, what it is about is looked at again until it stands still. A working copy is completed first,
    and compared with the URL, too.
    """
    lake = Lake.of(settings)
    if lake.mirror is not None and not is_quick:
        tell("fetching what is not here", 0, 0)
        bring(lake.mirror)
    for _ in range(_TRIES - 1):
        before = _state(settings)
        report = _compare(settings, lake, tell, is_quick=is_quick)
        if not report.findings or (_state(settings) == before and not any(map(_may_pass, report.findings))):
            return report
        time.sleep(_PAUSE_SECONDS)
    return _compare(settings, lake, tell, is_quick=is_quick)


UNFINISHED = "a commit is not in the coverage log: its writer was killed"
UNAPPLIED = "the lake does not have this read"


def _may_pass(one: Damage) -> bool:
    """Whether it is also seen while a sync is between two steps."""
    return one.problem in (UNFINISHED, UNAPPLIED)


def _state(settings: Settings) -> object:
    """What changes whenever a writer has done something."""
    seals = settings.lake_dir / SEALS_FILE
    logs = [(folder, len(list((folder / "_delta_log").iterdir()))) for folder in table_folders(settings.lake_dir)]
    return logs, seals.stat().st_mtime_ns if seals.exists() else 0


def _compare(settings: Settings, lake: Lake, tell: Tell, *, is_quick: bool) -> Report:
    report = Report()
    seals = _seals(settings, report)
    if lake.mirror is not None:
        report.findings += differing(lake, lake.mirror, seals)
    report.files = len(seals)
    report.findings += [*_altered(settings, seals, tell), *torn_entries(lake.root, seals)]
    _note_lost(settings, lake, seals, report)
    report.notes += [f"{name} is in no table: a writer was killed; harmless" for name in orphans(lake.root, seals)]
    if is_quick:
        return report
    snapshot = _opened(lake, report)
    raw = _unsealed_raw(settings, seals, report)
    if not report.differs("meta"):
        with _read(report, "meta.sync_log"):
            _compare_raw(settings, lake, seals, raw, report)
            _compare_days(snapshot, report, tell)
            _compare_restatements(snapshot, report)
            _find_unfinished(lake, snapshot, report)
    _compare_names(settings, lake, report)
    if not report.differs("usage", "dims", "meta"):
        wrong: dict[str, int] = {}
        with _read(report, "meta.mart_log"):
            wrong = differing_marts(lake, snapshot, tell)
        report.marts = len(load_marts())
        for name, rows in wrong.items():
            report.findings.append(Damage(part=f"marts.{name}", problem=f"{rows} rows differ from a recompute"))
    elif report.findings:
        report.notes.append("the marts were not computed again: what they are made of differs")
    if not settings.warehouse_path.exists() and snapshot.sync_log.at is not None and not report.differs(PUBLISHED):
        report.findings.append(Damage(part=PUBLISHED, path=settings.warehouse_path.name, problem="missing"))
    return report


def _note_lost(settings: Settings, lake: Lake, seals: Seals, report: Report) -> None:
    """Say which raw files are lost, as long as no other has the days they had."""
    names, reads = lost_names(seals), dict[str, LostRead]()
    if names and not report.differs("meta"):
        with _read(report, "meta.sync_log"):
            reads = lost_reads(settings.data_dir, CoverageLog(lake).rows(), names)
    report.notes += [lost_note(name) for name in names if name not in reads or reads[name].days]


def _altered(settings: Settings, seals: Seals, tell: Tell) -> list[Damage]:
    """The files that are not what was sealed, folder by folder: what is judged together lies together."""
    folders: dict[Path, dict[str, tuple[Seal, ...]]] = defaultdict(dict)
    for name, held in seals.items():
        folders[Path(name).parent][name] = held
    found, done = [], 0
    for files in folders.values():
        found += altered_files(settings.data_dir, files)
        done += len(files)
        tell("comparing files", done, len(seals))
    return found


def _seals(settings: Settings, report: Report) -> Seals:
    """The seals; where there are none, everything is judged by its content, and that is said."""
    path = f"{settings.lake_dir.name}/{SEALS_FILE}"
    try:
        seals = read_seals(settings.lake_dir)
    except LakeDamaged:
        report.findings.append(Damage(part=SEALS, path=path, problem="altered"))
        seals = {}
    if seals is None and (any(table_folders(settings.lake_dir)) or any(landed_files(settings.raw_dir))):
        report.findings.append(Damage(part=SEALS, path=path, problem="missing, or never written"))
    if not seals:
        report.notes.append("without seals, everything was compared by its content alone")
    return seals or {}


@contextmanager
def _read(report: Report, part: str) -> Iterator[None]:
    """A part that cannot be read is a finding, whatever the engines say of it."""
    try:
        yield
    except Exception as wrong:
        if not any(one.part == part for one in report.findings):
            said = " ".join(str(wrong).split())[:200]
            report.findings.append(Damage(part=part, problem=f"cannot be read ({type(wrong).__name__}: {said})"))


def _opened(lake: Lake, report: Report) -> Snapshot:
    """One version of every table; one that differs already, or cannot be opened, counts as never written."""

    def pin(part: str, table: LakeTable) -> Pinned:
        with _read(report, part):
            if not any(one.part == part for one in report.findings):
                at = table.open()
                gone = [file for file in table.files(at) if not Path(file).exists()]
                report.findings += [
                    Damage(part=part, path=str(Path(file).relative_to(lake.root.parent.resolve())), problem="missing")
                    for file in gone
                ]
                return Pinned(table, None if gone else at)
        return Pinned(table, None)

    for name in load_marts():
        pin(f"marts.{name}", pin_mart(lake, name).table)
    pin("meta.mart_log", lake.mart_log)
    usage = {name: pin(f"usage.{name}", table) for name, table in lake.usage_tables().items()}
    dims = {name: pin(f"dims.{name}", lake.table("dims", name, dim.schema)) for name, dim in DIMS.items()}
    log = pin("meta.sync_log", lake.sync_log)
    rows = SYNC_LOG.empty_table()
    with _read(report, "meta.sync_log"):
        rows = stored_log(log.table, log.at)
    return Snapshot(usage, dims, log, pin("meta.restatements", lake.restatements), rows)


def _unsealed_raw(settings: Settings, seals: Seals, report: Report) -> list[Path]:
    good, bad = unsealed_raw(settings.data_dir, seals)
    report.findings += bad
    report.files += len(good)
    return good


def _compare_raw(settings: Settings, lake: Lake, seals: Seals, unsealed: list[Path], report: Report) -> None:
    """Raw and lake know the same reads: none is gone from raw, none waits there for the lake."""
    reads = accepted_reads(CoverageLog(lake).rows())
    accepted = accepted_files(reads)
    for name in sorted(accepted - set(seals)):
        if not (settings.data_dir / name).exists():
            report.findings.append(Damage(part=RAW, path=name, problem="missing"))
    for path in unsealed:
        name = str(path.relative_to(settings.data_dir))
        landed = load(path) if name not in accepted else None
        if isinstance(landed, Landed) and not any(read.supersedes(landed) for read in reads):
            report.findings.append(Damage(part=f"usage.{landed.endpoint}", path=name, problem=UNAPPLIED))


def _compare_names(settings: Settings, lake: Lake, report: Report) -> None:
    """Where raw has names of an organization, so has the lake: a table that is lost whole leaves no other trace."""
    for dim in LISTED:
        part = f"dims.{dim.name}"
        newest = {path.parts[-4]: path for path in landed_files(settings.raw_dir, table=part)}
        with _read(report, part):
            held = set(read_dim(lake, dim)["organization"].to_pylist())
            for organization, path in newest.items():
                landed = load(path) if organization not in held else None
                if isinstance(landed, LandedNames) and _lists_any(landed):
                    problem = f"it has no names of {organization}, of which raw has some"
                    report.findings.append(Damage(part=part, problem=problem))


def _lists_any(landed: LandedNames) -> bool:
    return bool(listed_names(LISTS[landed.list_name], landed.pages, where=str(landed.path))[0])


def _compare_days(snapshot: Snapshot, report: Report, tell: Tell) -> None:
    recorded = recorded_days(snapshot.coverage())
    for number, (name, pinned) in enumerate(snapshot.usage.items()):
        tell("comparing days", number, len(snapshot.usage))
        part = f"usage.{name}"
        if any(one.part == part for one in report.findings):
            continue
        report.days += len(recorded[name])
        with _read(report, part):
            wrong = sorted(differing_days(ENDPOINTS[name], stored_rows(pinned), recorded[name]))
            if wrong:
                shown = ", ".join(f"{organization} {day}" for organization, day in wrong[:_SHOWN])
                problem = f"{len(wrong)} days are not what was recorded ({shown}{', ...' if wrong[_SHOWN:] else ''})"
                report.findings.append(Damage(part=part, problem=problem))
    for name, pinned in snapshot.dims.items():
        with _read(report, f"dims.{name}"):
            stored_rows(pinned)


def _compare_restatements(snapshot: Snapshot, report: Report) -> None:
    """The ledger has the changes that the coverage log counts: the days themselves do not show it."""
    part = "meta.restatements"
    with _read(report, part):
        wrong = miscounted(snapshot.log, stored_rows(snapshot.restatements))
        if wrong:
            problem = f"{len(wrong)} reads changed more rows, or fewer, than are in it"
            report.findings.append(Damage(part=part, problem=problem))
    report.notes += lost_changes(snapshot.log)


def _find_unfinished(lake: Lake, snapshot: Snapshot, report: Report) -> None:
    """Commits whose writer was killed before it logged them: the next sync does, so only they are named."""
    log = CoverageLog(lake)
    for name, pinned in snapshot.usage.items():
        if pinned.at is not None and unrecorded(log, [pinned.at]):
            part = f"usage.{name}"
            # Its days differ from the log, and its raw file seems not to have reached the lake: both follow from it.
            kept = [one for one in report.findings if one.part != part or (one.path and one.problem != UNAPPLIED)]
            report.findings = [*kept, Damage(part=part, problem=UNFINISHED)]
