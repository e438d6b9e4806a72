"""One asset per list of names or spend limits: reads it whole, merges it into its dims table, reports what changed.

Put what a list's step does here. The lists have no days; the assets share the days of the others all the same, for
else a backfill of the job would need a second run for them. A run over many days reads each list once.
"""

import asyncio
from typing import Any

import dagster as dg

from usage_pipeline.defs.columns import OWNERS
from usage_pipeline.defs.partitions import asset_window, dim_key
from usage_pipeline.defs.session import SESSION, Session, session_of
from usage_pipeline.defs.usage_assets import RAW
from usage_pipeline.lake.dims import DIMS
from usage_pipeline.name_lists import LISTS, NameList
from usage_pipeline.names import NameSync, sync_names
from usage_pipeline.sync import ClientFactory

_COUNTS = ("rows", "inserted", "updated", "deleted", "requests", "retries", "pages", "bytes")


def dim_assets(partitions: dg.DailyPartitionsDefinition, client_factory: ClientFactory) -> list[dg.AssetsDefinition]:
    """The assets of all lists."""
    return [_dim_asset(names, partitions, client_factory) for names in LISTS.values()]


def _dim_asset(
    names: NameList, partitions: dg.DailyPartitionsDefinition, client_factory: ClientFactory
) -> dg.AssetsDefinition:
    key, dim = dim_key(names.name), DIMS[names.name]

    @dg.asset(
        key=key,
        group_name="dims",
        deps=[RAW],
        description=dim.description,
        owners=OWNERS,
        kinds={"openai", "deltalake"},
        metadata={
            "dagster/column_schema": dg.TableSchema(
                [dg.TableColumn(name, str(kind), description=text) for name, kind, text in dim.columns]
            ),
            "dagster/table_name": names.label,
            "path": names.path,
        },
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={SESSION},
    )
    def listed(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        session = session_of(context)
        with session.step(context, key.to_user_string()) as report:
            report.facts = {"list": names.name, "window": str(asset_window(context))}
            done = _read(session, names, client_factory)
            if done.is_refused:  # usage needs no names: a key without this right is no failed run
                context.log.warning(" ".join(str(done.error).split()))
            elif done.error is not None:
                raise done.error
            elif done.outcome == "replaced":
                session.note_news()
            report.outcome, report.rows = done.outcome, done.total("rows")
            return dg.MaterializeResult(metadata=_facts(done))

    return listed


def _read(session: Session, names: NameList, client_factory: ClientFactory) -> NameSync:
    """The list, read by a client of its own: the session's lives in the loop of the endpoints' reads."""
    client = client_factory(session.settings)

    async def run() -> NameSync:
        async with client:
            return await sync_names(session.settings, client, names, session.sync_id)

    return asyncio.run(run())


def _facts(done: NameSync) -> dict[str, Any]:
    return {
        "outcome": done.outcome,
        **{f"run_{name}": done.total(name) for name in _COUNTS},
        "warnings": dg.MetadataValue.json(done.warnings if done.error is None else [str(done.error)]),
    }
