"""W5: many channels with one reader each.

Owns:   CPU per delivery, and the time from the emit to the reader. Nchan is left out: ten thousand publications a
        second would say more about the load client, which has to make them.
"""

from __future__ import annotations

import time

from benchmarks.contenders.contender import Contender, Job
from benchmarks.figure import percentile
from benchmarks.server import calm_before
from benchmarks.speed.crowd import Crowd
from benchmarks.speed.segments import Book
from benchmarks.speed.workload import Metric, Outcome, Scale, Workload
from benchmarks.speed.workloads.live import LATE_S
from benchmarks.speed.workloads.live import WORKLOAD as LIVE


async def measure(contender: Contender, scale: Scale) -> Outcome:
    """Open all channels and their readers before the time at which all of them begin."""
    names = [f"channel{number}" for number in range(scale.tasks)]
    async with contender.start() as stage:
        start_at = time.time() + scale.lead_s
        job = Job(int(scale.task_rate * scale.tasks_s), scale.task_rate, start_at)
        requests = await stage.open_channels(names, job)
        crowd = Crowd(stage.address, Book(timed=True, ids=contender.ids), timed_every=1)
        try:
            await crowd.open(requests)
            crowd.expect(job.events)
            await calm_before(start_at)
            begin_cpu_s = stage.cpu_s
            whole = await crowd.reached(within_s=scale.tasks_s + 4 * LATE_S)
            cpu_s, seconds = stage.cpu_s - begin_cpu_s, crowd.last_at - start_at
        finally:
            crowd.close()
    values = {
        "cpu_us": 1e6 * cpu_s / max(1, crowd.deliveries),
        "p99_ms": 1_000 * percentile(crowd.lags_s, 99),
        "worst_ms": 1_000 * max(crowd.lags_s),
    }
    return Outcome(values, "" if whole and seconds < scale.tasks_s + LATE_S else "saturated")


WORKLOAD = Workload(
    "many",
    "W5",
    "1,000 tasks with one reader each, 10 events/s each",
    (
        Metric("cpu_us", "CPU of the server for one delivery", "µs", "less"),
        Metric("p99_ms", "emit to reader, 99 of 100 within", "ms", "less"),
        Metric("worst_ms", "emit to reader, the worst", "ms", "less"),
    ),
    tuple(name for name in LIVE.contenders if name != "nchan"),
    ("streaming", "sse-starlette"),
    measure,
)
