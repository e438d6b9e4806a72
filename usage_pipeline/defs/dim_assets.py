"""One asset per list of names or spend limits: reads it whole, merges it into its dims table, reports what changed.

Put what a list's step does here. The lists have no days; the assets share the days of the others all the same, for
else a backfill of the job would need a second run for them. A run over many days reads each list once.
"""

import asyncio
from typing import Any

import dagster as dg

from usage_pipeline.defs.columns import OWNERS
from usage_pipeline.defs.partitions import Spread, asset_window, dim_key
from usage_pipeline.defs.session import SESSION, Session, named, session_of
from usage_pipeline.defs.several import together
from usage_pipeline.defs.usage_assets import RAW
from usage_pipeline.errors import UsagePipelineError
from usage_pipeline.lake.dims import DIMS
from usage_pipeline.name_lists import LISTS, NameList
from usage_pipeline.names import NameSync, sync_names
from usage_pipeline.settings import Settings
from usage_pipeline.sync import ClientFactory

_COUNTS = ("rows", "inserted", "updated", "deleted", "requests", "retries", "pages", "bytes")


def dim_assets(spread: Spread, client_factory: ClientFactory, pool: str | None) -> list[dg.AssetsDefinition]:
    """The assets of all lists; the pool is that of steps that ask the service."""
    return [_dim_asset(names, spread, client_factory, pool) for names in LISTS.values()]


def _dim_asset(names: NameList, spread: Spread, client_factory: ClientFactory, pool: str | None) -> dg.AssetsDefinition:
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
        partitions_def=spread.partitions,
        backfill_policy=spread.policy,
        required_resource_keys={SESSION},
        pool=pool,
    )
    def listed(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        session = session_of(context)
        with session.step(context, key.to_user_string()) as report:
            report.facts = {"list": names.name, "window": str(asset_window(context))}
            read, errors = [], []
            for one in session.members:
                try:
                    read.append((one, done := _read(session, one, names, client_factory)))
                except UsagePipelineError as error:
                    errors.append(named(one, error))
                    continue
                if done.is_refused:  # usage needs no names: a key without this right is no failed run
                    context.log.warning(" ".join(str(named(one, done.error)).split()) if done.error else "")
                elif done.outcome == "replaced":
                    session.note_news()
            if errors:
                raise errors[0]
            report.outcome, report.rows = read[0][1].outcome, sum(done.total("rows") for _, done in read)
            return together([(one, dg.MaterializeResult(metadata=_facts(done))) for one, done in read])

    return listed


def _read(session: Session, settings: Settings, names: NameList, client_factory: ClientFactory) -> NameSync:
    """The list, read by a client of its own: the session's lives in the loop of the endpoints' reads.

    Raises:
        UsagePipelineError: it could not be read or stored, other than for want of a right.
    """
    client = client_factory(settings)

    async def run() -> NameSync:
        async with client:
            return await sync_names(settings, client, names, session.sync_id)

    done = asyncio.run(run())
    if done.error is not None and not done.is_refused:
        raise done.error
    return done


def _facts(done: NameSync) -> dict[str, Any]:
    return {
        "outcome": done.outcome,
        **{f"run_{name}": done.total(name) for name in _COUNTS},
        "warnings": dg.MetadataValue.json(done.warnings if done.error is None else [str(done.error)]),
    }
