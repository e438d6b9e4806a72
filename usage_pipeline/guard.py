"""Whose rows a data folder holds: made-up and real ones never share it, and readers ask for those that are there."""

from usage_pipeline.errors import FixConfig
from usage_pipeline.lake.faults import files_explained
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.store import Lake
from usage_pipeline.organizations import DEMO_ORGANIZATION
from usage_pipeline.settings import Settings


def resident(settings: Settings) -> Settings:
    """The settings for reading: where no organization is configured and the folder holds one, that one.

    One of several, which `usage_pipeline.toml` names, stays who it is.

    Raises:
        FixConfig: the folder holds rows of organizations, and not of the configured one.
    """
    if settings.is_one_of_several:
        return settings
    held = _held(settings)
    if not held or settings.organization in held:
        return settings
    if len(held) == 1 and "organization" not in settings.model_fields_set:
        return settings.model_copy(update={"organization": held.pop()})
    raise FixConfig(
        f"{settings.data_dir} holds nothing of organization {settings.organization!r}: set "
        f"USAGE_PIPELINE_ORGANIZATION to {' or '.join(sorted(held))}."
    )


def keep_demo_apart(settings: Settings) -> None:
    """Refuse to put real rows beside the demo's, or the demo's beside real ones.

    Raises:
        FixConfig: the data folder holds the other kind.
    """
    held = _held(settings)
    if settings.organization == DEMO_ORGANIZATION and held - {DEMO_ORGANIZATION}:
        raise FixConfig(
            f"{settings.data_dir} holds synced data; the demo would put made-up rows beside it. Give the demo a folder "
            "of its own: USAGE_PIPELINE_DATA_DIR=demo-data usage-pipeline demo"
        )
    if settings.organization != DEMO_ORGANIZATION and DEMO_ORGANIZATION in held:
        raise FixConfig(
            f"{settings.data_dir} holds the demo's made-up rows. Remove them (rm -r {settings.lake_dir} "
            f"{settings.raw_dir} {settings.warehouse_path}) or set USAGE_PIPELINE_DATA_DIR to another folder."
        )


def _held(settings: Settings) -> set[str]:
    with files_explained("looking at the data folder"):
        return set(CoverageLog(Lake.of(settings)).rows()["organization"].to_pylist())
