"""A log that grows: what it costs to append to it, to come back near its end, to read all of it.

Owns:   the log, the reader that comes back, how often something short is repeated.
Uses:   benchmarks.growing.hall (the server), benchmarks.reader (the check of every stream).
Never:  has two readers at the same time: the store answers each by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from statistics import median

from benchmarks.calls import call_all, get, post_task, start_tasks
from benchmarks.figure import Flaw
from benchmarks.growing.growth import Scale
from benchmarks.growing.hall import Hall, Order, hall, stream
from benchmarks.reader import LIFE_EVENTS, Reader, ended
from benchmarks.server import calm_before

#: The longest log that is read as a whole.
WHOLE_MAX = 100_000

_FIRST_EVENTS = LIFE_EVENTS - 1
_WITHIN_S = 180.0
_LEAD_S = 1.0


class Returning(Reader):
    """A reader that knows when it had its first event."""

    def __init__(self, request: bytes, *, after: int = 0) -> None:
        super().__init__(request, after=after)
        self.first_at = 0.0
        self._after = after

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        super().data_received(data)
        if not self.first_at and self.last_seq > self._after:
            self.first_at = now


async def measure(events: int, scale: Scale) -> Mapping[str, float]:
    """Make a log with so many events, append to it, and read from it.

    Raises:
        Flaw: a stream was not whole and in order, or something did not end.
    """
    more = max(events // 10, scale.append_events)
    async with hall() as opened:
        [task_id] = await opened.open_channel(1)
        await opened.order(Order(1, events))
        await _until(opened, task_id, events + _FIRST_EVENTS)
        values = await _append(opened, task_id, more)
        values |= await _come_back(opened, task_id, events + more + LIFE_EVENTS, scale)
        if events <= WHOLE_MAX:
            values |= await _read_all(opened, events, scale)
    return values


async def _append(opened: Hall, task_id: str, more: int) -> dict[str, float]:
    """Append to a log at rest, as quickly as it takes it, until the end of the task is kept."""
    start_at = time.time() + _LEAD_S
    await opened.order(Order(1, more, start_at=start_at, last=True))
    await calm_before(start_at)
    begin_cpu_s = opened.server.cpu_s
    await _until_completed(opened, task_id)
    cpu_s, seconds = opened.server.cpu_s - begin_cpu_s, time.time() - start_at
    return {"append_per_s": more / seconds, "append_per_cpu_s": more / cpu_s}


async def _come_back(opened: Hall, task_id: str, events: int, scale: Scale) -> dict[str, float]:
    """Readers with the id of an event near the end, one after the other."""
    after = events - scale.tail_events
    begin_cpu_s = opened.server.cpu_s
    firsts_s = [await _read(opened, task_id, events, after=after) for _ in range(scale.tails)]
    cpu_s = opened.server.cpu_s - begin_cpu_s
    return {
        "first_ms": 1_000 * median(firsts_s),
        "tail_per_cpu_s": scale.tails * scale.tail_events / cpu_s,
    }


async def _read_all(opened: Hall, events: int, scale: Scale) -> dict[str, float]:
    """Another log, of exactly that length, from its beginning to its end."""
    [task_id] = await start_tasks(opened.address, [post_task("bench_burst", events=events - LIFE_EVENTS)])
    await _until_completed(opened, task_id)
    times = max(1, min(scale.wholes, scale.whole_events // events))
    begin_cpu_s, begin_s = opened.server.cpu_s, time.perf_counter()
    for _ in range(times):
        await _read(opened, task_id, events)
    cpu_s, seconds = opened.server.cpu_s - begin_cpu_s, time.perf_counter() - begin_s
    return {"whole_per_cpu_s": times * events / cpu_s, "whole_per_s": times * events / seconds}


async def _read(opened: Hall, task_id: str, events: int, *, after: int = 0) -> float:
    """Read to the end, and return the seconds to the first event."""
    address, loop = opened.address, asyncio.get_running_loop()
    begin_s = time.perf_counter()
    _, reader = await loop.create_connection(
        lambda: Returning(stream(task_id, after=after), after=after), address.host, address.port
    )
    try:
        await ended([reader], within_s=_WITHIN_S)
    finally:
        reader.close()
    reader.check(events)
    return reader.first_at - begin_s


async def _until(opened: Hall, task_id: str, last_seq: int) -> None:
    """Wait until a log has come so far, and for its last commit."""
    until_s = time.monotonic() + _WITHIN_S
    while True:
        [answer] = await call_all(opened.address, [get(f"/tasks/{task_id}")], status=200)
        found = answer.json()["last_seq"]
        if found == last_seq:
            break
        if found > last_seq or time.monotonic() > until_s:
            raise Flaw(f"a log has {found:,} events instead of {last_seq:,}")
        await asyncio.sleep(0.05)
    await asyncio.sleep(_LEAD_S)


async def _until_completed(opened: Hall, task_id: str) -> None:
    until_s = time.monotonic() + _WITHIN_S
    while True:
        [answer] = await call_all(opened.address, [get(f"/tasks/{task_id}?wait_s=20")], status=200)
        status = answer.json()["status"]
        if status == "completed":
            return
        if status != "running" or time.monotonic() > until_s:
            raise Flaw(f"a task that appends to a log is {status}")
