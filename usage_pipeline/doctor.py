"""The doctor: verifies, has what differs repaired, publishes, and verifies again.

Offline wherever raw or the lake still has it; what no file has any more is read again from the service where a client
is given. Put rounds, locks and the report here; each repair is repairs.py's. A doctor that is killed leaves what it
had not reached as it was; the next one goes on.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from usage_pipeline.errors import LakeDamaged
from usage_pipeline.guard import resident
from usage_pipeline.lake.copies import mend
from usage_pipeline.lake.faults import files_explained
from usage_pipeline.lake.links import refuse_links
from usage_pipeline.lake.locks import DIMS_LOCK, REBUILD_LOCK, REPLAY_LOCK, WAREHOUSE_LOCK, exclusive
from usage_pipeline.lake.mirror import Mirror
from usage_pipeline.lake.seals import read_seals, seals_if_readable
from usage_pipeline.lake.store import Lake
from usage_pipeline.lake.vouched import lost_names
from usage_pipeline.progress import Tell, tell_nobody
from usage_pipeline.refetch import Missing, missing_of_lost, refetch
from usage_pipeline.repairs import Repairs
from usage_pipeline.replay import apply_late
from usage_pipeline.settings import Settings
from usage_pipeline.sync import ClientFactory
from usage_pipeline.verify import SEALS, UNAPPLIED, Report, verify
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import utc_now

_ROUNDS = 3
_log = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class Treatment:
    """What was found, what was done about it, what is lost for good, and what still differs afterwards."""

    found: Report
    repaired: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    after: Report

    @property
    def is_cured(self) -> bool:
        """Whether all is as it was recorded, and nothing was lost."""
        return not self.lost and not self.after.findings


def doctor(
    settings: Settings,
    *,
    is_quick: bool = False,
    client_factory: ClientFactory | None = None,
    members: Sequence[Settings] | None = None,
    clock: Callable[[], datetime] = utc_now,
    tell: Tell = tell_nobody,
) -> Treatment:
    """Verify, repair what differs, publish, and verify again; `is_quick` as `verify` has it.

    Of a working copy what differs from the URL is fetched again, and what is gone there and whole here is put there.
    Without a `client_factory` the service is asked for nothing, and what no file has any more is lost. With one it is
    asked for what `members` lost, by default for what the organization of the settings did; also for what an earlier
    doctor could not read again. Of that what does not come stays a note: it was told as lost then.

    Raises:
        FixConfig: a file people write is wrong, so that nothing could be published; what was repaired stays so.
        WarehouseBusy: a replay or another doctor is running.
        LakeUnwritable: the disk or a folder refused.
    """
    found = verify(settings, is_quick=is_quick, tell=tell)
    done = Treatment(found=found, after=found)
    lake = Lake.of(settings)
    if lake.mirror is not None:
        _mend_copy(settings, lake, lake.mirror, done, tell)
        done.after = verify(settings, is_quick=is_quick, tell=tell)
        return done
    lost_before = [] if found.differs(SEALS) else lost_names(read_seals(settings.lake_dir) or {})
    if found.findings:
        with files_explained("repairing"), exclusive(settings.data_dir / REBUILD_LOCK, deadline_seconds=0):
            for _ in range(_ROUNDS):  # what stands on something damaged is judged once that is right
                _treat(settings, done, tell)
                done.after = verify(settings, is_quick=is_quick, tell=tell)
                if not done.after.findings:
                    break
    if client_factory is None:
        done.lost += [one.told for one in done.missing]
    else:
        asked = members or [settings]
        again = [] if done.after.differs("meta") else missing_of_lost(settings, asked, lost_before)
        if done.missing or again:
            came, lost = refetch(asked, [*done.missing, *again], client_factory, clock)
            done.after = verify(settings, is_quick=is_quick, tell=tell)
            _record(done, came, lost, {one.told for one in again})
    return done


def _record(done: Treatment, came: list[str], lost: list[str], known: set[str]) -> None:
    """What came is repaired and what did not is lost; of what was `known` to be, the note says why it still is."""
    noted = [one for one in lost if one.startswith(tuple(known))]
    done.repaired += came
    done.lost += [one for one in lost if one not in noted]
    plain = [note for note in done.after.notes if not any(one.startswith(note) for one in noted)]
    done.after.notes = [*plain, *dict.fromkeys(noted)]


def _mend_copy(settings: Settings, lake: Lake, mirror: Mirror, done: Treatment, tell: Tell) -> None:
    """Bring a working copy and its URL together again, and publish; what is wrong at the URL stays as it is."""
    if not done.found.findings:
        return
    tell("repairing", 0, 0)
    unapplied = [mirror.data_dir / one.path for one in done.found.findings if one.path and one.problem == UNAPPLIED]
    with files_explained("repairing"), exclusive(settings.data_dir / REBUILD_LOCK, deadline_seconds=0):
        with (
            exclusive(settings.data_dir / REPLAY_LOCK),
            exclusive(settings.data_dir / DIMS_LOCK),
            exclusive(settings.data_dir / WAREHOUSE_LOCK),
        ):
            if done.found.differs(SEALS):
                shutil.rmtree(lake.root)  # what could be wrong here without seals is nothing once it is fetched anew
                done.repaired.append("the copy of the lake was fetched anew")
            done.repaired += mend(mirror, seals_if_readable(lake.root), done.found.findings)
            for path in unapplied:
                mirror.objects.put_new(mirror.key(path), path)
                apply_late(lake, path)
                done.repaired.append(f"{mirror.key(path)} was brought into the lake")
        try:
            refresh(resident(settings), tell)
        except LakeDamaged as left:
            _log.warning("%s", left)


def _treat(settings: Settings, done: Treatment, tell: Tell) -> None:
    """One round: repair, publish, and remove what nobody needs any more."""
    repairs = Repairs(settings, done.after.findings)
    tell("repairing", 0, 0)
    with (
        exclusive(settings.data_dir / REPLAY_LOCK),
        exclusive(settings.data_dir / DIMS_LOCK),
        exclusive(settings.data_dir / WAREHOUSE_LOCK),
    ):
        refuse_links(settings.data_dir)
        repairs.treat()
    refresh(resident(settings), tell)
    with exclusive(settings.data_dir / WAREHOUSE_LOCK):
        repairs.clean()
    done.repaired += repairs.repaired
    done.lost += repairs.lost
    done.missing += repairs.missing
