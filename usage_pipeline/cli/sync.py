"""The commands that change the warehouse: `sync`, `replay`, `publish`."""

import sys
from typing import Any

from usage_pipeline.cli.console import err, print_json, print_table, progress, text
from usage_pipeline.errors import FixConfig
from usage_pipeline.guard import keep_demo_apart, resident
from usage_pipeline.names import NameSync, choose_lists
from usage_pipeline.plan import asked_window
from usage_pipeline.replay import replay
from usage_pipeline.settings import Settings
from usage_pipeline.sync import EndpointSync, SyncReport, choose_endpoints, sync
from usage_pipeline.warehouse import Refresh, refresh
from usage_pipeline.windows import Window, parse_day, utc_now

_COUNTS = ("rows", "inserted", "updated", "deleted", "restated", "requests", "retries", "bytes")


def run_sync(*, since: str | None, until: str | None, names: list[str] | None, as_json: bool, is_quiet: bool) -> int:
    """Sync and report; returns the exit code (2 where every failure is one of configuration)."""
    settings = Settings.from_env()
    endpoints = choose_endpoints(names)
    window = window_of(since, until)
    keep_demo_apart(settings)
    lists = choose_lists(names)
    with progress("syncing endpoints and names", len(endpoints) + len(lists), quiet=as_json or is_quiet) as bar:
        report = sync(settings, endpoints, window, lists=lists, on_done=lambda _: bar.advance(bar.task_ids[0]))
    if as_json:
        print_json(_as_dict(report))
    elif not is_quiet:
        _print(report)
    _complain(report)
    errors = [one.error for one in report.endpoints] + [one.error for one in report.names if not one.is_refused]
    errors.append(report.refresh_error)
    return max((error.exit_code for error in errors if error is not None), default=0)


def window_of(since: str | None, until: str | None) -> Window | None:
    """The window that `--since` and `--until` ask for; None where neither is given."""
    if until is not None and since is None:
        raise FixConfig("--until needs --since: say from which day to read.")
    return asked_window(parse_day(since), parse_day(until) if until else None, utc_now()) if since else None


def _print(report: SyncReport) -> None:
    rows = [
        (one.endpoint, one.outcome, *(one.total(name) for name in _COUNTS[:6]), round(one.seconds, 1))
        for one in report.endpoints
    ]
    rows += [
        (one.label, one.outcome, *(one.total(name) for name in _COUNTS[:6]), round(one.seconds, 1))
        for one in report.names
    ]
    print_table(None, ["endpoint", "outcome", *_COUNTS[:6], "seconds"], rows)
    if report.refreshed is not None:
        days = sum(len(build.days) for build in report.refreshed.builds)
        err().print(f"{days} mart days computed; published {report.refreshed.path}")


def _complain(report: SyncReport) -> None:
    """Failures and warnings, one line each, on stderr."""
    for one in report.endpoints:
        for note in [*one.notes("drift"), *one.notes("notes")]:
            sys.stderr.write(f"warning: {text(note)}\n")
    for note in (note for one in report.names for note in one.warnings):
        sys.stderr.write(f"warning: {text(note)}\n")
    is_config_said = False
    for one in report.failed:
        is_config = isinstance(one.error, FixConfig)
        if not (is_config and is_config_said):  # a refused key fails every endpoint: one line is enough
            sys.stderr.write(f"usage-pipeline: {text(' '.join(str(one.error).split()))}\n")
        is_config_said = is_config_said or is_config
    for named in report.names:
        # Where the key itself is wrong, that was said.
        if named.error is not None and not (isinstance(named.error, FixConfig) and is_config_said):
            head = "warning" if named.is_refused else "usage-pipeline"
            sys.stderr.write(f"{head}: {text(' '.join(str(named.error).split()))}\n")
    if report.refresh_error is not None:
        sys.stderr.write(f"usage-pipeline: not published: {text(' '.join(str(report.refresh_error).split()))}\n")


def _as_dict(report: SyncReport) -> dict[str, Any]:
    return {
        "sync_id": report.sync_id,
        "endpoints": [_endpoint_dict(one) for one in report.endpoints],
        "names": [_names_dict(one) for one in report.names],
        "marts": _mart_dicts(report.refreshed) if report.refreshed else [],
        "published": str(report.refreshed.path) if report.refreshed else None,
        "error": str(report.refresh_error) if report.refresh_error else None,
    }


def _endpoint_dict(one: EndpointSync) -> dict[str, Any]:
    return {
        "endpoint": one.endpoint,
        "outcome": one.outcome,
        "windows": [str(window) for window in one.windows],
        **{name: one.total(name) for name in _COUNTS},
        "seconds": round(one.seconds, 3),
        "drift": one.notes("drift"),
        "notes": one.notes("notes"),
        "error": str(one.error) if one.error else None,
    }


def _names_dict(one: NameSync) -> dict[str, Any]:
    return {
        "table": one.label,
        "outcome": one.outcome,
        **{name: one.total(name) for name in _COUNTS},
        "seconds": round(one.seconds, 3),
        "warnings": one.warnings,
        "error": str(one.error) if one.error else None,
    }


def run_replay(*, may_forget: bool, as_json: bool, is_quiet: bool) -> None:
    """Replay and report."""
    settings = Settings.from_env()
    with progress("replaying raw files", 1, quiet=as_json or is_quiet) as bar:
        done = replay(
            settings,
            lambda count, total: bar.update(bar.task_ids[0], completed=count, total=total),
            may_forget=may_forget,
        )
    if as_json:
        facts = {"files": done.files, "left_out": done.left_out, "rows": done.rows}
        print_json({**facts, "published": str(done.refreshed.path)})
    elif not is_quiet:
        columns = ["raw files", "left out", "rows", "published"]
        print_table(None, columns, [(done.files, done.left_out, done.rows, str(done.refreshed.path))])


def run_publish(*, as_json: bool, is_quiet: bool) -> None:
    """Refresh the warehouse and report what was computed."""
    done = refresh(resident(Settings.from_env()))
    if as_json:
        print_json({"marts": _mart_dicts(done), "published": str(done.path)})
    elif not is_quiet:
        print_table(None, ["mart", "days computed", "rows"], [(b.mart, len(b.days), b.rows) for b in done.builds])
        err().print(f"published {done.path}")


def _mart_dicts(done: Refresh) -> list[dict[str, Any]]:
    return [{"mart": build.mart, "days": len(build.days), "rows": build.rows} for build in done.builds]
