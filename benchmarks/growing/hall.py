"""The server under growth: the real command with its default store, and tasks that emit on order.

Owns:   which settings differ from the default, emission at a rate to many readers.
Uses:   benchmarks.growing.handlers (the tasks), benchmarks.speed.crowd (the readers).
Never:  decides how much of something there is.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

from benchmarks.calls import SSE, get, post_task, start_tasks
from benchmarks.figure import Flaw, percentile
from benchmarks.server import COMMAND, Server, calm_before, running
from benchmarks.speed.crowd import Crowd
from benchmarks.speed.segments import Book

#: Limits that are below what is measured here; nothing else is changed.
LIMITS = {"max_streams": 20_000, "max_running": 20_000, "max_connections": 40_000}
CHANNEL = "growing"

_COMMAND = (
    "env",
    *(f"STREAMING_{name.upper()}={value}" for name, value in LIMITS.items()),
    *COMMAND,
    "benchmarks.growing.handlers",
)
_OPEN_S = 60.0
_LATE_S = 20.0
#: Between an order and its first event: so long, and one more second for so many tasks.
_LEAD_S, _LEAD_TASKS = 1.0, 8_000
#: So many readers, at least, look at the clock.
_TIMED = 1_000


@dataclass(frozen=True, slots=True)
class Order:
    """What each task of the channel emits; see ``benchmarks.growing.handlers``."""

    tasks: int
    events: int
    rate: float = 0.0
    start_at: float = 0.0
    payload_bytes: int = 0
    last: bool = False


class Hall:
    """A server that runs."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.address = server.address

    async def open_channel(self, tasks: int) -> list[str]:
        """Start the tasks of the channel, and return their ids."""
        return await start_tasks(self.address, [post_task("growing_channel", channel=CHANNEL)] * tasks)

    async def order(self, order: Order) -> None:
        """Let them emit."""
        await start_tasks(self.address, [post_task("growing_order", channel=CHANNEL, **asdict(order))])


@asynccontextmanager
async def hall() -> AsyncIterator[Hall]:
    """A fresh server, with a fresh store."""
    async with running(command=_COMMAND) as server:
        yield Hall(server)


def stream(task_id: str, *, after: int = 0) -> bytes:
    """The request of a reader; with ``after`` it comes back from there."""
    request = get(f"/tasks/{task_id}/events", accept=SSE)
    return request.removesuffix(b"\r\n") + b"Last-Event-ID: %d\r\n\r\n" % after if after else request


async def paced(
    *, tasks: int = 1, readers: int = 1, rate: float, seconds: float, payload_bytes: int = 0
) -> Mapping[str, float]:
    """What it costs when each of ``tasks`` emits at a rate, and has so many readers.

    Raises:
        Flaw: a reader has not got everything, once and in order; or the rate was too much.
    """
    events = max(1, round(rate * seconds))
    everybody = tasks * readers
    async with hall() as opened:
        task_ids = await opened.open_channel(tasks)
        crowd = Crowd(opened.address, Book(timed=True, ids=True), timed_every=max(1, everybody // _TIMED))
        try:
            await crowd.open([stream(id) for id in task_ids for _ in range(readers)], within_s=_OPEN_S)
            await _everybody_gets(opened, crowd, Order(tasks, 1, rate=1.0, payload_bytes=payload_bytes))
            start_at = time.time() + _LEAD_S + tasks / _LEAD_TASKS
            order = Order(tasks, events, rate, start_at, payload_bytes)
            cpu_s = await _everybody_gets(opened, crowd, order)
            lags_s, wall_s = list(crowd.lags_s), crowd.last_at - start_at
        finally:
            crowd.close()
    deliveries = events * everybody
    return {
        "per_cpu_s": deliveries / cpu_s,
        "p99_ms": 1_000 * percentile(lags_s, 99),
        "cores": cpu_s / wall_s,
        "mb_per_cpu_s": deliveries * payload_bytes / 1e6 / cpu_s,
        "mb_per_s": deliveries * payload_bytes / 1e6 / wall_s,
        "per_s": deliveries / wall_s,
    }


async def _everybody_gets(opened: Hall, crowd: Crowd, order: Order) -> float:
    """Give an order, and return the CPU of the server from its first event to the last delivery."""
    crowd.expect(order.events)
    await opened.order(order)
    if order.start_at:
        await calm_before(order.start_at)
    begin_cpu_s = opened.server.cpu_s
    within_s = order.events / order.rate + _LATE_S
    if not await crowd.reached(within_s=within_s):
        least = min(reader.next for reader in crowd.readers)
        raise Flaw(f"after {within_s:.0f} s the slowest reader waits for event {least} of {crowd.goal}")
    return opened.server.cpu_s - begin_cpu_s
