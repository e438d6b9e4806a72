"""Exports: a month of the published warehouse as one file for other tools, complete or not written at all.

Put choosing rows, rendering and writing of export files here; what the columns hold is the marts' business.
"""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.errors import FixConfig
from usage_pipeline.lake.disk import replacing
from usage_pipeline.lake.engine import identifier, literal
from usage_pipeline.lake.query import ask, ask_batches
from usage_pipeline.marts.focus_columns import EXTRA_COLUMNS, VERSIONS, Version, columns_of
from usage_pipeline.marts.views import focus_view_name
from usage_pipeline.settings import Settings
from usage_pipeline.windows import Window, day_runs, utc_now

EXPORTS = "exports"  # folder under the data folder

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_ZONED = pa.timestamp("us", tz="UTC")
_KNOWN_DAYS = """
select organization, list(distinct date)
from meta.coverage
where endpoint in ({endpoints}) and date >= $first and date < $end
    and ($organization::varchar is null or organization = $organization)
group by organization
order by organization
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """What was written: the file, its rows, and per organization the windows of the month nobody has read."""

    path: Path
    rows: int
    missing: dict[str, list[Window]]


def export_focus(
    settings: Settings,
    month: str,
    *,
    file_format: str,
    version: str = VERSIONS[-1],
    output: Path | None = None,
    is_partial: bool = False,
    organization: str | None = None,
) -> Export:
    """Write a month's FOCUS rows, of this organization, or of every one the warehouse knows in it.

    Raises:
        LakeDamaged: the published file or one of the lake's is gone.
        FixConfig: an argument is wrong, nothing is published, or days of the month are unknown and may not be.
        LakeUnwritable: the file cannot be written; a file that was there is unchanged.
    """
    window, chosen = month_window(month), _version(version)
    if file_format not in _WRITERS:
        raise FixConfig(f"--format {file_format!r} is not known: use {' or '.join(_WRITERS)}.")
    missing = missing_days(settings, window, organization)
    if missing and not is_partial:
        way_out = _way_out(settings.command("sync") if organization else "usage-pipeline sync", missing)
        raise FixConfig(f"{month} has days nobody has read: {missing_text(missing)}. {way_out}")
    path = output or folder_of(settings, organization) / f"focus-{chosen}-{month}.{file_format}"
    if output is None:
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        rows = _WRITERS[file_format](settings, chosen, _Asked(window, organization), temporary)
    return Export(path=path, rows=rows, missing=missing)


def month_window(month: str) -> Window:
    """The window of a month written YYYY-MM.

    Raises:
        FixConfig: the text is not such a month.
    """
    if not _MONTH.fullmatch(month) or month.startswith("0000"):
        raise FixConfig(f"{month!r} is not a month: write it as YYYY-MM, for example 2026-10.")
    first = date.fromisoformat(f"{month}-01")
    return Window.of_days(first, (first + timedelta(days=31)).replace(day=1))


def missing_days(settings: Settings, window: Window, organization: str | None = None) -> dict[str, list[Window]]:
    """The days of the window whose bill was never read, of every organization (or this one) with a known day in it.

    Raises:
        FixConfig: nothing is published, or no day of the window is known at all.
    """
    endpoints = ", ".join(literal(name) for name, endpoint in ENDPOINTS.items() if endpoint.is_money)
    days = _Asked(window, organization).parameters
    with ask(settings.warehouse_path, settings.lake_dir, _KNOWN_DAYS.format(endpoints=endpoints), days) as answer:
        known: dict[str, list[date]] = dict(answer.rows)
    if not known:
        raise FixConfig(
            f"the warehouse knows no bill of {window}: run `usage-pipeline sync --since {days['first']} "
            f"--until {days['end']}` first."
        )
    gaps = {name: [day for day in window.dates() if day not in found] for name, found in known.items()}
    return {name: day_runs(days) for name, days in gaps.items() if days}


def missing_text(missing: dict[str, list[Window]]) -> str:
    """The missing days as people read them, both ends included."""
    return "; ".join(f"{name}: {', '.join(map(_run_text, runs))}" for name, runs in missing.items())


def _run_text(run: Window) -> str:
    days = run.dates()
    return str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _way_out(sync: str, missing: dict[str, list[Window]]) -> str:
    tomorrow = utc_now().date() + timedelta(days=1)
    days = [day for found in missing.values() for run in found for day in run.dates() if day < tomorrow]
    if not days:
        return "The month is not over: export what is known with --partial."
    end = max(days) + timedelta(days=1)
    return f"Run `{sync} --since {min(days)} --until {end}`, or export what is known with --partial."


def _version(text: str) -> Version:
    for version in VERSIONS:
        if text == version:
            return version
    raise FixConfig(f"FOCUS version {text!r} is not built: use {' or '.join(VERSIONS)}.")


def neutral_sql(text: str) -> str:
    """SQL of a text cell that no spreadsheet takes for a formula: a ' before = + - @, a tab or a line end."""
    return f"case when regexp_matches({text}, '^[=+@\\t\\r\\n-]') then '''' || {text} else {text} end"


def _csv_cell(name: str, kind: str) -> str:
    """SQL of a column's cell: decimals in plain digits, times as the specification writes them."""
    column = identifier(name)
    if kind == "decimal":
        return f"rtrim(rtrim({column}::varchar, '0'), '.') as {column}"
    if kind == "time":
        return f"strftime({column}, '%Y-%m-%dT%H:%M:%SZ') as {column}"
    return f"{neutral_sql(f'{column}::varchar')} as {column}"


def _query(version: Version, shown: str) -> str:
    """The month's rows in a fixed order."""
    names = ", ".join(identifier(name) for name in EXTRA_COLUMNS)
    return (
        f"select {shown} from (select * from marts.{focus_view_name(version)} "  # noqa: S608 - own names
        'where "ChargePeriodStart" >= $first and "ChargePeriodStart" < $end '
        'and ($organization::varchar is null or "BillingAccountId" = $organization) '
        'order by "ChargePeriodStart", "BillingAccountId", "SubAccountId", "ChargeDescription", "BillingCurrency", '
        f'{names}, "BilledCost")'
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which rows: of a month, and of one organization or all."""

    window: Window
    organization: str | None

    @property
    def parameters(self) -> dict[str, Any]:
        """As the statements take them."""
        return {"first": self.window.start.date(), "end": self.window.end.date(), "organization": self.organization}


def folder_of(settings: Settings, organization: str | None) -> Path:
    """Where files go: the data folder's exports; those of one of several organizations in a folder of its own."""
    exports = settings.data_dir / EXPORTS
    return exports / organization if organization is not None and settings.is_one_of_several else exports


def _write_csv(settings: Settings, version: Version, asked: _Asked, path: Path) -> int:
    cells = [_csv_cell(c.name, c.kind) for c in columns_of(version)] + [_csv_cell(n, "text") for n in EXTRA_COLUMNS]
    query = _query(version, ", ".join(cells))
    count = 0
    with (
        path.open("w", encoding="utf-8", newline="") as file,
        ask(settings.warehouse_path, settings.lake_dir, query, asked.parameters) as answer,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(answer.columns)
        for row in answer.rows:
            writer.writerow(row)
            count += 1
    return count


def _write_parquet(settings: Settings, version: Version, asked: _Asked, path: Path) -> int:
    query = _query(version, "*")
    with ask_batches(settings.warehouse_path, settings.lake_dir, query, asked.parameters) as reader:
        zoned = [f.with_type(_ZONED) if pa.types.is_timestamp(f.type) else f for f in reader.schema]
        count = 0
        with pq.ParquetWriter(path, pa.schema(zoned), compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch.cast(pa.schema(zoned)))
                count += batch.num_rows
    return count


_WRITERS: dict[str, Callable[[Settings, Version, _Asked, Path], int]] = {"parquet": _write_parquet, "csv": _write_csv}
