"""The table of lists, and the lists as served, say what the API's description says: driven by the official client."""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import openai
import pytest

from usage_pipeline.lake.dims import DIMS
from usage_pipeline.name_lists import NAME_LISTS, NAME_PAGES, NameField, NameList
from usage_pipeline_tests import simulated
from usage_pipeline_tests.played import GOLDEN

DESCRIBED: dict[str, Any] = json.loads((GOLDEN / "api" / "endpoints.json").read_text())["name_endpoints"]
_DESCRIBED_AS = {
    "projects": "project",
    "users": "user",
    "api_keys": "project_api_key",
    "service_accounts": "project_service_account",
    "admin_keys": "admin_api_key",
}
each_list = pytest.mark.parametrize("names", NAME_LISTS.values(), ids=NAME_LISTS.keys())


def described(names: NameList) -> dict[str, Any]:
    """The description of a list's objects."""
    return DESCRIBED[_DESCRIBED_AS[names.name]]


def method_of(client: openai.OpenAI, names: NameList) -> Callable[..., Any]:
    """The official method that reads a list; of a project-wide list, that of the first project."""
    organization = client.admin.organization
    if not names.is_per_project:
        return {
            "projects": organization.projects.list,
            "users": organization.users.list,
            "admin_keys": organization.admin_api_keys.list,
        }[names.name]
    resource = getattr(organization.projects, names.name).list
    project = organization.projects.list().data[0].id
    return lambda **more: resource(project, **more)


def kind_of(schema: Mapping[str, Any]) -> str:
    """The kind our table gives a described field."""
    options = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    assert len(options) == 1
    if "x-py" in options[0]:
        return "object" if options[0]["x-py"].startswith("Owner") else "json"
    return {"string": "text", "integer": "moment", "boolean": "flag"}[options[0]["type"]]


def assert_fields(fields: tuple[NameField, ...], specified: Mapping[str, Any], nested: Mapping[str, Any]) -> None:
    """Names, kinds, whether required, closed values and nested objects are the described ones."""
    assert {f.name for f in fields} == set(specified) - ({"object"} if "data" not in specified else set())
    for ours in fields:
        theirs = specified[ours.name]
        assert (ours.kind, ours.is_required) == (kind_of(theirs["schema"]), theirs["required"]), ours.name
        option = next(one for one in theirs["schema"].get("anyOf", [theirs["schema"]]) if one.get("type") != "null")
        if "enum" in option:
            assert ours.known_values == tuple(option["enum"])
        assert all(f"`{value}`" in theirs["description"] for value in ours.known_values if "enum" not in option)
        if ours.kind == "object":
            inner = {n: f for n, f in nested[option["x-py"]].items() if n != "object" or ours.name == "owner"}
            kept = [f for f in ours.fields if f.name != "object"]
            assert_fields(tuple(kept), {n: f for n, f in inner.items() if n != "object"}, nested)
            assert ("object" in inner) == ("object" in {f.name for f in ours.fields})


def fits(value: Any, schema: Mapping[str, Any], nested: Mapping[str, Any]) -> bool:
    """Whether a JSON value has the type the description gives it, nested objects field by field."""
    if "anyOf" in schema:
        return any(fits(value, option, nested) for option in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    if "x-py" in schema:
        return isinstance(value, dict) and all_fit(value, nested[schema["x-py"]], nested)
    if schema["type"] == "array":
        return isinstance(value, list) and all(fits(one, schema["items"], nested) for one in value)
    kinds: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "null": type(None)}
    return type(value) is kinds[schema["type"]]


def all_fit(value: Mapping[str, Any], fields: Mapping[str, Any], nested: Mapping[str, Any]) -> bool:
    """Whether an object has the required fields, no undocumented one, and each of its type."""
    required = {name for name, field in fields.items() if field["required"]}
    return required <= value.keys() <= fields.keys() and all(
        fits(one, fields[name]["schema"], nested) for name, one in value.items()
    )


def test_the_lists_are_the_described_ones() -> None:
    """Five kinds of objects are described, and the table has exactly these."""
    assert set(_DESCRIBED_AS) == set(NAME_LISTS)
    assert {key for key in DESCRIBED if not key.endswith("_params")} == set(_DESCRIBED_AS.values())


@each_list
def test_fields_and_parameters_are_the_described_ones(names: NameList) -> None:
    """Every described field and parameter is in the row with its kind, and none is made up."""
    fields = described(names)["fields"]
    assert fields["object"]["schema"]["enum"] == [names.object]
    assert_fields(names.fields, fields, described(names)["nested"])
    parameters = DESCRIBED[f"{_DESCRIBED_AS[names.name]}_list_params"]
    assert {"after", "limit", *names.choices, *names.filters} == set(parameters)
    assert set(names.parameters) <= set(names.choices)
    for name, allowed in names.choices.items():
        schema = parameters[name]["schema"]
        assert schema["type"] == "boolean" or allowed == tuple(schema["enum"])
    limits = f"between {1} and {NAME_PAGES.maximum}, and the default is {NAME_PAGES.default}"
    assert names.name == "admin_keys" or limits in parameters["limit"]["description"]


@each_list
def test_every_column_of_the_dims_table_is_filled_by_a_field(names: NameList) -> None:
    """The table's attribute columns and the row's mapping name each other, and the fields exist."""
    merged = {"valid_from", "valid_to", "first_seen", "last_seen", "deleted_at", "extras", "organization", "id"}
    attributes = set(DIMS[names.name].schema.names) - merged - ({"project_id"} if names.is_per_project else set())
    assert set(names.columns) == attributes
    assert names.since in names.columns
    for path in (path for paths in names.columns.values() for path in paths):
        fields: tuple[NameField, ...] = names.fields
        for part in path.split("."):
            fields = next(field for field in fields if field.name == part).fields


@each_list
def test_every_object_is_as_described(official_client: openai.OpenAI, names: NameList) -> None:
    """The official client reads the list; each field of each object is one the description allows, of its type."""
    page = method_of(official_client, names)(**names.parameters)
    assert {"object", "data", "first_id", "last_id", "has_more"} == set(json.loads(page.model_dump_json()))
    assert len(page.data) > 0
    for item in page.data:
        shown = item.model_dump(exclude_unset=True)
        assert shown["object"] == names.object
        assert all_fit(shown, described(names)["fields"], described(names)["nested"]), shown


@each_list
def test_pages_add_up_to_the_whole(official_client: openai.OpenAI, names: NameList) -> None:
    """Two at a time, followed by the official client itself to the end, gives what one page gives, in order."""
    read = method_of(official_client, names)
    whole = read(limit=100, **names.parameters)
    assert whole.has_more is False
    assert [one.id for one in read(limit=2, **names.parameters)] == [one.id for one in whole.data]
    assert len({one.id for one in whole.data}) == len(whole.data) > 1


@each_list
def test_limits_and_after_are_checked(official_client: openai.OpenAI, names: NameList) -> None:
    """A limit outside 1 to 100, an unknown `after` and an unknown parameter are refused by name."""
    read = method_of(official_client, names)
    assert len(read(limit=1).data) == 1
    for wrong, says in (({"limit": 0}, "limit"), ({"limit": 101}, "limit"), ({"after": "nobody"}, "after")):
        with pytest.raises(openai.BadRequestError) as refused:
            read(**wrong)
        assert refused.value.param == says
    with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'colour'"):
        read(extra_query={"colour": "red"})


@each_list
def test_the_official_method_takes_the_described_parameters(official_client: openai.OpenAI, names: NameList) -> None:
    """What the row sends and accepts is what the official method knows."""
    organization = official_client.admin.organization
    resources = {
        "projects": organization.projects,
        "users": organization.users,
        "admin_keys": organization.admin_api_keys,
        "api_keys": organization.projects.api_keys,
        "service_accounts": organization.projects.service_accounts,
    }
    taken = {n for n in inspect.signature(resources[names.name].list).parameters if not n.startswith("extra_")}
    assert taken - {"timeout", "project_id"} == {"after", "limit", *names.choices, *names.filters}


def test_archived_projects_come_only_when_asked_for(official_client: openai.OpenAI) -> None:
    """Without include_archived an archived project is left out, as the service does."""
    projects = official_client.admin.organization.projects
    active, everything = projects.list(limit=100).data, projects.list(limit=100, include_archived=True).data
    archived = [one for one in everything if one.id not in {other.id for other in active}]
    assert archived
    assert all(one.status == "archived" and one.archived_at is not None for one in archived)


def test_keys_of_those_who_left_come_only_when_asked_for(official_client: openai.OpenAI) -> None:
    """By default only keys whose owner has access are listed; `any` brings the others too."""
    projects = official_client.admin.organization.projects
    found: dict[str, int] = {"active": 0, "inactive": 0, "any": 0}
    for project in projects.list().data:
        for access in found:
            keys = projects.api_keys.list(project.id, owner_project_access=access, limit=100).data
            assert {one.owner_project_access for one in keys} <= (
                {access} if access != "any" else {"active", "inactive"}
            )
            found[access] += len(keys)
    assert found["any"] == found["active"] + found["inactive"] > found["active"] > 0


def test_users_can_be_asked_for_by_email_and_admin_keys_backwards(official_client: openai.OpenAI) -> None:
    """`emails` keeps those users alone, and `order=desc` turns the list of admin keys round."""
    organization = official_client.admin.organization
    wanted = organization.users.list().data[1]
    assert [one.id for one in organization.users.list(emails=[str(wanted.email)]).data] == [wanted.id]
    ids = [one.id for one in organization.admin_api_keys.list(order="asc").data]
    assert [one.id for one in organization.admin_api_keys.list(order="desc").data] == ids[::-1]


def test_an_unknown_project_is_not_found(official_client: openai.OpenAI) -> None:
    """Lists of a project that does not exist answer 404."""
    with pytest.raises(openai.NotFoundError, match="proj_nowhere"):
        official_client.admin.organization.projects.api_keys.list("proj_nowhere")


@pytest.mark.parametrize(
    ("key", "expected"),
    [("sk-proj-x", openai.AuthenticationError), ("sk-admin-nonames", openai.PermissionDeniedError)],
)
def test_keys_without_the_right_are_refused(service: str, key: str, expected: type[openai.APIStatusError]) -> None:
    """A key of another kind, or one that reads usage only, gets the official client's error."""
    with openai.OpenAI(admin_api_key=key, base_url=service, max_retries=0) as client, pytest.raises(expected):
        client.admin.organization.users.list()


def test_a_key_without_names_still_reads_costs(service: str) -> None:
    """The scope for names and that for usage are two."""
    with openai.OpenAI(admin_api_key="sk-admin-nonames", base_url=service, max_retries=0) as client:
        assert client.admin.organization.usage.costs(start_time=simulated.day_of(simulated.SETTLED_DAY)).data
