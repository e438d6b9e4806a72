"""Prices: the book flattened whole, the user's file checked to the cell, the table changed only when they do."""

import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from genai_prices.data import providers
from genai_prices.types import ClauseAnd, ClauseOr, ModelInfo, TieredPrices, TimeOfDateConstraint

from usage_pipeline.errors import FixConfig
from usage_pipeline.lake.dims import PRICES, read_dim, replace_dim
from usage_pipeline.lake.store import Lake
from usage_pipeline.marts.derived_meters import known_meters
from usage_pipeline.marts.price_book import IGNORED_KEYS, METERS, book_table
from usage_pipeline.marts.price_overrides import Override, read_overrides
from usage_pipeline.marts.prices import book_source, refresh_prices
from usage_pipeline.warehouse import Workbench, refresh
from usage_pipeline.windows import Window
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.world import rows

pytestmark = pytest.mark.marts("usage_priced")

MODELS = next(provider for provider in providers if provider.id == "openai").models
HEADER = "model,meter,service_tier,batch,valid_from,valid_to,price,per,currency"
FIRST = 1793577600  # 2026-11-02
DAY_SECONDS = 86400


def _price_sets(model: ModelInfo) -> list[Any]:
    standard = [one.prices for one in model.prices] if isinstance(model.prices, list) else [model.prices]
    return [*standard, *(variant.prices for variant in model.price_variants or ())]


def _select(**fields: Any) -> list[dict[str, Any]]:
    return [row for row in book_table("book").to_pylist() if all(row[name] == value for name, value in fields.items())]


def test_no_price_of_the_book_is_forgotten() -> None:
    """Each price key of its OpenAI models has a meter that usage knows; a new release with more fails here."""
    keys = {key for model in MODELS for prices in _price_sets(model) for key, value in vars(prices).items() if value}
    assert keys - IGNORED_KEYS <= METERS.keys(), "give the new key a meter in price_book.METERS"
    assert set(METERS.values()) <= set(known_meters())


def test_no_rule_of_the_book_is_forgotten() -> None:
    """Every model has rows, no rule is of a kind rows cannot say, and no price depends on the hour."""
    assert {row["model"] for row in book_table("book").to_pylist()} == {model.id for model in MODELS} | {"any"}
    clauses = [c for m in MODELS for c in (m.match.or_ if isinstance(m.match, ClauseOr) else [m.match])]
    assert not any(isinstance(clause, ClauseAnd | ClauseOr) for clause in clauses)
    conditional = [one for m in MODELS for one in [*(m.prices if isinstance(m.prices, list) else [])]]
    variants = [one for m in MODELS for one in m.price_variants or ()]
    assert not any(isinstance(one.constraint, TimeOfDateConstraint) for one in [*conditional, *variants])
    assert all(variant.when.keys() <= {"service_tier", "processing"} for variant in variants)


def test_the_book_is_unique_in_its_grain_and_its_spans_do_not_overlap() -> None:
    """For a rule, meter, tier and batch every day has at most one price."""
    seen: dict[tuple[Any, ...], date | None] = {}
    order = ("priority", "meter", "service_tier", "is_batch", "valid_from")
    for row in sorted(book_table("book").to_pylist(), key=lambda r: [str(r[name] or "") for name in order]):
        key = tuple(row[name] for name in order[:-1])
        if key in seen:
            assert seen[key] is not None
            assert row["valid_from"] is not None
            assert seen[key] <= row["valid_from"]
        seen[key] = row["valid_to"]


def test_a_dated_price_becomes_spans_of_days() -> None:
    """The model that became cheaper on a day has one base rate before it and one from it on."""
    found = _select(pattern="o3", meter="input", service_tier=None, is_batch=None)
    day = date(2025, 6, 10)
    assert sorted((row["valid_from"] or date.min, row["valid_to"], row["price"]) for row in found) == [
        (date.min, day, Decimal(10)),
        (day, None, Decimal(2)),
    ]


def test_of_a_tiered_price_the_base_rate_is_kept_and_flagged() -> None:
    """No dearer rate of a size per request is in the table at all."""
    tiered = [model for model in MODELS if isinstance(getattr(model.prices, "input_mtok", None), TieredPrices)]
    assert tiered
    for model in tiered:
        base = _select(model=model.id, meter="input", service_tier=None, is_batch=None)
        assert {(row["price"], row["has_threshold"]) for row in base} == {(model.prices.input_mtok.base, True)}


def test_a_free_model_and_tools_of_one_price_are_told() -> None:
    """What the book lists without a price is free; a tool that costs the same with every model needs no model."""
    assert [row["price"] for row in _select(model="moderation")] == [Decimal(0)]
    tools = {row["meter"]: (row["price"], row["per"]) for row in _select(match="no_model")}
    assert tools == {"web search calls": (Decimal(10), 1000), "file search calls": (Decimal("2.5"), 1000)}


def test_prices_are_decimals_at_most_twelve_places_long() -> None:
    """The cost's whole-number arithmetic loses no digit of any price of the book."""
    for row in book_table("book").to_pylist():
        assert row["price"] == row["price"].quantize(Decimal("1e-12"))


def _write(folder: Path, text: str) -> Path:
    path = folder / "prices.csv"
    path.write_bytes(text.encode())
    return path


def test_the_users_file_is_read_whole(tmp_path: Path) -> None:
    """All columns, a byte order mark, Windows line ends, empty lines, quotes and upper case are understood."""
    lines = [
        HEADER,
        "Gpt-4o,input,flex,false,2026-11-01,2026-12-01,1.25,1000000,USD",
        "",
        'ft:gpt-4o*,output,,TRUE,,,"15",,eur',
        "*,sessions,,,,,0.03,,",
    ]
    table = read_overrides(_write(tmp_path, "\ufeff" + "\r\n".join(lines) + "\r\n"))
    found = {row["pattern"]: row for row in table.to_pylist()}
    exact, prefix, any_name = found["gpt-4o"], found["ft:gpt-4o"], found[""]
    assert (exact["match"], exact["service_tier"], exact["is_batch"], exact["currency"]) == (
        "equals", "flex", False, "usd",
    )  # fmt: skip
    assert (exact["valid_from"], exact["valid_to"]) == (date(2026, 11, 1), date(2026, 12, 1))
    assert (prefix["match"], prefix["service_tier"], prefix["is_batch"]) == ("starts_with", None, True)
    assert (prefix["price"], prefix["per"], prefix["currency"]) == (Decimal(15), 1_000_000, "eur")
    assert (any_name["price"], any_name["per"]) == (Decimal("0.03"), 1)
    assert exact["priority"] < prefix["priority"] < any_name["priority"]
    assert table.schema == PRICES.schema


def test_no_file_and_an_empty_table_are_no_overrides(tmp_path: Path) -> None:
    """Without the file, or with its first line alone, the book holds."""
    assert read_overrides(tmp_path / "prices.csv").num_rows == 0
    assert read_overrides(_write(tmp_path, HEADER + "\n")).num_rows == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: column 'model' is missing; the columns are model,meter"),
        ("model;meter;price\nm;input;1\n", "line 1: column 'model;meter;price' is not known; the columns are"),
        ("model,price\nm,1\n", "line 1: column 'meter' is missing"),
        ("model,meter,price,price\n", "line 1: column 'price' is named twice"),
        ("model,meter,price\nm,input\n", "line 2: 2 cells where the first line names 3"),
        ("model,meter,price\n\nm,input,2,50\n", "line 3: 4 cells where the first line names 3.*comma in double quotes"),
        ("model,meter,price\nm,input,\n", "line 2, column price: is empty. A right line is"),
        ("model,meter,price\nm,input,free\n", "line 2, column price: 'free': .*valid decimal"),
        ("model,meter,price\nm,input,-1\n", "line 2, column price: '-1': .*greater than or equal to 0"),
        ("model,meter,price\nm,input,NaN\n", "line 2, column price: 'NaN'"),
        ("model,meter,price\nm,input,1e6\n", "line 2, column price: '1e6'"),
        ("model,meter,price\nm,input,0.0000000000001\n", "line 2, column price: .*12 decimal places"),
        ("model,meter,price\nm,inputs,1\n", "line 2, column meter: 'inputs': not a meter: use one of input, cached"),
        ("model,meter,price\n,input,1\n", "line 2, column model: is empty"),
        ("model,meter,price\ngpt-*-mini,input,1\n", r"line 2, column model: 'gpt-\*-mini': a \* may stand only at"),
        ("model,meter,batch,price\nm,input,maybe,1\n", "line 2, column batch: 'maybe': .*boolean"),
        ("model,meter,price,per\nm,input,1,0\n", "line 2, column per: '0'"),
        ("model,meter,service_tier,price\nm,input,flex tier,1\n", "service_tier: 'flex tier': a tier is one word"),
        ("model,meter,service_tier,price\nm,input,flex|scale,1\n", "column service_tier: .* default, flex, priority"),
        ("model,meter,price,currency\nm,input,1,$\n", r"line 2, column currency: '\$': use the three letters"),
        ("model,meter,valid_from,price\nm,input,01.02.2026,1\n", "line 2, column valid_from: '01.02.2026'"),
        ("model,meter,valid_from,valid_to,price\nm,input,2026-02-01,2026-02-01,1\n", "valid_to: .*must come after"),
        ("model,meter,price\nm,input,1\nM,input,2\n", "line 3, column valid_from: the price of line 2 .* still holds"),
        ('model,meter,price\nm,input,"1\n', "is not CSV text in UTF-8"),
    ],
)  # fmt: skip
def test_a_wrong_cell_is_named_with_file_line_column_and_the_way_out(tmp_path: Path, text: str, message: str) -> None:
    """The first thing wrong is told in one line."""
    path = _write(tmp_path, text)
    with pytest.raises(FixConfig, match=message) as caught:
        read_overrides(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """Another encoding, or a folder in its place, is told and not guessed at."""
    path = tmp_path / "prices.csv"
    path.write_bytes("model,meter,price\nm\u00fc,input,1\n".encode("latin-1"))
    with pytest.raises(FixConfig, match=r"not CSV text in UTF-8 .*: save it as CSV, UTF-8"):
        read_overrides(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(FixConfig, match="cannot be read"):
        read_overrides(path)


def test_a_tier_may_be_new_and_standard_is_default(tmp_path: Path) -> None:
    """The service adds tiers, so any word is one; what it calls standard is the default tier, as in usage."""
    path = _write(tmp_path, "model,meter,service_tier,price\nm,input,Standard,1\nm,input,scale,2\nm,input,,3\n")
    assert read_overrides(path)["service_tier"].to_pylist() == ["default", "scale", None]


def test_prices_that_follow_each_other_do_not_overlap(tmp_path: Path) -> None:
    """A price may end on the day the next begins; another tier or batch is another price."""
    lines = [
        "model,meter,service_tier,valid_from,valid_to,price",
        "m,input,,2026-02-01,,2",
        "m,input,,,2026-02-01,1",
        "m,input,flex,2026-01-01,,1",
    ]
    assert read_overrides(_write(tmp_path, "\n".join(lines))).num_rows == 3


def test_the_columns_are_the_ones_the_documentation_names() -> None:
    """The file's columns, in their order, and data/README.md's first line of it are the same."""
    assert ",".join(Override.model_fields) == HEADER
    text = (Path(__file__).parents[2] / "data" / "README.md").read_text(encoding="utf-8")
    assert HEADER in text
    for meter in known_meters():
        assert f"`{meter}`" in text, meter


def _version(lake: Lake) -> int:
    return DeltaTable(lake.root / "dims" / "prices").version()


def test_the_table_is_written_only_when_something_changed(tmp_path: Path) -> None:
    """A second look writes nothing; a changed file, another book version and a removed file each do."""
    lake = Lake(tmp_path / "lake")
    assert refresh_prices(lake, tmp_path)
    book = read_dim(lake, PRICES)
    first = _version(lake)
    assert not refresh_prices(lake, tmp_path)
    assert _version(lake) == first
    _write(tmp_path, "model,meter,price\nm,input,1\n")
    assert refresh_prices(lake, tmp_path)
    assert not refresh_prices(lake, tmp_path)
    assert read_dim(lake, PRICES).num_rows == book.num_rows + 1
    (tmp_path / "prices.csv").unlink()
    assert refresh_prices(lake, tmp_path)
    assert read_dim(lake, PRICES).equals(book)
    old = book.slice(0, 5).set_column(0, "source", [["genai-prices 0.1.0"] * 5])
    replace_dim(lake, PRICES, old)
    assert refresh_prices(lake, tmp_path)
    assert set(read_dim(lake, PRICES)["source"].to_pylist()) == {book_source()}


def test_the_book_is_imported_only_when_its_rows_are_wanted(tmp_path: Path) -> None:
    """With the rows stored, refreshing prices does not load the large module."""
    lake = Lake(tmp_path / "lake")
    refresh_prices(lake, tmp_path)
    code = (
        "import sys; from pathlib import Path; from usage_pipeline import warehouse; "
        "from usage_pipeline.lake.store import Lake; from usage_pipeline.marts.prices import refresh_prices; "
        f"assert not refresh_prices(Lake(Path({str(lake.root)!r})), Path({str(tmp_path)!r})); "
        "sys.exit('genai_prices' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_a_wrong_file_leaves_prices_marts_and_published_file_as_they_were(data_dir: Path) -> None:
    """Refreshing fails with the line to mend; readers keep the last good state, and go on once it is mended."""
    service, settings = Played(datetime(2026, 11, 20, tzinfo=UTC)), played_settings(data_dir)
    result = {"object": "organization.usage.embeddings.result", "num_model_requests": 1, "model": "m"}
    service.put("embeddings", FIRST, {**result, "input_tokens": 2_000_000})
    data_dir.mkdir()
    _write(data_dir, "model,meter,price\nm,input,1\n")
    service.sync(settings, Window.of_times(FIRST, FIRST + DAY_SECONDS), "embeddings")
    costs = "select estimated_cost, price_source from marts.usage_priced"
    assert rows(settings, costs) == [(Decimal(2), "override")]
    before = settings.warehouse_path.stat().st_mtime_ns, _version(Lake(settings.lake_dir))
    _write(data_dir, "model,meter,price\nm,input,3\nm,output,oops\n")
    for attempt in (lambda: refresh(settings), lambda: Workbench(settings).build("usage_priced")):
        with pytest.raises(FixConfig, match=r"prices\.csv, line 3, column price: 'oops'"):
            attempt()
    assert (settings.warehouse_path.stat().st_mtime_ns, _version(Lake(settings.lake_dir))) == before
    assert rows(settings, costs) == [(Decimal(2), "override")]
    _write(data_dir, "model,meter,price\nm,input,3\n")
    refresh(settings)
    assert rows(settings, costs) == [(Decimal(6), "override")]
