"""What is installed and set up: `--version` and `bug-report`.

Put facts about the installation here; no secret is among them, for they are pasted into issues.
"""

import platform
import sys
from importlib.metadata import version
from pathlib import Path

from usage_pipeline.cli.console import print_json
from usage_pipeline.errors import UsagePipelineError
from usage_pipeline.lake.faults import files_explained
from usage_pipeline.lake.formats import FORMAT
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.store import Lake
from usage_pipeline.organizations import Organizations
from usage_pipeline.settings import Settings

_PARTS = ("dagster", "duckdb", "deltalake", "pyarrow", "httpx", "pydantic")


def version_lines() -> list[str]:
    """Our version, then those of what matters for how it behaves."""
    parts = [f"{name} {version(name)}" for name in _PARTS]
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return [f"usage-pipeline {version('usage_pipeline')}", *parts, python]


def run_bug_report() -> None:
    """Print what an issue needs, as JSON; settings that are secret say only whether they are set."""
    report: dict[str, object] = {"versions": version_lines(), "lake_format": FORMAT}
    try:
        settings, organizations = Settings.from_env(), Organizations.from_env()
    except UsagePipelineError as wrong:
        print_json({**report, "settings": str(wrong)})
        return
    shown = settings.model_dump(exclude={"admin_key", "webhook_url"})
    home = str(Path.home())
    report["settings"] = {
        **{name: str(value).replace(home, "~") for name, value in shown.items() if value is not None},
        "admin_key": "set" if settings.admin_key is not None else "not set",
        "webhook_url": "set" if settings.webhook_url is not None else "not set",
    }
    if organizations.are_several:
        keys = {one.organization: "not set" if one.admin_key is None else "set" for one in organizations.members}
        report["organizations"] = keys
    report["data"] = _data(settings)
    report["terminal"] = {"stdout": sys.stdout.isatty(), "encoding": sys.stdout.encoding}
    print_json(report)


def _data(settings: Settings) -> dict[str, object]:
    """How much there is; not what."""
    try:
        with files_explained("the data folder"):
            log = CoverageLog(Lake.of(settings)).rows()
    except UsagePipelineError as wrong:
        return {"error": str(wrong)}
    published = settings.warehouse_path
    return {
        "windows_read": log.num_rows,
        "endpoints": len(set(log["endpoint"].to_pylist())),
        "raw_files": sum(1 for path in settings.raw_dir.rglob("*") if path.is_file()),
        "published_bytes": published.stat().st_size if published.exists() else None,
    }
