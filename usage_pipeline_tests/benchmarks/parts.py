"""What bringing the warehouse up to date costs, part by part: comparing, computing marts, publishing.

Put here what several benchmarks run in this process to learn that.
"""

from collections.abc import Sequence

from usage_pipeline.name_lists import NameList
from usage_pipeline.settings import Settings
from usage_pipeline.sync import choose_endpoints, sync
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import Window
from usage_pipeline_tests.benchmarks.measure import Cost, Laps
from usage_pipeline_tests.world import World

MARTS = "computing marts"
PUBLISHING = "publishing"


def synced(world: World, settings: Settings, window: Window, lists: Sequence[NameList] = ()) -> dict[str, Cost]:
    """Read all endpoints of a window (and lists of names): the parts of the refresh that follows."""
    laps = Laps()
    sync(
        settings,
        choose_endpoints(None),
        window,
        lists=lists,
        clock=world.clock,
        client_factory=world.client,
        tell=laps.tell,
    )
    laps.end()
    return laps.costs


def refreshed(settings: Settings) -> dict[str, Cost]:
    """Refresh the warehouse."""
    laps = Laps()
    refresh(settings, laps.tell)
    laps.end()
    return laps.costs
