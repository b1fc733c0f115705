"""W3: many readers of one channel, as fast as the server can without losing an event.

Owns:   deliveries per second until the last reader has everything.
"""

from __future__ import annotations

from benchmarks.contenders.contender import Contender
from benchmarks.speed.stretch import at_full_speed, audience
from benchmarks.speed.workload import Metric, Outcome, Scale, Workload
from benchmarks.speed.workloads.live import WORKLOAD as LIVE


async def measure(contender: Contender, scale: Scale) -> Outcome:
    """Emit bursts for everybody."""
    async with audience(contender, scale.readers) as (stage, crowd):
        done = await at_full_speed(stage, crowd, scale)
    return Outcome(
        {
            "deliveries_s": done.deliveries / done.seconds,
            "cpu_us": done.cpu_us,
            "events_read": done.deliveries / max(1, done.segments),
        },
        done.mark,
    )


WORKLOAD = Workload(
    "saturation",
    "W3",
    "1,000 readers of one channel, as fast as possible without loss",
    (
        Metric("deliveries_s", "deliveries", "per s", "more"),
        Metric("cpu_us", "CPU of the server for one delivery", "µs", "less"),
        Metric("events_read", "events in one read of the load client", "", "more"),
    ),
    LIVE.contenders,
    ("streaming", "sse-starlette", "uvicorn", "protocol"),
    measure,
)
