"""The server as an HTTP service: keys, headers, compression, routes, options, and starting and stopping."""

import email.utils
import functools
import json
import socket
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx
import pytest

from usage_pipeline.api.serve import LoopbackServer
from usage_pipeline.api.server import create_app
from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline.simulator.faults import FaultInjector
from usage_pipeline_tests import simulated

GROUPS = {"start_time": simulated.day_of(simulated.SETTLED_DAY), "limit": 1}
COSTS, COMPLETIONS = "/organization/costs", "/organization/usage/completions"
AUTHORIZED = {"Authorization": f"Bearer {simulated.KEY}"}


def get(base_url: str, path: str = COSTS, **parameters: Any) -> httpx.Response:
    """One authorized request on a connection of its own."""
    return httpx.get(base_url + path, params=GROUPS | parameters, headers=AUTHORIZED, trust_env=False)


@pytest.mark.parametrize(
    ("header", "status"),
    [(None, 401), ("", 401), ("Bearer", 401), ("Basic sk-admin-x", 401), ("Bearer sk-proj-x", 401)],
)
def test_other_keys_get_an_error_object(service: str, header: str | None, status: int) -> None:
    """No key, or one of another kind: 401 with the usual error object, which never holds the key."""
    headers = {} if header is None else {"Authorization": header}
    answer = httpx.get(service + COSTS, params=GROUPS, headers=headers, trust_env=False)
    assert answer.status_code == status
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    assert "sk-" not in answer.text


@pytest.mark.parametrize(("key", "status"), [("sk-admin-noscope", 401), ("sk-admin-noscope403", 403)])
def test_missing_scope_is_a_bare_string(service: str, key: str, status: int) -> None:
    """A key without the scope is answered with the string body captured live."""
    answer = httpx.get(service + COSTS, headers={"Authorization": f"Bearer {key}"}, trust_env=False)
    assert answer.status_code == status
    assert answer.json()["error"].startswith("You have insufficient permissions for this operation. Missing scopes:")


@pytest.mark.parametrize("path", [COSTS, "/organization/usage/none"])
def test_every_answer_carries_the_virtual_time(plain_client: httpx.Client, path: str) -> None:
    """Date is the source's present, on good answers and bad, and each answer has a request id of its own."""
    first, second = plain_client.get(path, params=GROUPS), plain_client.get(path, params=GROUPS)
    assert email.utils.parsedate_to_datetime(first.headers["date"]) == simulated.NOW
    assert len(first.headers.get_list("date")) == 1
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


def test_answers_are_compressed_for_those_who_can(plain_client: httpx.Client) -> None:
    """A client that accepts gzip gets it, another gets plain text, and both read the same."""
    packed = plain_client.get(COMPLETIONS, params=GROUPS | {"group_by": "model"})
    plain = plain_client.get(
        COMPLETIONS, params=GROUPS | {"group_by": "model"}, headers={"Accept-Encoding": "identity"}
    )
    assert (packed.headers.get("content-encoding"), plain.headers.get("content-encoding")) == ("gzip", None)
    assert packed.json() == plain.json()


def test_unknown_paths_and_methods_answer_json(plain_client: httpx.Client) -> None:
    """What is not served is 404 or 405 with an error object."""
    missing, posted = plain_client.get("/organization/usage/none"), plain_client.post(COSTS)
    assert (missing.status_code, posted.status_code) == (404, 405)
    assert missing.json()["error"]["message"] == "Invalid URL (GET /v1/organization/usage/none)"


def test_costs_by_line_item_come_one_row_per_project(plain_client: httpx.Client) -> None:
    """Grouped by line item alone, costs have a project on each row, and add up to the ungrouped amount."""

    def rows(**parameters: str) -> list[dict[str, Any]]:
        answer = plain_client.get(COSTS, params=GROUPS | parameters)
        return json.loads(answer.text, parse_float=Decimal)["data"][0]["results"]

    grouped = rows(group_by="line_item")
    per_item = [(row["line_item"], row["project_id"]) for row in grouped]
    assert len({item for item, _ in per_item}) < len(set(per_item))
    (whole,) = rows()
    assert sum(Decimal(row["amount"]["value"]) for row in grouped) == Decimal(whole["amount"]["value"])


def test_a_new_row_of_the_table_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thirteenth endpoint, with a dimension and a measure nobody knows, is served with data by its row alone."""
    known = ENDPOINTS["images"]
    weather = replace(known.dimensions[-1], name="weather", filter="weathers", known_values=())
    reel = replace(known.measures[0], name="reels", unit="reels")
    row = replace(
        known,
        name="videos",
        path="/organization/usage/videos",
        result_object="organization.usage.videos.result",
        dimensions=(*known.dimensions[:3], weather),
        measures=(reel,),
    )
    monkeypatch.setitem(ENDPOINTS, row.name, row)
    with LoopbackServer(create_app(simulated.organization())) as server:
        answer = get(server.base_url, row.path, group_by="weather", weathers="weather-a")
    (result,) = answer.json()["data"][0]["results"]
    assert (result["object"], result["weather"], result["user_id"]) == (row.result_object, "weather-a", None)
    assert result["reels"] > 0


def test_options_make_a_stricter_organization() -> None:
    """Limited history and the refusal of user with project are switched on by create_app."""
    app = create_app(simulated.organization(), history_days=5, refuses_user_with_project=True)
    with LoopbackServer(app) as server:
        old = get(server.base_url)
        recent = simulated.day_of(simulated.NOW.date())
        combined = get(server.base_url, start_time=recent, group_by="user_id,project_id")
        fine = get(server.base_url, start_time=recent, group_by="user_id")
    assert old.json()["error"]["code"] == "reporting_lookback_exceeded"
    assert [old.status_code, combined.status_code, fine.status_code] == [400, 400, 200]


def test_injected_faults_are_seeded_and_carry_the_usual_headers() -> None:
    """The same seed fails the same requests; 429 sometimes says when to come back; Date is on faults too."""

    def answers() -> list[tuple[int, str | None]]:
        app = create_app(simulated.organization(), faults=functools.partial(FaultInjector, rate=0.6, seed=3))
        with LoopbackServer(app) as server, httpx.Client(headers=AUTHORIZED, trust_env=False) as client:
            got = [client.get(server.base_url + COSTS, params=GROUPS) for _ in range(40)]
        assert all("date" in answer.headers and answer.json() for answer in got)
        return [(answer.status_code, answer.headers.get("retry-after")) for answer in got]

    first = answers()
    assert first == answers()
    assert set(first) == {(200, None), (429, None), (429, "1"), (500, None), (503, None)}


def test_a_delay_holds_answers_back() -> None:
    """With a delay longer than the client waits, no answer arrives in time."""
    app = create_app(simulated.organization(), delay_seconds=30)
    with LoopbackServer(app) as server, pytest.raises(httpx.ReadTimeout):
        httpx.get(server.base_url + COSTS, params=GROUPS, headers=AUTHORIZED, trust_env=False, timeout=0.2)


def test_a_stopped_server_frees_its_port() -> None:
    """After the block nobody listens on the port, and a second server can take it."""
    with LoopbackServer(create_app(simulated.organization())) as server:
        assert get(server.base_url).status_code == 200
        port = server.port
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    with LoopbackServer(create_app(simulated.organization()), port=port) as again:
        assert get(again.base_url).status_code == 200
