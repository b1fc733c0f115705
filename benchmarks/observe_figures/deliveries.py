"""What it costs to have events counted, for each that a reader gets.

Owns:   CPU of a delivery by a server as it is by default, against one by a server without metrics and watchdog.
Uses:   benchmarks.security_figures.deliveries (a task and its readers), benchmarks.uncounted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median

from benchmarks import machine
from benchmarks.figure import Figure, Goal, Metric, Scale, Values
from benchmarks.security_figures.deliveries import Watched
from benchmarks.server import COMMAND, running
from benchmarks.speed.crowd import Crowd
from benchmarks.speed.segments import Book

#: That of the workload W1 of the speed benchmarks.
RATE = 100.0
LIMIT = 1.03

PLAIN: Sequence[str] = (
    "env", "STREAMING_METRICS=false", "STREAMING_STALL_S=0", *COMMAND, "benchmarks.uncounted"
)  # fmt: skip


async def measure(scale: Scale) -> Values:
    """Let the readers of all servers read in turn."""
    machine.raise_limit_of_files()
    events = max(1, round(RATE * scale.duration_s / scale.pairs))
    async with _everybody(scale.readers) as (plain, again, counted):
        everybody = (plain, again, counted)
        for each in everybody:
            await each.open(scale.readers)
            await each.emit(events)
            each.cpu_us.clear()
        for turn in range(scale.pairs):
            for each in everybody[:: 1 if turn % 2 else -1]:
                await each.emit(events)
    return {
        "plain_us": median(plain.cpu_us),
        "again": _ratio(again.cpu_us, plain.cpu_us),
        "counted": _ratio(counted.cpu_us, plain.cpu_us),
    }


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    return median(mine / other for mine, other in zip(ours, others, strict=True))


@asynccontextmanager
async def _everybody(readers: int) -> AsyncIterator[tuple[Watched, Watched, Watched]]:
    """Two servers that count nothing, and one that counts."""
    async with AsyncExitStack() as stack:

        async def watched(command: Sequence[str]) -> Watched:
            server = await stack.enter_async_context(running(command=command))
            crowd = Crowd(server.address, Book(timed=True, ids=True), timed_every=readers)
            stack.callback(crowd.close)
            return Watched(server, crowd, "", rate=RATE)

        yield await watched(PLAIN), await watched(PLAIN), await watched(COMMAND)


FIGURES = [
    Figure(
        "deliveries",
        f"1,000 readers at {RATE:g} events/s, counted and watched over, against 1,000 that are not",
        (
            Metric("plain_us", "CPU of a delivery without metrics and watchdog", "us"),
            Metric("again", "on another server of the same kind: the noise", "x"),
            Metric("counted", "with metrics and watchdog: CPU of a delivery", "x", Goal("<", LIMIT)),
        ),
        measure,
    )
]
