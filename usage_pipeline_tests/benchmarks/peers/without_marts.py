"""`usage-pipeline sync` but for the marts, which no peer makes: fetch, check, keep raw, compare, replace, publish.

Runs on the project's own environment; settings come from the environment, as the command's do.
"""

import sys

from usage_pipeline import warehouse
from usage_pipeline.marts.build import Built
from usage_pipeline.marts.tables import pin_marts
from usage_pipeline.settings import Settings
from usage_pipeline.sync import choose_endpoints, sync
from usage_pipeline.windows import Window

warehouse.build_marts = lambda lake, _, **__: Built(builds=[], pinned=pin_marts(lake))

report = sync(
    Settings.from_env(), choose_endpoints(["completions"]), Window.of_times(int(sys.argv[2]), int(sys.argv[3]))
)
if report.failed or report.refresh_error:
    sys.exit(f"{report.failed} {report.refresh_error}")
