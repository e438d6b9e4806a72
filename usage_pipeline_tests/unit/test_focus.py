"""FOCUS: the bill in the specification's columns, exact, in both versions, and its rules as checks of our own."""

import shutil
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.lake.engine import connect, literal
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.checks import unallocated_difference
from usage_pipeline.marts.focus_columns import COLUMNS, EXTRA_COLUMNS, VERSIONS, Version, columns_of
from usage_pipeline.marts.focus_rules import BrokenRule, broken_rules, broken_rules_of, rules_of
from usage_pipeline.marts.tables import mart_schema
from usage_pipeline.marts.views import focus_type, focus_view_name
from usage_pipeline.settings import Settings
from usage_pipeline.warehouse import refresh
from usage_pipeline.windows import Window
from usage_pipeline_tests.played_bills import FIRST, billed, cost, name_them, put_bills, sync_bills
from usage_pipeline_tests.world import World, everything, last_days, rows

pytestmark = pytest.mark.marts("cost_by_key", "cost_by_team", "cost_by_user", "focus")

INPUT = {"line_item": "gpt-4o-2024-08-06, input", "quantity": 1000, "quantity_unit": "tokens"}


def one(settings: Settings, *columns: str) -> tuple[Any, ...]:
    """The chosen columns of the only row."""
    found = rows(settings, f"select {', '.join(columns)} from marts.focus_1_4")
    assert len(found) == 1
    return found[0]


def rows_table(settings: Settings, version: Version) -> pa.Table:
    """A version's published rows as Arrow, decimals and times as stored."""
    names = [column.name for column in columns_of(version)]
    with connect() as con:
        con.execute(f"attach {literal(str(settings.warehouse_path))} as published (read_only)")
        chosen = ", ".join(f'"{name}"' for name in names)
        return con.sql(f"select {chosen} from published.marts.{focus_view_name(version)}").to_arrow_table()


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> dict[Version, pa.Table]:
    """Rows of both versions that break no rule: usage and a credit."""
    lines = [cost("1", project_id="p", **INPUT), cost("-1", project_id="p", line_item="credit")]
    _, settings = billed(tmp_path_factory.mktemp("right"), lines)
    return {version: rows_table(settings, version) for version in VERSIONS}


def broken(table: pa.Table, column: str, value: Any, version: Version = "1.4") -> list[BrokenRule]:
    """The findings after one column was given one value throughout."""
    index = table.schema.get_field_index(column)
    values = pa.array([value] * table.num_rows, table.schema.field(index).type)
    return broken_rules_of(table.set_column(index, column, values), version)


def test_both_versions_have_the_columns_they_had_when_published() -> None:
    """1.2 has 57 columns and 1.4 has 65: two went, ten came."""
    old, new = ({column.name for column in columns_of(version)} for version in VERSIONS)
    assert (len(old), len(new)) == (57, 65)
    assert old - new == {"ProviderName", "PublisherName"}
    assert {"ServiceProviderName", "HostProviderName", "InvoiceDetailId", "AllocatedTags"} <= new - old
    assert [column.name for column in COLUMNS] == sorted(column.name for column in COLUMNS)


def test_the_mart_fills_what_the_table_says_is_given() -> None:
    """Stored are all columns of both versions with their types, ours, and the two every mart is kept by."""
    schema = mart_schema("focus")
    names = {column.name for column in COLUMNS}
    assert set(schema.names) == names | set(EXTRA_COLUMNS) | {"organization", "date", "part"}
    for column in COLUMNS:
        found = str(schema.field(column.name).type)
        assert found == {"varchar": "string", "timestamp": "timestamp[us]"}.get(
            focus_type(column), "decimal128(38, 20)"
        )


@pytest.mark.parametrize("version", VERSIONS)
def test_published_views_have_exactly_the_columns_of_their_version(version: Version, data_dir: Path) -> None:
    """A view is the specification's columns in its order and spelling, then our own, each with a comment."""
    _, settings = billed(data_dir, [cost("1.5", **INPUT)])
    described = rows(
        settings,
        "select column_name, comment is not null from duckdb_columns() "
        f"where table_name = '{focus_view_name(version)}' order by column_index",
    )
    assert [name for name, _ in described] == [c.name for c in columns_of(version)] + list(EXTRA_COLUMNS)
    assert all(has_comment for _, has_comment in described)
    assert rows(settings, f'select "BilledCost" from marts.{focus_view_name(version)}') == [(Decimal("1.5"),)]


def test_any_duckdb_client_reads_the_views_also_of_an_attached_file(data_dir: Path) -> None:
    """The views name their mart so that it is found from another database too."""
    _, settings = billed(data_dir, [cost("1.5", **INPUT)])
    with duckdb.connect() as con:
        con.execute(f"attach {literal(str(settings.warehouse_path))} as w (read_only)")
        assert con.sql('select "BillingCurrency" from w.marts.focus_1_2').fetchall() == [("USD",)]


def test_focus_adds_up_to_the_bill_to_the_last_digit(settings: Settings, still_world: World) -> None:
    """Per day and currency, every cost column sums to what was billed; the made-up bill breaks no rule."""
    still_world.sync(settings, last_days(5))
    query = "select date, upper(currency), sum(amount) from usage.costs group by all order by all"
    amounts = rows(settings, query)
    for name in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"):
        focus = f'select date, "BillingCurrency", sum("{name}") from marts.focus group by all order by all'
        assert rows(settings, focus) == amounts
    for version in VERSIONS:
        assert all(found.is_known_gap for found in broken_rules(Lake(settings.lake_dir), version))


def test_a_billed_row_in_the_words_of_the_specification(data_dir: Path) -> None:
    """Account, project, line item, unit and days come from the bill; what it does not tell is null."""
    _, settings = billed(data_dir, [cost("1.25", project_id="proj_a", api_key_id="key_a", **INPUT)])
    assert one(settings, "BillingAccountId", "SubAccountId", "SubAccountName", "SubAccountType") == (
        "default", "proj_a", "proj_a", "Project",
    )  # fmt: skip
    assert one(settings, "ChargeCategory", "ChargeFrequency", "ChargeClass", "ChargeDescription") == (
        "Usage", "Usage-Based", None, "gpt-4o-2024-08-06, input",
    )  # fmt: skip
    assert one(settings, "SkuId", "SkuPriceId", "SkuMeter") == (INPUT["line_item"], INPUT["line_item"], "input")
    assert one(settings, "ConsumedQuantity", "ConsumedUnit", "PricingQuantity", "PricingUnit") == (
        Decimal(1000), "Tokens", Decimal(1000), "Tokens",
    )  # fmt: skip
    assert one(settings, "ServiceCategory", "ServiceProviderName", "InvoiceIssuerName", "HostProviderName") == (
        "AI and Machine Learning", "OpenAI", "OpenAI", "OpenAI",
    )  # fmt: skip
    assert one(settings, "x_ApiKeyId", "x_BilledApiKeyId") == ("key_a", "key_a")
    blank = [column.name for column in columns_of("1.4") if not column.is_given]
    assert set(one(settings, *blank)) == {None}


def test_a_blank_line_item_is_no_description(data_dir: Path) -> None:
    """Empty text is null in FOCUS, and one row with it; the sums still are the bill's."""
    _, settings = billed(data_dir, [cost("1", project_id="p", line_item=""), cost("2", project_id="p", line_item=" ")])
    assert one(settings, "ChargeDescription", "SkuId", "SkuPriceId", "BilledCost") == (None, None, None, 3)
    lake, window = Lake(settings.lake_dir), Window.of_days(FIRST, FIRST + timedelta(days=1))
    assert unallocated_difference(lake, settings.organization, window) == ()


def test_billing_periods_are_months_and_charge_periods_days_in_utc(data_dir: Path) -> None:
    """The last day of October and the first of November lie in two periods; each end is the next one's start."""
    _, settings = billed(data_dir, [cost("1")], [cost("2")])
    periods = '"BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd"'
    october, november, december = (datetime(2026, month, 1) for month in (10, 11, 12))  # noqa: DTZ001 - stored so
    assert rows(settings, f"select {periods} from marts.focus_1_2 order by 3") == [
        (october, november, november - timedelta(days=1), november),
        (november, december, november, november + timedelta(days=1)),
    ]


def test_amounts_below_zero_are_credits_and_have_no_quantity(data_dir: Path) -> None:
    """A credit is of category Credit, not usage, and consumes nothing; zero is usage."""
    _, settings = billed(data_dir, [cost("-3.5", **INPUT), cost("0", line_item="gpt-4o, output")])
    found = rows(
        settings,
        'select "ChargeCategory", "ChargeFrequency", "BilledCost", "ConsumedQuantity", "PricingUnit", '
        '"PricingCategory" '
        "from marts.focus_1_4 order by all",
    )
    assert found == [
        ("Credit", "One-Time", Decimal("-3.5"), None, None, None),
        ("Usage", "Usage-Based", Decimal(0), None, None, "Standard"),
    ]
    assert [found.column for found in broken_rules(Lake(settings.lake_dir))] == [
        "ConsumedQuantity",
        "PricingQuantity",
    ]


def test_currencies_stay_apart_and_are_written_in_capitals(data_dir: Path) -> None:
    """Two currencies of a day are two rows."""
    _, settings = billed(data_dir, [cost("1.5"), cost("2.5", "eur")])
    found = rows(settings, 'select "BillingCurrency", "BilledCost" from marts.focus_1_2 order by 1')
    assert found == [("EUR", Decimal("2.5")), ("USD", Decimal("1.5"))]


def test_no_quantity_without_a_unit_and_no_unit_without_a_quantity(data_dir: Path) -> None:
    """Half of a quantity is none: nothing is guessed, and the gap is reported as one the service leaves."""
    half = {"line_item": "gpt-4o-2024-08-06, input"}
    _, settings = billed(data_dir, [cost("1", quantity=5, **half), cost("2", "eur", quantity_unit="tokens", **half)])
    pair = '"ConsumedQuantity", "ConsumedUnit", "PricingQuantity", "PricingUnit"'
    assert set(rows(settings, f"select {pair} from marts.focus_1_4")) == {(None, None, None, None)}
    found = broken_rules(Lake(settings.lake_dir))
    assert {(one.column, one.rows, one.is_known_gap) for one in found} == {
        ("ConsumedQuantity", 2, True),
        ("PricingQuantity", 2, True),
    }


def test_every_unit_of_the_endpoint_table_has_a_name_in_the_specification(data_dir: Path) -> None:
    """A unit the service may send is written as FOCUS writes units; one added to the table cannot be forgotten."""
    label = next(label for label in ENDPOINTS["costs"].labels if label.name == "quantity_unit")
    lines = [
        cost("1", line_item=f"line {n}", quantity=1, quantity_unit=unit) for n, unit in enumerate(label.known_values)
    ]
    _, settings = billed(data_dir, lines)
    units = {unit for (unit,) in rows(settings, 'select "ConsumedUnit" from marts.focus_1_4')}
    assert len(units) == len(label.known_values)
    assert not units & set(label.known_values)
    assert {"Tokens", "1000 Tokens", "GiB-Hours"} <= units
    assert broken_rules(Lake(settings.lake_dir)) == []


def test_a_unit_nobody_knows_is_kept_and_reported(data_dir: Path) -> None:
    """A new unit of the service is shown as it came and found by the rule of units."""
    _, settings = billed(data_dir, [cost("1", **{**INPUT, "quantity_unit": "parsec_squared"})])
    assert one(settings, "ConsumedUnit") == ("parsec_squared",)
    assert {(found.column, found.rule) for found in broken_rules(Lake(settings.lake_dir))} == {
        ("ConsumedUnit", "is a unit"),
        ("PricingUnit", "is a unit"),
    }


def test_a_meter_is_what_the_bill_counts_where_the_line_names_none(data_dir: Path) -> None:
    """A line without a meter of its own is metered in the unit of its quantity; without one, in nothing."""
    lines = [cost("1", line_item="gpt-image-1", quantity=2, quantity_unit="images"), cost("2", line_item="dall-e-3")]
    _, settings = billed(data_dir, lines)
    assert rows(settings, 'select "SkuId", "SkuMeter" from marts.focus_1_4 order by 1') == [
        ("dall-e-3", None),
        ("gpt-image-1", "images"),
    ]


def test_keys_and_users_go_by_the_names_they_had_on_the_day(data_dir: Path) -> None:
    """The x_ columns and marts.cost_by_user have the day's name, of a service account too; dims shows it to joins."""
    bill = [cost("1", user_id="u", api_key_id="k"), cost("2", user_id="s", api_key_id="k")]
    _, settings = billed(data_dir, bill, bill)
    renamed = datetime(2026, 11, 1)  # noqa: DTZ001 - UTC, as stored
    begin = {"valid_from": datetime(2026, 10, 1)}  # noqa: DTZ001
    name_them(
        settings, "users",
        {"id": "u", "name": "Ann", "email": "ann@x.org", "valid_to": renamed, **begin},
        {"id": "u", "name": "Ann Lee", "email": "ann@x.org", "valid_from": renamed},
    )  # fmt: skip
    name_them(settings, "service_accounts", {"id": "s", "name": "robot", **begin})
    name_them(settings, "api_keys", {"id": "k", "name": "prod", **begin})
    refresh(settings)
    names = 'select "x_UserName", "x_ApiKeyName" from marts.focus_1_4 order by "ChargePeriodStart", "BilledCost"'
    assert rows(settings, names) == [("Ann", "prod"), ("robot", "prod"), ("Ann Lee", "prod"), ("robot", "prod")]
    found = rows(settings, "select user_name, user_email, amount from marts.cost_by_user order by date, amount")
    assert found == [
        ("Ann", "ann@x.org", 1), ("robot", None, 2), ("Ann Lee", "ann@x.org", 1), ("robot", None, 2),
    ]  # fmt: skip
    joined = (
        "select n.name from marts.cost_allocated a join dims.user_names n on n.organization = a.organization "
        "and n.id = a.user_id and a.date >= n.from_date and a.date < n.until_date order by a.date"
    )
    assert rows(settings, joined) == [("Ann",), ("Ann Lee",)]


@pytest.mark.slow
def test_a_name_recomputes_the_days_it_touches_and_no_others(data_dir: Path) -> None:
    """A key made on the last day asks for that day alone, a rename for the days since; either equals a full build."""
    _, settings = billed(data_dir, *([cost(str(n), project_id="p", api_key_id="k")] for n in range(4)))
    days = [FIRST + timedelta(days=number) for number in range(4)]
    begun, renamed, last = (datetime(day.year, day.month, day.day) for day in (days[0], days[1], days[3]))  # noqa: DTZ001
    old = {"id": "k", "name": "old", "created_at": begun, "valid_from": begun}
    new = {"id": "other", "name": "new", "created_at": last, "valid_from": last}
    steps = [
        ([old], days),
        ([old, new], days[3:]),
        ([{**old, "valid_to": renamed}, {**old, "name": "renamed", "valid_from": renamed}, new], days[1:]),
    ]
    for versions, touched in steps:
        name_them(settings, "api_keys", *versions)
        built = {build.mart: list(build.days) for build in refresh(settings).builds if build.days}
        assert built == {"cost_by_key": touched, "cost_by_team": touched, "focus": touched}
    held = everything(settings, ["marts"])
    for table in ("marts", "meta/mart_log"):
        shutil.rmtree(settings.lake_dir / table)
    refresh(settings)
    assert everything(settings, ["marts"]) == held


def test_a_project_goes_by_the_name_it_had_on_the_day(data_dir: Path) -> None:
    """A renamed project has its old name on old days, its first known one before that, and its id without any."""
    _, settings = billed(data_dir, *([cost(str(n), project_id="p"), cost("9", project_id="q")] for n in range(4)))
    name_them(
        settings, "projects",
        {"id": "p", "name": "Old", "valid_from": datetime(2026, 11, 1), "valid_to": datetime(2026, 11, 2, 12)},  # noqa: DTZ001
        {"id": "p", "name": "New", "valid_from": datetime(2026, 11, 2, 12)},  # noqa: DTZ001
    )  # fmt: skip
    refresh(settings)
    query = """select "ChargePeriodStart"::date, "SubAccountName" from marts.focus_1_4 where "SubAccountId" = $id"""
    named = rows(settings, f"{query} order by 1", {"id": "p"})
    assert named == [(FIRST + timedelta(days=n), name) for n, name in enumerate(["Old", "Old", "New", "New"])]
    assert {name for _, name in rows(settings, query, {"id": "q"})} == {"q"}


@pytest.mark.slow
def test_a_restated_day_is_computed_alone_and_equals_a_full_build(data_dir: Path, tmp_path: Path) -> None:
    """After a restatement the stored FOCUS rows are those of a fresh warehouse."""
    service, settings = billed(data_dir, *([cost(str(n), **INPUT)] for n in range(3)))
    put_bills(service, [cost("7", project_id="late")], first=FIRST + timedelta(days=1))
    service.now += timedelta(hours=1)
    sync_bills(service, settings, 3)
    _, fresh = billed(tmp_path / "fresh", [cost("0", **INPUT)], [cost("7", project_id="late")], [cost("2", **INPUT)])
    ours, theirs = everything(settings), everything(fresh)
    assert ours["marts.focus"] == theirs["marts.focus"]
    assert ours["marts.focus_1_4"] == theirs["marts.focus_1_4"]
    built = {build.mart: build.days for build in refresh(settings).builds}
    assert built["focus"] == ()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("BillingAccountId", None, "is not null"),
        ("BilledCost", None, "is not null"),
        ("BillingAccountName", " ", "is not blank"),
        ("BillingCurrency", "usd", "is a currency code"),
        ("BillingPeriodEnd", datetime(2026, 10, 31), "is one month in UTC"),  # noqa: DTZ001
        ("ChargePeriodStart", datetime(2026, 10, 31, 1), "is one day in UTC"),  # noqa: DTZ001
        ("ChargeCategory", "Fee", "is an allowed value"),
        ("ChargeClass", "Restated", "is an allowed value"),
        ("EffectiveCost", Decimal(1), "equals BilledCost on credits"),
        ("ListUnitPrice", Decimal(-1), "is not negative"),
        ("ConsumedUnit", "tokens", "is a unit"),
        ("ConsumedUnit", None, "is given where ConsumedQuantity is not null"),
        ("ConsumedQuantity", None, "is null where ConsumedQuantity is null"),
        ("ConsumedQuantity", Decimal(1), "is null where not (ChargeCategory = 'Usage'"),
        ("SkuId", None, "is null where SkuId is null"),
        ("SubAccountName", None, "is given where SubAccountId is not null"),
        ("Tags", "team=a", "is a JSON object"),
        ("ResourceType", "vm", "is null where ResourceId is null"),
        ("RegionId", "eu", "is given where RegionId is not null"),
        ("ServiceCategory", "Compute", "belongs to ServiceCategory"),
    ],
)
def test_each_kind_of_rule_finds_what_breaks_it(
    column: str, value: Any, rule: str, version: Version, right: dict[Version, pa.Table]
) -> None:
    """Rows that are right have no finding; one wrong column is found under the rule it breaks, with its rows."""
    assert broken_rules_of(right[version], version) == []
    found = broken(right[version], column, value, version)
    assert any(one.rule.startswith(rule) and one.rows >= 1 for one in found), found


def test_absent_columns_and_wrong_types_are_findings(right: dict[Version, pa.Table]) -> None:
    """A column that is missing, or is not of its type, is found without stopping the other checks."""
    table = right["1.4"].filter([True, False])
    index = table.schema.get_field_index("BilledCost")
    floats = table.set_column(index, "BilledCost", pa.array([1.0]))
    assert [f.rule for f in broken_rules_of(floats.drop_columns(["ServiceName"]))] == [
        "is of type decimal(38,20)",
        "is present",
    ]
    assert broken_rules_of(floats, "1.2")[-1] == BrokenRule(column="PublisherName", rule="is present", rows=0)


def test_findings_can_be_of_one_organization_and_window(data_dir: Path) -> None:
    """A check of one day counts that day's rows alone."""
    _, settings = billed(data_dir, [cost("1")], [cost("2"), cost("3", "eur")])
    lake, day = Lake(settings.lake_dir), FIRST + timedelta(days=1)
    window = Window.of_days(day, day + timedelta(days=1))
    counts = {found.rows for found in broken_rules(lake, "1.4", "default", window)}
    assert counts == {2}
    assert {found.rows for found in broken_rules(lake)} == {3}
    assert broken_rules(lake, "1.4", "other", window) == []
    assert broken_rules(lake, "1.2", "default", Window.of_days(date(2026, 1, 1), date(2026, 1, 2))) == []


def test_every_rule_has_a_name_of_its_own() -> None:
    """No two rules of a column go by one name, so that a finding tells which one it is."""
    for version in VERSIONS:
        names = [(rule.column, rule.name) for rule in rules_of(version)]
        assert len(names) == len(set(names)) > 100
