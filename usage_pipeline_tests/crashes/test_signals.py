"""SIGTERM ends a sync within seconds, wherever it is: one line, exit code 130, and nothing is half changed."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from usage_pipeline.lake.locks import REPLAY_LOCK, WAREHOUSE_LOCK, exclusive
from usage_pipeline.settings import Settings
from usage_pipeline.windows import utc_now
from usage_pipeline_tests.crashes import works
from usage_pipeline_tests.crashes.seen import seen
from usage_pipeline_tests.crashes.warm import Child, started
from usage_pipeline_tests.twins import first_quick
from usage_pipeline_tests.world import open_world

LINE = "usage-pipeline: interrupted; what was not committed is unchanged."
BUSY = [
    {"type": "http.response.start", "status": 429, "headers": [(b"retry-after", b"60")]},
    {"type": "http.response.body", "body": b"{}"},
]


def _hanging(app: Any, asked: Event) -> Any:
    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        await asyncio.sleep(60)
        await app(scope, receive, send)

    return wrapped


def _busy(_app: Any, asked: Event) -> Any:
    async def wrapped(_scope: Any, _receive: Any, send: Any) -> None:
        for message in BUSY:
            await send(message)
        asked.set()

    return wrapped


@contextmanager
def _syncing(tmp_path: Path, faults: Callable[[Any], Any] | None = None) -> Iterator[tuple[Child, Settings]]:
    """`usage-pipeline sync` of one endpoint, begun."""
    now = utc_now()
    with open_world(now=now, faults=faults) as world:
        settings = world.settings(tmp_path / "data")
        environment = {
            "OPENAI_ADMIN_KEY": "sk-admin-test",
            "OPENAI_BASE_URL": world.base_url,
            "USAGE_PIPELINE_DATA_DIR": str(settings.data_dir),
        }
        arguments = ["sync", "--since", str(now.date() - timedelta(days=1)), "--endpoint", "costs"]
        with started(works.command, environment, arguments, tmp_path / "said") as child:
            yield child, settings


def _until_waiting(child: Child, lock: str) -> None:
    """Return when the process has opened the lock that is held."""
    give_up_at = time.monotonic() + 60
    folder = Path(f"/proc/{child.pid}/fd")
    if not folder.exists():
        pytest.skip("needs /proc to see what a process waits for")
    while not any(lock in name for name in _opened(folder)):
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def _opened(folder: Path) -> Iterator[str]:
    """The names behind a process's descriptors; one closed between the listing and the look is not open."""
    for path in list(folder.iterdir()):
        with suppress(FileNotFoundError):
            yield str(path.readlink())


def _terminated(child: Child, said: Path) -> None:
    child.process.terminate()
    assert child.process.join(60) is None
    assert child.process.exitcode == 130
    assert said.read_text().splitlines() == [LINE]


@pytest.mark.parametrize("fault", first_quick(_hanging, _busy))
def test_it_ends_while_it_reads_or_waits_to_ask_again(tmp_path: Path, fault: Callable[[Any, Event], Any]) -> None:
    """Neither an answer that does not come nor the minute that a busy service asks for is waited for."""
    asked = Event()
    with _syncing(tmp_path, lambda app: fault(app, asked)) as (child, settings):
        assert asked.wait(60)
        _terminated(child, tmp_path / "said")
        assert [path for path in settings.data_dir.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("lock", first_quick(REPLAY_LOCK, WAREHOUSE_LOCK))
def test_it_ends_while_it_writes_or_publishes(tmp_path: Path, lock: str) -> None:
    """Before its first write, or between the lake and the published file, it ends though what it waits for is held."""
    with ExitStack() as stack:
        stack.enter_context(exclusive(tmp_path / "data" / lock))
        child, settings = stack.enter_context(_syncing(tmp_path))
        _until_waiting(child, lock)
        _terminated(child, tmp_path / "said")
        held = seen(settings.data_dir)
        assert held.published is None
        assert list(held.lake) == ["costs"] * (lock == WAREHOUSE_LOCK)
