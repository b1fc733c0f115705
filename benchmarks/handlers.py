"""Task types that put load on a server: ``streaming serve benchmarks.handlers``.

Owns:   the ways a benchmark task spends its time.
Never:  measures. A reader compares with its own clock: ``at`` is the wall time just before the emit, ``due`` the time
        at which it should have been, so that a server that falls behind cannot look punctual.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import NamedTuple

from streaming.engine.context import TaskContext
from streaming.engine.registry import task


@task
async def bench_noop() -> None:
    """Return at once."""


@task
async def bench_wait() -> None:
    """Wait until somebody stops it."""
    await asyncio.get_running_loop().create_future()


@task
async def bench_burst(ctx: TaskContext, events: int, pad_bytes: int = 0, start_at: float = 0.0) -> int:
    """Emit as fast as the log takes it, from ``start_at`` (seconds since 1970) on."""
    await asyncio.sleep(max(0.0, start_at - time.time()))
    pad = "x" * pad_bytes
    for n in range(events):
        await ctx.emit("tick", {"n": n, "pad": pad} if pad else {"n": n})
    return events


@task
async def bench_ticker(ctx: TaskContext, rate: float, events: int, start_at: float = 0.0) -> int:
    """Emit at a steady rate, from ``start_at`` (seconds since 1970) on; a late tick does not delay the next."""
    return await _tick(ctx, rate, events, max(start_at, time.time()))


_begun: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


@task
async def bench_steady(ctx: TaskContext, name: str, rate: float, events: int) -> int:
    """Emit at a steady rate as `bench_ticker` does, once `bench_begin` says so."""
    await _begun[name].wait()
    return await _tick(ctx, rate, events, time.time())


@task
async def bench_begin(name: str) -> None:
    """Let those of that name begin."""
    _begun[name].set()


async def _tick(ctx: TaskContext, rate: float, events: int, begin_at: float) -> int:
    loop = asyncio.get_running_loop()
    begin = loop.time() + begin_at - time.time()
    for n in range(events):
        await asyncio.sleep(max(0.0, begin + n / rate - loop.time()))
        await ctx.emit("tick", {"n": n, "due": begin_at + n / rate, "at": time.time()})
    return events


@task
async def bench_progress(ctx: TaskContext, events: int) -> int:
    """Report progress as fast as the log takes it."""
    for n in range(events):
        await ctx.progress(100 * n / events, f"{n} of {events}")
    return events


class _Job(NamedTuple):
    events: int
    rate: float
    start_at: float


_jobs: defaultdict[str, asyncio.Queue[_Job]] = defaultdict(asyncio.Queue)


@task
async def bench_channel(
    ctx: TaskContext, channel: str, events: int = 0, rate: float = 0.0, start_at: float = 0.0
) -> None:
    """Emit what this start asks for, and then whatever `bench_emit` asks for; the counter goes on."""
    job, n = _Job(events, rate, start_at), 0
    while True:
        n = await _emit(ctx, job, n)
        job = await _jobs[channel].get()


@task
async def bench_emit(channels: list[str], events: int, rate: float = 0.0, start_at: float = 0.0) -> None:
    """Let channels emit: at that rate, or with a rate of 0 as fast as their logs take it."""
    for channel in channels:
        _jobs[channel].put_nowait(_Job(events, rate, start_at))


async def _emit(ctx: TaskContext, job: _Job, first: int) -> int:
    loop = asyncio.get_running_loop()
    begin = loop.time() + max(0.0, job.start_at - time.time())
    await asyncio.sleep(begin - loop.time())
    for number in range(job.events):
        if job.rate:
            await asyncio.sleep(max(0.0, begin + number / job.rate - loop.time()))
        await ctx.emit("tick", {"n": first + number, "at": time.time()})
    return first + job.events
