"""Many readers of one task.

Owns:   CPU, memory per reader and lag while all of them read the same log live. CPU is counted for the seconds that the
        load should take: a server that needs longer has not used less.
"""

from __future__ import annotations

import asyncio
import time

from benchmarks.calls import SSE, Address, get, post_task, start_tasks
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values
from benchmarks.reader import LIFE_EVENTS, Reader, ended, open_readers
from benchmarks.server import Server, running, usage_while

RATE = 50.0
TIMED = 20
WARM_UP_READERS = 20
CONNECT_S = 5.0
MARGIN_S = 60.0


async def measure(scale: Scale) -> Values:
    """Connect all readers to a ticker that begins a little later, and count until the last stream has ended."""
    events = int(RATE * scale.duration_s)
    async with running() as server:
        await _warm_up(server.address)
        before_bytes = server.rss_bytes
        readers = await _connect(server, scale.readers, events)
        _, usage = await usage_while(server, ended(readers, within_s=scale.duration_s + MARGIN_S))
    for reader in readers:
        reader.check(events + LIFE_EVENTS)
    return {
        "server_cores": usage.cpu_s / scale.duration_s,
        "reader_kb": (usage.rss_bytes_max - before_bytes) / scale.readers / 1_000,
        "lag_s": max(max(reader.lags_s) for reader in readers if reader.lags_s),
        "client_cores": usage.client_cpu_s / scale.duration_s,
    }


async def _warm_up(address: Address) -> None:
    """What the first task and the first readers cost is not the price of one more reader."""
    request = post_task("bench_ticker", rate=RATE, events=int(RATE))
    [task_id] = await start_tasks(address, [request])
    requests = [get(f"/tasks/{task_id}/events", accept=SSE)] * WARM_UP_READERS
    await ended(await open_readers(address, requests, timed=0), within_s=MARGIN_S)


async def _connect(server: Server, count: int, events: int) -> list[Reader]:
    start_at = time.time() + CONNECT_S
    request = post_task("bench_ticker", rate=RATE, events=events, start_at=start_at)
    [task_id] = await start_tasks(server.address, [request])
    requests = [get(f"/tasks/{task_id}/events", accept=SSE)] * count
    readers = await open_readers(server.address, requests, timed=TIMED)
    left_s = start_at - time.time()
    if left_s < 0:
        raise Flaw(f"{count} readers needed {CONNECT_S - left_s:.1f} s to connect, more than {CONNECT_S:g} s")
    await asyncio.sleep(left_s)
    return readers


FIGURE = Figure(
    "fan_out",
    "1,000 readers of one task at 50 events/s",
    (
        Metric("server_cores", "CPU of the server", "cores", Goal("<", 1)),
        Metric("reader_kb", "resident memory of one more reader", "kB", Goal("<", 25)),
        Metric("lag_s", "worst lag of 20 of the readers behind the time an event was due", "s", Goal("<=", 1)),
        Metric("client_cores", "CPU of the load client", "cores"),
    ),
    measure,
)
