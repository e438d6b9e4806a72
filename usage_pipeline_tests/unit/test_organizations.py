"""`usage_pipeline.toml`: what its tables may say, and what each organization's settings are."""

from pathlib import Path

import pytest

from usage_pipeline.errors import FixConfig
from usage_pipeline.organizations import ORGANIZATIONS_FILE, Organizations

KEYS = {"ACME_KEY": "sk-admin-acme-5f0c1a7e93", "BETA_KEY": "sk-admin-beta-0b8d2c4e61"}
TWO = """
[organizations.acme]
key_variable = "ACME_KEY"
start_date = 2026-09-01
bucket_width = "1h"

[organizations."beta"]
key_variable = "beta_key"
base_url = "https://eu.api.openai.com/v1/"
"""


def _organizations(text: str, monkeypatch: pytest.MonkeyPatch, **env: str) -> Organizations:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    ORGANIZATIONS_FILE.write_text(text, encoding="utf-8")
    return Organizations.from_env()


def test_without_a_file_there_is_one_organization_as_the_settings_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, or one without tables, leaves the settings as they are: one organization, no --organization needed."""
    monkeypatch.setenv("USAGE_PIPELINE_ORGANIZATION", "mine")
    for text in (None, "", "# nothing yet\n"):
        if text is not None:
            ORGANIZATIONS_FILE.write_text(text, encoding="utf-8")
        found = Organizations.from_env()
        assert (found.labels, found.are_several, found.one(None).organization) == (("mine",), False, "mine")
        assert found.one(None).command("sync") == "usage-pipeline sync"


def test_each_table_is_an_organization_with_its_own_key_start_width_and_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a table says is its own; what it leaves out is as the settings have it for all."""
    found = _organizations(TWO, monkeypatch, **KEYS, USAGE_PIPELINE_START_DATE="2026-01-01")
    acme, beta = found.members
    assert found.labels == acme.labels == beta.labels == ("acme", "beta")
    assert [one.require_key().get_secret_value() for one in found.members] == list(KEYS.values())
    assert [str(one.start_date) for one in found.members] == ["2026-09-01", "2026-01-01"]
    assert [one.bucket_width for one in found.members] == ["1h", "1d"]
    assert [one.base_url for one in found.members] == ["https://api.openai.com/v1", "https://eu.api.openai.com/v1"]
    assert beta.command("sync") == "usage-pipeline sync --organization beta"


def test_keys_may_be_in_the_env_file_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`.env` holds keys under the tables' names as it holds OPENAI_ADMIN_KEY."""
    (tmp_path / ".env").touch(mode=0o600)
    (tmp_path / ".env").write_text("ACME_KEY=sk-admin-filed\nBETA_KEY=sk-admin-filed-too\n", encoding="utf-8")
    acme, beta = _organizations(TWO, monkeypatch, BETA_KEY="sk-admin-exported").members
    keys = [one.require_key().get_secret_value() for one in (acme, beta)]
    assert keys == ["sk-admin-filed", "sk-admin-exported"]


def test_a_missing_or_broken_key_is_one_organizations_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, by label and variable and without its value, where the key is needed; the others have theirs."""
    acme, beta = _organizations(TWO, monkeypatch, BETA_KEY="sk-admin-with a blank").members
    with pytest.raises(
        FixConfig, match=r"^organization acme: ACME_KEY is not set: put .* in the environment or in \.env"
    ):
        acme.require_key()
    with pytest.raises(FixConfig, match=r"^organization beta: beta_key: the key holds a space") as told:
        beta.require_key()
    assert "blank" not in str(told.value)


def test_every_organization_knows_all_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one organization's messages are cleaned of is every key, and the webhook."""
    hook = "https://hooks.example/secret"
    found = _organizations(TWO, monkeypatch, **KEYS, USAGE_PIPELINE_WEBHOOK_URL=hook, OPENAI_ADMIN_KEY="sk-admin-old")
    for one in found.members:
        assert set(one.secrets) == {*KEYS.values(), hook, "sk-admin-old"}
        assert not any(key in repr(one) for key in KEYS.values())


def test_an_unknown_label_is_told_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choosing keeps the order asked for, each once; no choice means all; one is asked for where one is needed."""
    found = _organizations(TWO, monkeypatch, **KEYS)
    assert [one.organization for one in found.choose(["beta", "acme", "beta"])] == ["beta", "acme"]
    assert [one.organization for one in found.choose(None)] == ["acme", "beta"]
    with pytest.raises(FixConfig, match=r"^organization 'acne' is not in usage_pipeline.toml: there is acme, beta\.$"):
        found.choose(["acme", "acne"])
    with pytest.raises(FixConfig, match=r"^say which organization: --organization with one of acme, beta\.$"):
        found.one(None)


SECRET = "sk-admin-in-the-file-77aa"
WRONG = {
    "a key in place of its name": (f'[organizations.a]\nkey_variable = "{SECRET}"', "line 2.*needs the name of the"),
    "a key with underscores": (f'[organizations.a]\nkey_variable = "{SECRET.replace("-", "_")}"', "needs the name"),
    "a key as a value of its own": (f'\n[organizations.a]\nkey = "{SECRET}"\nkey_variable="K"', "line 3.* key: is not"),
    "a key as a name": (f'[organizations.a]\nkey_variable = "K"\n{SECRET} = 1', "a name: is not known"),
    "a key as a label": (f'[organizations.{SECRET}]\nkey_variable = "K"', "looks like a key"),
    "a key that ends the text": (f'[organizations.a]\nkey_variable = "{SECRET}', r"is not TOML \(at .*: write"),
    "no name of a key": ('[organizations.a]\nbucket_width = "1h"', "line 1.* key_variable: is missing"),
    "a setting's name": ('[organizations.a]\nkey_variable = "USAGE_PIPELINE_KEY"', "are settings: choose another"),
    "an unknown width": ('[organizations.a]\nkey_variable = "K"\nbucket_width = "1w"', "line 3.* bucket_width: .*1d"),
    "no day": ('[organizations.a]\nkey_variable = "K"\nstart_date = "soon"', "line 3.* start_date"),
    "another host": ('[organizations.a]\nkey_variable = "K"\nbase_url = "https://x.example/v1"', "would get the key"),
    "a label that is no folder": ('[organizations."a/b"]\nkey_variable = "K"', "use 1 to 64 letters"),
    "the demo's label": ('[organizations.demo]\nkey_variable = "K"', "made-up organization's"),
    "labels of one folder": (
        '[organizations.a]\nkey_variable = "K"\n[organizations.A]\nkey_variable = "L"', r"line 3, \[organizations.A\]"
    ),
    "one key for two": ('[organizations.a]\nkey_variable="K"\n[organizations.b]\nkey_variable="k"', "count twice"),
    "something else": ('[organizations.a]\nkey_variable = "K"\n[other]\nx = 1', "nothing but tables"),
    "no table": ('organizations = "a"', "nothing but tables"),
    "no table of one": ("[organizations]\na = 1", "line 1"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_told_in_one_line_without_its_secrets(
    text: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, line, table and way out, in one line; what looks like a key is never quoted."""
    with pytest.raises(FixConfig, match=problem) as told:
        _organizations(text, monkeypatch)
    assert str(told.value).startswith("usage_pipeline.toml")
    assert "\n" not in str(told.value)
    assert SECRET.removeprefix("sk-admin-") not in str(told.value).replace("_", "-")


def test_two_ways_to_name_organizations_are_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A label in the environment beside a file of labels would leave open which counts."""
    with pytest.raises(FixConfig, match=r"USAGE_PIPELINE_ORGANIZATION names one organization and .* names acme, beta"):
        _organizations(TWO, monkeypatch, USAGE_PIPELINE_ORGANIZATION="acme")


def test_others_who_can_read_the_keys_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A `.env` that others can read is told also where it holds the keys under other names."""
    (tmp_path / ".env").write_text("ACME_KEY=sk-admin-filed\n", encoding="utf-8")
    (tmp_path / ".env").chmod(0o644)
    _organizations(TWO, monkeypatch)
    assert "chmod 600" in caplog.text
