"""The data folder under repair: each finding mended by the smallest step, from raw and from what is intact.

Put the order of the repairs here; how a table is made anew is lake/remake.py's, what can still be read of it
lake/salvage.py's. Verifying before and after, locks and publishing are doctor.py's.
"""

import shutil
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.history import History
from usage_pipeline.lake.contents import OrganizationDay, differing_days, recorded_days, rows_of_days
from usage_pipeline.lake.damage import PUBLISHED, RAW, Damage
from usage_pipeline.lake.delta_table import LakeTable
from usage_pipeline.lake.dims import DIMS
from usage_pipeline.lake.landing import landed_files
from usage_pipeline.lake.ledger import AcceptedRead, CoverageLog, accepted_files, accepted_reads, forget_days
from usage_pipeline.lake.remake import drop_table, remake, remove_files, tidy
from usage_pipeline.lake.restated import in_days, lost_changes, mended, miscounted, with_lost_changes
from usage_pipeline.lake.salvage import (
    salvaged_days,
    salvaged_log,
    salvaged_restatements,
    salvaged_rows,
)
from usage_pipeline.lake.seals import LOST, SEALS_FILE, Seals, change_seals, is_seals, read_seals, seal_of
from usage_pipeline.lake.snapshot import coverage_of
from usage_pipeline.lake.store import Lake
from usage_pipeline.lake.vouched import changed_days, missing_reads
from usage_pipeline.name_lists import LISTS
from usage_pipeline.name_repair import rebuilt_names
from usage_pipeline.refetch import Missing
from usage_pipeline.replay import apply_late, content_of, rebuild
from usage_pipeline.settings import Settings
from usage_pipeline.verify import SEALS, UNAPPLIED, UNFINISHED
from usage_pipeline.windows import Window, day_runs

_ORDER = ("meta.sync_log", "usage", "dims", "meta.restatements", "meta.mart_log", "marts")
_SHOWN = 3
_ASIDE = ".aside"  # on its way back; killed in between it may be the only copy, so it is not called temporary
_NEVER_REMOVED = {SEALS, "meta.sync_log"}  # the coverage log's superseded files are its insurance


class Repairs:
    """What differs, and what was done about it so far; the caller holds the locks of all who write."""

    def __init__(self, settings: Settings, findings: Iterable[Damage]) -> None:
        self.settings = settings
        self.lake = Lake.of(settings)
        self.workshop = settings.data_dir / "lake.doctor"
        self.findings = list(findings)
        self.repaired: list[str] = []
        self.lost: list[str] = []
        self.missing: list[Missing] = []
        self.made: list[LakeTable] = []

    def treat(self) -> None:
        """Every repair but publishing, in an order in which each finds right what it stands on."""
        shutil.rmtree(self.workshop, ignore_errors=True)
        try:
            if self._find_seals():
                return  # the other file is where it was again, and can be judged
            self._exchange_back()
            self._put_raw_aside()
            self._remove_superseded()
            by_part: dict[str, list[Damage]] = defaultdict(list)
            for one in self.findings:
                if one.part.startswith(_ORDER):
                    by_part[one.part].append(one)
            order = sorted(by_part, key=lambda part: next(i for i, head in enumerate(_ORDER) if part.startswith(head)))
            for part in order:
                self._repair(part, by_part[part])
        finally:
            shutil.rmtree(self.workshop, ignore_errors=True)
        for part in (SEALS, PUBLISHED):
            if self._differs(part):
                self.repaired.append(f"{part}: written anew")

    def clean(self) -> None:
        """Remove what the repaired tables no longer need, now that nobody reads it."""
        for table in self.made:
            tidy(table)

    def _path(self, one: Damage) -> Path:
        return self.settings.data_dir / (one.path or "")

    def _sealed(self) -> Seals:
        return {} if self._differs(SEALS) else read_seals(self.settings.lake_dir) or {}

    def _find_seals(self) -> bool:
        """Where the file of seals was exchanged with another file, exchange them back."""
        here = self.settings.lake_dir / SEALS_FILE
        if not self._differs(SEALS) or not here.exists() or is_seals(here):
            return False
        folders = (self.settings.lake_dir, self.settings.raw_dir)
        files = [*(path for folder in folders for path in folder.rglob("*")), self.settings.warehouse_path]
        there = next((path for path in files if path.is_file() and is_seals(path)), None)
        if there is None:
            return False
        aside = here.with_name(f".{here.name}.{time.time_ns()}{_ASIDE}")
        here.rename(aside)
        there.rename(here)
        aside.rename(there)
        self.repaired.append(f"{there.relative_to(self.settings.data_dir)}: exchanged with the file of seals, put back")
        return True

    def _differs(self, part: str) -> bool:
        return any(one.part == part for one in self.findings)

    def _exchange_back(self) -> None:
        """Give damaged files whose content is in another damaged file (two were exchanged) what they held."""
        seals = self._sealed()
        damaged = [one for one in self.findings if one.path in seals]
        there = {seal_of(self._path(one)): self._path(one) for one in damaged if self._path(one).exists()}
        copies = []
        for one in damaged:
            source = next((there[seal] for seal in seals[one.path or ""] if seal in there), None)
            if source is not None:
                copy = self._path(one).with_name(f".{self._path(one).name}.{time.time_ns()}{_ASIDE}")
                shutil.copyfile(source, copy)
                copies.append((one, copy))
        for one, copy in copies:
            copy.replace(self._path(one))
            self.findings.remove(one)
            self.repaired.append(f"{one.path}: put back from where its content was")

    def _put_raw_aside(self) -> None:
        """What raw cannot give any more is lost to a rebuild, though the lake has it; that is said, once."""
        gone = [one for one in self.findings if one.part == RAW]
        reads = {file: read for read in self._accepted() for file in accepted_files([read])} if gone else {}
        for one in gone:
            path = self._path(one)
            if path.exists():
                path.rename(path.with_name(f"{path.name}.damaged-{time.time_ns()}"))
            told = f"{one.path} ({one.problem}): the lake keeps what it held, but no longer has it from raw"
            read = reads.get(one.path or "")
            if read is None:  # a list of names, which the service shows as it is today only
                self.lost.append(told)
            else:
                self._miss(read.organization, read.endpoint, read.window, told)
        names = {one.path or "": (LOST,) for one in gone}
        if names:
            change_seals(self.settings.lake_dir, lambda seals: {**seals, **names})

    def _accepted(self) -> list[AcceptedRead]:
        """The reads of the coverage log, as far as that can be read."""
        return [] if self._differs("meta.sync_log") else accepted_reads(CoverageLog(self.lake).rows())

    def _miss(self, organization: str, endpoint: str, window: Window, told: str) -> None:
        self.missing.append(Missing(organization=organization, endpoint=endpoint, window=window, told=told))

    def _remove_superseded(self) -> None:
        """Data files that no version people read names are of no use any more."""
        logs = {one.part for one in self.findings if one.is_log or one.path is None}
        names = set()
        for one in self.findings:
            if one.path is None or not one.path.startswith("lake/") or one.part in logs | _NEVER_REMOVED:
                continue
            table = self._table(one.part)
            if str(self._path(one).resolve()) not in table.files(table.open()):
                names.add(one.path)
        if names:
            remove_files(self.settings.data_dir, names)
            self.findings = [one for one in self.findings if one.path not in names]
            self.repaired += [f"{name}: a superseded file, removed" for name in sorted(names)]

    def _table(self, part: str) -> LakeTable:
        group, _, name = part.partition(".")
        if group == "usage":
            return self.lake.usage(ENDPOINTS[name])
        ledgers = {"sync_log": self.lake.sync_log, "restatements": self.lake.restatements}
        if group == "meta":
            return ledgers.get(name, self.lake.mart_log)
        # Marts are only dropped, and may be an earlier version's.
        return self.lake.table(group, name, DIMS[name].schema if group == "dims" else pa.schema([]))

    def _repair(self, part: str, findings: list[Damage]) -> None:
        damaged = [one for one in findings if one.problem not in (UNAPPLIED, UNFINISHED)]
        if damaged:
            self._mend(part, damaged)
        for one in findings:  # not upon what is damaged
            if one.problem == UNAPPLIED:
                apply_late(self.lake, self._path(one))
                self.repaired.append(f"{one.path}: brought into {part}")
        # A commit that is only unfinished the refresh logs.

    def _mend(self, part: str, findings: list[Damage]) -> None:
        group, _, name = part.partition(".")
        table, damaged = self._table(part), {self._path(one) for one in findings if one.path}
        if part == "meta.sync_log":
            self._remake(table, salvaged_log(table, damaged), has_twin=True)
        elif group == "usage":
            self._repair_usage(name, damaged)
        elif name in LISTS:
            rows, lost = rebuilt_names(table, DIMS[name], damaged, self._sealed(), self._raw_of([part]), self.workshop)
            self._remake(table, rows)
            self.lost += lost
        elif part == "meta.restatements":
            self._repair_restatements(damaged)
        else:  # marts, what they remember, and dims read from people's files: the refresh makes them anew
            drop_table(table)
            self.made.append(table)
        self.repaired.append(f"{part}: made anew ({'; '.join(one.problem for one in findings[:_SHOWN])})")

    def _remake(self, table: LakeTable, rows: pa.Table, *, has_twin: bool = False) -> None:
        remake(table, rows, self.workshop / "tables", has_twin=has_twin)
        self.made.append(table)

    def _rebuilt(self, folders: list[str]) -> Lake:
        """What the raw files of these endpoints make, in a lake of its own."""
        lake = Lake(self.workshop / "raw")
        shutil.rmtree(lake.root, ignore_errors=True)
        damaged = {one.part.partition(".")[2] for one in self.findings if one.part.startswith("usage.")}
        rebuild(lake, History.of(self.lake, distrusted=damaged), self._raw_of(folders))
        return lake

    def _raw_of(self, folders: list[str]) -> list[Path]:
        return [path for path in landed_files(self.settings.raw_dir) if path.parts[-3] in folders]

    def _repair_usage(self, name: str, damaged: set[Path]) -> None:
        """Day by day: as the table still has it, as raw gives it, or as any file of the table has it."""
        endpoint, table = ENDPOINTS[name], self.lake.usage(ENDPOINTS[name])
        needed = self._recorded(name)
        kept: list[pa.Table] = []

        def take(rows: pa.Table) -> None:
            right = set(needed) - differing_days(endpoint, rows, needed)
            kept.append(rows_of_days(rows, right))
            for day in right:
                del needed[day]

        take(salvaged_rows(table, damaged))
        if needed:
            take(content_of(self._rebuilt([name]).usage(endpoint)).cast(table.schema))
        if needed:
            for rows in salvaged_days(table, endpoint, damaged, dict(needed)):
                take(rows)
        self._remake(table, pa.concat_tables(kept))
        if needed:
            self._give_up(name, set(needed))

    def _recorded(self, name: str) -> dict[OrganizationDay, tuple[int, str]]:
        recorded = recorded_days(coverage_of(CoverageLog(self.lake).rows()))[name]
        return {day: held for day, held in recorded.items() if held[0]}

    def _give_up(self, name: str, days: set[OrganizationDay]) -> None:
        """Days nothing has any more count as never read, so that the next sync of them reads them again."""
        self._remake(self.lake.sync_log, forget_days(self.lake, name, days), has_twin=True)
        for organization in sorted({who for who, _ in days}):
            for run in day_runs(sorted(day for who, day in days if who == organization)):
                told = (
                    f"usage.{name} {run}: in no file any more; if the service still has it, run "
                    f"`usage-pipeline sync --endpoint {name} --since {run.start.date()} --until {run.end.date()}`"
                )
                self._miss(organization, name, run, told)

    def _repair_restatements(self, damaged: set[Path]) -> None:
        """The rows that can be read, and what raw gives of reads of which not all can; what is lost then is said."""
        table, log = self.lake.restatements, CoverageLog(self.lake).rows()
        again = content_of(self._rebuilt(list(ENDPOINTS)).restatements).cast(table.schema)
        # From what a missing raw file changed on, raw tells what was there before it otherwise than it was.
        unsure = changed_days(log, missing_reads(self.settings.data_dir, log))
        again = in_days(again, unsure, set(again["commit_id"].to_pylist()), is_in=False)
        rows = mended(log, salvaged_restatements(table, damaged), again)
        self._remake(table, rows)
        if lost := miscounted(log, rows):
            log = with_lost_changes(log, rows, lost)
            self._remake(self.lake.sync_log, log, has_twin=True)
            self.lost += lost_changes(log.filter(pc.is_in(log["commit_id"], pa.array(sorted(lost), pa.string()))))
