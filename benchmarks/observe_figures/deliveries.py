"""What it costs to have events counted, for each that a reader gets.

Owns:   CPU of a delivery by a server as it is by default, against the same server while it neither counts nor watches.
Uses:   benchmarks.security_figures.deliveries (a task and its readers), benchmarks.uncounted (the switch).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks import machine
from benchmarks.calls import call_all, get, post_task, start_tasks
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values
from benchmarks.security_figures.deliveries import Watched
from benchmarks.server import COMMAND, running
from benchmarks.speed.crowd import Crowd
from benchmarks.speed.segments import Book

#: That of the workload W1 of the speed benchmarks.
RATE = 100.0
LIMIT = 1.03

#: The turns of one measurement, and whether the server counts in each: the first two differ by the noise only.
ARMS = {"plain": False, "again": False, "counted": True}


async def measure(scale: Scale) -> Values:
    """Let the readers read in turn, counted and not."""
    machine.raise_limit_of_files()
    events = max(1, round(RATE * scale.duration_s / scale.pairs))
    found: dict[str, list[float]] = {arm: [] for arm in ARMS}
    async with running(command=[*COMMAND, "benchmarks.uncounted"]) as server:
        crowd = Crowd(server.address, Book(timed=True, ids=True), timed_every=scale.readers)
        try:
            watched = Watched(server, crowd, "", rate=RATE)
            await watched.open(scale.readers)
            await watched.emit(events)
            for turn in range(scale.pairs):
                for arm in list(ARMS)[:: 1 if turn % 2 else -1]:
                    await _count(watched, ARMS[arm])
                    await watched.emit(events)
                    found[arm].append(watched.cpu_us[-1])
        finally:
            crowd.close()
    return {
        "plain_us": median(found["plain"]),
        "again": _ratio(found["again"], found["plain"]),
        "counted": _ratio(found["counted"], found["plain"]),
    }


async def _count(watched: Watched, on: bool) -> None:
    """Let the server count, or not."""
    [task_id] = await start_tasks(watched.server.address, [post_task("bench_counting", on=on)])
    [answer] = await call_all(watched.server.address, [get(f"/tasks/{task_id}?wait_s=10")], status=200)
    if answer.json()["status"] != "completed":
        raise Flaw(f"the server cannot be told whether to count: {answer.json()['error']}")


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    return median(mine / other for mine, other in zip(ours, others, strict=True))


FIGURES = [
    Figure(
        "deliveries",
        f"1,000 readers at {RATE:g} events/s, counted and watched over, or not, in turns by one server",
        (
            Metric("plain_us", "CPU of a delivery without metrics and watchdog", "us"),
            Metric("again", "the same once more: the noise", "x"),
            Metric("counted", "with metrics and watchdog: CPU of a delivery", "x", Goal("<", LIMIT)),
        ),
        measure,
    )
]
