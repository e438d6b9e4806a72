"""The newcomer's command: `usage-pipeline demo`, as a process of its own."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from usage_pipeline.endpoints import ENDPOINTS
from usage_pipeline_tests.played import Played, played_settings
from usage_pipeline_tests.world import NOW, last_days

pytestmark = pytest.mark.slow


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command without any setting of this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "USAGE_PIPELINE_"))}
    command = [sys.executable, "-m", "usage_pipeline", *arguments]
    return subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, check=False, timeout=300)


def test_the_demo_ends_with_a_warehouse_and_queries_that_run(tmp_path: Path) -> None:
    """Rows of all twelve endpoints, cost by project, the file's path, and commands to go on with that all answer."""
    result = run("demo", "--days", "3", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    shown = dict(re.findall(r"usage\.(\w+)\s+│ \S+ │ \S+ │\s+(\d+) │", result.stdout))
    assert set(shown) == set(ENDPOINTS)
    assert all(int(count) > 0 for count in shown.values())
    assert "Cost by project, USD" in result.stdout
    assert "data/warehouse.duckdb" in result.stdout
    assert "OPENAI_ADMIN_KEY" in result.stdout
    assert (tmp_path / "data" / "warehouse.duckdb").exists()
    assert (tmp_path / "data" / "exports" / "report.html").stat().st_size > 500_000
    assert "usage-pipeline report --open" in result.stdout
    assert re.search(r"│ \S.* \(proj_\w+\) +│", result.stdout), "projects are shown by name"
    shown = result.stdout.replace("\\\n", "")  # as a shell goes on
    commands = re.findall(r"^  usage-pipeline ((?:sql|explain|check).*(?:\n {4}.*)*)$", shown, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["sql", "sql", "sql", "explain", "check"]
    for query in commands:
        answer = run(*shlex.split(query), cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.count("│") > 2 or answer.stdout.startswith("Nothing found")
    assert [line for line in result.stderr.splitlines() if not line.startswith("serving")] == []


@pytest.mark.marts("usage_daily")
def test_the_demo_keeps_out_of_real_data(tmp_path: Path) -> None:
    """Where the folder holds another organization's rows, the demo refuses with the way out."""
    settings = played_settings(tmp_path / "data", USAGE_PIPELINE_ORGANIZATION="acme")
    Played(NOW).sync(settings, last_days(1), "embeddings")
    refused = run("demo", "--days", "1", cwd=tmp_path)
    assert refused.returncode == 2
    assert "USAGE_PIPELINE_DATA_DIR=demo-data usage-pipeline demo" in refused.stderr
