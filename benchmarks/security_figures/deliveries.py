"""What it costs to have asked who reads, for each event that a reader gets.

Owns:   CPU of a delivery to many readers that have shown a credential, against as many that have not.
Uses:   benchmarks.speed.crowd (the readers), benchmarks.handlers (the task).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from statistics import median

from benchmarks import machine
from benchmarks.calls import SSE, call_all, get, with_body
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values
from benchmarks.security_figures import guarded
from benchmarks.security_figures.guarded import bearer, with_header
from benchmarks.security_figures.starts import RATES
from benchmarks.server import Server, calm_before
from benchmarks.speed.crowd import Crowd
from benchmarks.speed.segments import Book

RATE = 50.0
LIMIT = 1.05

CHANNEL = "watched"
OPEN_S, LATE_S, LEAD_S = 60.0, 30.0, 1.0


@dataclass
class Watched:
    """A task of one server, and its readers.

    Attributes:
        server: which.
        crowd: its readers.
        header: what each request shows; empty for nothing.
        cpu_us: of one delivery, of each turn.
        rate: events a second.
    """

    server: Server
    crowd: Crowd
    header: str
    cpu_us: list[float] = field(default_factory=list)
    rate: float = RATE

    async def open(self, readers: int) -> None:
        """Start the task, and let everybody in."""
        task_id = await self._start("bench_channel", channel=CHANNEL)
        request = self._with(get(f"/tasks/{task_id}/events", accept=SSE))
        await self.crowd.open([request] * readers, within_s=OPEN_S)

    async def emit(self, events: int) -> None:
        """Let everybody read so many events."""
        self.crowd.expect(events)
        start_at = time.time() + LEAD_S
        await self._start("bench_emit", channels=[CHANNEL], events=events, rate=self.rate, start_at=start_at)
        await calm_before(start_at)
        begin_s = self.server.cpu_s
        if not await self.crowd.reached(within_s=events / self.rate + LATE_S):
            raise Flaw("not every reader has got every event")
        self.cpu_us.append(1e6 * (self.server.cpu_s - begin_s) / events / len(self.crowd.readers))

    async def _start(self, type: str, **params: object) -> str:
        request = self._with(with_body("POST", "/tasks", {"type": type, "params": params}))
        [answer] = await call_all(self.server.address, [request], status=201)
        return str(answer.json()["id"])

    def _with(self, request: bytes) -> bytes:
        return with_header(request, self.header) if self.header else request


async def measure(scale: Scale) -> Values:
    """Let the readers of all servers read in turn."""
    machine.raise_limit_of_files()
    events = max(1, round(RATE * scale.duration_s / scale.pairs))
    async with _everybody(scale.readers) as (plain, again, guarded_):
        everybody = (plain, again, guarded_)
        for each in everybody:
            await each.open(scale.readers)
            await each.emit(events)
            each.cpu_us.clear()
        for turn in range(scale.pairs):
            for each in everybody[:: 1 if turn % 2 else -1]:
                await each.emit(events)
    return {
        "plain_us": median(plain.cpu_us),
        "again": _ratio(again.cpu_us, plain.cpu_us),
        "key": _ratio(guarded_.cpu_us, plain.cpu_us),
    }


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    return median(mine / other for mine, other in zip(ours, others, strict=True))


@asynccontextmanager
async def _everybody(readers: int) -> AsyncIterator[tuple[Watched, Watched, Watched]]:
    """Two servers without credentials, and one with."""
    settings = {**RATES, "api_keys": guarded.api_keys(guarded.NAME), "principal_streams_max": 2 * readers}
    key = bearer(guarded.key_of(guarded.NAME))
    async with AsyncExitStack() as stack:

        async def watched(settings: dict[str, object], header: str) -> Watched:
            server = await stack.enter_async_context(guarded.guarded(settings))
            crowd = Crowd(server.address, Book(timed=True, ids=True), timed_every=readers)
            stack.callback(crowd.close)
            return Watched(server, crowd, header)

        yield await watched({}, ""), await watched({}, ""), await watched(settings, key)


FIGURES = [
    Figure(
        "deliveries",
        f"1,000 readers with a credential at {RATE:g} events/s, against 1,000 without",
        (
            Metric("plain_us", "CPU of a delivery without credentials", "us"),
            Metric("again", "on another server of the same kind: the noise", "x"),
            Metric("key", "API key: CPU of a delivery", "x", Goal("<", LIMIT)),
        ),
        measure,
    )
]
