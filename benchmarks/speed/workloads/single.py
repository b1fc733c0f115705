"""W2: one reader, events as fast as they come.

Owns:   events per second from the first emit to the last event at the reader.
"""

from __future__ import annotations

from benchmarks.contenders.contender import Contender
from benchmarks.speed.stretch import at_full_speed, audience
from benchmarks.speed.workload import Metric, Outcome, Scale, Workload
from benchmarks.speed.workloads.live import WORKLOAD as LIVE


async def measure(contender: Contender, scale: Scale) -> Outcome:
    """Emit bursts for one reader."""
    async with audience(contender, 1) as (stage, crowd):
        done = await at_full_speed(stage, crowd, scale)
    return Outcome({"events_s": done.deliveries / done.seconds, "cpu_us": done.cpu_us}, done.mark)


WORKLOAD = Workload(
    "single",
    "W2",
    "one reader, as fast as possible",
    (
        Metric("events_s", "events", "per s", "more"),
        Metric("cpu_us", "CPU of the server for one event", "µs", "less"),
    ),
    LIVE.contenders,
    ("streaming", "streaming-memory", "sse-starlette", "protocol"),
    measure,
)
