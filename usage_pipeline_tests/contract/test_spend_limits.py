"""Spend limits: the rows say what the official package's types say, and its client reads what is served."""

from datetime import timedelta

import openai
import pytest
from openai.types.admin.organization import OrganizationSpendLimit, organization_spend_limit
from openai.types.admin.organization.projects import ProjectSpendLimit, project_spend_limit

from usage_pipeline.lake.dims import DIMS
from usage_pipeline.name_lists import SPEND_LIMITS, NameList
from usage_pipeline.simulator.limits import spend_limit
from usage_pipeline_tests import simulated

_TYPES = {
    "organization_spend_limits": (OrganizationSpendLimit, organization_spend_limit.Enforcement),
    "project_spend_limits": (ProjectSpendLimit, project_spend_limit.Enforcement),
}
each_row = pytest.mark.parametrize("row", SPEND_LIMITS.values(), ids=SPEND_LIMITS.keys())


@each_row
def test_the_rows_are_the_official_types(row: NameList) -> None:
    """Every field, also the nested ones, is that of the package, required as there; the columns are those stored."""
    limit, enforcement = _TYPES[row.name]
    fields = {field.name: field for field in row.fields}
    assert {"object", *fields} == limit.model_fields.keys()
    assert {field.name for field in fields["enforcement"].fields} == enforcement.model_fields.keys()
    assert all(field.is_required for field in (*row.fields, *fields["enforcement"].fields))
    assert row.object in str(limit.model_fields["object"].annotation)
    for field in (fields["currency"], fields["interval"]):
        assert all(repr(value) in str(limit.model_fields[field.name].annotation) for value in field.known_values)
    assert limit.model_fields["threshold_amount"].annotation is int
    assert set(row.columns) < set(DIMS[row.name].schema.names)


def test_the_official_client_reads_the_limits(official_client: openai.OpenAI) -> None:
    """The organization has one, some projects have, others answer not found; every answer is of the official type."""
    organization = official_client.admin.organization
    found = organization.spend_limit.retrieve()
    assert found.model_dump() == OrganizationSpendLimit(**found.model_dump()).model_dump()
    assert (found.currency, found.interval, found.enforcement.status) == ("USD", "month", "inactive")
    limited, missing = [], []
    for project in organization.projects.list(include_archived=True).data:
        try:
            limited.append(organization.projects.spend_limit.retrieve(project.id).threshold_amount)
        except openai.NotFoundError:
            missing.append(project.id)
    assert limited
    assert missing
    assert all(type(amount) is int for amount in limited)


def test_what_is_not_there_or_not_allowed_is_refused(official_client: openai.OpenAI, service: str) -> None:
    """An unknown project, a parameter and a key that reads usage alone get the official client's errors."""
    organization = official_client.admin.organization
    with pytest.raises(openai.NotFoundError, match="proj_nowhere"):
        organization.projects.spend_limit.retrieve("proj_nowhere")
    with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'limit'"):
        organization.spend_limit.retrieve(extra_query={"limit": 1})
    key = "sk-admin-nonames"
    with openai.OpenAI(admin_api_key=key, base_url=service) as client, pytest.raises(openai.PermissionDeniedError):
        client.admin.organization.spend_limit.retrieve()


def test_limits_change_over_time() -> None:
    """Over two years the organization's grows, and projects' are set, raised and lifted; a moment has one answer."""
    moments = [int((simulated.NOW - timedelta(days=30 * month)).timestamp()) for month in range(24)]
    projects = [project.id for project in simulated.organization().roster.projects]
    amounts = [spend_limit(simulated.SEED, None, at) for at in moments]
    assert len({str(amount) for amount in amounts}) > 3
    assert None not in amounts
    changes = [{str(spend_limit(simulated.SEED, project, at)) for at in moments} for project in projects]
    assert any("None" in seen and len(seen) > 2 for seen in changes)
    assert amounts == [spend_limit(simulated.SEED, None, at) for at in moments]
