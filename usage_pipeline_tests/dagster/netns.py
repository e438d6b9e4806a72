"""A network namespace for each worker: its loopback leads to the shared services, and to nothing else.

Put what separates hosts here. `carried` runs beside the services, and `inside` is what a worker's command begins with;
between the two lie Unix sockets in a folder, for a namespace separates the network and not the files. It needs
util-linux and iproute2, and a kernel that lets this user make namespaces.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_UNSHARE = ("unshare", "--net", "--user", "--map-root-user")
_UP = ("ip", "link", "set", "lo", "up")
_THIS = "usage_pipeline_tests.dagster.netns"  # as a program its name is another
_LOOK_SECONDS = 0.2
_PIECE = 1 << 16

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Open = Callable[[], Awaitable[Streams]]


def can_separate() -> bool:
    """Whether this user may make a network namespace and bring up its loopback."""
    try:
        return subprocess.run([*_UNSHARE, *_UP], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def inside(folder: Path, ports: Sequence[int]) -> tuple[str, ...]:
    """What to put before a command so that it runs in a namespace of its own, where these ports are the services'."""
    return (*_UNSHARE, sys.executable, "-m", _THIS, "host", *_named(folder, ports))


@contextmanager
def carried(folder: Path, ports: Sequence[int]) -> Iterator[None]:
    """Carry what comes from namespaces to this machine's ports while the block runs."""
    begun = _beside("services", *_named(folder, ports))
    try:
        yield
    finally:
        begun.terminate()
        begun.wait()


def _beside(role: str, folder: str, ports: str) -> "subprocess.Popen[bytes]":
    """A process of this program, which listens by now."""
    command = [sys.executable, "-m", _THIS, role, folder, ports]
    begun = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    if begun.stdout is None or not begun.stdout.readline():
        raise AssertionError(f"nothing carries the ports {ports}")
    return begun


def _carry(connect: Open) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Answers a connection by another, in both directions until both have ended."""

    async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # the other side ended first: what it wanted it has
            while piece := await reader.read(_PIECE):
                writer.write(piece)
                await writer.drain()
            writer.write_eof()

    under_way: set[asyncio.Task[None] | None] = set()  # the loop itself holds its tasks only weakly

    async def both_ways(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way.add(asyncio.current_task())
        with suppress(OSError):  # the service is down for now: the client sees its connection end
            there, back = await connect()
            await asyncio.gather(one_way(reader, back), one_way(there, writer))
            back.close()
        writer.close()
        under_way.discard(asyncio.current_task())

    return both_ways


async def _until_alone(role: str, folder: Path, ports: Sequence[int]) -> None:
    """Carry, in a namespace its ports to the sockets, until the process that began this has ended."""
    parent = os.getppid()
    for port in ports:
        if role == "services":
            to_port = _carry(lambda port=port: asyncio.open_connection("127.0.0.1", port))  # type: ignore[misc]
            await asyncio.start_unix_server(to_port, _socket(folder, port))
        else:
            to_socket = _carry(lambda port=port: asyncio.open_unix_connection(_socket(folder, port)))  # type: ignore[misc]
            await asyncio.start_server(to_socket, "127.0.0.1", port)
    sys.stdout.write("listens\n")
    sys.stdout.flush()
    while os.getppid() == parent:
        await asyncio.sleep(_LOOK_SECONDS)


def _named(folder: Path, ports: Sequence[int]) -> tuple[str, str]:
    return str(folder), ",".join(map(str, ports))


def _socket(folder: Path, port: int) -> str:
    return str(folder / f"{port}.sock")


def main() -> None:
    """In a namespace `host FOLDER PORTS COMMAND...` becomes the command, beside which `ports FOLDER PORTS` runs.

    Beside the services runs `services FOLDER PORTS`.
    """
    role, folder, ports, *command = sys.argv[1:]
    if role != "host":
        asyncio.run(_until_alone(role, Path(folder), [int(port) for port in ports.split(",")]))
        return
    subprocess.run(_UP, check=True)
    _beside("ports", folder, ports)
    os.execvp(command[0], command)  # noqa: S606 - so that who began this has the command's own process


if __name__ == "__main__":
    main()
