"""What a start costs on a store with many records.

Owns:   starts on two servers by turns, one with few records and one with many: CPU and time of each.
"""

from __future__ import annotations

from functools import partial
from statistics import median

from benchmarks.calls import call_all, post_task
from benchmarks.figure import Figure, Goal, Metric, Scale, Values
from benchmarks.server import Server
from benchmarks.stores import KINDS, serving_records

CONNECTIONS = 4
WARM_UP = 2


async def measure(scale: Scale, *, kind: str) -> Values:
    """By turns, so that a bad second of the machine hits both."""
    few: list[tuple[float, float]] = []
    many: list[tuple[float, float]] = []
    async with serving_records(kind, scale.records_few) as small, serving_records(kind, scale.records) as large:
        for _ in range(WARM_UP + scale.pairs):
            few.append(await _start(small, scale.pair_starts))
            many.append(await _start(large, scale.pair_starts))
    few_cpu, few_ms = map(median, zip(*few[WARM_UP:], strict=True))
    many_cpu, many_ms = map(median, zip(*many[WARM_UP:], strict=True))
    return {
        "ratio": many_ms / few_ms,
        "few_ms": few_ms,
        "many_ms": many_ms,
        "cpu_ratio": many_cpu / few_cpu,
        "few_cpu_ms": few_cpu,
        "many_cpu_ms": many_cpu,
    }


async def _start(server: Server, count: int) -> tuple[float, float]:
    """Milliseconds of the server's CPU for one start, and of its answer."""
    begin_cpu_s = server.cpu_s
    answers = await call_all(server.address, [post_task("bench_noop")] * count, status=201, connections=CONNECTIONS)
    cpu_s = server.cpu_s - begin_cpu_s
    return 1_000 * cpu_s / count, 1_000 * median(answer.seconds for answer in answers)


FIGURES = [
    Figure(
        f"size-{kind}",
        f"{title}: a start on 1,000,000 records against one on 10,000, by turns",
        (
            Metric("ratio", "time of a start, many / few", "x", Goal("<", 1.5)),
            Metric("few_ms", "time of a start on few", "ms"),
            Metric("many_ms", "time of a start on many", "ms"),
            Metric("cpu_ratio", "CPU of the server for a start, many / few", "x", Goal("<", 1.5)),
            Metric("few_cpu_ms", "CPU of the server for a start on few", "ms"),
            Metric("many_cpu_ms", "CPU of the server for a start on many", "ms"),
        ),
        partial(measure, kind=kind),
    )
    for kind, title in KINDS.items()
]
