"""Creating tasks.

Owns:   POST to 201 by 100 clients: at a rate, and without a pause.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import chain

from benchmarks.calls import Address, Answer, call_all, clients, get, post_task
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values, percentile
from benchmarks.server import usage_while
from benchmarks.stores import KINDS, serving

#: Starts of each client per second.
RATE = 5.0
WARM_UP = 3


async def measure(scale: Scale, *, kind: str) -> Values:
    """Start tasks that end at once; all of them must be there afterwards."""
    async with serving(kind) as server:
        count, each = scale.clients, max(1, scale.calls // scale.clients)
        await _start(server.address, count, WARM_UP)
        paced, usage = await usage_while(server, _start(server.address, count, each, rate=RATE))
        begin_s = time.perf_counter()
        busy = await _start(server.address, count, each)
        per_s = count * each / (time.perf_counter() - begin_s)
        await _all_there(server.address, count * (WARM_UP + 2 * each))
    return {
        "p50_ms": percentile(paced, 50),
        "p99_ms": percentile(paced, 99),
        "cores": usage.cpu_s / usage.wall_s,
        "busy_per_s": per_s,
        "busy_p50_ms": percentile(busy, 50),
        "busy_p99_ms": percentile(busy, 99),
    }


async def _start(address: Address, count: int, each: int, rate: float = 0.0) -> list[float]:
    scripts = [[post_task("bench_noop")] * each] * count
    return milliseconds(await clients(address, scripts, status=201, rate=rate))


def milliseconds(answers: Sequence[Sequence[Answer]]) -> list[float]:
    """Of each answer."""
    return [1_000 * answer.seconds for answer in chain.from_iterable(answers)]


async def _all_there(address: Address, count: int) -> None:
    [answer] = await call_all(address, [get("/tasks/count?type=bench_noop")], status=200)
    if answer.json()["count"] != count:
        raise Flaw(f"{count} tasks were started, and {answer.json()['count']} are there")


FIGURES = [
    Figure(
        f"create-{kind}",
        f"{title}: POST to 201 by 100 clients, tasks that end at once",
        (
            Metric("p50_ms", "5 starts/s of each client: half within", "ms", Goal("<", 10)),
            Metric("p99_ms", "99 of 100 within", "ms"),
            Metric("cores", "CPU of the server", "cores"),
            Metric("busy_per_s", "without a pause", "starts/s"),
            Metric("busy_p50_ms", "without a pause: half within", "ms"),
            Metric("busy_p99_ms", "without a pause: 99 of 100 within", "ms"),
        ),
        partial(measure, kind=kind),
    )
    for kind, title in KINDS.items()
]
