"""Other engines' answers: what counts as the same, the marts' SQL in other dialects, and the engines that are here."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from sqlglot import exp

from usage_pipeline.settings import Settings
from usage_pipeline_tests.engines.answers import answer_of, difference, flags_of, other_types
from usage_pipeline_tests.engines.contenders import ENGINES, compare
from usage_pipeline_tests.engines.lake import lake_tables, make_lake, published
from usage_pipeline_tests.engines.queries import MARTS, questions, statements, tables
from usage_pipeline_tests.few_marts import only_marts

_MONEY = pa.decimal128(38, 20)
_HERE = [name for name, engine in ENGINES.items() if engine.packages is None]


def _amounts(*values: str, kind: pa.DataType = _MONEY) -> pa.Table:
    return pa.table({"amount": pa.array([Decimal(value) for value in values]).cast(kind)})


def test_the_order_of_rows_does_not_count_and_their_number_does() -> None:
    """The same rows in another order are the same answer; one of two equal rows is another."""
    wanted, turned = answer_of(_amounts("1", "2", "2")), answer_of(_amounts("2", "1", "2"))
    assert difference(wanted, turned) is None
    assert wanted.checksum == turned.checksum
    assert "1 of 3 rows differ" in str(difference(wanted, answer_of(_amounts("1", "2"))))


def test_one_digit_at_the_twentieth_place_is_a_difference() -> None:
    """Money is compared to its last digit."""
    wanted = answer_of(_amounts("98765432109.87654321098765432109"))
    got = answer_of(_amounts("98765432109.87654321098765432108"))
    assert "98765432109.87654321098765432108" in str(difference(wanted, got))
    assert wanted.checksum != got.checksum


def test_a_binary_float_is_never_the_same_as_money() -> None:
    """An engine that computes in floats is told, also where the float prints alike."""
    assert difference(answer_of(_amounts("0.5")), answer_of(pa.table({"amount": [0.5]}))) is not None


def test_a_time_in_another_zone_is_the_same_moment_or_a_difference() -> None:
    """Times are compared as UTC: with a zone as that moment, without one as they stand."""
    moment = datetime(2026, 11, 20, 6)  # noqa: DTZ001 - as the lake has it
    wanted = answer_of(pa.table({"at": [moment]}))
    kind = pa.timestamp("us", "UTC")
    assert difference(wanted, answer_of(pa.table({"at": pa.array([moment.replace(tzinfo=UTC)], kind)}))) is None
    assert difference(wanted, answer_of(pa.table({"at": [moment.replace(hour=7)]}))) is not None


def test_flags_as_whole_numbers_are_the_same_and_are_told() -> None:
    """An engine that has 1 for true gives the same answer, by another type that is named."""
    wanted, got = pa.table({"is_x": [True, None]}), pa.table({"is_x": pa.array([1, None], pa.uint8())})
    assert difference(answer_of(wanted), answer_of(got, flags_of(wanted))) is None
    assert other_types(wanted, got) == {"is_x: uint8 instead of bool"}
    assert not other_types(pa.table({"a": ["x"]}), pa.table({"a": pa.array(["x"], pa.large_string())}))


@pytest.mark.parametrize("dialect", sorted({engine.dialect for engine in ENGINES.values()}))
def test_statements_stand_on_tables_of_the_lake_in_plain_words(dialect: str) -> None:
    """Marts and views are within; what not all engines know (group by all, filter, lists of structs) is written out."""
    asked = statements(dialect)
    assert list(asked) == list(questions())
    stored = {name.replace(".", "_") for name in tables()}
    for sql in asked.values():
        query = sqlglot.parse_one(sql, dialect=dialect)
        own = {cte.alias for cte in query.find_all(exp.CTE)}
        assert {table.sql(dialect=dialect).split()[0] for table in query.find_all(exp.Table)} <= stored | own
        assert not list(query.find_all(exp.Filter, exp.Unnest, exp.Explode))
        assert not any(group.args.get("all") for group in query.find_all(exp.Group))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The lake the command makes, with the marts it asks for."""
    with only_marts(*MARTS):
        yield make_lake(tmp_path_factory.mktemp("engines") / "data")


@pytest.mark.slow
@pytest.mark.marts(*MARTS)
@pytest.mark.parametrize("name", _HERE)
def test_engines_that_are_here_give_the_published_answers(name: str, lake: Settings, tmp_path: Path) -> None:
    """DuckDB and DataFusion, over the lake's own tables, answer as the published file does, row for row."""
    found = compare(ENGINES[name], lake_tables(lake), published(lake), tmp_path, tmp_path / name)
    assert not found.different
    assert set(found.same) == set(questions())


@pytest.mark.slow
@pytest.mark.marts(*MARTS)
def test_a_reader_that_ignores_the_log_counts_superseded_rows(lake: Settings) -> None:
    """Files of older versions lie beside those of the newest: Delta's log says which count."""
    (stored,) = published(lake)["sums of usage.costs"].to_pylist()
    with duckdb.connect() as con:
        every_file = f"{lake.lake_dir}/usage/costs/**/*.parquet"
        counted = con.execute("select count(*) from read_parquet($1)", [every_file]).fetchone()
    assert counted is not None
    assert counted[0] > stored["stored_rows"]
