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

from usage_pipeline.lake.engine import connect
from usage_pipeline.marts.derived import derived_inputs, derived_relations

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
        derived = derived_inputs()
        tables = set().union(*(derived.get(table, {table}) for table in self.reads))
        return frozenset(table.removeprefix("usage.") for table in tables if table.startswith("usage."))

    @property
    def dims(self) -> frozenset[str]:
        """Dimensions it reads."""
        return frozenset(table.removeprefix("dims.") for table in self.reads if table.startswith("dims."))

    @property
    def marts(self) -> frozenset[str]:
        """Marts it reads."""
        return frozenset(table.removeprefix("marts.") for table in self.reads if table.startswith("marts."))

    @property
    def sql_hash(self) -> str:
        """Changes when the query does, or a derived view it reads, so that its days are computed again."""
        derived = {f"{view.schema}.{view.name}": view.sql for view in derived_relations()}
        texts = [self.sql, *(derived[table] for table in sorted(self.reads & derived.keys()))]
        return hashlib.sha256("|".join(texts).encode()).hexdigest()


@cache
def load_marts() -> Mapping[str, Mart]:
    """Every mart by name, those a mart reads before it.

    Raises:
        ValueError: a file lacks its header.
    """
    found = {}
    with connect() as con:
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
                reads=frozenset(con.get_table_names(sql, qualified=True)),
            )
    order = TopologicalSorter({name: mart.marts for name, mart in sorted(found.items())}).static_order()
    return {name: found[name] for name in order}
