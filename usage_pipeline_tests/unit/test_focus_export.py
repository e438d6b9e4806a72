"""`export focus`: one complete file per month, exact, safe to open in a spreadsheet, or one clear error."""

import csv
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from usage_pipeline.cli.main import app
from usage_pipeline.errors import FixConfig, LakeDamaged, LakeUnwritable
from usage_pipeline.exports import Export, export_focus, month_window, neutral_sql
from usage_pipeline.lake.engine import session
from usage_pipeline.marts.focus_columns import EXTRA_COLUMNS, VERSIONS, Version, columns_of
from usage_pipeline.marts.focus_rules import broken_rules_of
from usage_pipeline.settings import Settings
from usage_pipeline_tests.played_bills import billed, cost
from usage_pipeline_tests.world import World, rows

pytestmark = pytest.mark.marts("focus")

OCTOBER = date(2026, 10, 1)
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A warehouse that knows every day of October and the first of November; two days have a bill."""
    quiet: list[list[Any]] = [[] for _ in range(29)]
    _, settings = billed(
        tmp_path_factory.mktemp("month") / "my data",
        [cost("1.50", line_item="=1+1", project_id="p"), cost("-0.25", line_item="@credit")],
        *quiet,
        [cost("0.00000000000000000001", "eur", line_item="gpt-4o, input", quantity=3, quantity_unit="tokens")],
        [cost("99")],
        first=OCTOBER,
    )
    return settings


def read_csv(done: Export) -> list[dict[str, str]]:
    """The file's rows as text."""
    with done.path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_a_month_is_written_whole_with_the_columns_of_its_version(
    month: Settings, version: Version, file_format: str
) -> None:
    """Both formats and versions have the month's rows and no other, under exports, and nothing else is left there."""
    done = export_focus(month, "2026-10", file_format=file_format, version=version)
    assert done.path == month.data_dir / "exports" / f"focus-{version}-2026-10.{file_format}"
    assert not list(done.path.parent.glob(".*"))
    assert (done.rows, done.missing) == (3, {})
    names = [column.name for column in columns_of(version)] + list(EXTRA_COLUMNS)
    if file_format == "csv":
        assert list(read_csv(done)[0]) == names
        amounts = [Decimal(row["BilledCost"]) for row in read_csv(done)]
    else:
        table = pq.read_table(done.path)
        assert table.schema.names == names
        assert table.schema.field("ChargePeriodStart").type == pa.timestamp("us", tz="UTC")
        amounts = table["BilledCost"].to_pylist()
    assert sorted(amounts) == [Decimal("-0.25"), Decimal("1E-20"), Decimal("1.5")]


def test_csv_cells_are_plain_exact_and_no_formula(month: Settings) -> None:
    """Decimals have plain digits, negative ones stay numbers, times are ISO 8601 in UTC, text is no formula."""
    first, second, third = sorted(
        read_csv(export_focus(month, "2026-10", file_format="csv")), key=lambda row: Decimal(row["BilledCost"])
    )
    assert [row["BilledCost"] for row in (first, second, third)] == ["-0.25", "0.00000000000000000001", "1.5"]
    assert [row["ChargeDescription"] for row in (first, third)] == ["'@credit", "'=1+1"]
    assert (second["ConsumedQuantity"], second["ConsumedUnit"], second["BillingCurrency"]) == ("3", "Tokens", "EUR")
    assert (second["ChargePeriodStart"], second["ChargePeriodEnd"], second["BillingPeriodEnd"]) == (
        "2026-10-31T00:00:00Z",
        "2026-11-01T00:00:00Z",
        "2026-11-01T00:00:00Z",
    )
    assert second["InvoiceId"] == second["Tags"] == ""


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
    | st.sampled_from(FORMULAS)
)
def test_no_text_cell_starts_as_a_formula_and_none_is_altered_otherwise(text: str) -> None:
    """A hostile name gets one ' in front, any other text stays as it is; taking the ' away gives the name back."""
    found = session().execute(f"select {neutral_sql('$text')}", {"text": text}).fetchall()[0][0]
    assert not found.startswith(FORMULAS)
    assert found == (f"'{text}" if text.startswith(FORMULAS) else text)


def test_hostile_line_items_come_through_quoted(data_dir: Path) -> None:
    """Quotes, commas, line breaks and markup in a name neither break the file nor get lost."""
    names = ['=cmd|" /C calc"!A0', 'a,"b"\r\nc', "\t=1", "[bold]x[/bold]", "-2+3", "ünïcode\u2028"]
    _, settings = billed(data_dir, [cost("1", line_item=name) for name in names], first=OCTOBER)
    done = export_focus(settings, "2026-10", file_format="csv", is_partial=True)
    found = {row["ChargeDescription"] for row in read_csv(done)}
    assert found == {f"'{name}" if name.startswith(FORMULAS) else name for name in names}


@pytest.mark.slow
def test_parquet_breaks_no_rule_and_sums_to_the_bill(settings: Settings, still_world: World) -> None:
    """An exported month of the made-up organization has the bill's sum to the last digit and no finding but gaps."""
    from usage_pipeline.windows import Window

    still_world.sync(settings, Window.of_days(date(2026, 11, 1), date(2026, 11, 9)))
    done = export_focus(settings, "2026-11", file_format="parquet", version="1.2", is_partial=True)
    table = pq.read_table(done.path)
    amount = rows(settings, "select sum(amount) from usage.costs")[0][0]
    assert sum(table["BilledCost"].to_pylist()) == amount
    naive = table.cast(
        pa.schema([f.with_type(pa.timestamp("us")) if pa.types.is_timestamp(f.type) else f for f in table.schema])
    )
    assert all(found.is_known_gap for found in broken_rules_of(naive, "1.2"))


def test_the_same_export_twice_is_the_same_file(month: Settings) -> None:
    """Rows have a fixed order: exporting again replaces the file with the same bytes."""
    first = export_focus(month, "2026-10", file_format="csv").path.read_bytes()
    assert export_focus(month, "2026-10", file_format="csv").path.read_bytes() == first


def test_months_with_unknown_days_are_refused_and_named(month: Settings) -> None:
    """A month that is not known whole is not written, unless asked for; the days and the way out are said."""
    says = "2026-11 has days nobody has read: default: 2026-11-02 to 2026-11-30"
    for now, way_out in (
        ("2026-12-05", r"sync --since 2026-11-02 --until 2026-12-01`, or .*--partial"),
        ("2026-11-23", r"sync --since 2026-11-02 --until 2026-11-24`, or .*--partial"),
        ("2026-11-01", r"The month is not over: .*--partial"),
    ):
        with time_machine.travel(now, tick=False), pytest.raises(FixConfig, match=rf"{says}.*{way_out}"):
            export_focus(month, "2026-11", file_format="csv")
    done = export_focus(month, "2026-11", file_format="csv", is_partial=True)
    assert done.rows == 1
    assert [str(run) for run in done.missing["default"]] == ["2026-11-02..2026-12-01"]


def test_a_month_without_any_bill_has_a_header_alone(data_dir: Path) -> None:
    """A month known to be empty is an empty file of the right columns, not an error."""
    _, settings = billed(data_dir, *([] for _ in range(31)), first=OCTOBER)
    done = export_focus(settings, "2026-10", file_format="csv")
    assert done.rows == 0
    assert done.path.read_text(encoding="utf-8").startswith("AllocatedMethodDetails,")
    assert pq.read_table(export_focus(settings, "2026-10", file_format="parquet").path).num_rows == 0


@pytest.mark.parametrize(
    "month_text", ["2026-13", "2026-00", "2026-1", "0000-01", "october", "2026-10-01", "\uff12\uff10\uff12\uff16-10"]
)
def test_what_is_no_month_is_said(month_text: str) -> None:
    """A month is four digits, a dash and two."""
    with pytest.raises(FixConfig, match="is not a month: write it as YYYY-MM"):
        month_window(month_text)


def test_months_end_where_the_next_begins() -> None:
    """December ends with the year, February on its last day."""
    assert str(month_window("2026-12")) == "2026-12-01..2027-01-01"
    assert str(month_window("2028-02")) == "2028-02-01..2028-03-01"


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_the_old_one(month: Settings, tmp_path: Path) -> None:
    """A folder that is absent is named; an export that fails half-way leaves the file that was there."""
    with pytest.raises(LakeUnwritable, match="No such file or directory"):
        export_focus(month, "2026-10", file_format="csv", output=tmp_path / "absent" / "focus.csv")
    taken = tmp_path / "taken.csv"
    taken.mkdir()
    with pytest.raises(LakeUnwritable, match=r"taken\.csv cannot be written"):
        export_focus(month, "2026-10", file_format="csv", output=taken)
    kept = tmp_path / "kept.parquet"
    kept.write_text("kept")
    lost = next(month.lake_dir.glob("marts/focus/**/*.parquet"))
    lost.rename(tmp_path / "lost")
    with pytest.raises(LakeDamaged, match="the query failed"):
        export_focus(month, "2026-10", file_format="parquet", output=kept)
    (tmp_path / "lost").rename(lost)
    assert kept.read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["kept.parquet"]


def run(settings: Settings, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command in this process."""
    monkeypatch.setenv("USAGE_PIPELINE_DATA_DIR", str(settings.data_dir))
    return CliRunner().invoke(app, ["export", "focus", *arguments])


def test_the_command_prints_the_path_and_warns_of_missing_days(
    month: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Standard output is the path alone, for scripts; what is missing is said on stderr."""
    output = tmp_path / "out.csv"
    arguments = ("--month", "2026-11", "--format", "csv", "--output", str(output), "--partial")
    result = run(month, *arguments, monkeypatch=monkeypatch)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{output}\n"
    assert re.search("warning: 2026-11 is not complete.*default: 2026-11-02 to 2026-11-30", result.stderr)
    as_json = run(month, *arguments, "--json", monkeypatch=monkeypatch)
    assert '"default": [' in as_json.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--month", "2026-11"], "has days nobody has read"),
        (
            ["--month", "2025-01"],
            "knows no bill of 2025-01-01..2025-02-01: run `usage-pipeline sync --since 2025-01-01",
        ),
        (["--month", "soon"], "is not a month"),
        (["--month", "2026-10", "--format", "xlsx"], "--format 'xlsx' is not known: use parquet or csv"),
        (["--month", "2026-10", "--version", "1.3"], "FOCUS version '1.3' is not built: use 1.2 or 1.4"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], says: str, month: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mistake is an error that says what to do, and nothing is written."""
    exports = month.data_dir / "exports"
    before = sorted(exports.glob("*"))
    result = run(month, *arguments, monkeypatch=monkeypatch)
    assert isinstance(result.exception, FixConfig)
    assert says in str(result.exception)
    assert "\n" not in str(result.exception)
    assert sorted(exports.glob("*")) == before


def test_without_a_warehouse_the_way_to_one_is_said(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting before any sync says what to run and creates no folder."""
    monkeypatch.setenv("USAGE_PIPELINE_DATA_DIR", str(data_dir))
    result = CliRunner().invoke(app, ["export", "focus", "--month", "2026-10"])
    assert isinstance(result.exception, FixConfig)
    assert "run `usage-pipeline sync`" in str(result.exception)
    assert not data_dir.exists()


def test_days_known_of_one_organization_do_not_hide_the_gaps_of_another(data_dir: Path) -> None:
    """Each organization in the file is complete, or named with its missing days."""
    from usage_pipeline_tests.played import Played
    from usage_pipeline_tests.played_bills import sync_bills

    service = Played(datetime(2026, 11, 20, tzinfo=UTC))
    _, month = billed(data_dir, [], first=OCTOBER)
    other = month.model_copy(update={"organization": "other"})
    sync_bills(service, other, 2, OCTOBER + timedelta(days=3))
    with pytest.raises(FixConfig, match="other: 2026-10-01 to 2026-10-03, 2026-10-06 to 2026-10-31"):
        export_focus(month, "2026-10", file_format="csv")
