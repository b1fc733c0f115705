"""Steady mixed load: tasks of several kinds, and readers with all habits, for as long as it takes.

Owns:   what clients do, at which rate; what they measured since they were asked last; what they saw that must not be.
Uses:   benchmarks.calls and benchmarks.reader.
Never:  samples the server (``benchmarks.soak``).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field

from benchmarks import calls
from benchmarks.calls import SSE, Address, Answer, Connection, connect
from benchmarks.figure import Flaw
from benchmarks.reader import freeze, open_reader

#: Seconds between two starts of each kind, for a server at a fifth or so of what it can do.
NOOP_S, BURST_S, TICKER_S, PROGRESS_S, CANCELLED_S, LIST_S = 0.1, 0.4, 0.5, 0.5, 0.25, 0.5

TICKER_RATE, TICKER_EVENTS = 20.0, 60
BURST_EVENTS, PAD_BYTES = 200, 200

#: A reader of a whole log has to see the end of it within so many seconds.
WITHIN_S = 60.0

#: So long a reader stays that never takes a byte: the server gives it up before that, by its ``send_timeout_s``.
FROZEN_S = 45.0

LISTS = ("/tasks?limit=50", "/tasks/count?group_by=status", "/tasks?status=running&limit=20", "/stats", "/readyz")


@dataclass
class Measured:
    """What was measured since the last sample."""

    lags_s: list[float] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)
    questions_s: list[float] = field(default_factory=list)
    events: int = 0


class Load:
    """All clients of one server.

    Attributes:
        flaws: what must not be; a run without any is a good one.
        measured: since `take` was called last.
        open: readers that read now.
    """

    def __init__(self, address: Address, seed: int = 0) -> None:
        self.address = address
        self.flaws: list[str] = []
        self.measured = Measured()
        self.open = 0
        self._chance = random.Random(seed)
        self._group: asyncio.TaskGroup | None = None

    def take(self) -> Measured:
        """What was measured, and begin anew."""
        taken, self.measured = self.measured, Measured()
        return taken

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for every_s, work in (
                (NOOP_S, self._noop),
                (BURST_S, self._burst),
                (TICKER_S, self._ticker),
                (PROGRESS_S, self._progress),
                (CANCELLED_S, self._cancelled),
                (0.0, self._frozen),
            ):
                group.create_task(self._steadily(every_s, work))
            group.create_task(self._questions())
            group.create_task(self._feed())

    async def _steadily(self, every_s: float, work: Callable[[Connection], Awaitable[None]]) -> None:
        """One connection, and one piece of work each ``every_s`` seconds: what is late is not caught up."""
        connection = await connect(self.address)
        try:
            while True:
                await self._blaming(work, connection)
                await asyncio.sleep(every_s * self._chance.uniform(0.8, 1.2))
        finally:
            connection.close()

    async def _blaming(self, work: Callable[..., Awaitable[None]], *args: object, **more: object) -> None:
        try:
            await work(*args, **more)
        except (Flaw, TimeoutError, OSError) as flaw:
            self.flaws.append(f"{type(flaw).__name__}: {flaw}")

    # -- tasks ---------------------------------------------------------------------------------------------------------

    async def _noop(self, connection: Connection) -> None:
        await self._start(connection, "bench_noop")

    async def _burst(self, connection: Connection) -> None:
        task_id = await self._start(connection, "bench_burst", events=BURST_EVENTS, pad_bytes=PAD_BYTES)
        self._begin(self._read, task_id, BURST_EVENTS + 3)
        self._begin(self._rejoin, task_id, BURST_EVENTS + 3)

    async def _ticker(self, connection: Connection) -> None:
        task_id = await self._start(connection, "bench_ticker", rate=TICKER_RATE, events=TICKER_EVENTS)
        self._begin(self._read, task_id, TICKER_EVENTS + 3, timed=True)
        self._begin(self._rejoin, task_id, TICKER_EVENTS + 3)

    async def _progress(self, connection: Connection) -> None:
        await self._start(connection, "bench_progress", events=50)

    async def _cancelled(self, connection: Connection) -> None:
        task_id = await self._start(connection, "bench_wait")
        self._begin(self._read, task_id, None)
        await asyncio.sleep(self._chance.uniform(0, 0.2))
        await _call(connection, calls.with_body("POST", f"/tasks/{task_id}/cancel", {"reason": "soak"}), 200, 202)

    async def _start(self, connection: Connection, type: str, **params: object) -> str:
        answer = await _call(connection, calls.with_body("POST", "/tasks", {"type": type, "params": params}), 201)
        self.measured.starts_s.append(answer.seconds)
        return str(answer.json()["id"])

    # -- readers -------------------------------------------------------------------------------------------------------

    def _begin(self, reading: Callable[..., Awaitable[None]], *args: object, **more: object) -> None:
        """Nothing is left of it where the end comes before its first step."""
        assert self._group is not None
        self._group.create_task(self._blaming(reading, *args, **more))

    async def _read(self, task_id: str, events: int | None, *, timed: bool = False) -> None:
        reader = await open_reader(self.address, _stream(task_id), timed="due" if timed else None)
        self.open += 1
        try:
            async with asyncio.timeout(WITHIN_S):
                await reader.ended
            reader.check(events)
        finally:
            self.open -= 1
            reader.close()
        self.measured.events += reader.last_seq
        self.measured.lags_s += reader.lags_s

    async def _rejoin(self, task_id: str, events: int) -> None:
        """Leave again and again, and go on where it was."""
        after = 0
        self.open += 1
        try:
            async with asyncio.timeout(WITHIN_S):
                while after < events:
                    reader = await open_reader(self.address, _stream(task_id, after), after=after)
                    await asyncio.wait({reader.ended}, timeout=self._chance.uniform(0.01, 1.0))
                    if reader.ended.done():
                        reader.check(events)
                    reader.close()
                    after = reader.last_seq
        finally:
            self.open -= 1

    async def _frozen(self, connection: Connection) -> None:
        """It asks for more than anybody holds for it, and does not take it."""
        task_id = await self._start(connection, "bench_burst", events=2000, pad_bytes=4000)
        with closing(await asyncio.to_thread(freeze, self.address, _stream(task_id))):
            await asyncio.sleep(FROZEN_S)

    async def _feed(self) -> None:
        """Somebody who watches everything, for ever."""
        while True:
            reader, writer = await asyncio.open_connection(self.address.host, self.address.port)
            try:
                writer.write(calls.get("/events?tail=0", accept=SSE))
                while await reader.read(1 << 16):
                    pass
                self.flaws.append("the feed has ended")
            except OSError as error:
                self.flaws.append(f"the feed broke off: {error}")
            finally:
                writer.close()
            await asyncio.sleep(1)

    async def _questions(self) -> None:
        connection = await connect(self.address)
        try:
            while True:
                for path in LISTS:
                    await self._blaming(self._question, connection, path)
                    await asyncio.sleep(LIST_S / len(LISTS))
        finally:
            connection.close()

    async def _question(self, connection: Connection, path: str) -> None:
        self.measured.questions_s.append((await _call(connection, calls.get(path), 200)).seconds)


def _stream(task_id: str, after: int = 0) -> bytes:
    request = calls.get(f"/tasks/{task_id}/events", accept=SSE)
    return request[:-2] + b"Last-Event-ID: %d\r\n\r\n" % after if after else request


async def _call(connection: Connection, request: bytes, *statuses: int) -> Answer:
    async with asyncio.timeout(calls.ANSWER_S):
        answer = await connection.call(request)
    if answer.status not in statuses:
        raise Flaw(f"{answer.status}: {answer.body[:200]!r}")
    return answer
