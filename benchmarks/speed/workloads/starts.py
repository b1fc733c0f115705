"""W7: POST to 201, and whole short tasks.

Owns:   starts per second over kept-alive connections; tasks per second from the POST to the end of their stream.
Uses:   benchmarks.calls (the connections).
"""

from __future__ import annotations

import time

from benchmarks.calls import SSE, call_all, post_task
from benchmarks.contenders.contender import Contender
from benchmarks.figure import Flaw
from benchmarks.speed.short_tasks import run_all
from benchmarks.speed.workload import Metric, Outcome, Scale, Workload

WARM_UP = 50
SHORTS_WITHIN_S = 40.0


async def measure(contender: Contender, scale: Scale) -> Outcome:
    """Start tasks that end at once; a peer keeps them, and runs none."""
    async with contender.start() as stage:
        await call_all(stage.address, [post_task("bench_noop")] * WARM_UP, status=201, connections=scale.connections)
        begin_s, begin_cpu_s = time.perf_counter(), stage.cpu_s
        answers = await call_all(
            stage.address, [post_task("bench_noop")] * scale.starts, status=201, connections=scale.connections
        )
        seconds, cpu_s = time.perf_counter() - begin_s, stage.cpu_s - begin_cpu_s
    if len({answer.json()["id"] for answer in answers}) != scale.starts:
        raise Flaw("two starts were answered with the same task")
    return Outcome({"starts_s": scale.starts / seconds, "cpu_us": 1e6 * cpu_s / scale.starts})


async def measure_shorts(contender: Contender, scale: Scale) -> Outcome:
    """Start tasks whose answer is their stream, and read each to its end."""
    request = post_task("bench_noop", accept=SSE)
    async with contender.start() as stage:
        await run_all(stage.address, request, WARM_UP, connections=scale.connections, within_s=SHORTS_WITHIN_S)
        begin_s = time.perf_counter()
        await run_all(stage.address, request, scale.shorts, connections=scale.connections, within_s=SHORTS_WITHIN_S)
        seconds = time.perf_counter() - begin_s
    return Outcome({"tasks_s": scale.shorts / seconds})


WORKLOAD = Workload(
    "starts",
    "W7",
    "POST to 201, 32 connections",
    (
        Metric("starts_s", "starts", "per s", "more"),
        Metric("cpu_us", "CPU of the server for one start", "µs", "less"),
    ),
    ("streaming", "streaming-memory", "starlette-aiosqlite", "starlette-aiosqlite-kept"),
    ("streaming", "starlette-aiosqlite", "starlette-aiosqlite-kept"),
    measure,
)
SHORTS = Workload(
    "short",
    "W8",
    "whole short tasks: start, run, stream to the end, 32 at once",
    (Metric("tasks_s", "tasks", "per s", "more"),),
    ("streaming", "streaming-memory"),
    ("streaming",),
    measure_shorts,
)
