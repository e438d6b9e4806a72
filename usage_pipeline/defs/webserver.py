"""Dagster's webserver with a guard in front: `python -m usage_pipeline.defs.webserver`, options as dagster-webserver's.

Put what Dagster's own server lacks here. It asks nobody who they are and offers no place for a guard, so the function
that makes its app is wrapped; the pinned version and a test that asks the real server keep this true.
"""

from typing import Any

from dagster_webserver import cli

from usage_pipeline.api.own_pages import OwnPagesOnly

_MAKER = "create_app_from_workspace_process_context"


def main() -> None:
    """Serve until a signal."""
    make = getattr(cli, _MAKER)

    def make_guarded(*context: Any, **options: Any) -> OwnPagesOnly:
        return OwnPagesOnly(make(*context, **options))

    setattr(cli, _MAKER, make_guarded)
    cli.main()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
