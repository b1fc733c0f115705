"""One stretch of a run: some events for everybody, with what they cost.

Owns:   `Stretch`, the room with an audience, bursts at full speed.
Uses:   benchmarks.speed.crowd (the readers), benchmarks.contenders (who emits).
Never:  decides how many readers there are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.contenders.contender import Contender, Job, Stage
from benchmarks.speed.crowd import Crowd
from benchmarks.speed.segments import Book
from benchmarks.speed.workload import Scale

CHANNEL = "all"
#: A response that has begun has a reader behind it, a moment later at the latest.
SETTLE_S = 0.3
TIMED_EVERY = 10
FIRST_BURST = 20
#: The memory store keeps 10,000 events of a task: no reader may fall behind by more.
BURST_MAX = 5_000
BURST_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """What happened, from the first emit to the last delivery.

    Attributes:
        whole: everybody has everything.
        seconds: that it took, from the time in the first event on.
        cpu_s: of the server.
        deliveries: events times readers.
        segments: reads of the load client.
    """

    whole: bool
    seconds: float
    cpu_s: float
    deliveries: int
    segments: int

    @property
    def mark(self) -> str:
        """A word about a burst at full speed that did not end."""
        return "" if self.whole else "stopped"

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU for one delivery."""
        return 1e6 * self.cpu_s / max(1, self.deliveries)


@asynccontextmanager
async def audience(contender: Contender, readers: int) -> AsyncIterator[tuple[Stage, Crowd]]:
    """A server with so many readers of one channel."""
    async with contender.start() as stage:
        [request] = await stage.open_channels([CHANNEL])
        crowd = Crowd(stage.address, Book(timed=True, ids=contender.ids), timed_every=TIMED_EVERY)
        try:
            await crowd.open([request] * readers)
            await asyncio.sleep(SETTLE_S)
            yield stage, crowd
        finally:
            crowd.close()


async def stretch(stage: Stage, crowd: Crowd, job: Job, *, within_s: float) -> Stretch:
    """Let the channel emit, and wait until everybody has everything, or the time is over."""
    begin_cpu_s, begin_at = stage.cpu_s, time.time()
    deliveries, segments = crowd.deliveries, crowd.segments
    crowd.expect(job.events)
    await stage.emit([CHANNEL], job)
    whole = await crowd.reached(within_s=within_s)
    return Stretch(
        whole=whole,
        seconds=crowd.last_at - (crowd.began_at or begin_at),
        cpu_s=stage.cpu_s - begin_cpu_s,
        deliveries=crowd.deliveries - deliveries,
        segments=crowd.segments - segments,
    )


async def at_full_speed(stage: Stage, crowd: Crowd, scale: Scale) -> Stretch:
    """Bursts, until they have taken ``burst_s`` together; how long one is follows from shorter ones before.

    A burst that does not end in time is not whole, and the last one: what counts then is what it has delivered.
    """
    events = FIRST_BURST
    while True:
        tried = await stretch(stage, crowd, Job(events), within_s=BURST_WITHIN_S)
        if not tried.whole:
            return tried
        wanted = min(BURST_MAX, max(FIRST_BURST, int(events * scale.burst_s / max(tried.seconds, 1e-3))))
        if wanted < 4 * events:
            break
        events = min(wanted, 10 * events)
    bursts: list[Stretch] = []
    while all(burst.whole for burst in bursts) and sum(burst.seconds for burst in bursts) < 0.7 * scale.burst_s:
        bursts.append(await stretch(stage, crowd, Job(wanted), within_s=BURST_WITHIN_S))
    return Stretch(
        whole=all(burst.whole for burst in bursts),
        seconds=sum(burst.seconds for burst in bursts),
        cpu_s=sum(burst.cpu_s for burst in bursts),
        deliveries=sum(burst.deliveries for burst in bursts),
        segments=sum(burst.segments for burst in bursts),
    )
