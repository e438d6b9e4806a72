"""The served API, driven by the official client: an independent reading of the same contract.

Put what must hold for any client of the real service here; the expected shapes come from the golden specification.
"""

import inspect
import json
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest

from usage_pipeline.endpoints import ENDPOINTS, BucketWidth, Endpoint
from usage_pipeline.windows import WIDTH_SECONDS
from usage_pipeline_tests import simulated

GOLDEN = Path(__file__).parent.parent / "golden" / "api"
SPECIFIED = json.loads((GOLDEN / "endpoints.json").read_text())["endpoints"]
LIVE_COST_EXTRAS = {"organization_id", "organization_name", "project_name", "user_email"}
LIVE_BUCKET_EXTRAS = {"start_time_iso", "end_time_iso"}
START = simulated.day_of(simulated.SETTLED_DAY)
DAY = 86400

each_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=ENDPOINTS.keys())
each_width = pytest.mark.parametrize(
    ("endpoint", "width"),
    [(e, w) for e in ENDPOINTS.values() for w in e.page_limits],
    ids=[f"{e.name}-{w}" for e in ENDPOINTS.values() for w in e.page_limits],
)


def method_of(client: openai.OpenAI, endpoint: Endpoint) -> Callable[..., Any]:
    """The official method that reads an endpoint, answering the raw response."""
    return getattr(client.admin.organization.usage.with_raw_response, endpoint.name)


def ask(client: openai.OpenAI, endpoint: Endpoint, **parameters: Any) -> dict[str, Any]:
    """The page as JSON, numbers of a fraction kept as their text."""
    response = method_of(client, endpoint)(start_time=START, **parameters)
    return json.loads(response.text, parse_float=str)


def parameters_of(client: openai.OpenAI, endpoint: Endpoint) -> set[str]:
    """The query parameters the official method takes."""
    taken = inspect.signature(getattr(client.admin.organization.usage, endpoint.name)).parameters
    return {name for name in taken if not name.startswith("extra_") and name != "timeout"}


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a JSON value has the type a golden schema gives it."""
    if "anyOf" in schema:
        return any(fits(value, option) for option in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    if schema["type"] == "object":
        inner = schema["properties"]
        return isinstance(value, dict) and value.keys() <= inner.keys() and all(fits(value[k], inner[k]) for k in value)
    if schema["type"] == "number":  # declared a number, seen live as a string too
        return type(value) in (int, str) and Decimal(value).is_finite()
    kinds: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "null": type(None)}
    return type(value) is kinds[schema["type"]]


def assert_specified(endpoint: Endpoint, page: dict[str, Any]) -> int:
    """Check every bucket and result of a page field by field; returns how many results there were."""
    fields = SPECIFIED[endpoint.name]["result_fields"]
    assert page.keys() == {"object", "data", "has_more", "next_page"}
    assert (page["object"], type(page["has_more"])) == ("page", bool)
    seen = 0
    for bucket in page["data"]:
        assert bucket.keys() - LIVE_BUCKET_EXTRAS == {"object", "start_time", "end_time", "results"}
        assert bucket["object"] == "bucket"
        assert type(bucket["start_time"]) is type(bucket["end_time"]) is int
        for result in bucket["results"]:
            undocumented = result.keys() - fields.keys()
            assert undocumented <= (LIVE_COST_EXTRAS if endpoint.is_money else set())
            assert {name for name, field in fields.items() if field["required"]} <= result.keys()
            wrong = {n: result[n] for n in fields.keys() & result.keys() if not fits(result[n], fields[n]["schema"])}
            assert wrong == {}
            seen += 1
    return seen


def read_all(client: openai.OpenAI, endpoint: Endpoint, **parameters: Any) -> list[dict[str, Any]]:
    """The buckets of every page, following the page cursor to its end."""
    page = ask(client, endpoint, **parameters)
    buckets = page["data"]
    while page["has_more"]:
        page = ask(client, endpoint, page=page["next_page"], **parameters)
        buckets += page["data"]
    assert page["next_page"] is None
    return buckets


@each_endpoint
def test_table_and_specification_name_the_same_parameters(official_client: openai.OpenAI, endpoint: Endpoint) -> None:
    """The official method takes exactly the parameters of the specification, and the server knows each of them."""
    taken = parameters_of(official_client, endpoint)
    assert taken == set(SPECIFIED[endpoint.name]["query_params"])
    scalars = {"start_time", "end_time", "bucket_width", "limit", "page", "group_by"}
    assert taken == scalars | endpoint.filters.keys()


@each_width
def test_every_answer_is_as_specified(official_client: openai.OpenAI, endpoint: Endpoint, width: BucketWidth) -> None:
    """At every width, ungrouped and grouped by all dimensions, each field is one the specification allows."""
    window = {"end_time": START + DAY, "bucket_width": width, "limit": DAY // WIDTH_SECONDS[width]}
    ungrouped = ask(official_client, endpoint, **window)
    grouped = ask(official_client, endpoint, group_by=list(endpoint.dimension_names), **window)
    assert assert_specified(endpoint, grouped) >= assert_specified(endpoint, ungrouped) > 0
    names = set(endpoint.dimension_names)
    for bucket in ungrouped["data"]:
        assert all(row[name] is None for row in bucket["results"] for name in names)


@each_endpoint
def test_results_are_recognised_by_the_official_types(official_client: openai.OpenAI, endpoint: Endpoint) -> None:
    """The client parses an answer into its own models, and each result keeps the object of its endpoint."""
    parsed = method_of(official_client, endpoint)(start_time=START, end_time=START + DAY).parse()
    expected = SPECIFIED[endpoint.name]["result_object"]
    assert [result.object for bucket in parsed.data for result in bucket.results] == [expected]


@each_endpoint
def test_each_filter_keeps_only_what_it_names(official_client: openai.OpenAI, endpoint: Endpoint) -> None:
    """Every filter of every endpoint, with a value in use, answers those rows and no others."""
    everything = {"end_time": START + DAY, "group_by": list(endpoint.dimension_names)}
    rows = ask(official_client, endpoint, **everything)["data"][0]["results"]
    for parameter, dimension in endpoint.filters.items():
        value = next(row[dimension.name] for row in rows if row[dimension.name] is not None)
        asked = value if dimension.kind == "flag" else [value]
        kept = ask(official_client, endpoint, **everything, **{parameter: asked})["data"][0]["results"]
        expected = [row for row in rows if row[dimension.name] == value]
        assert len(kept) == len(expected) > 0
        assert {row[dimension.name] for row in kept} == {value}


@each_endpoint
def test_all_parameters_together(official_client: openai.OpenAI, endpoint: Endpoint) -> None:
    """A request that gives every parameter at once, the page cursor too, is answered as specified."""
    row = ask(official_client, endpoint, end_time=START + DAY, group_by=list(endpoint.dimension_names))
    first = next(r for r in row["data"][0]["results"] if all(r[d.name] is not None for d in endpoint.filters.values()))
    filters = {p: first[d.name] if d.kind == "flag" else [first[d.name]] for p, d in endpoint.filters.items()}
    everything = {
        "end_time": START + 3 * DAY,
        "bucket_width": "1d",
        "limit": 1,
        "group_by": list(endpoint.dimension_names),
        **filters,
    }
    page = ask(official_client, endpoint, **everything)
    following = ask(official_client, endpoint, page=page["next_page"], **everything)
    assert everything.keys() | {"start_time", "page"} == parameters_of(official_client, endpoint)
    assert assert_specified(endpoint, page) >= 1
    assert_specified(endpoint, following)
    assert [b["start_time"] for p in (page, following) for b in p["data"]] == [START, START + DAY]


@each_width
def test_pages_add_up_to_the_whole(official_client: openai.OpenAI, endpoint: Endpoint, width: BucketWidth) -> None:
    """Reading three buckets at a time, to the end by cursor, gives what one large page gives."""
    step = WIDTH_SECONDS[width]
    window = {"end_time": START + 7 * step, "bucket_width": width, "group_by": list(endpoint.dimension_names)}
    in_pages = read_all(official_client, endpoint, limit=3, **window)
    assert in_pages == read_all(official_client, endpoint, limit=7, **window)
    assert [b["start_time"] for b in in_pages] == list(range(START, START + 7 * step, step))


@each_endpoint
def test_quiet_time_comes_as_empty_buckets(official_client: openai.OpenAI, endpoint: Endpoint) -> None:
    """Days before the organization existed are buckets with no results, none of them missing."""
    start = simulated.day_of(date(2023, 12, 1))
    response = method_of(official_client, endpoint)(start_time=start, end_time=start + 7 * DAY)
    buckets = json.loads(response.text)["data"]
    assert [bucket["start_time"] for bucket in buckets] == [start + n * DAY for n in range(7)]
    assert all(bucket["results"] == [] for bucket in buckets)


@each_endpoint
def test_unaligned_start_and_open_bucket(official_client: openai.OpenAI, endpoint: Endpoint) -> None:
    """Usage is cut at the odd second and at now; costs come as whole days, the open one ending in the future."""
    now = int(simulated.NOW.timestamp())
    odd = simulated.day_of(simulated.NOW.date() - timedelta(days=1)) + 3661
    page = json.loads(method_of(official_client, endpoint)(start_time=odd).text)
    bounds = [(b["start_time"], b["end_time"]) for b in page["data"]]
    midnight = odd - odd % DAY + DAY
    expected = [(midnight - DAY, midnight), (midnight, midnight + DAY)]
    assert bounds == (expected if endpoint.is_money else [(odd, midnight), (midnight, now)])
    assert page["has_more"] is False


@each_endpoint
def test_limits_are_the_specified_ones(official_client: openai.OpenAI, endpoint: Endpoint) -> None:
    """At each width the default page, the largest page and the first refused limit are those specified."""
    for width, limits in SPECIFIED[endpoint.name]["bucket_widths"].items():
        assert len(ask(official_client, endpoint, bucket_width=width)["data"]) == min(limits["default"], _left(width))
        largest = ask(official_client, endpoint, bucket_width=width, limit=limits["max"])
        assert len(largest["data"]) == min(limits["max"], _left(width))
        with pytest.raises(openai.BadRequestError, match=f"less than or equal to {limits['max']}"):
            ask(official_client, endpoint, bucket_width=width, limit=limits["max"] + 1)


def _left(width: BucketWidth) -> int:
    """How many buckets begin between START and now."""
    return -(-(int(simulated.NOW.timestamp()) - START) // WIDTH_SECONDS[width])


@each_endpoint
def test_a_cursor_serves_only_its_own_query(official_client: openai.OpenAI, endpoint: Endpoint) -> None:
    """With any other parameter changed the page cursor is refused in the service's words."""
    own = {"end_time": START + 3 * DAY, "limit": 1}
    cursor = ask(official_client, endpoint, **own)["next_page"]
    assert cursor.startswith("page_")
    for changed in ({"limit": 2}, {"end_time": START + 4 * DAY}, {"group_by": ["project_id"]}):
        with pytest.raises(openai.BadRequestError, match="have you modified the query parameters") as refused:
            ask(official_client, endpoint, page=cursor, **(own | changed))
        assert refused.value.code == "invalid_request_error"


@each_endpoint
def test_a_bogus_group_is_refused_with_the_whole_list(official_client: openai.OpenAI, endpoint: Endpoint) -> None:
    """An unknown group_by value is refused, and the message lists every value the specification allows."""
    with pytest.raises(openai.BadRequestError) as refused:
        ask(official_client, endpoint, group_by=["colour"])
    assert all(f"'{name}'" in refused.value.message for name in SPECIFIED[endpoint.name]["group_by"])


def test_costs_know_days_only(official_client: openai.OpenAI) -> None:
    """Costs by the hour are refused, naming the one width there is."""
    with pytest.raises(openai.BadRequestError, match="Supported values are: '1d'"):
        ask(official_client, ENDPOINTS["costs"], bucket_width="1h")


def test_costs_by_api_key_have_a_floor(official_client: openai.OpenAI) -> None:
    """Costs by API key before 2025-12-06 are refused with the captured error, and answered from that day on."""
    captured = next(e for e in json.loads((GOLDEN / "payloads" / "errors.json").read_text()) if "floor" in e["when"])
    costs = official_client.admin.organization.usage.costs
    with pytest.raises(openai.BadRequestError) as refused:
        costs(start_time=1764979199, group_by=["api_key_id"])
    assert refused.value.body == captured["body"]["error"]
    assert len(costs(start_time=1764979200, group_by=["api_key_id"]).data) == 7


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("sk-proj-another", openai.AuthenticationError),
        ("sk-admin-noscope", openai.AuthenticationError),
        ("sk-admin-noscope403", openai.PermissionDeniedError),
    ],
)
def test_keys_without_the_right_are_refused(service: str, key: str, expected: type[openai.APIStatusError]) -> None:
    """A key of another kind, or without the scope, raises the official client's error for it, without the key in it."""
    with (
        openai.OpenAI(admin_api_key=key, base_url=service, max_retries=0) as client,
        pytest.raises(expected) as refused,
    ):
        client.admin.organization.usage.costs(start_time=START)
    assert key not in str(refused.value)
