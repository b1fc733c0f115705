"""The server under load: the real command, in a process and a directory of its own.

Owns:   start, address, stop, the calm before what is measured, and what the process uses (CPU, resident memory).
Uses:   benchmarks.machine (which core).
Never:  changes a setting: what is measured is what a user gets by default.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sysconfig
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from benchmarks import calls, machine
from benchmarks.calls import Address
from benchmarks.figure import Flaw

Result = TypeVar("Result")

START_S = 20.0
#: What is told to begin at a time is measured from so long before: whoever reads the clock may be late by that.
CALM_S = 0.5
COMMAND: Sequence[str] = (
    str(Path(sysconfig.get_path("scripts"), "streaming")), "serve", "benchmarks.handlers", "--port", "0"
)  # fmt: skip

_ROOT = Path(__file__).parent.parent
_URL = re.compile(rb"http://([0-9.]+):([1-9][0-9]*)")


class Server:
    """One running server process."""

    def __init__(self, process: Process, directory: Path) -> None:
        self.directory = directory
        self.address = Address("", 0)
        self.process = process
        self._usage = psutil.Process(process.pid)
        self._clock = (~process.pid << 3) | 2  # what clock_getcpuclockid says on Linux

    @property
    def rss_bytes(self) -> int:
        """Resident memory."""
        return int(self._usage.memory_info().rss)

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU used so far, user and system, all threads, to the nanosecond."""
        return time.clock_gettime(self._clock)

    @property
    def loop(self) -> str:
        """Which event loop it runs on."""
        maps = Path(f"/proc/{self.process.pid}/maps").read_text()
        return "uvloop" if "uvloop" in maps else "asyncio"

    @property
    def log_lines(self) -> str:
        """The end of what it wrote."""
        return (self.directory / "server.log").read_text(errors="replace")[-2000:]

    async def wait(self, within_s: float) -> int:
        """Wait for the exit, and return its status.

        Raises:
            Flaw: it did not come.
        """
        try:
            async with asyncio.timeout(within_s):
                return await self.process.wait()
        except TimeoutError:
            raise Flaw(f"the server had not exited after {within_s:g} s") from None

    async def kill(self) -> None:
        """End it without warning, as a crash would; ended before is fine."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()


@asynccontextmanager
async def temporary_directory() -> AsyncIterator[Path]:
    """A directory for a store that may outlive its first server."""
    with tempfile.TemporaryDirectory(prefix="streaming-bench-") as name:
        yield Path(name)


@asynccontextmanager
async def running(directory: Path | None = None, *, command: Sequence[str] | None = None) -> AsyncIterator[Server]:
    """Start a server, wait until it is ready, and kill it at the end.

    Args:
        directory: where its store is; a new temporary one by default.
        command: another server than ours.
    """
    if directory is None:
        async with temporary_directory() as own, running(own, command=command) as server:
            yield server
        return
    server = await _start(directory, command or COMMAND)
    try:
        yield server
    finally:
        await server.kill()


async def _start(directory: Path, command: Sequence[str]) -> Server:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMING_")}
    environment["PYTHONPATH"] = str(_ROOT)
    with (directory / "server.log").open("wb") as log, machine.pinned_to_server():
        process = await asyncio.create_subprocess_exec(
            *command, cwd=directory, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
        )
    server = Server(process, directory)
    try:
        server.address = await _address(server)
        await _ready(server)
    except BaseException:
        await server.kill()
        raise
    return server


async def _address(server: Server) -> Address:
    """Wait for the line that names the URL."""
    until = time.monotonic() + START_S
    while time.monotonic() < until and server.process.returncode is None:
        url = _URL.search((server.directory / "server.log").read_bytes())
        if url is not None:
            return Address(url[1].decode(), int(url[2]))
        await asyncio.sleep(0.02)
    raise Flaw(f"the server did not start:\n{server.log_lines}")


async def _ready(server: Server) -> None:
    """A server that needs long for its start answers meanwhile, that it is not ready."""
    connection = await calls.connect(server.address)
    until = time.monotonic() + START_S
    try:
        answer = await connection.call(calls.get("/readyz"))
        while answer.status == 503 and time.monotonic() < until:
            await asyncio.sleep(0.02)
            answer = await connection.call(calls.get("/readyz"))
    except Flaw as flaw:
        raise Flaw(f"{flaw}, and has written:\n{server.log_lines}") from None
    finally:
        connection.close()
    if answer.status != 200:
        raise Flaw(f"the server is not ready: {answer.status} {answer.body[:300]!r}")


async def calm_before(start_at: float) -> None:
    """Wait until all is ready and nothing happens, ``CALM_S`` before ``start_at``.

    Raises:
        Flaw: it has begun.
    """
    await asyncio.sleep(max(0.0, start_at - CALM_S - time.time()))
    if time.time() >= start_at:
        raise Flaw("it began before all were ready")


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used over a time: CPU of the server and of this process, and the server's highest resident memory."""

    cpu_s: float
    client_cpu_s: float
    wall_s: float
    rss_bytes_max: int


async def usage_while(server: Server, work: Coroutine[Any, Any, Result]) -> tuple[Result, Usage]:
    """Measure the server, and this process, until ``work`` is done; raises what it raises."""
    begin_s, begin_cpu_s, begin_client_cpu_s = time.perf_counter(), server.cpu_s, time.process_time()
    rss_bytes_max = server.rss_bytes
    working = asyncio.create_task(work)
    while not working.done():
        await asyncio.wait([working], timeout=0.1)
        rss_bytes_max = max(rss_bytes_max, server.rss_bytes)
    wall_s = time.perf_counter() - begin_s
    cpu_s, client_cpu_s = server.cpu_s - begin_cpu_s, time.process_time() - begin_client_cpu_s
    return working.result(), Usage(cpu_s, client_cpu_s, wall_s, rss_bytes_max)
