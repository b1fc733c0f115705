"""Task types that put load on a server: ``streaming serve benchmarks.handlers``.

Owns:   the five ways a benchmark task spends its time.
Never:  measures. A reader compares with its own clock: ``at`` is the wall time just before the emit, ``due`` the time
        at which it should have been, so that a server that falls behind cannot look punctual.
"""

from __future__ import annotations

import asyncio
import time

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
    loop = asyncio.get_running_loop()
    begin_at = max(start_at, time.time())
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
