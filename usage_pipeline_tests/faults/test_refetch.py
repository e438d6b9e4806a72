"""What no file has any more: the doctor reads it again from the service, and says what the service lost too."""

import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from usage_pipeline.api.client import UsageClient
from usage_pipeline.cli import repair
from usage_pipeline.doctor import doctor
from usage_pipeline.errors import LakeDamaged
from usage_pipeline.lake.landing import landed_files
from usage_pipeline.refetch import Missing, refetch
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline.sync import ClientFactory
from usage_pipeline.verify import verify
from usage_pipeline.windows import Window
from usage_pipeline_tests.faults.stated import DAY, FIRST, WINDOW, StatedService
from usage_pipeline_tests.played import played_settings
from usage_pipeline_tests.scripted import error, script
from usage_pipeline_tests.world import everything

pytestmark = pytest.mark.marts("usage_daily")


@pytest.fixture
def synced(service: StatedService, synced: Settings) -> Settings:
    """The warehouse, of which every raw file is lost."""
    for path in landed_files(synced.raw_dir):
        path.unlink()
    service.now += timedelta(minutes=1)
    return synced


def _clock(service: StatedService) -> Callable[[], datetime]:
    return lambda: service.now


@pytest.mark.slow
def test_what_raw_lost_is_read_again_from_the_service(service: StatedService, synced: Settings) -> None:
    """Given a client, the doctor lands the lost windows anew: raw alone can give every row again."""
    before = everything(synced)
    done = doctor(synced, client_factory=service.client, clock=_clock(service))
    assert done.is_cured, (done.lost, done.after.findings)
    assert any("read again from the service" in one for one in done.repaired)
    assert everything(synced) == before
    shutil.rmtree(synced.lake_dir)
    replay(synced)
    assert everything(synced) == before


def test_a_day_that_several_files_lost_is_asked_for_once(service: StatedService, synced: Settings) -> None:
    """Two lost files of one window are one read of it, and each is told."""
    asked = len(service.requests)
    done = doctor(synced, client_factory=service.client, clock=_clock(service))
    assert len(service.requests) == asked + 1
    assert len([one for one in done.repaired if "read again from the service" in one]) == 2


@pytest.mark.slow
def test_days_in_no_file_any_more_come_back(service: StatedService, synced: Settings) -> None:
    """With a table's data gone beside raw, one command brings the days back."""
    before = everything(synced)
    for path in (synced.lake_dir / "usage" / "vector_stores").rglob("org*/**/*.parquet"):
        path.unlink()
    done = doctor(synced, client_factory=service.client, clock=_clock(service))
    assert done.is_cured, (done.lost, done.after.findings)
    assert everything(synced) == before


def test_what_the_service_refuses_is_lost_with_the_reason(service: StatedService, synced: Settings) -> None:
    """A service that refuses leaves the lake as it was, and each loss says why it could not be read again."""
    before = everything(synced)
    refused = script(lambda _: error(401, "Incorrect API key provided."))
    done = doctor(synced, client_factory=lambda _: refused.client(), clock=_clock(service))
    assert not done.is_cured
    assert len(done.lost) == 2
    assert all("the lake keeps what it held" in one and "reading it again failed" in one for one in done.lost)
    assert everything(synced) == before


def test_days_the_service_no_longer_has_are_named(service: StatedService, synced: Settings) -> None:
    """An answer without a day of the window leaves that day lost, by its date."""
    late = service.handle

    def without_the_first(request: httpx.Request) -> httpx.Response:
        start = int(request.url.params["start_time"])
        return late(request) if start > WINDOW.start_time else error(400, "reporting_lookback_exceeded")

    service.handle = without_the_first  # type: ignore[method-assign]
    done = doctor(synced, client_factory=service.client, clock=_clock(service))
    assert not done.is_cured
    assert everything(synced)["usage.vector_stores"] != []


def test_a_key_of_another_organization_asks_for_nothing(service: StatedService, synced: Settings) -> None:
    """What another organization's rows lost cannot be read with this one's key, so the service is not asked."""
    missing = Missing(organization="another", endpoint="vector_stores", window=WINDOW, told="gone")
    asked = len(service.requests)
    came, lost = refetch([synced], [missing], service.client, _clock(service))
    assert (came, len(lost), len(service.requests)) == ([], 1, asked)


def _asked(service: StatedService) -> list[tuple[int, int]]:
    """The windows that were asked for, which are then forgotten."""
    usage = [url.params for url in service.requests if url.path.endswith("/vector_stores")]
    service.requests.clear()
    return [(int(one["start_time"]), int(one["end_time"])) for one in usage]


def _lost(notes: list[str]) -> list[str]:
    return [one for one in notes if "is lost" in one]


def _down(_: Settings) -> UsageClient:
    return script(lambda _: error(401, "Incorrect API key provided.")).client()


@pytest.mark.parametrize(
    "factory", [pytest.param(None, id="offline"), pytest.param(_down, id="service_down", marks=pytest.mark.slow)]
)
def test_what_a_doctor_could_not_read_again_the_next_one_does(
    service: StatedService, synced: Settings, factory: ClientFactory | None
) -> None:
    """The next doctor with a client reads the lost days once; then no note is left, and raw alone gives every row."""
    before = everything(synced)
    assert len(doctor(synced, client_factory=factory, clock=_clock(service)).lost) == 2
    assert len(_lost(verify(synced).notes)) == len(_lost(verify(synced, is_quick=True).notes)) == 2
    with pytest.raises(LakeDamaged):
        replay(synced)
    _asked(service)
    done = doctor(synced, client_factory=service.client, clock=_clock(service))
    assert done.found.findings == []
    assert done.is_cured
    assert done.repaired
    assert all("read again from the service" in one for one in done.repaired)
    assert _asked(service) == [(WINDOW.start_time, WINDOW.end_time)]
    assert (verify(synced).notes, verify(synced, is_quick=True).notes) == ([], [])
    again = doctor(synced, client_factory=service.client, clock=_clock(service))
    assert (again.is_cured, again.repaired, again.after.notes, _asked(service)) == (True, [], [], [])
    replay(synced)
    assert everything(synced) == before


@pytest.mark.slow
def test_a_loss_stays_a_note_while_the_service_does_not_give_the_days(service: StatedService, synced: Settings) -> None:
    """Each doctor with a client asks again and says why nothing came; it is no new loss, and may come later."""
    doctor(synced)
    gone = script(lambda _: error(400, "too far back", code="reporting_lookback_exceeded"))
    for client_factory in (lambda _: gone.client(), _down):
        done = doctor(synced, client_factory=client_factory, clock=_clock(service))
        assert (done.is_cured, done.lost, done.repaired) == (True, [], [])
        assert len(_lost(done.after.notes)) == 2
        assert all("; " in one.partition("from raw")[2] for one in done.after.notes), "it says why"
        assert len(_lost(verify(synced).notes)) == 2
    assert doctor(synced, client_factory=service.client, clock=_clock(service)).repaired
    assert verify(synced).notes == []


@pytest.fixture
def kept(service: StatedService, data_dir: Path) -> Settings:
    """A warehouse with all its raw files: two states of both days, and a third of the second day alone."""
    settings = played_settings(data_dir)
    service.sync_state(settings, 1)
    service.sync_state(settings, 2)
    service.state(3)
    service.sync(settings, Window.of_times(FIRST + DAY, FIRST + 2 * DAY), "vector_stores")
    service.state(2)
    service.now += timedelta(minutes=1)
    service.requests.clear()
    return settings


@pytest.mark.parametrize(
    ("number", "asked"),
    [
        pytest.param(0, [], id="restated_since", marks=pytest.mark.slow),
        pytest.param(1, [(FIRST, FIRST + DAY)], id="a_day_restated_since"),
        pytest.param(2, [(FIRST + DAY, FIRST + 2 * DAY)], id="newest", marks=pytest.mark.slow),
    ],
)
def test_only_days_no_other_raw_file_gives_are_read_again(
    service: StatedService, kept: Settings, number: int, asked: list[tuple[int, int]]
) -> None:
    """A day that a later raw file holds is not asked for, one that only an older file holds, as it was then, is."""
    list(landed_files(kept.raw_dir))[number].unlink()
    assert len(doctor(kept).lost) == 1
    assert len(verify(kept).notes) == len(asked)
    done = doctor(kept, client_factory=service.client, clock=_clock(service))
    assert (done.is_cured, _asked(service)) == (True, asked)
    assert verify(kept).notes == []
    before = everything(kept, ("usage",))
    replay(kept)
    assert everything(kept, ("usage",)) == before


def test_a_lost_file_put_back_is_not_read_again(service: StatedService, kept: Settings) -> None:
    """A file restored from a backup vouches for its days again, where it is whole."""
    path = list(landed_files(kept.raw_dir))[2]
    held = path.read_bytes()
    path.unlink()
    doctor(kept)
    path.write_bytes(held[:-9])
    assert len(verify(kept).notes) == 1
    path.write_bytes(held)
    assert verify(kept).notes == []
    assert doctor(kept, client_factory=service.client, clock=_clock(service)).repaired == []
    assert _asked(service) == []


def test_what_another_organization_lost_waits_for_its_key(service: StatedService, kept: Settings) -> None:
    """A doctor for other organizations asks for nothing, and the note stays as it was."""
    list(landed_files(kept.raw_dir))[2].unlink()
    doctor(kept)
    other = kept.model_copy(update={"organization": "another"})
    done = doctor(kept, client_factory=service.client, members=[other], clock=_clock(service))
    assert (done.is_cured, done.repaired, _asked(service)) == (True, [], [])
    assert done.after.notes == verify(kept).notes != []


def test_the_command_says_what_it_read_again(
    service: StatedService, kept: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`doctor` with a key, where nothing but an old loss is wrong, says what came and no longer that it is lost."""
    list(landed_files(kept.raw_dir))[2].unlink()
    doctor(kept)
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-played")
    monkeypatch.setenv("USAGE_PIPELINE_DATA_DIR", str(kept.data_dir))
    monkeypatch.setattr(repair, "make_client", service.client)
    for said in ("read again from the service", "Everything is what was written"):
        repair.run_doctor(labels=None, is_offline=False, as_json=False, is_quiet=False)
        out, err = capsys.readouterr()
        assert said in out
        assert "is lost" not in out + err
