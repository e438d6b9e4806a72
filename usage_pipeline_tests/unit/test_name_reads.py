"""The client's lists of names: read to the end or not at all, whatever the service does."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from usage_pipeline.errors import BadPayload, IncompleteListing, PermissionRefused, RequestRefused, RetryLater
from usage_pipeline.name_lists import NAME_LISTS
from usage_pipeline.records import NamesRead
from usage_pipeline_tests.scripted import WEEK, Script, Step, error, ok, script, whole

PERMISSION = "You have insufficient permissions for this operation. Missing scopes: api.management.read."


def project(id_: str, **fields: Any) -> dict[str, Any]:
    """A project as the wire has it."""
    return {"object": "organization.project", "id": id_, "created_at": 1700000000, "name": f"name of {id_}"} | fields


def listing(*items: dict[str, Any], has_more: bool = False, **fields: Any) -> httpx.Response:
    """One page of a list."""
    ids = [item["id"] for item in items]
    ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
    return ok({"object": "list", "data": list(items), "has_more": has_more} | ends | fields)


def read(far_side: Script, name: str = "projects") -> NamesRead:
    """One list against a script."""

    async def run() -> NamesRead:
        async with far_side.client() as client:
            return await client.read_names(NAME_LISTS[name])

    return asyncio.run(run())


def by_path(pages: dict[str, Step]) -> Callable[[httpx.Request], httpx.Response]:
    """Answers by the end of the path."""

    def answer(request: httpx.Request) -> httpx.Response:
        step = next(step for path, step in pages.items() if request.url.path.endswith(path))
        return step(request) if callable(step) else step  # type: ignore[return-value]

    return answer


def test_pages_are_followed_to_the_end_with_the_same_parameters() -> None:
    """Each page comes after the last id of the one before; archived projects and whole pages are asked for."""
    far_side = script(listing(project("a"), project("b"), has_more=True), listing(project("c")))
    found = read(far_side)
    assert [item.id for item in found.items] == ["a", "b", "c"]
    assert far_side.params(0) == [("include_archived", "true"), ("limit", "100")]
    assert far_side.params(1) == [*far_side.params(0), ("after", "b")]
    assert (found.requests, found.retries, len(found.pages), found.notes, found.drift) == (2, 0, 2, (), ())


def test_values_fill_the_columns_of_the_dims_table() -> None:
    """Times become UTC moments, absent fields null, and what the table does not know goes to extras with a note."""
    item = project("a", archived_at=1700000060, status="paused", colour={"hue": 1.5})
    found = read(script(listing(item)))
    assert found.items[0].columns == {
        "name": "name of a",
        "created_at": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        "archived_at": datetime(2023, 11, 14, 22, 14, 20, tzinfo=UTC),
        "status": "paused",
    }
    assert list(found.items[0].extras) == ["colour"]
    assert found.drift == (
        "dims.projects.status: new value 'paused'",
        "dims.projects: unknown field 'colour', kept in extras",
    )


def test_lists_of_projects_are_read_for_every_project_archived_ones_too() -> None:
    """Keys come with their project and owner, whoever owns them; nested unknown fields are kept by their path."""
    owners: dict[str, Any] = {
        "p/1": {"type": "user", "user": {"id": "u", "created_at": 1, "name": "U", "role": "r", "email": "e", "age": 7}},
        "p2": {"type": "service_account", "service_account": {"id": "s", "created_at": 1, "name": "S", "role": "r"}},
    }

    def keys(request: httpx.Request) -> httpx.Response:
        id_ = "p/1" if b"p%2F1" in request.url.raw_path else "p2"
        key = {"object": "organization.project.api_key", "id": f"key of {id_}", "created_at": 1, "name": "k"}
        return listing(key | {"redacted_value": "*", "owner_project_access": "active", "owner": owners[id_]})

    projects = listing(project("p/1"), project("p2", archived_at=5, status="archived"))
    far_side = script(by_path({"/projects": projects, "/api_keys": keys}))
    found = read(far_side, "api_keys")
    shown = {
        item.id: (item.columns["project_id"], item.columns["owner_type"], item.columns["owner_id"])
        for item in found.items
    }
    assert shown == {"key of p/1": ("p/1", "user", "u"), "key of p2": ("p2", "service_account", "s")}
    assert found.items[0].extras == {"owner.user.age": 7}
    assert {("owner_project_access", "any"), ("limit", "100")} == set(far_side.params(1))
    assert len(found.pages) == 2, "the projects' own pages are not part of the keys' list"


def test_an_id_on_two_pages_counts_once_as_read_last() -> None:
    """When the list shifts while it is read, an object seen twice is one object, with its newer name."""
    far_side = script(
        listing(project("a"), project("b"), has_more=True), listing(project("b", name="new"), project("c"))
    )
    assert [(i.id, i.columns["name"]) for i in read(far_side).items] == [
        ("a", "name of a"),
        ("b", "new"),
        ("c", "name of c"),
    ]


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([listing(project("a"), has_more=True)], "would never end"),
        ([listing(has_more=True)], "nothing to go on after"),
        ([listing()], "came empty"),
    ],
)
def test_a_list_that_does_not_end_or_cannot_be_is_refused(steps: list[Step], says: str) -> None:
    """A repeated cursor, a promise of more with nothing to go on, and an organization without projects are errors."""
    with pytest.raises(IncompleteListing, match=says):
        read(script(*steps))


def test_pages_that_bring_nothing_new_run_out_of_patience() -> None:
    """A service that shows the same object under ever new cursors is left after a while."""
    count = iter(range(1000))
    far_side = script(lambda _: listing(project("a"), has_more=True, last_id=f"cursor{next(count)}"))
    with pytest.raises(IncompleteListing, match="brought nothing new"):
        read(far_side)
    assert len(far_side.requests) < 30


def test_a_cursor_that_was_deleted_meanwhile_restarts_the_list() -> None:
    """When the service no longer knows `after`, reading begins again, and says so; twice at most."""
    far_side = script(
        listing(project("a"), has_more=True), error(400, "No object found", param="after"), listing(project("b"))
    )
    found = read(far_side)
    assert [item.id for item in found.items] == ["b"]
    assert "read again from the first page" in found.notes[0]

    def refusing(request: httpx.Request) -> httpx.Response:
        asks = "after" in request.url.params
        return error(400, "No object found", param="after") if asks else listing(project("a"), has_more=True)

    stubborn = script(refusing)
    with pytest.raises(RequestRefused, match="No object found"):
        read(stubborn)
    assert len(stubborn.requests) == 6


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"object": "page", "data": [], "has_more": False}, r"object.*list"),
        ({"object": "list", "data": []}, "has_more: a required field is absent"),
        ({"object": "list", "data": [project("a", created_at="now")], "has_more": False}, r"data\[0\].created_at"),
        ({"object": "list", "data": [project("")], "has_more": False}, r"data\[0\].id"),
        (
            {"object": "list", "data": [project("a", object="organization.user")], "has_more": False},
            r"data\[0\].object",
        ),
    ],
)
def test_a_body_that_is_no_page_of_the_list_is_named(body: dict[str, Any], says: str) -> None:
    """The message names the list and the field."""
    with pytest.raises(BadPayload, match=f"dims.projects: .*{says}"):
        read(script(ok(body)))


def test_one_failing_project_fails_the_whole_list() -> None:
    """All or nothing: the keys of the projects that answered are not taken for all keys."""
    keys = by_path(
        {"/projects": listing(project("a"), project("b")), "a/api_keys": listing(), "b/api_keys": error(500, "no")}
    )
    with pytest.raises(RetryLater, match=r"dims\.api_keys of b"):
        read(script(keys), "api_keys")


def test_a_project_id_that_would_leave_the_path_is_refused() -> None:
    """An id such as `..` is not put into a path."""
    with pytest.raises(BadPayload, match=r"'\.\.' cannot be a project's id"):
        read(script(by_path({"/projects": listing(project(".."))})), "api_keys")


def test_a_key_without_the_scope_still_reads_usage() -> None:
    """A refused list is refused once and says what is needed; other lists and usage of the same client go on."""
    refuse = httpx.Response(403, json={"error": PERMISSION})
    far_side = script(
        lambda request: (
            whole(request)
            if "usage" in request.url.path
            else (listing(project("a")) if request.url.path.endswith("/projects") else refuse)
        )
    )

    async def run() -> None:
        from usage_pipeline.endpoints import ENDPOINTS

        async with far_side.client() as client:
            for _ in range(2):
                with pytest.raises(PermissionRefused, match=r"dims\.users: .*403.*api\.management\.read"):
                    await client.read_names(NAME_LISTS["users"])
            assert len((await client.read_names(NAME_LISTS["projects"])).items) == 1
            assert await client.read_window(ENDPOINTS["embeddings"], WEEK, bucket_width="1d") is not None

    asyncio.run(run())
    assert len([r for r in far_side.requests if r.url.path.endswith("/users")]) == 1


def test_a_busy_service_is_asked_again() -> None:
    """Lists are retried as usage is, and the retry is counted."""
    found = read(script(error(503, "busy"), listing(project("a"))))
    assert (found.requests, found.retries) == (2, 1)
