"""Count down.

Owns:   the task type ``countdown``: the smallest complete handler, an example to copy, and a load for benchmarks.
Uses:   engine.registry (`task`), engine.context (`TaskContext`).
Never:  counts faster than its readers' store can write.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field

from streaming.engine.context import TaskContext
from streaming.engine.registry import task
from streaming.tasks.meter import Meter

#: Emitting may take no time at all; after so many ticks the loop gets its turn, and a cancel its chance.
TICKS_PER_TURN = 64


@task("countdown")
async def countdown(
    ctx: TaskContext,
    count: Annotated[int, Field(ge=0, le=1_000_000, description="Where to start.")] = 10,
    interval: Annotated[float, Field(ge=0, le=86_400, description="Seconds after each tick.")] = 1.0,
) -> dict[str, int]:
    """Count down to one, with a pause after each tick.

    Emits ``tick`` ``{"n": count}`` down to ``{"n": 1}``, and progress at each whole percent.

    Returns:
        ``{"count": count}``.
    """
    meter = Meter(count)
    for done in range(1, count + 1):
        await ctx.emit("tick", {"n": count - done + 1})
        if interval:
            await asyncio.sleep(interval)
        elif done % TICKS_PER_TURN == 0:
            await asyncio.sleep(0)
        percent = meter.reached(done)
        if percent is not None:
            await ctx.progress(percent, f"{done} of {count}")
    return {"count": count}
