"""What a million tasks leave in memory.

Owns:   resident memory of the server before and after, and its growth over the second half alone.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from benchmarks.calls import Address, call_all, get, post_task
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values
from benchmarks.server import Server, usage_while
from benchmarks.stores import KINDS, serving

WARM_UP = 200
#: Answers that are kept here at the same time.
BATCH = 2_000
SETTLE_S = 120.0


async def measure(scale: Scale, *, kind: str) -> Values:
    """Tasks that end at once, by all connections, through HTTP."""
    half = scale.memory_tasks // 2
    async with serving(kind) as server:
        await _start(server.address, WARM_UP, scale.connections)
        before = await _settled(server, WARM_UP)
        begin_s = time.perf_counter()
        _, first = await usage_while(server, _start(server.address, half, scale.connections))
        middle = await _settled(server, WARM_UP + half)
        _, second = await usage_while(server, _start(server.address, half, scale.connections))
        took_s = time.perf_counter() - begin_s
        after = await _settled(server, WARM_UP + 2 * half)
    return {
        "growth_mb": (after - before) / 1e6,
        "second_mb": (after - middle) / 1e6,
        "before_mb": before / 1e6,
        "peak_mb": max(first.rss_bytes_max, second.rss_bytes_max) / 1e6,
        "per_s": 2 * half / took_s,
    }


async def _start(address: Address, count: int, connections: int) -> None:
    while count > 0:
        batch = min(count, BATCH)
        await call_all(address, [post_task("bench_noop")] * batch, status=201, connections=connections)
        count -= batch


async def _settled(server: Server, count: int) -> int:
    """The resident memory once all tasks have ended.

    Raises:
        Flaw: some have not.
    """
    until = time.monotonic() + SETTLE_S
    while await _active(server.address):
        if time.monotonic() > until:
            raise Flaw(f"not all of {count:,} tasks have ended after {SETTLE_S:g} s")
        await asyncio.sleep(0.5)
    return server.rss_bytes


async def _active(address: Address) -> bool:
    [answer] = await call_all(address, [get("/tasks?preset=active&limit=1")], status=200)
    return bool(answer.json()["tasks"])


FIGURES = [
    Figure(
        f"memory-{kind}",
        f"{title}: 1,000,000 tasks through the server, 32 connections",
        (
            Metric("growth_mb", "resident memory after - before", "MB", Goal("<", 100)),
            Metric("second_mb", "of that in the second half", "MB"),
            Metric("before_mb", "resident memory before", "MB"),
            Metric("peak_mb", "resident memory at most", "MB"),
            Metric("per_s", "started", "tasks/s"),
        ),
        partial(measure, kind=kind),
    )
    for kind, title in KINDS.items()
]
