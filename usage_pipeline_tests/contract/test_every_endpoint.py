"""One contract, run over every row of the endpoint table: a row is born with its tests and its golden page.

Put what must hold for any endpoint here, derived from the row; what concerns one endpoint is a unit test's.
"""

import json
from typing import Any

import httpx
import pytest

from usage_pipeline.api.models import Page, parse_page
from usage_pipeline.api.page_query import PageQuery
from usage_pipeline.endpoints import ENDPOINTS, BucketWidth, Endpoint
from usage_pipeline.errors import BadPayload, FixConfig
from usage_pipeline.records import NumberLiteral
from usage_pipeline_tests import scripted

each_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS.keys())
COUNTS = [(e, m) for e in ENDPOINTS.values() for m in e.measures if m.kind == "count"]
each_count = pytest.mark.parametrize(("endpoint", "measure"), COUNTS, ids=[f"{e.name}.{m.name}" for e, m in COUNTS])


def golden_bytes(endpoint: Endpoint) -> bytes:
    """The endpoint's golden page; without one the test fails and says what to do."""
    path = scripted.GOLDEN_PAGES / f"{endpoint.name}.json"
    if not path.exists():
        pytest.fail(
            f"{endpoint.name} has no golden page: put one realistic response (captured, ids replaced) with every "
            f"field of its row into golden/pages/{path.name}.",
            pytrace=False,
        )
    return path.read_bytes()


def golden_result(endpoint: Endpoint) -> dict[str, Any]:
    """The first result of the golden page, as JSON has it."""
    return json.loads(golden_bytes(endpoint))["data"][0]["results"][0]


def parse_result(endpoint: Endpoint, result: dict[str, Any]) -> dict[str, Any]:
    """What parsing makes of one result."""
    document = scripted.page([scripted.bucket(scripted.WEEK.start_time, result)])
    return parse(endpoint, scripted.body(document)).buckets[0].results[0]


def parse(endpoint: Endpoint, body: bytes) -> Page:
    """A body parsed under a name that errors must show."""
    return parse_page(endpoint, body, where=f"{endpoint.name} 2026-11-01..2026-11-08")


def test_every_golden_page_belongs_to_a_row() -> None:
    """No golden page outlives its endpoint."""
    assert {path.stem for path in scripted.GOLDEN_PAGES.glob("*.json")} == set(ENDPOINTS)


@each_endpoint
def test_golden_page_shows_every_field_of_the_row(endpoint: Endpoint) -> None:
    """The golden page parses and has every dimension, label and measure the row states."""
    page = parse(endpoint, golden_bytes(endpoint))
    results = [result for bucket in page.buckets for result in bucket.results]
    fields = {name for result in results for name in result} | {
        name for result in results for name in (result.get("amount") or {})
    }
    assert {*endpoint.grain, *(m.name for m in endpoint.measures)} <= fields
    assert any(not bucket.results for bucket in page.buckets), "show a quiet bucket too"


@each_endpoint
def test_golden_page_values_survive_unchanged(endpoint: Endpoint) -> None:
    """Parsing changes no value but money and quantities, which become the text of their literal; absent is null."""
    raw = json.loads(golden_bytes(endpoint), parse_float=lambda text: NumberLiteral(text=text))
    parsed = parse(endpoint, golden_bytes(endpoint))
    exact = {m.name for m in endpoint.measures if m.kind != "count"}
    for raw_bucket, bucket in zip(raw["data"], parsed.buckets, strict=True):
        assert (bucket.start_time, bucket.end_time) == (raw_bucket["start_time"], raw_bucket["end_time"])
        for before, after in zip(raw_bucket["results"], bucket.results, strict=True):
            assert {k: v for k, v in before.items() if v is not None and k not in {"object", *exact}} == {
                k: v for k, v in after.items() if v is not None and k not in exact
            }


@each_endpoint
def test_client_reads_the_golden_page(endpoint: Endpoint) -> None:
    """The client proves the golden page's window complete and keeps the body as received."""
    body = golden_bytes(endpoint)
    parsed = parse(endpoint, body)
    window = scripted.Window.of_times(parsed.buckets[0].start_time, parsed.buckets[-1].end_time)
    read = scripted.read(scripted.script(httpx.Response(200, content=body)), window, endpoint)
    assert read is not None
    assert read.buckets == parsed.buckets
    assert read.window == window
    assert [page.body for page in read.pages] == [body]
    assert read.group_by == endpoint.dimension_names


@each_endpoint
def test_required_fields_are_required(endpoint: Endpoint) -> None:
    """A result without a required field is refused by the field's name."""
    for name in ["object", *(m.name for m in endpoint.measures if m.is_required)]:
        result = golden_result(endpoint)
        del result[name]
        with pytest.raises(BadPayload, match=rf"{endpoint.name} 2026.*data\[0\]\.results\[0\]\.{name}: .*absent"):
            parse_result(endpoint, result)


@each_endpoint
def test_optional_fields_may_be_absent_or_null(endpoint: Endpoint) -> None:
    """Dimensions, labels and optional measures: absent and null read alike, as no value."""
    optional = [*endpoint.dimension_names, *(m.name for m in endpoint.measures if not m.is_required)]
    optional += [label.name for label in endpoint.labels if label.name != "currency"]
    for name in optional:
        absent = {k: v for k, v in golden_result(endpoint).items() if k != name}
        assert parse_result(endpoint, absent).get(name) is None
        assert parse_result(endpoint, absent | {name: None})[name] is None


@each_count
@pytest.mark.parametrize("value", ["12", 12.0, 12.5, True, [], {}, 2**63, -(2**63) - 1], ids=repr)
def test_counts_are_whole_numbers(endpoint: Endpoint, measure: Any, value: Any) -> None:
    """A count that is not a 64-bit whole number is refused, never coerced."""
    with pytest.raises(BadPayload, match=rf"results\[0\]\.{measure.name}: "):
        parse_result(endpoint, golden_result(endpoint) | {measure.name: value})


@each_count
@pytest.mark.parametrize("value", [0, -1, 2**63 - 1, -(2**63)])
def test_counts_cover_64_bits_and_may_be_negative(endpoint: Endpoint, measure: Any, value: int) -> None:
    """Any 64-bit count passes; a negative one is for a check to report, not for parsing to hide."""
    assert parse_result(endpoint, golden_result(endpoint) | {measure.name: value})[measure.name] == value


@each_endpoint
def test_dimensions_keep_their_kind(endpoint: Endpoint) -> None:
    """Text stays text (new values pass), flags stay flags; anything else is refused."""
    for dimension in endpoint.dimensions:
        good, bad = (
            (True, ["true", 1]) if dimension.kind == "flag" else ("\u00fcn\U0001f600seen'; --", [1, True, ["x"]])
        )
        result = parse_result(endpoint, golden_result(endpoint) | {dimension.name: good})
        assert result[dimension.name] == good
        for value in bad:
            with pytest.raises(BadPayload, match=dimension.name):
                parse_result(endpoint, golden_result(endpoint) | {dimension.name: value})


@each_endpoint
def test_unknown_fields_stay(endpoint: Endpoint) -> None:
    """A field the row does not know is kept under its name, whatever it holds."""
    news = {"new_text": "x", "new_count": 7, "new_list": [{"a": None}], "new_flag": True}
    assert news.items() <= parse_result(endpoint, golden_result(endpoint) | news).items()


@each_endpoint
def test_results_of_another_endpoint_are_refused(endpoint: Endpoint) -> None:
    """A result's object must be the row's."""
    with pytest.raises(BadPayload, match=r"results\[0\]\.object"):
        parse_result(endpoint, golden_result(endpoint) | {"object": "organization.usage.other.result"})


@each_endpoint
def test_every_documented_parameter_is_sent(endpoint: Endpoint) -> None:
    """Each parameter of the row reaches the wire in the form official clients use."""
    filters = {name: True if d.kind == "flag" else ["a", "b"] for name, d in endpoint.filters.items()}
    for width, limits in endpoint.page_limits.items():
        query = PageQuery(
            start_time=86400,
            end_time=172800,
            bucket_width=width,
            group_by=endpoint.dimension_names,
            limit=limits.maximum,
            page="page_x",
            filters=filters,
        )
        pairs = query.parameters(endpoint)
        assert {"start_time": "86400", "end_time": "172800", "bucket_width": width, "page": "page_x"}.items() <= dict(
            pairs
        ).items()
        assert [value for name, value in pairs if name == "group_by[]"] == list(endpoint.dimension_names)
        for name, wanted in filters.items():
            expected = [(name, "true")] if wanted is True else [(f"{name}[]", "a"), (f"{name}[]", "b")]
            assert [pair for pair in pairs if pair[0].removesuffix("[]") == name] == expected


@each_endpoint
def test_unknown_parameters_are_refused_with_the_known_ones(endpoint: Endpoint) -> None:
    """A wrong group_by, filter, width or limit names what the endpoint takes and is never sent."""
    limits = endpoint.page_limits["1d"]
    wrong: list[tuple[PageQuery, str]] = [
        (PageQuery(start_time=0, group_by=("colour",)), ", ".join(endpoint.dimension_names)),
        (PageQuery(start_time=0, group_by=(endpoint.dimension_names[0],) * 2), "twice"),
        (PageQuery(start_time=0, filters={"colours": ["red"]}), ", ".join(endpoint.filters)),
        (PageQuery(start_time=0, limit=limits.maximum + 1), f"1 to {limits.maximum}"),
        (PageQuery(start_time=0, limit=0), f"1 to {limits.maximum}"),
        (PageQuery(start_time=86400, end_time=86400), "end_time must be after start_time"),
    ]
    unserved: list[BucketWidth] = [w for w in ("1m", "1h") if w not in endpoint.page_limits]
    wrong += [(PageQuery(start_time=0, bucket_width=width), "it serves 1d") for width in unserved]
    for query, words in wrong:
        with pytest.raises(FixConfig) as refused:
            query.parameters(endpoint)
        assert words in str(refused.value)
        assert endpoint.name in str(refused.value)


@each_endpoint
def test_filters_take_lists_of_text_or_one_flag(endpoint: Endpoint) -> None:
    """A filter of the wrong kind is refused instead of being sent as something else."""
    for name, dimension in endpoint.filters.items():
        for value in (["true"], "true") if dimension.kind == "flag" else ("text", True, [], [""]):
            with pytest.raises(FixConfig, match=name):
                PageQuery(start_time=0, filters={name: value}).parameters(endpoint)
