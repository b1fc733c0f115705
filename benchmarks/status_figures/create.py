"""Creating tasks.

Owns:   POST to 201 by 100 clients: at a rate, and without a pause; what is told of both, here and of updates.

Without a pause, half of the answers take as long as the line of 100 clients is; at a rate they show how long work is.
No store is quicker than its disk: what one row costs that is committed by itself, in the same run, is told as well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from itertools import chain

from benchmarks.calls import Address, Answer, call_all, clients, get, post_task
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values, percentile
from benchmarks.server import Usage, usage_while
from benchmarks.stores import KINDS, commits_ms, serving

#: Starts of each client per second.
RATE = 5.0
WARM_UP = 3


async def measure(scale: Scale, *, kind: str) -> Values:
    """Start tasks that end at once; all of them must be there afterwards."""
    plain_ms = await asyncio.to_thread(commits_ms, kind)
    async with serving(kind) as server:
        count, each = scale.clients, max(1, scale.calls // scale.clients)
        await _start(server.address, count, WARM_UP)
        paced, usage = await usage_while(server, _start(server.address, count, each, rate=RATE))
        begin_s = time.perf_counter()
        busy = await _start(server.address, count, each)
        busy_s = time.perf_counter() - begin_s
        await _all_there(server.address, count * WARM_UP + len(paced) + len(busy))
    return at_a_rate(paced, usage) | without_a_pause(busy, busy_s) | {"plain_ms": percentile(plain_ms, 50)}


async def _start(address: Address, count: int, each: int, rate: float = 0.0) -> list[float]:
    scripts = [[post_task("bench_noop")] * each] * count
    return milliseconds(await clients(address, scripts, status=201, rate=rate))


def milliseconds(answers: Sequence[Sequence[Answer]]) -> list[float]:
    """Of each answer."""
    return [1_000 * answer.seconds for answer in chain.from_iterable(answers)]


def at_a_rate(times_ms: Sequence[float], usage: Usage) -> dict[str, float]:
    """What is told of clients that pause."""
    return {
        "p50_ms": percentile(times_ms, 50),
        "p99_ms": percentile(times_ms, 99),
        "cores": usage.cpu_s / usage.wall_s,
    }


def without_a_pause(times_ms: Sequence[float], took_s: float) -> dict[str, float]:
    """What is told of clients that do not."""
    return {
        "busy_per_s": len(times_ms) / took_s,
        "busy_p50_ms": percentile(times_ms, 50),
        "busy_p99_ms": percentile(times_ms, 99),
    }


def metrics(calls: str, rate: float, goal_ms: float) -> tuple[Metric, ...]:
    """The same in words.

    Args:
        calls: what the clients do.
        rate: how often each of them does it, per second.
        goal_ms: in which time half of the answers are to be there.
    """
    return (
        Metric("p50_ms", f"{rate:g} {calls}/s of each client: half within", "ms", Goal("<", goal_ms)),
        Metric("p99_ms", "99 of 100 within", "ms"),
        Metric("cores", "CPU of the server", "cores"),
        Metric("busy_per_s", "without a pause", f"{calls}/s"),
        Metric("busy_p50_ms", "without a pause: half within", "ms"),
        Metric("busy_p99_ms", "without a pause: 99 of 100 within", "ms"),
        Metric("plain_ms", "one row committed without us: half within", "ms"),
    )


async def _all_there(address: Address, count: int) -> None:
    [answer] = await call_all(address, [get("/tasks/count?type=bench_noop")], status=200)
    if answer.json()["count"] != count:
        raise Flaw(f"{count} tasks were started, and {answer.json()['count']} are there")


FIGURES = [
    Figure(
        f"create-{kind}",
        f"{title}: POST to 201 by 100 clients, tasks that end at once",
        metrics("starts", RATE, 10),
        partial(measure, kind=kind),
    )
    for kind, title in KINDS.items()
]
