"""What no file has any more: the doctor reads it again from the service, and says what the service lost too."""

import shutil
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx
import pytest

from usage_pipeline.doctor import doctor
from usage_pipeline.lake.landing import landed_files
from usage_pipeline.refetch import Missing, refetch
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline_tests.faults.stated import WINDOW, StatedService
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
