"""`python -m usage_pipeline_tests.oracle.mutants`: bugs planted in copies of the package, which the oracle must catch.

Put a new mutant into MUTANTS: a file of the package, a text that occurs in it once, and what to write instead. Exit 1
where one survives, or no longer applies.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
_FOUND = re.compile(r"^seed (\d+) failed:", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """One bug: what it does wrong, and the patch that plants it."""

    name: str
    file: str
    old: str
    new: str

    def applies(self, root: Path = ROOT) -> bool:
        """Whether the old text is there exactly once."""
        return (root / "usage_pipeline" / self.file).read_text(encoding="utf-8").count(self.old) == 1

    def plant(self, root: Path) -> None:
        """Patch a copy of the package."""
        path = root / "usage_pipeline" / self.file
        path.write_text(path.read_text(encoding="utf-8").replace(self.old, self.new), encoding="utf-8")


MUTANTS = (
    Mutant("the last bucket of a read is dropped", "api/portions.py",
           "buckets = [bucket for part in group for bucket in part.buckets]\n",
           "buckets = [bucket for part in group for bucket in part.buckets][:-1] or group[0].buckets\n"),
    Mutant("a missing closed bucket is accepted", "api/listing.py", "        if closed:\n", "        if False:\n"),
    Mutant("a repeated cursor ends a listing", "api/paging.py",
           'raise self._wrong("a page cursor came twice: following it would never end")', "return None"),
    Mutant("one window is stored before another is known to fit", "endpoint_sync.py",
           "                contents.append("
           "await asyncio.to_thread(_fitted, settings, endpoint, reads.pop(0), spool))\n",
           "                one = await asyncio.to_thread(_fitted, settings, endpoint, reads.pop(0), spool)\n"
           "                store = partial(_store, settings, log, one, sync_id, is_landed_always)\n"
           "                rows.append(await asyncio.to_thread(store))\n"),
    Mutant("the window's end is a day too far", "windows.py", "last = (self.end - timedelta(seconds=1)).date()",
           "last = self.end.date()"),
    Mutant("rows of one group are not summed", "lake/tables.py",
           "_sum_rows(endpoint, merged[key], row) if key in merged else row", "row"),
    Mutant("money goes through a float", "lake/tables.py", "exact = Decimal(value)",
           "exact = Decimal(repr(float(value)))"),
    Mutant("unknown fields are dropped", "lake/tables.py", "json_text(rest) if rest else None", "None"),
    Mutant("a changed day is not written again", "lake/replace.py",
           "states[day].content_hash != content.days[day].content_hash", "False"),
    Mutant("an emptied day keeps its rows", "lake/replace.py", "if day in states or content.days[day].rows}",
           "if content.days[day].rows}"),
    Mutant("an older read overwrites a newer one", "lake/replace.py",
           "states[day].checked_at) <= began", "began) <= began"),
    Mutant("a first read without rows conflicts with nothing", "lake/notes.py",
           "for claim in sorted(claims)]", "for claim in ()]"),
    Mutant("a read that brought something is not logged", "lake/replace.py",
           "        else:\n            log.add(row)\n", "        else:\n"),
    Mutant("a check that found nothing new is not logged", "lake/replace.py",
           '"unchanged", [], Changes.none())\n            log.add(row)\n',
           '"unchanged", [], Changes.none())\n'),
    Mutant("nothing is landed", "lake/replace.py",
           "landed = landed or (land_shared(lake.mirror, land) if land else None)", "landed = None"),
    Mutant("rows are added, not replaced", "lake/writing.py",
           '        mode="overwrite",\n        predicate=predicate,\n',
           '        mode="append" if predicate else "overwrite",\n'),
    Mutant("another writer's commit is not noticed", "lake/delta_table.py",
           "with self.committing(at) as table:\n            overwrite_rows(",
           "with self.committing(self.create()) as table:\n            overwrite_rows("),
    Mutant("restatements: inserted and deleted are swapped", "lake/diff.py",
           "then 'inserted' when n.date is null then 'deleted'", "then 'deleted' when n.date is null then 'inserted'"),
    Mutant("restatements: rows with a null dimension never match", "lake/diff.py",
           'is not distinct from o.{identifier(name)}" for name', '= o.{identifier(name)}" for name'),
    Mutant("restatements: settled is called provisional", "lake/diff.py", "o.bucket_end) > known.checked_at",
           "o.bucket_end) < known.checked_at"),
    Mutant("restatements of a commit that never was count", "lake/published.py",
           " semi join ({log}) l on r.commit_id = l.commit_id", ""),
    Mutant("coverage counts the most rows a day ever had", "lake/snapshot.py",
           "    arg_max(rows, fetched_at) as rows,", "    max(rows) as rows,"),
    Mutant("what a killed writer committed is never logged", "lake/ledger.py", "found += reversed(missing)",
           "found += missing[:0]"),
    Mutant("replay leaves out the newest raw file", "lake/landing.py",
           "key=lambda path: (path.name, path.parts))", "key=lambda path: (path.name, path.parts))[:-1]"),
    Mutant("replay brings back what never was committed", "history.py",
           "        return any(", "        return False and any("),
    Mutant("replay decides by raw alone what the log knows", "history.py",
           "return self.first_runs.get(_key(landed))", "return None"),
    Mutant("replay of one damaged table forgets the coverage log", "history.py",
           "table.open_with_notes() for", "table.open() for"),
    Mutant("replay forgets the checks that found nothing new", "replay.py",
           "if history.unchanged.num_rows:", "if False:"),
    Mutant("marts: a restated day is not computed again", "marts/fingerprints.py",
           'f"{name}={held[name]}" for name in endpoints', 'f"{name}" for name in endpoints'),
    Mutant("marts: what was built is remembered as it was first", "marts/fingerprints.py",
           "arg_max(fingerprint, built_at)", "arg_min(fingerprint, built_at)"),
    Mutant("marts: a build that died is taken for none", "marts/fingerprints.py", "    remember(memory, begun)\n", ""),
    Mutant("marts: a lost file is not noticed", "marts/build.py",
           "all(Path(file).exists() for file in pinned.files())", "True"),
    Mutant("marts: currencies are added together", "marts/cost_daily.sql", "    currency,\n    sum",
           "    min(currency) as currency,\n    sum"),
    Mutant("marts: cost without a project is left out", "marts/cost_daily_by_project.sql", "from marts.cost_daily\n",
           "from marts.cost_daily\nwhere project_id is not null\n"),
    Mutant("marts: a measure is the largest of its rows", "marts/derived.py", "sum(told.value)", "max(told.value)"),
    Mutant("marts: allocation loses the digits rounding left", "marts/cost_allocated.sql",
           "<= digits - sum(whole_digits) over (partition by bill)", "<= -1"),
    Mutant("the file is published before the marts are built", "warehouse.py",
           "build_marts(lake, Contents(snapshot), tell=tell,",
           "build_marts(lake, Contents(snapshot), [] if settings.warehouse_path.exists() else None, tell=tell,"),
    Mutant("a lake that lost rows is published", "warehouse.py", "    check_rows(snapshot)\n", ""),
    Mutant("the published file is removed before the new one is there", "lake/catalog.py",
           "    _remove(temporary)\n    statements =", "    _remove(path)\n    statements ="),
    Mutant("a published file that is changed reads what it read before", "lake/catalog.py",
           "        if found == key:\n            _pin(con, pinned)\n", ""),
    Mutant("the schedule forgets the lookback", "plan.py", "elif day >= today - lookback:",
           "elif day >= today:"),
    Mutant("the schedule does not catch up", "plan.py", "known[day].checked_at.date() < day + lookback", "False"),
)  # fmt: skip


def attack(mutant: Mutant, cases: int, seed: int) -> str:
    """Let the oracle at the planted bug; what became of it, in a few words."""
    if not mutant.applies():
        return "DOES NOT APPLY"
    began = time.monotonic()
    with TemporaryDirectory(prefix="mutant") as folder:
        root = Path(folder)
        for name in ("usage_pipeline", "usage_pipeline_tests"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        mutant.plant(root)
        command = [sys.executable, "-m", "usage_pipeline_tests.oracle", "--jobs", "1", "--no-shrink"]
        command += ["--cases", str(cases), "--seed", str(seed)]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    took = f"{time.monotonic() - began:.0f} s"
    if done.returncode == 0:
        return f"SURVIVED {cases} cases, {took}"
    found = _FOUND.search(done.stdout)
    if found is None:
        return f"DID NOT RUN: {done.stderr.strip().splitlines()[-1:]}"
    problem = done.stdout.partition("\n\n")[2].splitlines()[0]
    return f"caught in history {int(found[1]) - seed + 1}, {took}: {problem[:90]}"


def main() -> int:
    """Attack all mutants, or those whose name holds a text."""
    parser = argparse.ArgumentParser(prog="python -m usage_pipeline_tests.oracle.mutants", description=__doc__)
    parser.add_argument("--cases", type=int, default=1200, help="steps the oracle may take for each")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first history")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    parser.add_argument("--only", default="", help="mutants whose name holds this")
    asked = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if asked.only in mutant.name]
    caught = 0
    with ThreadPoolExecutor(asked.jobs) as pool:
        under_attack = {pool.submit(attack, mutant, asked.cases, asked.seed): mutant for mutant in chosen}
        for done in as_completed(under_attack):
            caught += done.result().startswith("caught")
            print(f"{under_attack[done].name}: {done.result()}", flush=True)  # noqa: T201 - its answer
    print(f"{caught} of {len(chosen)} caught")  # noqa: T201 - its answer
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
