"""One task that emits as fast as it can, and one reader.

Owns:   events per second from the POST to the end of its stream; then the same log once more, from the store.
"""

from __future__ import annotations

import time

from benchmarks.calls import SSE, Address, call_all, get, post_task
from benchmarks.figure import Figure, Goal, Metric, Scale, Values
from benchmarks.reader import LIFE_EVENTS, ended, open_reader
from benchmarks.server import running, usage_while

WARM_UP_EVENTS = 2_000
WITHIN_S = 120.0


async def measure(scale: Scale) -> Values:
    """Start and watch in one request."""
    async with running() as server:
        await _burst(server.address, WARM_UP_EVENTS)
        rate, usage = await usage_while(server, _burst(server.address, scale.burst_events))
        replay_rate = await _replay(server.address, scale.burst_events)
    return {
        "events_per_s": rate,
        "replayed_per_s": replay_rate,
        "server_cores": usage.cpu_s / usage.wall_s,
        "client_cores": usage.client_cpu_s / usage.wall_s,
    }


async def _burst(address: Address, events: int) -> float:
    begin_s = time.perf_counter()
    reader = await open_reader(address, post_task("bench_burst", accept=SSE, events=events))
    await ended([reader], within_s=WITHIN_S)
    reader.check(events + LIFE_EVENTS)
    return events / (reader.ended_at - begin_s)


async def _replay(address: Address, events: int) -> float:
    """What was streamed must be in the store as well: read the newest task's log again."""
    [newest] = await call_all(address, [get("/tasks?limit=1")], status=200)
    task_id = newest.json()["tasks"][0]["id"]
    reader = await open_reader(address, get(f"/tasks/{task_id}/events", accept=SSE))
    await ended([reader], within_s=WITHIN_S)
    reader.check(events + LIFE_EVENTS)
    return events / (reader.ended_at - reader.opened_at)


FIGURE = Figure(
    "burst",
    "One task emits as fast as it can, one reader over HTTP, SQLite with default settings",
    (
        Metric("events_per_s", "emitted, stored and read", "events/s", Goal(">=", 20_000)),
        Metric("replayed_per_s", "the same log read again from the store", "events/s"),
        Metric("server_cores", "CPU of the server", "cores"),
        Metric("client_cores", "CPU of the load client", "cores"),
    ),
    measure,
)
