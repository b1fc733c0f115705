"""Progress of handlers: each such event changes the record as well.

Owns:   events per second, by 100 tasks at once and by one alone, from the first start until all ends are stored.
"""

from __future__ import annotations

import time
from functools import partial

from benchmarks.calls import Address, call_all, get, post_task, start_tasks
from benchmarks.figure import Figure, Goal, Metric, Scale, Values
from benchmarks.reader import LIFE_EVENTS
from benchmarks.server import usage_while
from benchmarks.status_figures.update import all_have
from benchmarks.stores import KINDS, serving

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
    begin_s = time.perf_counter()
    task_ids = await start_tasks(address, [post_task("bench_progress", events=events)] * count)
    waits = [get(f"/tasks/{task_id}?wait_s={WAIT_S}") for task_id in task_ids]
    await call_all(address, waits, status=200, connections=count)
    per_s = count * events / (time.perf_counter() - begin_s)
    await all_have(address, task_ids, events=events + LIFE_EVENTS)
    return per_s


FIGURES = [
    Figure(
        f"progress-{kind}",
        f"{title}: handlers report progress as fast as they can, and each report changes the record",
        (
            Metric("per_s", "100 tasks at once, stored, starts included", "events/s", Goal(">=", 5_000)),
            Metric("cpu_us", "CPU of the server for an event, starts included", "us"),
            Metric("one_per_s", "one task alone, stored", "events/s"),
        ),
        partial(measure, kind=kind),
    )
    for kind, title in KINDS.items()
]
