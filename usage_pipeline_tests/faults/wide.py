"""A day of one bucket with very many groups, synced in a process of its own that tells how much memory it took.

    python -m usage_pipeline_tests.faults.wide FOLDER GROUPS

Put what such a process does here: what a process has used at most is known of whole processes only.
"""

import json
import resource
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from usage_pipeline.windows import DAY_SECONDS, Window
from usage_pipeline_tests.few_marts import only_marts
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.world import rows

_DAY = int(datetime(2026, 11, 19, tzinfo=UTC).timestamp())
_READ = "select count(*), count(distinct user_id), sum(input_tokens)::bigint from usage.completions"


def _group(number: int) -> dict[str, Any]:
    """A group as the service tells it, with ids as long as the service's."""
    return {
        "object": "organization.usage.completions.result",
        "project_id": f"proj_{number % 97:024}",
        "user_id": f"user-{number:024}",
        "api_key_id": f"key_{number % 9973:016}",
        "model": "gpt-5-2025-08-07",
        "batch": False,
        "service_tier": "default",
        "input_tokens": number,
        "output_tokens": 1,
        "num_model_requests": 1,
    }


def _most_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(folder: Path, groups: int) -> None:
    """Sync a narrow bucket, so that all engines run, then the wide one; print what came and what it took."""
    service, settings = Played(datetime(2026, 11, 20, tzinfo=UTC)), played_settings(folder)
    window = Window.of_times(_DAY, _DAY + DAY_SECONDS)
    with only_marts("usage_daily"):
        service.put("completions", _DAY, _group(0))
        service.sync(settings, window, "completions")
        service.put("completions", _DAY, *map(_group, range(groups)))
        service.now += timedelta(minutes=1)
        before = _most_bytes()
        service.sync(settings, window, "completions")
    print(json.dumps({"rows": rows(settings, _READ), "bytes": _most_bytes() - before}))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
