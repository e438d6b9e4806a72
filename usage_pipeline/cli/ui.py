"""The `ui` command: Dagster's webserver and daemon as two children, on 127.0.0.1 only.

Put starting and stopping them here; their instance's settings are in defs/. The webserver asks nobody who they are, so
it must never listen on another address, and defs/webserver.py keeps web pages of other sites away from it.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from pydantic import SecretStr

from usage_pipeline.cli.console import err, out, say
from usage_pipeline.defs.home import prepare_home
from usage_pipeline.errors import FixConfig
from usage_pipeline.settings import Settings

_HOST = "127.0.0.1"
_DEFINITIONS = ("-m", "usage_pipeline.definitions")
_START_SECONDS = 120.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stop(BaseException):
    """A signal asked to end."""


def serve_ui(settings: Settings, port: int = 3000) -> int:
    """Serve until Ctrl-C or SIGTERM; returns the exit code.

    Raises:
        FixConfig: the port is taken.
    """
    _check_free(port)
    home = prepare_home(settings.data_dir)
    if not (home / "history").exists():
        from usage_pipeline.defs.tables import make_tables  # Dagster is slow to import

        make_tables(home)
    logs = home / "service-logs"  # `logs` is Dagster's own, and it empties it
    logs.mkdir(mode=0o700, exist_ok=True)
    env = {**os.environ, **environment(settings), "DAGSTER_HOME": str(home)}
    programs = {
        "webserver": ["usage_pipeline.defs.webserver", "-h", _HOST, "-p", str(port), *_DEFINITIONS],
        "daemon": ["dagster._daemon", "run", *_DEFINITIONS],
    }
    with _signals_raise(), ExitStack() as stack:
        try:
            children = {
                name: stack.enter_context(_running([sys.executable, "-m", *program], env, logs / f"{name}.log"))
                for name, program in programs.items()
            }
            return _watch(children, port, logs)
        except _Stop:
            say("stopping ...")
            return 0


def environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables: children get exactly what was checked here, the key nowhere else."""
    found = {}
    for name, field in Settings.model_fields.items():
        if name == "organization" and name not in settings.model_fields_set:
            continue  # usage_pipeline.toml, which children read too, may name several
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        elif isinstance(value, Path):
            value = value.resolve()
        if value is not None:
            found[str(field.validation_alias)] = str(value)
    return found


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as taken:
            reason = taken.strerror or "refused"
            raise FixConfig(
                f"port {port} on {_HOST} cannot be used ({reason}): end what runs there (another "
                "`usage-pipeline ui`?) or choose another port with --port."
            ) from None


def _watch(children: Mapping[str, subprocess.Popen[bytes]], port: int, logs: Path) -> int:
    """Say when the UI answers; then wait. A child that ends by itself ends everything."""
    give_up_at = time.monotonic() + _START_SECONDS
    is_up = False
    while True:
        for name, child in children.items():
            if child.poll() is not None:
                err().print(f"Dagster's {name} ended by itself:\n{_tail(logs / f'{name}.log')}", markup=False)
                return 1
        if not is_up and _answers(port):
            is_up = True
            out().print(f"Dagster is at http://{_HOST}:{port} (only on this machine). Ctrl-C ends it.")
            sys.stdout.flush()
        elif not is_up and time.monotonic() > give_up_at:
            say(f"Dagster's webserver does not answer; see {logs}.")
            return 1
        time.sleep(_POLL_SECONDS)


def _answers(port: int) -> bool:
    try:
        socket.create_connection((_HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-10:])


@contextmanager
def _running(command: list[str], env: Mapping[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A child in a session of its own, so that a terminal's Ctrl-C reaches it once, through us."""
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
            command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)  # its session: with its code servers
            child.wait()


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Turn signals into an exception while serving; a second one while stopping is ignored."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        raise _Stop

    before = {one: signal.signal(one, stop) for one in _SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
