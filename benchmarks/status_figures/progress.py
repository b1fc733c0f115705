"""Progress of handlers: each such event changes the record as well.

Owns:   events per second, by 100 tasks at once and by one alone, until their ends are stored.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from benchmarks.calls import Address, call_all, get, post_task, start_tasks
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values
from benchmarks.reader import LIFE_EVENTS
from benchmarks.server import usage_while
from benchmarks.status_figures.update import all_have
from benchmarks.stores import KINDS, serving

START_S = 1.0
#: The longest wait_s there is.
WAIT_S = 60


async def measure(scale: Scale, *, kind: str) -> Values:
    """Nobody watches: it is the store that is measured."""
    async with serving(kind) as server:
        await _run(server.address, scale.clients, 10)
        each = scale.progress_events // scale.clients
        many, usage = await usage_while(server, _run(server.address, scale.clients, each))
        one = await _run(server.address, 1, scale.progress_events // 2)
    return {"per_s": many, "cpu_us": 1e6 * usage.cpu_s / (scale.clients * each), "one_per_s": one}


async def _run(address: Address, count: int, events: int) -> float:
    start_at = time.time() + START_S
    task_ids = await start_tasks(
        address, [post_task("bench_progress", events=events, start_at=start_at) for _ in range(count)]
    )
    if time.time() > start_at:
        raise Flaw(f"{count} tasks were not there within {START_S:g} s")
    await asyncio.sleep(start_at - time.time())
    waits = [get(f"/tasks/{task_id}?wait_s={WAIT_S}") for task_id in task_ids]
    await call_all(address, waits, status=200, connections=count)
    per_s = count * events / (time.time() - start_at)
    await all_have(address, task_ids, events=events + LIFE_EVENTS)
    return per_s


FIGURES = [
    Figure(
        f"progress-{kind}",
        f"{title}: handlers report progress as fast as they can, and each report changes the record",
        (
            Metric("per_s", "100 tasks at once, stored", "events/s", Goal(">=", 5_000)),
            Metric("cpu_us", "CPU of the server for an event, starts included", "us"),
            Metric("one_per_s", "one task alone, stored", "events/s"),
        ),
        partial(measure, kind=kind),
    )
    for kind, title in KINDS.items()
]
