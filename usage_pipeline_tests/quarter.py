"""A quarter of a made-up organization, lived: synced as time passes, with all that changes names, bills and budgets.

Put the making of this warehouse here; what must hold of it is unit/test_quarter.py's, the pages' part docs.py's.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from usage_pipeline.name_lists import LISTS
from usage_pipeline.settings import Settings
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import Window
from usage_pipeline_tests.world import NOW, open_world

START = date(2026, 8, 23)
QUARTER = Window.of_days(START, NOW.date() + timedelta(days=1))
TAGS = """kind,match,team,cost_center,valid_from,valid_to
project,{0},Support,CC-2,,
project,{1},Research,CC-1,,2026-10-15
project,{1},Search,CC-3,2026-10-15,
user,*@*,People,,,
"""
BUDGETS = """scope,project_id,month,amount,currency
organization,,,900.00,usd
project,{0},2026-11,120.00,usd
"""
PRICES = """model,meter,valid_from,valid_to,price,per
gpt-4o-transcribe,seconds,,,0.0001,1
dall-e-3,images,,2026-10-01,0.04,1
"""


def quarter_settings(data_dir: Path, base_url: str) -> Settings:
    """Settings of the quarter's warehouse."""
    return Settings(
        _env_file=None,
        OPENAI_ADMIN_KEY="sk-admin-test",
        OPENAI_BASE_URL=base_url,
        USAGE_PIPELINE_DATA_DIR=str(data_dir),
        USAGE_PIPELINE_START_DATE=START.isoformat(),
    )


def live(data_dir: Path) -> Settings:
    """Sync as time passes, with the lists of names, then write tags, budgets and prices, and publish."""
    moments = [datetime(2026, 9, 20, 9, tzinfo=UTC) + timedelta(days=20 * n) for n in range(4)]
    with open_world(now=moments[0]) as world:
        settings = quarter_settings(data_dir, world.base_url)
        for moment in [*moments[:-1], NOW]:
            world.clock.set(moment)
            report = world.sync(settings, lists=list(LISTS.values()))
            assert not report.failed
            assert report.refresh_error is None, str(report.refresh_error)
        projects = sorted(life.id for life in world.organization.directory.projects)
    for name, text in (("tags.csv", TAGS), ("budgets.csv", BUDGETS), ("prices.csv", PRICES)):
        (data_dir / name).write_text(text.format(*projects), encoding="utf-8")
    refresh(settings)
    return settings
