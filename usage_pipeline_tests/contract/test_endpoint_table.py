"""The endpoint table says what the API's description says, field by field."""

import json
from typing import Any

import pytest

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline_tests.played import GOLDEN

DESCRIBED: dict[str, dict[str, Any]] = json.loads((GOLDEN / "api" / "endpoints.json").read_text())["endpoints"]
COMMON = {"start_time", "end_time", "bucket_width", "group_by", "limit", "page"}


def test_the_table_has_every_described_endpoint_and_no_other() -> None:
    """Twelve endpoints are described, and the table has exactly these."""
    assert set(ENDPOINTS) == set(DESCRIBED)
    assert len(ENDPOINTS) == 12


@pytest.mark.parametrize("name", DESCRIBED)
def test_path_object_groupings_and_limits_are_the_described_ones(name: str) -> None:
    """Path, result object, group_by values and page limits are the API's."""
    row, described = ENDPOINTS[name], DESCRIBED[name]
    assert "/v1" + row.path == described["path"]
    assert row.result_object == described["result_object"]
    assert list(row.dimension_names) == described["group_by"]
    limits = {w: {"default": limit.default, "max": limit.maximum} for w, limit in row.page_limits.items()}
    assert limits == described["bucket_widths"]


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_described_filter_is_in_the_row(name: str) -> None:
    """The row's filters are the described query parameters that are not common to all endpoints."""
    assert set(ENDPOINTS[name].filters) == set(DESCRIBED[name]["query_params"]) - COMMON


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_described_field_is_a_dimension_a_measure_or_a_label(name: str) -> None:
    """No described field is missing from the row, none is made up, and required measures are required."""
    row, fields = ENDPOINTS[name], DESCRIBED[name]["result_fields"]
    measures = {measure.name: measure for measure in row.measures}
    labels = {label.name for label in row.labels} - {"currency"}  # a part of the amount object
    assert set(row.dimension_names) | set(measures) | labels == set(fields) - {"object"}
    assert {n: m.is_required for n, m in measures.items()} == {n: fields[n]["required"] for n in measures}


@pytest.mark.parametrize("name", DESCRIBED)
def test_known_values_are_the_described_ones(name: str) -> None:
    """Known values of a dimension are those the description lists for its filter or its field."""
    for dimension in ENDPOINTS[name].dimensions:
        text = json.dumps(
            [
                DESCRIBED[name]["query_params"].get(dimension.filter or ""),
                DESCRIBED[name]["result_fields"][dimension.name],
            ]
        )
        assert all(f'"{value}"' in text for value in dimension.known_values)


def test_only_stored_bytes_are_semi_additive() -> None:
    """`usage_bytes` is the one level among the measures; everything else may be summed over time."""
    assert [m.name for row in ENDPOINTS.values() for m in row.measures if not m.is_additive] == ["usage_bytes"]
