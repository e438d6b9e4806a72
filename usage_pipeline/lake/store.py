"""The tables of the lake, by their names and places.

Put which tables there are here; what is done with one is delta_table.py's.
"""

from pathlib import Path
from typing import Self

import pyarrow as pa

from usage_pipeline.endpoints import ENDPOINTS, Endpoint
from usage_pipeline.lake.delta_table import LakeTable
from usage_pipeline.lake.mirror import mirror_of
from usage_pipeline.lake.schemas import MART_LOG, PARTITION_BY, RESTATEMENTS, SYNC_LOG, usage_schema
from usage_pipeline.settings import Settings


class Lake:
    """The tables under one folder; with a URL the folder is a working copy of what is there."""

    def __init__(self, root: Path, url: str | None = None) -> None:
        self.root = root
        self.mirror = None if url is None else mirror_of(root.parent, url)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The lake that settings say: in the data folder, or at a URL with a working copy there."""
        return cls(settings.lake_dir, settings.lake_url)

    def usage(self, endpoint: Endpoint) -> LakeTable:
        """An endpoint's table."""
        return LakeTable(self.root / "usage" / endpoint.name, usage_schema(endpoint), tuple(PARTITION_BY), self.mirror)

    def mart(self, name: str, schema: pa.Schema) -> LakeTable:
        """A mart's table; `schema` is that of its query and the storage partition."""
        return LakeTable(self.root / "marts" / name, schema, tuple(PARTITION_BY), self.mirror)

    def at(self, part: str) -> LakeTable:
        """A table by its place as `group.name`, to put it aside."""
        group, _, name = part.partition(".")
        return self.table(group, name, pa.schema([]))

    def table(self, group: str, name: str, schema: pa.Schema) -> LakeTable:
        """A table without storage partitions, by its place."""
        return LakeTable(self.root / group / name, schema, mirror=self.mirror)

    @property
    def sync_log(self) -> LakeTable:
        """One row per window read and accepted."""
        return self.table("meta", "sync_log", SYNC_LOG)

    @property
    def restatements(self) -> LakeTable:
        """One row per changed row of a day that was known before."""
        return self.table("meta", "restatements", RESTATEMENTS)

    @property
    def mart_log(self) -> LakeTable:
        """One row per build of a mart."""
        return self.table("meta", "mart_log", MART_LOG)

    def usage_tables(self) -> dict[str, LakeTable]:
        """Every endpoint's table by name."""
        return {name: self.usage(endpoint) for name, endpoint in ENDPOINTS.items()}
