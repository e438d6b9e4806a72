"""The commands that look after what is stored: `verify`, `doctor` and `maintain`."""

from dataclasses import asdict
from typing import Any

from usage_pipeline.cli.console import out, print_json, progress, say
from usage_pipeline.cli.tables import print_table
from usage_pipeline.doctor import Treatment, doctor
from usage_pipeline.errors import CheckFailed, LakeDamaged
from usage_pipeline.guard import resident
from usage_pipeline.lake.damage import Damage
from usage_pipeline.organizations import Organizations
from usage_pipeline.sync import make_client
from usage_pipeline.upkeep import maintain
from usage_pipeline.verify import Report, verify


def run_verify(*, is_quick: bool, as_json: bool, is_quiet: bool) -> None:
    """Compare everything and print what differs.

    Raises:
        CheckFailed: something differs.
    """
    with progress(quiet=as_json or is_quiet) as tell:
        report = verify(Organizations.from_env().folder, is_quick=is_quick, tell=tell)
    if as_json:
        print_json({"intact": not report.findings, **_as_dict(report)})
    elif not is_quiet:
        _print(report)
    if report.findings:
        raise CheckFailed(f"{len(report.findings)} things are not what was written: run `usage-pipeline doctor`.")


def run_doctor(*, labels: list[str] | None, is_offline: bool, as_json: bool, is_quiet: bool) -> None:
    """Repair what differs and print what was done; with a key, what no file has any more is read again.

    Raises:
        LakeDamaged: something is lost, or still differs.
    """
    organizations = Organizations.from_env()
    asked = [one for one in organizations.choose(labels) if one.admin_key is not None and not is_offline]
    client_factory = make_client if asked else None
    with progress(quiet=as_json or is_quiet) as tell:
        done = doctor(organizations.folder, client_factory=client_factory, members=asked, tell=tell)
    if as_json:
        print_json(
            {
                "cured": done.is_cured,
                "found": _findings(done.found),
                "repaired": done.repaired,
                "lost": done.lost,
                "left": _findings(done.after),
                "notes": done.after.notes,
            }
        )
    elif not is_quiet:
        _print_treatment(done)
    if not done.is_cured and organizations.folder.lake_url is not None:
        raise LakeDamaged(
            f"{len(done.after.findings)} things differ at {organizations.folder.lake_url} as well; each is said above, "
            "and what to do on the operators' page (On an object store)."
        )
    if not done.is_cured:
        raise LakeDamaged(
            f"{len(done.lost)} things are lost and {len(done.after.findings)} still differ; what is known of each is "
            "said above. If you have a backup of data/raw, restore it and run `usage-pipeline replay`."
        )


def run_maintain(*, as_json: bool, is_quiet: bool) -> None:
    """Keep up the tables and print what that brought."""
    with progress(quiet=as_json or is_quiet) as tell:
        done = maintain(resident(Organizations.from_env().folder), tell)
    if as_json:
        facts = {"joined": done.joined, "removed": done.removed, "freed_bytes": done.freed_bytes}
        print_json({**facts, "published": str(done.refreshed.path)})
    elif not is_quiet:
        columns = ["files fewer to read", "files removed", "freed MiB"]
        print_table(None, columns, [(done.joined, done.removed, round(done.freed_bytes / 2**20, 1))])


def _print_treatment(done: Treatment) -> None:
    if not (done.found.findings or done.repaired):
        _print(done.after)
    else:
        lines = [("repaired", one) for one in done.repaired] + [("lost", one) for one in done.lost]
        print_table(None, ["", "what"], [*lines, *(("still differs", _line(one)) for one in done.after.findings)])
        _say(done.after)


def _print(report: Report) -> None:
    if report.findings:
        rows = [(one.part, one.path or "", one.problem) for one in report.findings]
        print_table(None, ["part", "file", "problem"], rows)
    else:
        out().print(f"Everything is what was written: {report.files} files, {report.days} days, {report.marts} marts.")
    _say(report)


def _say(report: Report) -> None:
    for note in report.notes:
        say(f"note: {note}")


def _line(one: Damage) -> str:
    return f"{one.part}: {one.path or ''} {one.problem}"


def _findings(report: Report) -> list[dict[str, Any]]:
    return [asdict(one) for one in report.findings]


def _as_dict(report: Report) -> dict[str, Any]:
    return {**asdict(report), "findings": _findings(report)}
