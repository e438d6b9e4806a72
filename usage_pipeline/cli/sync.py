"""The commands that change the warehouse: `sync`, `replay`, `publish`, `build-marts`."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from usage_pipeline.cli.console import print_json, progress, say
from usage_pipeline.cli.tables import print_table
from usage_pipeline.endpoint_sync import EndpointSync
from usage_pipeline.endpoints import Endpoint
from usage_pipeline.errors import FixConfig, UsagePipelineError
from usage_pipeline.guard import keep_demo_apart, resident
from usage_pipeline.lake.faults import files_explained
from usage_pipeline.lake.ledger import CoverageLog
from usage_pipeline.lake.store import Lake
from usage_pipeline.names import NameSync, choose_lists
from usage_pipeline.organizations import Organizations
from usage_pipeline.plan import asked_window, planned_reads
from usage_pipeline.progress import Tell, tell_nobody
from usage_pipeline.replay import replay
from usage_pipeline.setting_checks import MartEngine
from usage_pipeline.settings import Settings
from usage_pipeline.sync import SyncReport, choose_endpoints, make_client, sync
from usage_pipeline.sync_many import ManyReport, OrganizationSync, sync_many
from usage_pipeline.warehouse import Refresh, refresh
from usage_pipeline.windows import Window, parse_day, utc_now

_COUNTS = ("rows", "inserted", "updated", "deleted", "restated", "requests", "retries", "bytes")
_COLUMNS = ["endpoint", "outcome", *_COUNTS[:6], "seconds"]


def run_sync(
    *,
    since: str | None,
    until: str | None,
    names: list[str] | None,
    labels: list[str] | None,
    as_json: bool,
    is_quiet: bool,
) -> int:
    """Sync and report; returns the exit code (2 where every failure is one of configuration)."""
    organizations = Organizations.from_env()
    chosen = organizations.choose(labels)
    endpoints = choose_endpoints(names)
    window = window_of(since, until)
    keep_demo_apart(organizations.folder)
    lists = choose_lists(names)
    with progress(quiet=as_json or is_quiet) as tell:
        pages = 0 if tell is tell_nobody else _pages(chosen, endpoints, window)
        watch = _Watch(tell, pages, (len(endpoints) + len(lists)) * len(chosen))
        run = partial(sync_many, chosen) if organizations.are_several else partial(sync, chosen[0])
        report = run(
            endpoints,
            window,
            lists=lists,
            on_done=watch.stored,
            client_factory=partial(make_client, on_page=watch.page),
            tell=tell,
        )
    if isinstance(report, ManyReport):
        tell_many(report, as_json=as_json, is_quiet=is_quiet)
        return report.exit_code
    if as_json:
        print_json(_as_dict(report))
    elif not is_quiet:
        _print(report)
    for line in complaints(report):
        say(line)
    return max((error.exit_code for error in report.errors), default=0)


class _Watch:
    """Tells how far a sync is: pages while pages come, then endpoints and lists that are stored."""

    def __init__(self, tell: Tell, pages: int, tables: int) -> None:
        self._tell = tell
        self._pages, self._tables = pages, tables
        self._read = self._stored = 0

    def page(self) -> None:
        """A page arrived."""
        self._read += 1
        self._say()

    def stored(self, _: object) -> None:
        """An endpoint or a list is done."""
        self._stored += 1
        self._say()

    def _say(self) -> None:
        if self._read < self._pages:
            self._tell("reading pages", self._read, self._pages)
        else:
            self._tell("storing tables", self._stored, self._tables)


def _pages(members: Sequence[Settings], endpoints: Sequence[Endpoint], window: Window | None) -> int:
    """The pages a sync will read at least: what is planned, before anything was asked."""
    with files_explained("sync"):
        log = CoverageLog(Lake.of(members[0]))
        now = utc_now()
        return sum(read.requests for one in members for read in planned_reads(one, log, endpoints, window, now))


def window_of(since: str | None, until: str | None) -> Window | None:
    """The window that `--since` and `--until` ask for; None where neither is given."""
    if until is not None and since is None:
        raise FixConfig("--until needs --since: say from which day to read.")
    return asked_window(parse_day(since), parse_day(until) if until else None, utc_now()) if since else None


def tell_many(many: ManyReport, *, as_json: bool, is_quiet: bool) -> None:
    """Print how all organizations fared; each line on stderr begins with whose it is."""
    if as_json:
        print_json(
            {
                "organizations": [_organization_dict(one) for one in many.organizations],
                **_refresh_dict(many.refreshed, many.refresh_error),
            }
        )
    elif not is_quiet:
        rows = [(one.organization, *row) for one in many.organizations for row in _rows(one.report)]
        print_table(None, ["organization", *_COLUMNS], rows)
        _print_refreshed(many.refreshed)
    for one in many.organizations:
        for line in complaints(one.report, one.organization):
            say(line)
        if one.error is not None:
            said = str(one.error).removeprefix(f"organization {one.organization}: ")
            say(f"usage-pipeline: {one.organization}: {_line(said)}")
    if many.refresh_error is not None:
        say(f"usage-pipeline: not published: {_line(many.refresh_error)}")


def _rows(report: SyncReport) -> list[tuple[Any, ...]]:
    done: list[tuple[str, EndpointSync | NameSync]] = [(one.endpoint, one) for one in report.endpoints]
    done += [(one.label, one) for one in report.names]
    return [
        (name, one.outcome, *(one.total(count) for count in _COUNTS[:6]), round(one.seconds, 1)) for name, one in done
    ]


def _print(report: SyncReport) -> None:
    print_table(None, _COLUMNS, _rows(report))
    _print_refreshed(report.refreshed)


def _print_refreshed(refreshed: Refresh | None) -> None:
    if refreshed is not None:
        days = sum(len(build.days) for build in refreshed.builds)
        say(f"{days} mart days computed; published {refreshed.path}")


def complaints(report: SyncReport, organization: str | None = None) -> list[str]:
    """Failures and warnings, one line each; where there are several organizations each says whose it is."""
    whose = "" if organization is None else f"{organization}: "
    notes = [note for one in report.endpoints for note in (*one.notes("drift"), *one.notes("notes"))]
    notes += [note for one in report.names for note in one.warnings]
    lines = [f"warning: {whose}{note}" for note in notes]
    is_config_said = False
    for one in report.failed:
        is_config = isinstance(one.error, FixConfig)
        if not (is_config and is_config_said):  # a refused key fails every endpoint: one line is enough
            lines.append(f"usage-pipeline: {whose}{_line(one.error)}")
        is_config_said = is_config_said or is_config
    for named in report.names:
        # Where the key itself is wrong, that was said.
        if named.error is not None and not (isinstance(named.error, FixConfig) and is_config_said):
            head = "warning" if named.is_refused else "usage-pipeline"
            lines.append(f"{head}: {whose}{_line(named.error)}")
    if report.refresh_error is not None:
        lines.append(f"usage-pipeline: not published: {_line(report.refresh_error)}")
    return lines


def _line(error: object) -> str:
    return " ".join(str(error).split())


def _as_dict(report: SyncReport) -> dict[str, Any]:
    return {**_reads_dict(report), **_refresh_dict(report.refreshed, report.refresh_error)}


def _organization_dict(one: OrganizationSync) -> dict[str, Any]:
    error = str(one.error) if one.error else None
    return {"organization": one.organization, **_reads_dict(one.report), "error": error}


def _reads_dict(report: SyncReport) -> dict[str, Any]:
    return {
        "sync_id": report.sync_id,
        "endpoints": [_endpoint_dict(one) for one in report.endpoints],
        "names": [_names_dict(one) for one in report.names],
    }


def _refresh_dict(refreshed: Refresh | None, error: UsagePipelineError | None) -> dict[str, Any]:
    return {
        "marts": _mart_dicts(refreshed) if refreshed else [],
        "published": str(refreshed.path) if refreshed else None,
        "error": str(error) if error else None,
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
    settings = Organizations.from_env().folder
    with progress(quiet=as_json or is_quiet) as tell:
        done = replay(settings, may_forget=may_forget, tell=tell)
    if as_json:
        facts = {"files": done.files, "left_out": done.left_out, "rows": done.rows}
        print_json({**facts, "published": str(done.refreshed.path)})
    elif not is_quiet:
        columns = ["raw files", "left out", "rows", "published"]
        print_table(None, columns, [(done.files, done.left_out, done.rows, str(done.refreshed.path))])


def run_publish(*, as_json: bool, is_quiet: bool, engine: MartEngine | None = None) -> None:
    """Refresh the warehouse, by this engine or the one that is set, and report what was computed."""
    settings = Organizations.from_env().folder
    if engine is not None:
        settings = settings.model_copy(update={"mart_engine": engine})
    with progress(quiet=as_json or is_quiet) as tell:
        done = refresh(resident(settings), tell)
    if as_json:
        print_json({"marts": _mart_dicts(done), "published": str(done.path)})
    elif not is_quiet:
        print_table(None, ["mart", "days computed", "rows"], [(b.mart, len(b.days), b.rows) for b in done.builds])
        say(f"published {done.path}")


def _mart_dicts(done: Refresh) -> list[dict[str, Any]]:
    return [{"mart": build.mart, "days": len(build.days), "rows": build.rows} for build in done.builds]
