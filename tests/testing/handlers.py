"""Handlers of the scenarios in which the kit itself is tested.

Owns:   `HANDLERS`: `work`, `again`, `bursts` and `told`.
Never:  fails.
"""

from __future__ import annotations

import asyncio

from streaming import TaskContext, task
from streaming.testing.world import current_world


@task
async def work(ctx: TaskContext, ticks: int = 3) -> int:
    """Tick once a second."""
    for number in range(ticks):
        await ctx.emit("tick", {"n": number})
        await asyncio.sleep(1)
    return ticks


@task(on_interrupt="restart", attempts_max=5)
async def again(ctx: TaskContext, ticks: int = 3) -> int:
    """The same, and once more after a crash."""
    return await work(ctx, ticks)


@task
async def bursts(ctx: TaskContext) -> None:
    """Emit without waiting for what was emitted before to be stored."""
    for number in range(6):
        await ctx.emit("tick", {"n": number})
        await asyncio.sleep(0)


@task
async def told(ctx: TaskContext) -> None:
    """Note each step, and the cleanup, in the world."""
    notes: list[str] = current_world().props.setdefault("notes", [])
    try:
        for number in range(100):
            notes.append(f"step {number}")
            await asyncio.sleep(0.5)
    finally:
        notes.append("cleanup")
        await asyncio.sleep(0.1)
        notes.append("cleaned")


HANDLERS = (work, again, bursts, told)
