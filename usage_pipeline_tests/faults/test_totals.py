"""Groups that do not add up to the whole: the service's own ungrouped totals against what is stored of its groups."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from usage_pipeline.marts.findings import Finding
from usage_pipeline.settings import Settings
from usage_pipeline.totals import total_findings
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.played_bills import FIRST, NOW, cost, put_bills, sync_bills
from usage_pipeline_tests.unit.test_cli import env, run
from usage_pipeline_tests.world import World, last_days

pytestmark = pytest.mark.marts("cost_daily")


class _Totals(Played):
    """A service that answers what is not grouped from `totals`."""

    def __init__(self) -> None:
        super().__init__(NOW)
        self.totals = Played(NOW)

    def handle(self, request: httpx.Request) -> httpx.Response:
        is_whole = request.url.path.endswith("/costs") and "group_by[]" not in request.url.params
        return self.totals.handle(request) if is_whole else super().handle(request)


def _grouped(*amounts: str, currency: str = "usd") -> list[Any]:
    return [cost(amount, currency, project_id=f"p{n}") for n, amount in enumerate(amounts)]


@pytest.fixture
def service() -> _Totals:
    """Three days of groups and their totals, which agree to the last digit in both currencies."""
    found = _Totals()
    put_bills(found, [*_grouped("0.1", "0.2"), *_grouped("1", currency="eur")], [], _grouped("0.00000000000000000001"))
    put_bills(found.totals, [cost("0.30"), cost("1.0", "eur")], [cost("0")], [cost("1e-20")])
    return found


@pytest.fixture
def held(service: _Totals, data_dir: Path) -> Settings:
    """A warehouse of these days."""
    settings = played_settings(data_dir)
    sync_bills(service, settings, 3)
    return settings


def _found(service: _Totals, settings: Settings) -> list[Finding]:
    return total_findings(settings, NOW, service.client)


def test_g01_groups_that_add_up_are_no_finding_and_one_request(service: _Totals, held: Settings) -> None:
    """Where all agrees the service is asked once, and nothing is said."""
    assert _found(service, held) == []
    assert len(service.totals.requests) == 1


def test_g01_groups_that_do_not_add_up_are_a_warning_with_the_exact_delta(service: _Totals, held: Settings) -> None:
    """The day, both sums and their difference are told to the last digit; other days and currencies are not."""
    put_bills(service.totals, [cost("0.3000000000000003"), cost("1.0", "eur")])
    (one,) = _found(service, held)
    assert (one.check, one.is_error, one.key) == ("totals", False, f"totals|default|groups|{FIRST}")
    assert "the service's groups do not add up to its own total on 1 days" in one.message
    assert f"{FIRST}: 0.3000000000000003" in one.message
    assert "delta 0.0000000000000003" in one.message
    assert "eur" not in one.message


def test_g01_a_total_without_groups_is_a_warning(service: _Totals, held: Settings) -> None:
    """A day of which the service gives no group at all, and a total, is told."""
    put_bills(service.totals, [cost("0.3"), cost("1", "eur")], [cost("7.5")])
    (one,) = _found(service, held)
    assert "2026-11-01: 7.5" in one.message
    assert " 0 groups, delta 7.5" in one.message


def test_g01_a_day_restated_since_is_told_apart(service: _Totals, held: Settings) -> None:
    """Where groups and total agree and the warehouse is behind, the way out is a sync, after which nothing is found."""
    put_bills(service, _grouped("0.1", "0.9"))
    put_bills(service.totals, [cost("1")])
    (one,) = _found(service, held)
    assert one.key == f"totals|default|stored|{FIRST}"
    assert "`usage-pipeline sync --endpoint costs --since 2026-10-31 --until 2026-11-01`" in one.message
    service.now = service.totals.now = NOW.replace(minute=1)
    sync_bills(service, held, 3)
    assert _found(service, held) == []


@pytest.mark.slow
def test_g01_the_command_asks_the_service(still_world: World, data_dir: Path, tmp_path: Path) -> None:
    """`check --against-service` finds nothing where groups and totals agree, and says what was checked."""
    settings = still_world.settings(data_dir)
    still_world.sync(settings, last_days(3), ["costs"])
    assert total_findings(settings, still_world.clock(), still_world.client) == []
    done = run("check", "--against-service", "--json", cwd=tmp_path, **env(settings))
    assert done.returncode in (0, 3), done.stderr
    assert '"totals"' in done.stdout
    assert "totals|" not in done.stdout
