"""The warehouse people query, brought up to date from the lake: marts, then the published file, as one step.

Put what must happen together under the warehouse's lock here; how marts and the file are made is on the floor below.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import WarehouseBusy
from usage_pipeline.lake.catalog import publish
from usage_pipeline.lake.compaction import compact
from usage_pipeline.lake.contents import check_unsealed
from usage_pipeline.lake.copies import damaged_logs
from usage_pipeline.lake.damage import refuse_damaged
from usage_pipeline.lake.delta_table import CommitConflict
from usage_pipeline.lake.faults import files_explained
from usage_pipeline.lake.formats import refuse_newer
from usage_pipeline.lake.ledger import accepted_files, accepted_reads
from usage_pipeline.lake.leftovers import sweep
from usage_pipeline.lake.links import refuse_links
from usage_pipeline.lake.locks import WAREHOUSE_LOCK, exclusive
from usage_pipeline.lake.published import file_lists, shown_lookbacks, shown_relations
from usage_pipeline.lake.seals import Seals, forget_seals, is_sealed, seal_new, seals_if_readable
from usage_pipeline.lake.settling import lookback_days, observed_settling
from usage_pipeline.lake.snapshot import Snapshot, check_rows, lake_state, take_snapshot
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.build import Built, MartBuild, build_marts
from usage_pipeline.marts.fingerprints import Contents
from usage_pipeline.marts.inputs import inputs_state, load_inputs, take_inputs
from usage_pipeline.marts.macros import published_macros
from usage_pipeline.marts.spark import Spark
from usage_pipeline.marts.tables import mart_relations
from usage_pipeline.marts.views import view_relations
from usage_pipeline.name_lists import LISTS
from usage_pipeline.progress import Tell, tell_nobody
from usage_pipeline.settings import Settings
from usage_pipeline.windows import utc_now

_ATTEMPTS = 12
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Refresh:
    """What a refresh did: the marts' builds and the published file."""

    builds: list[MartBuild]
    path: Path


def refresh(settings: Settings, tell: Tell = tell_nobody) -> Refresh:
    """Build the marts that are out of date, publish one consistent version of everything, remove what killed runs left.

    Raises:
        NewerFormat: a newer version wrote the lake; nothing was changed.
        FixConfig: a file people write (budgets.csv, prices.csv, tags.csv) is wrong; the lake is up to date, the
            published file as it was. Or Spark is to build and not installed.
        RetryLater: Spark did not build; the published file is as it was.
        WarehouseBusy: another process kept building, or writers never paused.
        LakeDamaged: the tables do not hold what the coverage log says; nothing was published.
        LakeUnwritable: the disk or a folder refused; nothing was published.
        MemoryExhausted: memory ran out; nothing was published.
    """
    lake = Lake.of(settings)
    with files_explained("publishing"), exclusive(settings.data_dir / WAREHOUSE_LOCK):
        tell("comparing what is stored", 0, 0)
        refuse_newer(lake.root)
        refuse_links(settings.data_dir)
        seals = seals_if_readable(lake.root)
        _refuse_or_put_aside(lake, seals)
        snapshot, built = alone_of_hosts(lambda: _built(settings, lake, seals, tell))
        tell("publishing", 0, 0)
        for ledger in (lake.sync_log, lake.restatements, lake.mart_log):
            compact(ledger)
        learned = observed_settling(lake, snapshot.log, utc_now())
        lookbacks = {key: lookback_days(settings.lookback_days, settling) for key, settling in learned.items()}
        usage = shown_relations(snapshot, lookback_days(settings.lookback_days, None))
        publish(
            settings.warehouse_path,
            [*usage, *mart_relations(built.pinned), *view_relations()],
            published_macros(),
            file_lists([*snapshot.tables(), *built.pinned.values()]) | shown_lookbacks(lookbacks),
            is_whole=is_sealed(seals, settings.data_dir, settings.warehouse_path),
            before=lambda new: seal_new(lake.root, lambda: accepted_files(accepted_reads(snapshot.log)), new),
        )
        sweep(settings.data_dir, seals_if_readable(lake.root))
    return Refresh(builds=built.builds, path=settings.warehouse_path)


def _built(settings: Settings, lake: Lake, seals: Seals, tell: Tell) -> tuple[Snapshot, Built]:
    """One version of everything, and the marts made of it."""
    take_inputs(lake)
    load_inputs(lake, settings.data_dir, settings.labels)
    snapshot = take_snapshot(lake)
    check_rows(snapshot)
    check_unsealed(snapshot, seals)
    return snapshot, build_marts(lake, Contents(snapshot), tell=tell, spark=_spark(settings))


def _spark(settings: Settings) -> Spark | None:
    return Spark(data_dir=settings.data_dir, master=settings.spark_master) if settings.mart_engine == "spark" else None


_Done = TypeVar("_Done")


def alone_of_hosts(work: Callable[[], _Done]) -> _Done:
    """Do work that another host's commit refuses, anew where it did: the warehouse's lock is of this host alone.

    Raises:
        WarehouseBusy: other hosts won every attempt.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return work()
        except CommitConflict:
            _log.info("another host builds the marts as well, building upon what it did")
            time.sleep(random.uniform(0.1, 0.5) * 2 ** min(attempt, 5))  # noqa: S311 - spreads hosts, no secret
    raise WarehouseBusy("other hosts kept building the marts: run `usage-pipeline publish` again.")


def _refuse_or_put_aside(lake: Lake, seals: Seals) -> None:
    """Of what the service told, another state must not be published as today's; the rest is made anew.

    Raises:
        LakeDamaged: the log of a table of the former kind is damaged.
    """
    damaged = damaged_logs(lake, seals)
    told = ("meta.sync_log", "meta.restatements", *(f"dims.{name}" for name in LISTS))
    refuse_damaged(damaged, (*(f"usage.{name}" for name in ENDPOINTS), *told), "Nothing was published.")
    for part in damaged:
        lake.at(part).put_aside()
        forget_seals(lake.root, lake.at(part).path)


class Workbench:
    """Builds marts one after another, as the steps of a run do.

    What they all stand on is read once, and again when the lake or a file people write has changed since.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state: object = None
        self._contents: Contents | None = None

    def build(self, name: str) -> MartBuild:
        """Bring one mart, and what it reads, up to date; readers see it with the next refresh.

        Raises:
            FixConfig: a file people write is wrong; the mart is as it was.
            WarehouseBusy: another process kept building, or writers never paused.
        """
        settings, lake = self._settings, Lake.of(self._settings)
        with exclusive(settings.data_dir / WAREHOUSE_LOCK):
            return alone_of_hosts(lambda: self._build(lake, name))

    def _build(self, lake: Lake, name: str) -> MartBuild:
        settings = self._settings
        take_inputs(lake)
        state = (lake_state(lake), inputs_state(settings.data_dir))
        if self._contents is None or state != self._state:
            load_inputs(lake, settings.data_dir, settings.labels)
            # The state from before all this was read: what changes meanwhile is seen by the next build.
            self._contents, self._state = Contents(take_snapshot(lake)), state
        built = build_marts(lake, self._contents, [name], spark=_spark(settings))
        return next(build for build in built.builds if build.mart == name)
