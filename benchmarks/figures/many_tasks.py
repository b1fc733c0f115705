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
#: Of how many tasks one is read.
EVERY = 10
START_S = 6.0
MARGIN_S = 60.0
#: What is still there after this time is not coming back.
SETTLE_S = 15.0
RETURNED = 1.2


async def measure(scale: Scale) -> Values:
    """Run all tasks with a reader of every tenth; look at the memory; then the same with a reader of each."""
    events = int(RATE * scale.duration_s)
    async with running() as server:
        await _run(server.address, WARM_UP_TASKS, int(RATE), every=1, start_s=0.5)
        await asyncio.sleep(1)
        before_bytes = server.rss_bytes
        lags_s, usage = await usage_while(
            server, _run(server.address, scale.tasks, events, every=EVERY, start_s=START_S)
        )
        after_bytes = await _settled(server, RETURNED * before_bytes)
        all_lags_s, all_usage = await usage_while(
            server, _run(server.address, scale.tasks, events, every=1, start_s=START_S)
        )
        all_after_bytes = await _settled(server, RETURNED * before_bytes)
    return {
        "lag_s": max(lags_s),
        "returned": after_bytes / before_bytes,
        "before_mb": before_bytes / 1e6,
        "peak_mb": usage.rss_bytes_max / 1e6,
        "cores": usage.cpu_s / scale.duration_s,
        "all_lag_s": max(all_lags_s),
        "all_returned": all_after_bytes / before_bytes,
        "all_peak_mb": all_usage.rss_bytes_max / 1e6,
        "all_cores": all_usage.cpu_s / scale.duration_s,
    }


async def _run(address: Address, tasks: int, events: int, *, every: int, start_s: float) -> list[float]:
    """Run tickers to their end, with a reader of every n-th, and return the lags of the events that were read."""
    start_at = time.time() + start_s
    # A second's ticks are spread over the second, as those of a thousand strangers would be.
    begins = [start_at + number / tasks / RATE for number in range(tasks)]
    requests = [post_task("bench_ticker", rate=RATE, events=events, start_at=begin) for begin in begins]
    task_ids = await start_tasks(address, requests)
    streams = [get(f"/tasks/{task_id}/events", accept=SSE) for task_id in task_ids[::every]]
    readers = await open_readers(address, streams, timed=len(streams))
    if time.time() > start_at:
        raise Flaw(f"{tasks} tasks and their readers were not there within {start_s:g} s")
    await ended(readers, within_s=start_s + events / RATE + MARGIN_S)
    for reader in readers:
        reader.check(events + LIFE_EVENTS)
    await _all_completed(address, task_ids, events + LIFE_EVENTS)
    return [lag_s for reader in readers for lag_s in reader.lags_s]


async def _all_completed(address: Address, task_ids: Sequence[str], events: int) -> None:
    answers = await call_all(address, [get(f"/tasks/{task_id}") for task_id in task_ids], status=200)
    tasks = [answer.json() for answer in answers]
    wrong = [task for task in tasks if (task["status"], task["last_seq"]) != ("completed", events)]
    if wrong:
        raise Flaw(f"{len(wrong)} tasks should have completed with {events} events, one of them is {wrong[0]}")


async def _settled(server: Server, below_bytes: float) -> int:
    """The resident memory, once it is back or is not coming back."""
    until = time.monotonic() + SETTLE_S
    while time.monotonic() < until and server.rss_bytes > below_bytes:  # noqa: ASYNC110  # nothing tells us
        await asyncio.sleep(0.2)
    return server.rss_bytes


FIGURE = Figure(
    "many_tasks",
    "1,000 tasks at once, each 10 events/s",
    (
        Metric("lag_s", "every tenth task read: worst lag of any event behind its time", "s", Goal("<=", 1)),
        Metric("returned", "every tenth task read: resident memory after / before", "x", Goal("<=", RETURNED)),
        Metric("before_mb", "resident memory before", "MB"),
        Metric("peak_mb", "resident memory at most", "MB"),
        Metric("cores", "CPU of the server, starts included", "cores"),
        Metric("all_lag_s", "then every task read: worst lag of any event behind its time", "s", Goal("<=", 1)),
        Metric("all_returned", "every task read: resident memory after / before", "x"),
        Metric("all_peak_mb", "every task read: resident memory at most", "MB"),
        Metric("all_cores", "every task read: CPU of the server, starts included", "cores"),
    ),
    measure,
)
