"""Damage to a data folder and what is documented against it: the folder says afterwards what it said before.

Put what a loss means for the memory here; kinds of loss are damage.py's.
"""

import random

import duckdb

from usage_pipeline.doctor import doctor
from usage_pipeline.errors import UsagePipelineError
from usage_pipeline_tests.oracle import observed
from usage_pipeline_tests.oracle.comparing import difference
from usage_pipeline_tests.oracle.damage import losses, spoil_one
from usage_pipeline_tests.oracle.machine import Machine, Wrong
from usage_pipeline_tests.oracle.truth import ENDPOINTS, FIRST_DAY


def lose(machine: Machine, rng: random.Random, *, sync_first: bool) -> str:
    """Lose or spoil something, perhaps let a sync meet it, and do what is documented; says what was lost."""
    if any(world.lost for world in machine.worlds):
        return "raw has lost too much to lose more"
    choices = losses(machine.folder, has_orphans=any(world.orphans for world in machine.worlds))
    if not choices:
        return "nothing to damage"
    said, spoil, heal = rng.choice(choices)
    spoil()
    machine.told.clear()
    if said.startswith("meta/sync_log"):
        kept = [world.copy() for world in machine.worlds]
        for world in machine.worlds:
            world.forget_checks()
        machine.worlds += kept  # where the newest commit is in a checkpoint, the log is read whole from that
    elif sync_first:
        _sync_the_damaged(machine)
    (machine.publish if heal == "publish" else machine.replay)()
    return f"{said}, healed by {heal}"


def spoil(machine: Machine, rng: random.Random, *, sync_first: bool) -> str:
    """Spoil any one file, perhaps let a sync meet it, and call the doctor; says what was done."""
    has_lost = any(world.lost for world in machine.worlds)
    done = spoil_one(machine.folder, rng, is_raw_whole=not has_lost)
    if done is None:
        return "nothing to damage"
    name, said = done
    is_raw = name.startswith("raw/")
    if is_raw:
        for world in machine.worlds:
            world.lose(name)
    is_met = sync_first and not said.endswith("flipped")  # lengths are looked at before each write, hashes by verify
    if is_met:
        _sync_the_damaged(machine)
    treated = doctor(machine.settings)
    machine.must(not treated.after.findings, f"{said}: the doctor left {treated.after.findings}")
    # A sync writes marts and seals anew by itself.
    machine.must(is_met or bool(treated.found.findings), f"{said}: the doctor found nothing")
    machine.must(is_raw or has_lost or not treated.lost, f"{said}: the doctor lost {treated.lost}")
    if any(world.orphans for world in machine.worlds):
        machine.told.clear()  # what was never committed before counts now
    for world in machine.worlds:
        if name.startswith("lake/meta/restatements") and not world.is_in_order:
            world.restated = None
            machine.told.clear()
        world.take_orphans()
        world.publish()
    machine.check()
    return f"{said}, healed by doctor"


def _sync_the_damaged(machine: Machine) -> None:
    """A sync over a damaged lake may refuse; what it reports as done is done."""
    window = (FIRST_DAY, machine.tomorrow)
    machine.service.plant((), 3)
    found = [machine.reads(world, ENDPOINTS, window) for world in machine.worlds]
    try:
        report = machine.run(ENDPOINTS, window)
    except UsagePipelineError as refused:
        raise Wrong(f"an endpoint's damage is not its report: {refused}") from refused
    failed = {one.endpoint for one in report.failed}
    for world, reads in zip(machine.worlds, found, strict=True):
        done = [read for read in reads if read.endpoint not in failed]
        machine.accept(world, done, is_published=False)
    try:
        seen = observed.published(machine.settings.warehouse_path)
    except duckdb.Error:
        return  # its files are among what was lost
    # Where a lost table was filled anew the ledger cannot tell what changed, until it is mended.
    told = [world.shown or {} for world in (*machine.worlds, *map(machine.published, machine.worlds))]
    ledgers = ("meta.sync_log", "meta.restatements")
    fits = any(all((seen or {}).get(name) == shown[name] for name in shown if name not in ledgers) for shown in told)
    machine.must(fits, f"a damaged lake was published\n{difference(machine.published(machine.worlds[0]), seen)}")
