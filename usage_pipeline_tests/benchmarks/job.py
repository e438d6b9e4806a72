"""Run the job `sync_usage` over days in this process, on the instance of the data folder, as `demo` does.

    python -m usage_pipeline_tests.benchmarks.job FIRST_DAY END

Prints, as JSON, the seconds each step spent on our own work. Put nothing else here: it is what overhead.py measures.
"""

import json
import sys
from datetime import date

from usage_pipeline.defs.run import run_sync_job
from usage_pipeline.defs.session import StepNews
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window


def main() -> None:
    """Run it; what fails is an error."""
    own: dict[str, float] = {}

    def note(news: StepNews) -> None:
        own[news.asset] = own.get(news.asset, 0.0) + news.seconds

    window = Window.of_days(*(date.fromisoformat(text) for text in sys.argv[1:3]))
    result = run_sync_job(Settings.from_env(), window, on_event=note)
    if not result.is_success:
        sys.exit(f"failed: {dict(result.failures)}")
    sys.stdout.write(json.dumps(own))


if __name__ == "__main__":
    main()
