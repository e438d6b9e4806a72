"""Settings: where they come from, what is refused, and that the key is never shown."""

from datetime import date
from pathlib import Path

import pytest

from usage_pipeline.errors import FixConfig
from usage_pipeline.settings import Settings

KEY = "sk-admin-canary-123456"


def test_environment_beats_env_file_beats_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable in the environment wins over .env, and .env over the default."""
    (tmp_path / ".env").write_text("USAGE_PIPELINE_LOOKBACK_DAYS=3\nUSAGE_PIPELINE_ORGANIZATION=from-file\n")
    monkeypatch.setenv("USAGE_PIPELINE_ORGANIZATION", "from-env")
    settings = Settings.from_env()
    assert (settings.lookback_days, settings.organization, settings.bucket_width) == (3, "from-env", "1d")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("USAGE_PIPELINE_BUCKET_WIDTH", "2d", "USAGE_PIPELINE_BUCKET_WIDTH.*'1m', '1h' or '1d'"),
        ("USAGE_PIPELINE_LOOKBACK_DAYS", "-1", "USAGE_PIPELINE_LOOKBACK_DAYS.*greater than or equal to 0"),
        ("USAGE_PIPELINE_START_DATE", "yesterday", "USAGE_PIPELINE_START_DATE"),
        ("USAGE_PIPELINE_ORGANIZATION", "../etc", "USAGE_PIPELINE_ORGANIZATION.*letters"),
        ("USAGE_PIPELINE_ORGANIZATION", "a" * 65, "USAGE_PIPELINE_ORGANIZATION.*1 to 64"),
        ("OPENAI_BASE_URL", "http://example.com/v1", "OPENAI_BASE_URL.*https"),
        ("OPENAI_BASE_URL", "https://user:pass@example.com/v1", "OPENAI_BASE_URL.*https"),
        ("USAGE_PIPELINE_LOKBACK_DAYS", "3", "unknown setting USAGE_PIPELINE_LOKBACK_DAYS.*LOOKBACK_DAYS"),
    ],
)
def test_a_bad_setting_is_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    """One error names the setting and what it takes."""
    monkeypatch.setenv(name, value)
    with pytest.raises(FixConfig, match=says):
        Settings.from_env()


def test_plain_http_is_allowed_on_loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The local simulator is reachable without TLS; no other host is."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8765/v1/")
    assert Settings.from_env().base_url == "http://127.0.0.1:8765/v1"


@pytest.mark.parametrize(
    "url",
    ["https://api.openai.com/v1", "https://eu.api.openai.com/v1", "https://API.OpenAI.com/v1", "https://[::1]:9/v1"],
)
def test_the_service_its_regions_and_loopback_need_no_opt_in(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """These hosts may have the key."""
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert Settings.from_env().base_url == url


@pytest.mark.parametrize(
    "host",
    ["api.openai.co", "api.openai.com.example.net", "evilapi.openai.com", "openai.com", "10.0.0.1", "api.openai.com."],
)
def test_no_other_host_gets_the_key_unless_it_is_named(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """A host that is not the service's is refused with the setting that allows it; another name allows nothing."""
    monkeypatch.setenv("OPENAI_BASE_URL", f"https://{host}:8443/v1")
    with pytest.raises(FixConfig, match=f"OPENAI_BASE_URL: {host} is not api.*set USAGE_PIPELINE_ALLOW_HOST={host} in"):
        Settings.from_env()
    monkeypatch.setenv("USAGE_PIPELINE_ALLOW_HOST", "gateway.example")
    with pytest.raises(FixConfig, match="would get the key"):
        Settings.from_env()
    monkeypatch.setenv("USAGE_PIPELINE_ALLOW_HOST", host.upper())
    assert Settings.from_env().service == f"{host}:8443"


def test_a_planted_file_allows_no_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A .env in the folder can name another host, but not allow it."""
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    (tmp_path / ".env").write_text("OPENAI_BASE_URL=https://evil.example\nUSAGE_PIPELINE_ALLOW_HOST=evil.example\n")
    with pytest.raises(FixConfig, match=r"\.env sets USAGE_PIPELINE_ALLOW_HOST: it counts in the environment alone"):
        Settings.from_env()


@pytest.mark.parametrize("form", [KEY + "\n", f'"{KEY}"', f"  {KEY} ", f"'{KEY}'\r\n"])
def test_a_key_as_pasted_is_cleaned(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """Line ends, spaces and quotes around a key are taken off."""
    monkeypatch.setenv("OPENAI_ADMIN_KEY", form)
    assert Settings.from_env().require_key().get_secret_value() == KEY


@pytest.mark.parametrize("form", [f"{KEY} {KEY}", f"{KEY}\nx", KEY + "é", KEY + "\x00"[:0] + "\t-"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """The error says what is wrong with the key and holds nothing of it, nor does its context."""
    monkeypatch.setenv("OPENAI_ADMIN_KEY", form)
    with pytest.raises(FixConfig, match="copy it again") as caught:
        Settings.from_env()
    assert "canary" not in repr(caught.value)
    assert caught.value.__suppress_context__


def test_printing_settings_shows_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The representation of settings masks the key."""
    monkeypatch.setenv("OPENAI_ADMIN_KEY", KEY)
    settings = Settings.from_env()
    assert "canary" not in f"{settings!r} {settings} {settings.model_dump()}"


def test_a_missing_key_says_where_to_get_one() -> None:
    """Without a key the error names the variable and the command that needs none."""
    with pytest.raises(FixConfig, match=r"OPENAI_ADMIN_KEY is not set.*usage-pipeline demo"):
        Settings.from_env().require_key()


def test_the_first_day_is_the_setting_or_within_what_the_service_keeps() -> None:
    """Without a start date the first of the month eleven months back is the first day."""
    assert Settings(_env_file=None).first_day(date(2026, 11, 22)) == date(2025, 12, 1)
    assert Settings(_env_file=None).first_day(date(2026, 12, 22)) == date(2026, 1, 1)
    pinned = Settings(_env_file=None, USAGE_PIPELINE_START_DATE="2026-05-04")
    assert pinned.first_day(date(2026, 11, 22)) == date(2026, 5, 4)


def test_the_shipped_example_names_every_setting_with_its_default() -> None:
    """`.env.example` lists each setting, and what it shows as default is the default."""
    shown = dict(
        line.lstrip("# ").split("=", 1)
        for line in (Path(__file__).parents[2] / ".env.example").read_text().splitlines()
        if "=" in line
    )
    assert set(shown) == {str(f.validation_alias) for f in Settings.model_fields.values()}
    for field in Settings.model_fields.values():
        if field.default is not None:
            assert shown[str(field.validation_alias)] == str(field.default).rstrip("/"), field.validation_alias
