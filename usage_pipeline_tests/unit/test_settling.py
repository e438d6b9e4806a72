"""How late closed buckets change is learned from what syncs find, and read again accordingly."""

import random
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.settling import DEEP_DAYS, Settling, lookback_days, observed_settling
from usage_pipeline.lake.store import Lake
from usage_pipeline.plan import due_days
from usage_pipeline.settings import Settings
from usage_pipeline.status import endpoint_status
from usage_pipeline.windows import day_runs
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.world import rows

pytestmark = pytest.mark.marts("cost_daily")

FIRST = date(2026, 9, 1)
NAME = "moderations"


class Life:
    """A service read each morning, what is due alone, and one bucket of it restated now and then."""

    def __init__(self, data_dir: Path, **more: str) -> None:
        self.service = Played(datetime(2026, 9, 1, 3, tzinfo=UTC))
        self.settings: Settings = played_settings(data_dir, USAGE_PIPELINE_START_DATE=str(FIRST), **more)
        self.tokens = 0

    def restate(self, day: date) -> None:
        """Give a day's bucket another number."""
        self.tokens += 1
        result = {
            "object": "organization.usage.moderations.result",
            "input_tokens": self.tokens,
            "num_model_requests": 1,
        }
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        self.service.put(NAME, int(start.timestamp()), result)

    def due(self) -> list[date]:
        """What a sync would read now."""
        return due_days(self.settings, CoverageLog(Lake(self.settings.lake_dir)), ENDPOINTS[NAME], self.service.now)

    def morning(self, days: int = 1) -> None:
        """The next morning (or that many later): read what is due."""
        self.service.now += timedelta(days=days)
        for window in day_runs(self.due()):
            self.service.sync(self.settings, window, NAME)

    def learned(self) -> Settling | None:
        """What is known of the endpoint."""
        lake = Lake(self.settings.lake_dir)
        return observed_settling(lake, CoverageLog(lake).rows(), self.service.now).get(("default", NAME))


def test_nothing_is_learned_where_nothing_closed_ever_changed(data_dir: Path) -> None:
    """Days that grow while they are open, and days read once, are no evidence: the configured lookback stands."""
    life = Life(data_dir)
    for _ in range(2):
        life.restate(life.service.now.date())  # today, still open
        life.morning()
    assert life.learned() is None
    assert lookback_days(7, None) == 7


def test_a_late_change_lengthens_the_lookback(data_dir: Path) -> None:
    """A bucket that changed in its sixth day is evidence of five days and more: so far back is read from now on."""
    life = Life(data_dir, USAGE_PIPELINE_LOOKBACK_DAYS="7")
    life.morning()
    life.morning(days=5)
    life.restate(FIRST)  # closed since the 2nd; last looked at on the 7th at 3, still as it was
    life.morning()
    found = life.learned()
    assert found == Settling(changes=1, delay=timedelta(days=5, hours=3))
    assert lookback_days(3, found) == 7
    assert lookback_days(30, found) == 30
    shorter = life.settings.model_copy(update={"lookback_days": 1})
    (due, *_) = due_days(shorter, CoverageLog(Lake(shorter.lake_dir)), ENDPOINTS[NAME], life.service.now)
    assert due == life.service.now.date() - timedelta(days=7)
    (told,) = (one for one in endpoint_status(shorter, life.service.now) if one.endpoint == NAME)
    assert (told.lookback_days, told.settling) == (7, found)


def test_a_host_that_was_off_learns_nothing_wrong(data_dir: Path) -> None:
    """What changed soon and was found weeks later, for nobody looked, is not taken for a change that came late."""
    life = Life(data_dir, USAGE_PIPELINE_LOOKBACK_DAYS="2")
    life.morning()
    life.restate(FIRST)
    life.morning(days=20)
    found = life.learned()
    assert found is not None
    assert found.delay < timedelta(days=2)


def test_once_a_week_older_days_are_read_again(data_dir: Path) -> None:
    """A change far behind the lookback is found by the weekly deep re-read, and lengthens the lookback."""
    life = Life(data_dir, USAGE_PIPELINE_LOOKBACK_DAYS="2")
    life.morning(days=14)
    life.restate(FIRST + timedelta(days=4))
    life.service.now += timedelta(days=6)
    assert life.due()[0] == date(2026, 9, 14), "the days read before they had their lookback"
    life.morning()
    assert rows(life.settings, f"select sum(input_tokens) from usage.{NAME}") == [(1,)]
    found = life.learned()
    assert found is not None
    assert found.delay == timedelta(days=9, hours=3)
    assert lookback_days(2, found) == 11
    assert lookback_days(2, Settling(changes=1, delay=timedelta(days=90))) == DEEP_DAYS


@pytest.mark.slow
def test_in_sixty_days_no_change_is_found_later_than_a_week(data_dir: Path) -> None:
    """Whatever closed day of the last month is restated, the weekly deep re-read has it within seven days."""
    life, rng = Life(data_dir, USAGE_PIPELINE_LOOKBACK_DAYS="2"), random.Random(6)
    life.morning(days=30)
    waiting: dict[date, tuple[int, date]] = {}  # the day restated -> its number, and when
    delays = []
    for _ in range(60):
        today = life.service.now.date()
        if rng.random() < 0.4:
            day = today - timedelta(days=rng.randrange(3, 29))
            life.restate(day)
            waiting[day] = (life.tokens, today)
        life.morning()
        held = dict(rows(life.settings, f"select date, input_tokens from usage.{NAME}"))
        for day, (tokens, since) in list(waiting.items()):
            if held.get(day) == tokens:
                delays.append((life.service.now.date() - since).days)
                del waiting[day]
    assert max(delays) <= 7
    assert all((life.service.now.date() - since).days < 7 for _, since in waiting.values())
    assert len(delays) > 10
    assert sum(delays) / len(delays) < 3, "the lookback is lengthened by what was found"


def test_old_evidence_is_forgotten(data_dir: Path) -> None:
    """What was seen more than ninety days ago says nothing of the service as it is."""
    life = Life(data_dir)
    life.morning()
    life.restate(FIRST)
    life.morning()
    assert life.learned() is not None
    life.service.now += timedelta(days=91)
    assert life.learned() is None


_MARK = f"is_settled(organization, '{NAME}', date)"


def test_days_are_settled_or_provisional(data_dir: Path) -> None:
    """A day is settled once it was read at the lookback's age; meta.coverage says so, and when it was last read."""
    life = Life(data_dir, USAGE_PIPELINE_LOOKBACK_DAYS="2")
    for place in range(6):
        life.restate(FIRST + timedelta(days=place))
    life.morning(days=5)
    found = rows(life.settings, "select date, is_settled, checked_at from meta.coverage order by date")
    assert [(day.day, is_settled) for day, is_settled, _ in found] == [
        (1, True), (2, True), (3, True), (4, False), (5, False), (6, False),
    ]  # fmt: skip
    assert {at.day for day, _, at in found if day.day >= 4} == {6}
    of_rows = rows(life.settings, f"select distinct date, {_MARK} from usage.{NAME} order by date")
    assert of_rows == [(day, is_settled) for day, is_settled, _ in found]
    assert rows(life.settings, "select is_settled('default', 'costs', date '2026-11-01')") == [(False,)]
