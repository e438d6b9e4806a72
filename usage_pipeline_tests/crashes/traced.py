"""`python -m usage_pipeline_tests.crashes.traced SETTINGS`: one small sync for a tracer to watch; its errors on stdout.

Put the traced program here; what its trace must show is test_trace.py's.
"""

import json
import sys
from datetime import datetime

from usage_pipeline.settings import Settings
from usage_pipeline_tests.crashes.works import Run
from usage_pipeline_tests.oracle.points import small


def main() -> None:
    """Sync with the settings and at the moment that the first argument gives as JSON."""
    values = json.loads(sys.argv[1])
    moment = datetime.fromisoformat(values.pop("now"))
    with small():
        report = Run(settings=Settings(_env_file=None, **values), now=moment, is_small=True).sync()
    errors = [one.error for one in report.failed] + [report.refresh_error] * (report.refresh_error is not None)
    print(json.dumps([(type(error).__name__, str(error)) for error in errors]))  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
