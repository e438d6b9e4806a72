"""The marts: one .sql file beside this module is one mart.

Put reading of the files here. A file opens with a comment line that describes the mart and a line `-- grain: columns`.
A day of it depends on that day of what it reads, and is computed alone; a mart that looks over days (a forecast) says
`-- scope: whole` on its third line and is computed whole.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from importlib.resources import files

from usage_pipeline.lake.engine import tables_read
from usage_pipeline.lake.snapshot import Relation
from usage_pipeline.marts.derived import derived_behind, sources_of
from usage_pipeline.name_lists import NAME_LISTS, SPEND_LIMITS

_HEADER = re.compile(r"-- (?P<description>.+)\n-- grain: (?P<grain>.+)\n(-- scope: (?P<scope>day|whole)\n)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mart:
    """One mart: its query, what it is, what identifies a row, and the tables it reads."""

    name: str
    sql: str
    description: str
    grain: tuple[str, ...]
    is_whole: bool
    reads: frozenset[str]

    @property
    def endpoints(self) -> frozenset[str]:
        """Endpoints it reads, directly or through a derived view."""
        return self._sources("usage.")

    @property
    def dims(self) -> frozenset[str]:
        """Dimensions it reads, directly or through a derived view."""
        return self._sources("dims.")

    @property
    def lists(self) -> frozenset[str]:
        """Lists of the service its dimensions are filled from; budgets hold the spend limits."""
        limits = SPEND_LIMITS.keys() if "budgets" in self.dims else ()
        return frozenset({*(self.dims & NAME_LISTS.keys()), *limits})

    @property
    def marts(self) -> frozenset[str]:
        """Marts it reads."""
        return self._sources("marts.")

    @property
    def needs_billed_days(self) -> bool:
        """Whether it looks at which days are closed."""
        return "meta.billed_days" in sources_of(self.reads)

    @property
    def derived(self) -> list[Relation]:
        """The derived views it needs, each after those it reads."""
        return derived_behind(self.reads)

    def _sources(self, schema: str) -> frozenset[str]:
        """What it reads of a schema, with what derived views stand on."""
        return frozenset(name.removeprefix(schema) for name in sources_of(self.reads) if name.startswith(schema))

    @property
    def sql_hash(self) -> str:
        """Changes when the query or a derived view behind it does, so that its days are computed again."""
        texts = [self.sql, *(relation.sql for relation in self.derived)]
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()


@cache
def load_marts() -> Mapping[str, Mart]:
    """Every mart by name, those a mart reads before it.

    Raises:
        ValueError: a file lacks its header.
    """
    found = {}
    for file in files("usage_pipeline.marts").iterdir():
        if not file.name.endswith(".sql"):
            continue
        name, sql = file.name.removesuffix(".sql"), file.read_text(encoding="utf-8")
        header = _HEADER.match(sql)
        if header is None:
            raise ValueError(f"{file.name} must open with `-- what it is` and `-- grain: its columns`")
        found[name] = Mart(
            name=name,
            sql=sql,
            description=header["description"],
            grain=tuple(column.strip() for column in header["grain"].split(",")),
            is_whole=header["scope"] == "whole",
            reads=tables_read(sql),
        )
    order = TopologicalSorter({name: mart.marts for name, mart in sorted(found.items())}).static_order()
    return {name: found[name] for name in order}
