"""What a workload knows of those it measures: who they are, how one is started, what one can be asked to do.

Owns:   `Contender`, `Stage` (one that runs), its CPU and memory with all processes that it has started.
Uses:   benchmarks.server (start and end of the process).
Never:  measures.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import psutil

from benchmarks.calls import SSE, Address, call_all, get, with_body
from benchmarks.server import Server, running

#: How uvicorn is at its best.
OPTIONS = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--backlog", "2048", "--port", "0")


@dataclass(frozen=True, slots=True)
class Job:
    """What to emit on a channel.

    Attributes:
        events: how many.
        rate: per second; 0 is as fast as possible.
        start_at: seconds since 1970; at once if that is over.
    """

    events: int
    rate: float = 0.0
    start_at: float = 0.0


class Stage:
    """A contender that runs; as it is here, one with the routes of ``benchmarks.contenders``."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._process = psutil.Process(server.process.pid)

    @property
    def address(self) -> Address:
        return self.server.address

    @property
    def processes(self) -> list[psutil.Process]:
        """The server, and what it has started."""
        return [self._process, *self._process.children(recursive=True)]

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU that all of them have used, user and system."""
        times = [process.cpu_times() for process in self.processes]
        return float(sum(each.user + each.system for each in times))

    @property
    def rss_bytes(self) -> int:
        """Resident memory of all of them."""
        return sum(int(process.memory_info().rss) for process in self.processes)

    async def open_channels(self, names: Sequence[str], job: Job | None = None) -> list[bytes]:
        """Make channels, and return what a reader of each has to send.

        Args:
            names: of the channels.
            job: what each emits without being asked again, spread over the pause between two events.
        """
        if job is not None:
            await self.emit(names, job)
        return [get(f"/stream?channel={name}", accept=SSE) for name in names]

    async def emit(self, names: Sequence[str], job: Job) -> None:
        """Let channels emit; their counters go on from where they are."""
        order = {"channels": list(names), "events": job.events, "rate": job.rate, "start_at": job.start_at}
        await self._post("/emit", order, status=202)

    async def prepare_log(self, events: int) -> bytes:
        """Make a log, and return what a reader of all of it has to send."""
        await self._post("/prepare", {"events": events}, status=202)
        return get("/log", accept=SSE)

    async def _post(self, path: str, body: object, *, status: int) -> bytes:
        [answer] = await call_all(self.address, [with_body("POST", path, body)], status=status)
        return answer.body

    async def stop(self) -> None:
        """End what the server has started; itself is ended by who started it."""


def _nothing_missing() -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Contender:
    """One of those that are measured.

    Attributes:
        name: on the command line, and in the table.
        about: how it streams, in one line.
        command: what starts it; it writes its URL to its output.
        durable: an event, or a start, is kept before anybody sees it.
        ids: its events have ids.
        stage: what it is once it runs.
        missing: why it cannot run on this machine, with the way to get it; None if it can.
        versions: of what it is made of; only asked if nothing is missing.
    """

    name: str
    about: str
    command: Callable[[], Sequence[str]]
    durable: bool = False
    ids: bool = False
    stage: Callable[[Server], Stage] = Stage
    missing: Callable[[], str | None] = _nothing_missing
    versions: Callable[[], dict[str, str]] = dict

    def start(self) -> AbstractAsyncContextManager[Stage]:
        """Start it, and end it after the block."""
        return _started(self)


@asynccontextmanager
async def _started(contender: Contender) -> AsyncIterator[Stage]:
    async with running(command=contender.command()) as server:
        stage = contender.stage(server)
        try:
            yield stage
        finally:
            await stage.stop()
