"""Starting tasks.

Owns:   POST to 201 over 32 connections, of tasks that end at once and of tasks that stay.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.calls import Address, call_all, get, post_task
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values, percentile
from benchmarks.server import running, temporary_directory

WARM_UP_STARTS = 50


async def measure(scale: Scale) -> Values:
    """Start tasks of both kinds, kill the server, and look whether all of them are still there."""
    async with temporary_directory() as directory:
        async with running(directory) as server:
            await _start(server.address, "bench_noop", WARM_UP_STARTS, scale.connections)
            ended_rate, ended_ms, ended_ids = await _start(
                server.address, "bench_noop", scale.starts, scale.connections
            )
            stayed_rate, stayed_ms, stayed_ids = await _start(
                server.address, "bench_wait", scale.starts, scale.connections
            )
            await server.kill()
        async with running(directory) as server:
            await _all_there(server.address, [*ended_ids, *stayed_ids])
    return {
        "ended_per_s": ended_rate,
        "ended_p50_ms": percentile(ended_ms, 50),
        "ended_p99_ms": percentile(ended_ms, 99),
        "stayed_per_s": stayed_rate,
        "stayed_p50_ms": percentile(stayed_ms, 50),
        "stayed_p99_ms": percentile(stayed_ms, 99),
    }


async def _start(address: Address, type: str, count: int, connections: int) -> tuple[float, list[float], list[str]]:
    """Starts per second, milliseconds of each, and the ids."""
    begin_s = time.perf_counter()
    answers = await call_all(address, [post_task(type)] * count, status=201, connections=connections)
    rate = count / (time.perf_counter() - begin_s)
    ids = [answer.json()["id"] for answer in answers]
    if len(set(ids)) != count:
        raise Flaw("two starts were answered with the same task")
    return rate, [1_000 * answer.seconds for answer in answers], ids


async def _all_there(address: Address, task_ids: Sequence[str]) -> None:
    """A 201 is a promise: the task outlives a kill -9."""
    await call_all(address, [get(f"/tasks/{task_id}") for task_id in task_ids], status=200)


FIGURE = Figure(
    "starts",
    "POST to 201, 32 connections; every task is still there after kill -9 and a restart",
    (
        Metric("ended_per_s", "tasks that end at once", "starts/s", Goal(">=", 500)),
        Metric("ended_p50_ms", "half of them within", "ms"),
        Metric("ended_p99_ms", "99 of 100 within", "ms"),
        Metric("stayed_per_s", "tasks that stay, 1,000 running and the others pending", "starts/s", Goal(">=", 500)),
        Metric("stayed_p50_ms", "half of them within", "ms"),
        Metric("stayed_p99_ms", "99 of 100 within", "ms"),
    ),
    measure,
)
