"""A store that is out of reach, refuses or fails: one clear error, nothing half-written, and no secret in sight."""

import logging
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from usage_pipeline.cli.main import app
from usage_pipeline.errors import FixConfig, RetryLater, UsagePipelineError
from usage_pipeline.lake import objects
from usage_pipeline.lake.objects import Objects
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline.status import endpoint_status
from usage_pipeline.verify import verify
from usage_pipeline.warehouse import refresh
from usage_pipeline_tests.objects.bucket import Application, Bucket, failing
from usage_pipeline_tests.objects.conftest import SECRET, Host
from usage_pipeline_tests.twins import first_quick
from usage_pipeline_tests.world import NOW, World, everything, last_days

pytestmark = pytest.mark.marts("cost_daily")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tried again for a minute."""
    monkeypatch.setattr(objects, "_RETRIES", 1)


def _nothing_stored(settings: Settings) -> bool:
    return not list(settings.data_dir.rglob("*.parquet")) + list(settings.data_dir.rglob("*.zst"))


def test_out_of_reach(still_world: World, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody answers, a sync asks the service for nothing, and says that it is to be run again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    for work in (lambda: still_world.sync(host("a"), last_days(1), ["costs"]), lambda: refresh(host("b"))):
        with pytest.raises(RetryLater, match=r"s3://bucket-\d+/team/usage is out of reach .*run again later") as told:
            work()
        assert SECRET not in str(told.value)
    assert _nothing_stored(host("a"))


@pytest.mark.slow
def test_out_of_reach_after_it_was_not(still_world: World, host: Host, bucket: Bucket) -> None:
    """A store that goes away takes nothing along: what was published stays, and the next sync stores the rest."""
    shared = host("a")
    assert still_world.sync(shared, last_days(1), ["costs"]).errors == []
    before = everything(shared)
    bucket.spoil = lambda *_: failing("503 Service Unavailable", "ServiceUnavailable")
    with pytest.raises(RetryLater, match="ServiceUnavailable"):
        still_world.sync(shared, last_days(2), ["costs"])
    with pytest.raises(RetryLater, match="ServiceUnavailable"):
        endpoint_status(shared, NOW)
    assert everything(shared) == before
    bucket.spoil = None
    assert still_world.sync(shared, last_days(2), ["costs"]).errors == []
    assert verify(shared).findings == []


@pytest.mark.parametrize("wanted", first_quick("/raw/", "_delta_log/", ".parquet"))
def test_puts_that_are_refused(
    wanted: str, still_world: World, host: Host, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    """Credentials that read and do not write are an error that says so; no raw file stays for what was not stored."""
    shared = host("a")
    assert still_world.sync(shared, last_days(1), ["costs"]).errors == []
    before, raw = bucket.keys("lake"), set(shared.raw_dir.rglob("*.zst"))

    def spoil(request: dict[str, Any], answer: Application) -> Application:
        is_refused = request["REQUEST_METHOD"] in ("PUT", "POST") and wanted in request["PATH_INFO"]
        return failing("403 Forbidden", "AccessDenied") if is_refused else answer

    bucket.spoil = spoil
    with caplog.at_level(logging.DEBUG):
        (error,) = still_world.sync(shared, last_days(2), ["costs"]).errors
    assert isinstance(error, FixConfig)
    assert "refuses the credentials of the environment (AccessDenied)" in str(error)
    assert SECRET not in str(error) + caplog.text
    assert {key for key in bucket.keys("lake") - before if "_delta_log" in key} == set()
    assert set(shared.raw_dir.rglob("*.zst")) == raw
    bucket.spoil = None
    assert still_world.sync(shared, last_days(2), ["costs"]).errors == []
    assert verify(shared).findings == []


def test_wrong_credentials(still_world: World, host: Host, bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    """A signature that does not fit is told before anything is asked of the service, without the key."""
    bucket.spoil = lambda *_: failing("403 Forbidden", "SignatureDoesNotMatch")
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(FixConfig, match=r"refuses .* \(SignatureDoesNotMatch\)") as told,
    ):
        still_world.sync(host("a"), last_days(1), ["costs"])
    assert SECRET not in str(told.value) + caplog.text
    assert _nothing_stored(host("a"))


def test_a_bucket_that_is_not_there(still_world: World, host: Host) -> None:
    """The address is what is to be mended."""
    elsewhere = host("a").model_copy(update={"lake_url": "s3://no-such-bucket/usage"})
    with pytest.raises(FixConfig, match="there is no bucket for s3://no-such-bucket/usage"):
        still_world.sync(elsewhere, last_days(1), ["costs"])


def test_plain_http_has_to_be_allowed(still_world: World, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials go over plain http only where that was said."""
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(FixConfig, match="set AWS_ALLOW_HTTP=true"):
        still_world.sync(host("a"), last_days(1), ["costs"])


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        ("Error performing PUT http://169.254.169.254/latest/api/token in 2ms", FixConfig, "no credentials were found"),
        ("Generic S3 error: status code: 404 <Code>NoSuchBucket</Code>", FixConfig, "there is no bucket"),
        ("Generic S3 error: status code: 400 <Code>ExpiredToken</Code>", FixConfig, r"credentials .*\(ExpiredToken\)"),
        (
            "Error performing GET http://h/?sig=SAS: operation timed out",
            RetryLater,
            r"out of reach or fails \(timed out\)",
        ),
        ("Generic GCS error: something new", RetryLater, r"\(no answer\)"),
    ],
)
def test_what_a_store_says_becomes_one_of_three_errors(said: str, kind: type[UsagePipelineError], told: str) -> None:
    """Of its words only codes are shown, for addresses may hold signatures."""
    with pytest.raises(kind, match=told) as error, Objects("s3://bucket/x").explained():
        raise OSError(said)
    assert "SAS" not in str(error.value)


def test_an_error_that_is_not_the_stores_stays_as_it_is() -> None:
    """A full disk is not taken for a store out of reach."""
    with pytest.raises(OSError, match="No space left"), Objects("s3://bucket/x").explained():
        raise OSError(28, "No space left on device")


def test_the_secrets_of_the_store_are_kept_out_of_messages(host: Host) -> None:
    """What takes the admin key out of tracebacks takes out these too."""
    assert SECRET in host("a").secrets


def test_replay_is_refused(still_world: World, host: Host) -> None:
    """It says why, and how it is done instead; nothing is changed."""
    shared = host("a")
    still_world.sync(shared, last_days(1), ["costs"])
    with pytest.raises(FixConfig, match=r"replay rewrites every table.*run it there without USAGE_PIPELINE_LAKE_URL"):
        replay(shared)


def test_every_command_says_it(host: Host, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A command ends with the error of the store, whatever it was about to do."""
    bucket.spoil = lambda *_: failing("403 Forbidden", "InvalidAccessKeyId")
    monkeypatch.setenv("USAGE_PIPELINE_LAKE_URL", host("a").lake_url or "")
    monkeypatch.setenv("USAGE_PIPELINE_DATA_DIR", str(tmp_path / "cli"))
    for command in ("status", "publish", "verify", "doctor", "maintain"):
        done = CliRunner().invoke(app, [command])
        assert isinstance(done.exception, FixConfig), command
        assert "refuses the credentials" in str(done.exception), command
        assert SECRET not in done.output + done.stderr + str(done.exception)
