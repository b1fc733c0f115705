"""W1: many readers of one channel, at a rate that a busy one has.

Owns:   CPU per delivery, and the time from the emit to the readers. Who cannot keep the rate is measured at what it
        does: its CPU per delivery says as much, its lags are those of a server that has too much to do. A server that
        merges events that wait gets cheaper with a late reader, so that the events in one read belong to the CPU.
"""

from __future__ import annotations

from benchmarks.contenders.contender import Contender, Job
from benchmarks.figure import percentile
from benchmarks.speed.stretch import audience, stretch
from benchmarks.speed.workload import Metric, Outcome, Scale, Workload

WARM_UP_EVENTS = 30
WARM_UP_WITHIN_S = 5.0
LATE_S = 0.5


async def measure(contender: Contender, scale: Scale) -> Outcome:
    """Emit a little to warm up, and then for the time that counts."""
    async with audience(contender, scale.readers) as (stage, crowd):
        await stretch(stage, crowd, Job(WARM_UP_EVENTS, scale.rate), within_s=WARM_UP_WITHIN_S)
        job = Job(int(scale.rate * scale.live_s), scale.rate)
        done = await stretch(stage, crowd, job, within_s=scale.live_s + 2 * LATE_S)
        kept = done.whole and done.seconds < scale.live_s + LATE_S
        return Outcome(
            {
                "cpu_us": done.cpu_us,
                "p50_ms": 1_000 * percentile(crowd.lags_s, 50),
                "p99_ms": 1_000 * percentile(crowd.lags_s, 99),
                "deliveries_s": done.deliveries / done.seconds,
                "events_read": done.deliveries / max(1, done.segments),
            },
            "" if kept else "saturated",
        )


WORKLOAD = Workload(
    "live",
    "W1",
    "1,000 readers of one channel, 100 events/s",
    (
        Metric("cpu_us", "CPU of the server for one delivery", "µs", "less"),
        Metric("p50_ms", "emit to reader, half within", "ms", "less"),
        Metric("p99_ms", "emit to reader, 99 of 100 within", "ms", "less"),
        Metric("deliveries_s", "deliveries", "per s", "more"),
        Metric("events_read", "events in one read of the load client", "", "more"),
    ),
    (
        "streaming", "streaming-memory", "streaming-plain", "sse-starlette", "starlette", "fastapi",
        "uvicorn", "protocol", "node", "better-sse", "nchan",
    ),
    ("streaming", "streaming-memory", "sse-starlette", "protocol", "nchan"),
    measure,
)  # fmt: skip
