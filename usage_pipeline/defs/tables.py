"""Dagster's tables, made before the webserver and the daemon both want to.

Put here what has to be there before Dagster's services start; the settings they read are home.py's.
"""

from pathlib import Path

from dagster import DagsterInstance


def make_tables(home: Path) -> None:
    """Make the tables of a new home: two services that do so at the same moment fail each other now and then."""
    with DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs_count()
        instance.all_instigator_state()
        instance.get_asset_keys(limit=1)
