"""What the load client can take, and that it sees every mistake: a figure above its own limit would say nothing.

Owns:   the runs against the canned server.
Never:  touches the product.
"""

from __future__ import annotations

import sys
import time

from benchmarks.calls import Address, call_all, get, post_task
from benchmarks.canned import STREAMS
from benchmarks.figure import Figure, Flaw, Metric, Scale, Values
from benchmarks.reader import ended, open_reader, open_readers
from benchmarks.server import Server, running, usage_while

RATE = 50.0
COMMAND = (sys.executable, "-m", "benchmarks.canned")
WITHIN_S = 60.0


async def measure(scale: Scale) -> Values:
    """Read from, and call, the canned server."""
    async with running(command=COMMAND) as server:
        await _see_every_mistake(server.address)
        return {
            "events_per_s": await _burst(server.address, 2 * scale.burst_events),
            **await _paced(server, scale),
            "calls_per_s": await _calls(server.address, scale),
        }


async def _see_every_mistake(address: Address) -> None:
    for kind in STREAMS:
        reader = await open_reader(address, get(f"/flawed/{kind}"))
        await ended([reader], within_s=WITHIN_S)
        try:
            reader.check(4)
        except Flaw:
            seen = True
        else:
            seen = False
        if seen is (kind == "none"):
            raise AssertionError(f"the load client is blind: stream {kind!r} was {'refused' if seen else 'accepted'}")


async def _burst(address: Address, events: int) -> float:
    reader = await open_reader(address, get(f"/burst/{events}"))
    await ended([reader], within_s=WITHIN_S)
    reader.check(events)
    return events / (reader.ended_at - reader.opened_at)


async def _paced(server: Server, scale: Scale) -> Values:
    events = int(RATE * scale.duration_s)
    path = f"/paced/{scale.readers}/{RATE:g}/{events}"
    readers = await open_readers(server.address, [get(path)] * scale.readers, timed=0)
    _, usage = await usage_while(server, ended(readers, within_s=WITHIN_S))
    for reader in readers:
        reader.check(events)
    return {"client_cores": usage.client_cpu_s / scale.duration_s, "canned_cores": usage.cpu_s / scale.duration_s}


async def _calls(address: Address, scale: Scale) -> float:
    begin_s = time.perf_counter()
    await call_all(address, [post_task("bench_noop")] * scale.starts, status=201, connections=scale.connections)
    return scale.starts / (time.perf_counter() - begin_s)


FIGURE = Figure(
    "client",
    "What the load client takes itself, from a server that only sends prepared bytes",
    (
        Metric("events_per_s", "one stream", "events/s"),
        Metric("client_cores", "1,000 readers at 50 events/s: CPU of the load client", "cores"),
        Metric("canned_cores", "1,000 readers at 50 events/s: CPU of the canned server", "cores"),
        Metric("calls_per_s", "POST and a canned 201, 32 connections", "calls/s"),
    ),
    measure,
)
