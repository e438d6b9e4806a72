"""Deployment files: what their own tools say of them, and that none is written over or holds the key."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from usage_pipeline.cli.main import app
from usage_pipeline.deploy.render import KINDS, render
from usage_pipeline.errors import FixConfig
from usage_pipeline.settings import Settings

KUBERNETES = "1.31"
KEY = "sk-admin-canary-1f9b5c"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a key."""
    return Settings.model_validate({"OPENAI_ADMIN_KEY": KEY, "USAGE_PIPELINE_DATA_DIR": str(tmp_path / "data")})


def _rendered(kind: str, settings: Settings, tmp_path: Path) -> dict[str, str]:
    written = render(kind, tmp_path / kind, settings, tmp_path)
    return {str(path.relative_to(tmp_path / kind)): path.read_text(encoding="utf-8") for path in written}


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_holds_the_key_or_a_gap(kind: str, settings: Settings, tmp_path: Path) -> None:
    """Every fact a template names is filled in, and the key is none of them."""
    for name, text in _rendered(kind, settings, tmp_path).items():
        assert KEY not in text, name
        assert "${" not in text, name


def test_systemd_takes_the_units(settings: Settings, tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say: sections, settings, times and the program they start are right."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    paths = render("systemd", tmp_path / "units", settings, tmp_path)
    said = subprocess.run(
        ["systemd-analyze", "verify", *map(str, paths)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_the_units_may_write_the_data_folder_alone(settings: Settings, tmp_path: Path) -> None:
    """Each service has limits, a read-only file system, and one place it may write: where its data folder is."""
    services = {name: text for name, text in _rendered("systemd", settings, tmp_path).items() if "[Service]" in text}
    assert len(services) == 3
    for name, text in services.items():
        assert "ProtectSystem=strict" in text, name
        assert "MemoryMax=" in text, name
        assert f"ReadWritePaths={settings.data_dir}\n" in text, name
        assert f"USAGE_PIPELINE_DATA_DIR={settings.data_dir}\n" in text, name


def test_the_container_is_watched_limited_and_shown_to_nobody(settings: Settings, tmp_path: Path) -> None:
    """One service on the host's loopback: a health check, limits, and nothing it may do beyond its work."""
    compose = yaml.safe_load(_rendered("compose", settings, tmp_path)["compose.yaml"])
    (service,) = compose["services"].values()
    assert service["network_mode"] == "host"
    assert "ports" not in service
    assert service["healthcheck"]["test"][:2] == ["CMD", "python"]
    compile(service["healthcheck"]["test"][3], "health", "exec")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert {"mem_limit", "cpus", "pids_limit", "restart"} <= service.keys()


def _manifests(texts: dict[str, str]) -> list[dict[str, Any]]:
    """What Helm would make of the chart: its templates name values and the release, and nothing else."""
    values = yaml.safe_load(texts["values.yaml"])

    def fill(found: re.Match[str]) -> str:
        return "bill" if found[1] == ".Release.Name" else str(values[found[1].removeprefix(".Values.")])

    made = [text for name, text in texts.items() if name.startswith("templates/")]
    return [yaml.safe_load(re.sub(r"\{\{ (\S+) \}\}", fill, text)) for text in made]


def test_kubernetes_knows_every_field_of_the_chart(settings: Settings, tmp_path: Path) -> None:
    """The manifests are valid by Kubernetes' own schemas, strictly; the pod is probed, limited and alone."""
    texts = _rendered("helm", settings, tmp_path)
    assert yaml.safe_load(texts["Chart.yaml"])["apiVersion"] == "v2"
    found = {one["kind"]: one for one in _manifests(texts)}
    assert found.keys() == {"PersistentVolumeClaim", "Deployment"}
    for manifest in found.values():
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    spec = found["Deployment"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    (container,) = spec["template"]["spec"]["containers"]
    assert {"startupProbe", "livenessProbe", "resources"} <= container.keys()
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_a_file_that_is_there_stays(settings: Settings, tmp_path: Path) -> None:
    """Nothing is written where one of the files exists, unless that is asked for."""
    (path, *others) = render("systemd", tmp_path / "units", settings, tmp_path)
    path.write_text("edited")
    for one in others:
        one.unlink()
    with pytest.raises(FixConfig, match="is there already: choose another --output, or --replace"):
        render("systemd", tmp_path / "units", settings, tmp_path)
    assert path.read_text() == "edited"
    assert not any(one.exists() for one in others)
    render("systemd", tmp_path / "units", settings, tmp_path, is_replacing=True)
    assert path.read_text() != "edited"


@pytest.mark.parametrize("name", ["a b", "100%", 'quo"te', "$HOME"])
def test_a_path_that_would_mean_something_else_is_refused(settings: Settings, tmp_path: Path, name: str) -> None:
    """What systemd would split or expand is an error before anything is written."""
    with pytest.raises(FixConfig, match="has a character that deployment files read otherwise"):
        render("systemd", tmp_path / "units", settings, tmp_path / name)
    assert not (tmp_path / "units").exists()


def test_the_command_says_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the files and the commands that put them to use, as JSON too; an unknown kind is one line."""
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, ["deploy", "--kind", "helm"])
    assert said.exit_code == 0
    assert "wrote deploy-helm/values.yaml" in said.stdout
    assert "helm install usage-pipeline deploy-helm" in said.stdout
    told = json.loads(CliRunner().invoke(app, ["deploy", "--kind", "compose", "--json"]).stdout)
    assert told["files"] == ["deploy-compose/Dockerfile", "deploy-compose/compose.yaml"]
    refused = CliRunner().invoke(app, ["deploy", "--kind", "docker"])
    assert isinstance(refused.exception, FixConfig)
    assert str(refused.exception) == "there is no kind 'docker' of deployment: the kinds are systemd, compose, helm."
