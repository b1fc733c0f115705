"""W6: readers that come late, and want all of a long log at once.

Owns:   the seconds until all of them have it; of who would need too long, those that follow from its share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from benchmarks.contenders.contender import Contender, Stage
from benchmarks.figure import Flaw
from benchmarks.speed.replayer import Replayer, first_reading, replay
from benchmarks.speed.workload import Metric, Outcome, Scale, Workload

FIRST_WITHIN_S = 60.0


async def measure(contender: Contender, scale: Scale) -> Outcome:
    """Make a log, read it once, and then with all readers at the same time."""
    async with contender.start() as stage:
        request = await stage.prepare_log(scale.log_events)
        expected = await first_reading(stage.address, request, scale.log_events, within_s=FIRST_WITHIN_S)
        begin_s, begin_cpu_s = time.perf_counter(), stage.cpu_s
        readers = await _open(stage, request, expected, scale.log_readers)
        await asyncio.wait([reader.ended for reader in readers], timeout=scale.replay_s)
        seconds, cpu_s = time.perf_counter() - begin_s, stage.cpu_s - begin_cpu_s
        flaws = [reader.flaw for reader in readers if reader.flaw is not None]
        share = sum(reader.got for reader in readers) / (len(expected) * len(readers))
        whole = all(reader.ended.done() for reader in readers)
        for reader in readers:
            reader.close()
    if flaws:
        raise Flaw(flaws[0])
    megabytes = len(expected) * len(readers) / 1e6
    values = {"seconds": seconds / share, "cpu_s": cpu_s / share, "mb_s": megabytes * share / seconds}
    return Outcome(values, "" if whole else "projected")


async def _open(stage: Stage, request: bytes, expected: bytes, count: int) -> Sequence[Replayer]:
    return await asyncio.gather(*(replay(stage.address, request, expected) for _ in range(count)))


WORKLOAD = Workload(
    "replay",
    "W6",
    "100 readers at once replay a log of 100,000 events",
    (
        Metric("seconds", "until all have everything", "s", "less"),
        Metric("cpu_s", "CPU of the server", "s", "less"),
        Metric("mb_s", "of the streams", "MB/s", "more"),
    ),
    ("streaming", "sse-starlette", "starlette", "uvicorn", "protocol"),
    ("streaming", "sse-starlette"),
    measure,
)
