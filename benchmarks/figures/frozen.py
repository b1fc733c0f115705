"""Readers that never read.

Owns:   the memory they add to a burst of events, and what they cost the one reader that does read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from socket import socket

from benchmarks.calls import SSE, Address, get, post_task, start_tasks
from benchmarks.figure import Figure, Goal, Metric, Scale, Values
from benchmarks.reader import LIFE_EVENTS, ended, freeze, open_readers
from benchmarks.server import running, usage_while

FROZEN = 100
#: 20,000 events of 1 kB: five times of what the socket buffers of one frozen reader take.
EVENTS = 20_000
PAD_BYTES = 1_000
DELAY_S = 1.0
WITHIN_S = 120.0


async def measure(scale: Scale) -> Values:
    """The same burst twice in one server: with a reader that reads, then with a hundred that do not as well."""
    del scale  # the size follows from the socket buffers
    async with running() as server:
        alone_s, alone = await usage_while(server, _burst(server.address, 0))
        crowded_s, crowded = await usage_while(server, _burst(server.address, FROZEN))
    return {
        "added_mb": (crowded.rss_bytes_max - alone.rss_bytes_max) / 1e6,
        "slowdown": crowded_s / alone_s,
    }


async def _burst(address: Address, frozen: int) -> float:
    """Let one reader read a whole burst beside some that do not, and return its seconds."""
    start_at = time.time() + DELAY_S
    request = post_task("bench_burst", events=EVENTS, pad_bytes=PAD_BYTES, start_at=start_at)
    [task_id] = await start_tasks(address, [request])
    stream = get(f"/tasks/{task_id}/events", accept=SSE)
    sockets = [freeze(address, stream) for _ in range(frozen)]
    try:
        [reader] = await open_readers(address, [stream], timed=0)
        await ended([reader], within_s=WITHIN_S)
    finally:
        _close(sockets)
    reader.check(EVENTS + LIFE_EVENTS)
    return time.time() - start_at


def _close(sockets: Sequence[socket]) -> None:
    for frozen in sockets:
        frozen.close()


FIGURE = Figure(
    "frozen",
    "100 readers that never read, of a task that emits 20 MB",
    (
        Metric("added_mb", "resident memory they add", "MB", Goal("<", 64)),
        Metric("slowdown", "time of the one that reads, with them / without", "x"),
    ),
    measure,
)
