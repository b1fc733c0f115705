"""The four series: what grows, at which sizes, and what is expected of it.

Owns:   sizes, rates, claims with their reasons.
Uses:   benchmarks.growing.hall and benchmarks.growing.logs (what is done).
Never:  judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from benchmarks.growing import logs
from benchmarks.growing.claims import Below, Explained, Flat, Part
from benchmarks.growing.growth import Growth, Panel, Scale
from benchmarks.growing.hall import paced
from benchmarks.speed.workload import Metric

#: Moderate: the server is never busy all the time.
EVENTS_S, DELIVERIES_S = 200.0, 20_000.0
TASK_EVENTS_S = 2_000.0
SIZE_READERS, SIZE_EVENTS_S, SIZE_BYTES_S = 100, 100.0, 50e6

_PER_CPU_S = Metric("per_cpu_s", "deliveries for one CPU second", "1/s", "more")
_P99_MS = Metric("p99_ms", "due to reader, 99 of 100 within", "ms", "less")
_CORES = Metric("cores", "CPU of the server", "cores", "less")
_PER_S = Metric("per_s", "deliveries", "1/s", "more")


async def _readers(size: int, scale: Scale) -> Mapping[str, float]:
    return await paced(readers=size, rate=min(EVENTS_S, DELIVERIES_S / size), seconds=scale.seconds)


async def _tasks(size: int, scale: Scale) -> Mapping[str, float]:
    return await paced(tasks=size, rate=TASK_EVENTS_S / size, seconds=scale.seconds)


async def _bytes(size: int, scale: Scale) -> Mapping[str, float]:
    rate = min(SIZE_EVENTS_S, SIZE_BYTES_S / size / SIZE_READERS)
    return await paced(readers=SIZE_READERS, rate=rate, seconds=scale.seconds, payload_bytes=size)


READERS = Growth(
    "readers",
    f"Readers of one task, {EVENTS_S:g} events/s or {DELIVERIES_S:,.0f} deliveries/s, whichever is less",
    "readers",
    (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000),
    (1, 30, 300, 2_000),
    (_PER_CPU_S, _P99_MS, _PER_S, _CORES),
    (
        Panel("Deliveries for one CPU second of the server", "deliveries / CPU s", ("per_cpu_s",)),
        Panel("Due to reader, 99 of 100 within", "ms", ("p99_ms",)),
    ),
    (
        Explained(
            "per_cpu_s",
            "an event is emitted, written and made into bytes once, however many readers share that",
            (Part("an event", -1), Part("a delivery", 0)),
        ),
        Flat("per_cpu_s", "what is shared by so many no longer counts: what is left is one write a reader", 1_000),
        Below(
            "p99_ms",
            "the last reader waits until all others have been written to, and the load client has read as many",
            fixed=25.0,
            each=0.04,
            unit="ms",
        ),
    ),
    ("p99_ms",),
    _readers,
)

TASKS = Growth(
    "tasks",
    f"Running tasks, {TASK_EVENTS_S:,.0f} events/s together, one reader each",
    "tasks",
    (1, 10, 100, 300, 1_000, 3_000, 10_000),
    (1, 100, 1_000),
    (_PER_CPU_S, _P99_MS, _PER_S, _CORES),
    (
        Panel("Deliveries for one CPU second of the server", "deliveries / CPU s", ("per_cpu_s",)),
        Panel("Due to reader, 99 of 100 within", "ms", ("p99_ms",)),
    ),
    (
        Flat("per_cpu_s", "a task that waits costs nothing; one that emits costs the same among many"),
        Below("p99_ms", "as many events wait for a commit, whoever emits them", 25.0, 0.0, "ms"),
    ),
    ("p99_ms",),
    _tasks,
)

LOG = Growth(
    "log",
    "Events in the log of one task: appended to, read near its end, read as a whole",
    "events in the log",
    (10, 100, 1_000, 10_000, 100_000, 1_000_000),
    (10, 1_000, 50_000),
    (
        Metric("append_per_cpu_s", "appended for one CPU second", "1/s", "more"),
        Metric("append_per_s", "appended", "1/s", "more"),
        Metric("first_ms", "reader that comes back near the end: first event", "ms", "less"),
        Metric("tail_per_cpu_s", "the last 1,000 events for one CPU second", "1/s", "more"),
        Metric("whole_per_cpu_s", "the whole log for one CPU second", "1/s", "more"),
        Metric("whole_per_s", "the whole log", "1/s", "more"),
    ),
    (
        Panel(
            "Events for one CPU second of the server",
            "events / CPU s",
            ("append_per_cpu_s", "tail_per_cpu_s", "whole_per_cpu_s"),
        ),
        Panel("A reader that comes back near the end: first event", "ms", ("first_ms",)),
    ),
    (
        Flat("append_per_cpu_s", "an append does not look at what is there already"),
        Flat("append_per_s", "nor does the store"),
        Flat("first_ms", "the place in the log is found by its key", factor=3.0),
        Flat("tail_per_cpu_s", "what comes before the place is not read"),
        Explained(
            "whole_per_cpu_s",
            "a request costs something by itself, which the events of its log share",
            (Part("a request", -1), Part("an event", 0)),
        ),
        Flat("whole_per_cpu_s", "then it is so much an event", 1_000),
    ),
    ("append_per_s", "first_ms"),
    logs.measure,
)

SIZE = Growth(
    "size",
    f"Bytes of an event's data, {SIZE_READERS} readers, {SIZE_EVENTS_S:g} events/s or {SIZE_BYTES_S / 1e6:g} MB/s, "
    "whichever is less",
    "bytes of data",
    (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000),
    (100, 3_000, 30_000),
    (
        _PER_CPU_S,
        Metric("mb_per_cpu_s", "data for one CPU second", "MB/s", "more"),
        Metric("mb_per_s", "data", "MB/s", "more"),
        _P99_MS,
        _CORES,
    ),
    (
        Panel("Deliveries for one CPU second of the server", "deliveries / CPU s", ("per_cpu_s",)),
        Panel("Data for one CPU second of the server", "MB / CPU s", ("mb_per_cpu_s",)),
    ),
    (
        Explained(
            "per_cpu_s",
            "a delivery costs something by itself, and then its bytes have to be copied to the socket",
            (Part("a delivery", 0), Part("a kB", 1, 1_000)),
        ),
        Flat("mb_per_cpu_s", "bytes are half of the cost, and more, from there on", 30_000),
    ),
    (),
    _bytes,
)

SERIES: Mapping[str, Growth] = MappingProxyType({each.name: each for each in (READERS, TASKS, LOG, SIZE)})
