"""W4: very many streams on which nothing happens, and then one event for all of them.

Owns:   memory of a stream, how quickly streams open, when the last one has the event.
"""

from __future__ import annotations

import asyncio
import resource

from benchmarks.contenders.contender import Contender, Job, Stage
from benchmarks.figure import Flaw
from benchmarks.speed.crowd import Crowd
from benchmarks.speed.segments import Book
from benchmarks.speed.stretch import CHANNEL, audience
from benchmarks.speed.workload import Metric, Outcome, Scale, Workload
from benchmarks.speed.workloads.live import WORKLOAD as LIVE

WARM_UP_STREAMS = 50
SETTLE_S = 1.0
OPEN_WITHIN_S = 60.0
EVENT_WITHIN_S = 20.0
#: Files that server and client need beside their streams.
FILES_BESIDE = 500


async def measure(contender: Contender, scale: Scale) -> Outcome:
    """Open all of them after some that show what the first ones cost, and emit once."""
    streams = min(scale.streams, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - FILES_BESIDE)
    async with audience(contender, WARM_UP_STREAMS) as (stage, warm):
        warm.expect(1)
        await stage.emit([CHANNEL], Job(1))
        await warm.reached(within_s=EVENT_WITHIN_S)
        crowd = Crowd(stage.address, Book(timed=True, ids=contender.ids))
        try:
            values = await _fill(stage, crowd, streams)
        finally:
            crowd.close()
    return Outcome(values, "" if streams == scale.streams else f"{streams:,} streams: the limit of open files")


async def _fill(stage: Stage, crowd: Crowd, streams: int) -> dict[str, float]:
    [request] = await stage.open_channels(["idle"])
    before_bytes = stage.rss_bytes
    opened_s = await crowd.open([request] * streams, within_s=OPEN_WITHIN_S)
    await asyncio.sleep(SETTLE_S)
    stream_bytes = (stage.rss_bytes - before_bytes) / streams
    crowd.expect(1)
    await stage.emit(["idle"], Job(1))
    if not await crowd.reached(within_s=EVENT_WITHIN_S):
        raise Flaw(f"{crowd.deliveries:,} of {streams:,} streams had the event within {EVENT_WITHIN_S:g} s")
    return {
        "stream_kb": stream_bytes / 1_000,
        "streams_s": streams / opened_s,
        "last_ms": 1_000 * (crowd.last_at - crowd.began_at),
    }


WORKLOAD = Workload(
    "idle",
    "W4",
    "10,000 idle streams, and then one event for all of them",
    (
        Metric("stream_kb", "resident memory of one stream", "kB", "less"),
        Metric("streams_s", "streams opened", "per s", "more"),
        Metric("last_ms", "emit to the last reader", "ms", "less"),
    ),
    LIVE.contenders,
    ("streaming", "sse-starlette", "protocol"),
    measure,
)
