"""Many tasks at once.

Owns:   the worst lag while all of them run, and what is left of the memory after they and their readers are gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from benchmarks.calls import SSE, Address, call_all, get, post_task, start_tasks
from benchmarks.figure import Figure, Flaw, Goal, Metric, Scale, Values
from benchmarks.reader import LIFE_EVENTS, ended, open_readers
from benchmarks.server import Server, running, usage_while

RATE = 10.0
WARM_UP_TASKS = 20
START_S = 6.0
MARGIN_S = 60.0
#: What is still there after this time is not coming back.
SETTLE_S = 15.0
RETURNED = 1.2


async def measure(scale: Scale) -> Values:
    """Run all tasks, each with one reader."""
    events = int(RATE * scale.duration_s)
    async with running() as server:
        await _run(server.address, WARM_UP_TASKS, int(RATE), start_s=0.5)
        await asyncio.sleep(1)
        before_bytes = server.rss_bytes
        lags_s, usage = await usage_while(server, _run(server.address, scale.tasks, events, start_s=START_S))
        after_bytes = await _settled(server, before_bytes)
    return {
        "lag_s": max(lags_s),
        "returned": after_bytes / before_bytes,
        "before_mb": before_bytes / 1e6,
        "peak_mb": usage.rss_bytes_max / 1e6,
        "client_cores": usage.client_cores,
    }


async def _run(address: Address, tasks: int, events: int, *, start_s: float) -> list[float]:
    """Run tickers to their end, each with a reader, and return the lags of all events."""
    start_at = time.time() + start_s
    # A second's ticks are spread over the second, as those of a thousand strangers would be.
    begins = [start_at + number / tasks / RATE for number in range(tasks)]
    requests = [post_task("bench_ticker", rate=RATE, events=events, start_at=begin) for begin in begins]
    task_ids = await start_tasks(address, requests)
    streams = [get(f"/tasks/{task_id}/events", accept=SSE) for task_id in task_ids]
    readers = await open_readers(address, streams, timed=tasks)
    if time.time() > start_at:
        raise Flaw(f"{tasks} tasks and their readers were not there within {start_s:g} s")
    await ended(readers, within_s=start_s + events / RATE + MARGIN_S)
    for reader in readers:
        reader.check(events + LIFE_EVENTS)
    await _all_completed(address, task_ids)
    return [lag_s for reader in readers for lag_s in reader.lags_s]


async def _all_completed(address: Address, task_ids: Sequence[str]) -> None:
    answers = await call_all(address, [get(f"/tasks/{task_id}") for task_id in task_ids], status=200)
    wrong = [answer.json() for answer in answers if answer.json()["status"] != "completed"]
    if wrong:
        raise Flaw(f"{len(wrong)} tasks did not complete, the first is {wrong[0]}")


async def _settled(server: Server, before_bytes: int) -> int:
    """The resident memory, once it is back or is not coming back."""
    until = time.monotonic() + SETTLE_S
    while time.monotonic() < until and server.rss_bytes > RETURNED * before_bytes:  # noqa: ASYNC110  # nothing tells us
        await asyncio.sleep(0.2)
    return server.rss_bytes


FIGURE = Figure(
    "many_tasks",
    "1,000 tasks at once, each 10 events/s, each with a reader",
    (
        Metric("lag_s", "worst lag of any event", "s", Goal("<=", 1)),
        Metric("returned", "resident memory after / before", "x", Goal("<=", RETURNED)),
        Metric("before_mb", "resident memory before", "MB"),
        Metric("peak_mb", "resident memory at most", "MB"),
        Metric("client_cores", "CPU of the load client", "cores"),
    ),
    measure,
)
