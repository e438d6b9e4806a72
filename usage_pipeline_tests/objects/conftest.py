"""Fixtures of lakes on an object store: the server of a session, a bucket of each test, and hosts that share it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from usage_pipeline.settings import Settings
from usage_pipeline_tests.objects.bucket import Bucket, S3Server, s3_server
from usage_pipeline_tests.world import World

SECRET = "the-secret-access-key-nobody-may-see"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}

Host = Callable[[str], Settings]


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    """One server for all tests of the process."""
    with s3_server() as running:
        yield running


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket of the test's own, and the environment that reaches it."""
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": server.endpoint}.items():
        monkeypatch.setenv(name, value)
    return server.bucket()


@pytest.fixture
def host(still_world: World, bucket: Bucket, tmp_path: Path) -> Host:
    """Settings of a host by its name: a data folder of its own, and the lake all share."""
    return lambda name: still_world.settings(tmp_path / name, USAGE_PIPELINE_LAKE_URL=bucket.url)
