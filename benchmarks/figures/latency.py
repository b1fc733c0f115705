"""How long an event takes from its emit to its reader at a steady rate.

Owns:   the time from just before ``ctx.emit`` to the bytes at the reader; both clocks are this machine's wall clock.
"""

from __future__ import annotations

from benchmarks.calls import SSE, post_task
from benchmarks.figure import Figure, Goal, Metric, Scale, Values, percentile
from benchmarks.reader import LIFE_EVENTS, ended, open_reader
from benchmarks.server import running

RATE = 1_000.0
WARM_UP_S = 1.0
MARGIN_S = 30.0


async def measure(scale: Scale) -> Values:
    """One ticker, started and watched in one request; its first second does not count."""
    events = int(RATE * (scale.duration_s + WARM_UP_S))
    async with running() as server:
        request = post_task("bench_ticker", accept=SSE, rate=RATE, events=events)
        reader = await open_reader(server.address, request, timed="at")
        await ended([reader], within_s=scale.duration_s + MARGIN_S)
    reader.check(events + LIFE_EVENTS)
    lags_ms = [1_000 * lag_s for lag_s in reader.lags_s[int(RATE * WARM_UP_S) :]]
    took_s = reader.ended_at - reader.opened_at
    return {
        "p99_ms": percentile(lags_ms, 99),
        "p50_ms": percentile(lags_ms, 50),
        "max_ms": max(lags_ms),
        "events_per_s": events / took_s,
    }


FIGURE = Figure(
    "latency",
    "One task emits 1,000 events/s, one reader: time from emit to reader",
    (
        Metric("p99_ms", "99 of 100 events within", "ms", Goal("<", 20)),
        Metric("p50_ms", "half of the events within", "ms"),
        Metric("max_ms", "all events within", "ms"),
        Metric("events_per_s", "rate that was really emitted", "events/s"),
    ),
    measure,
)
