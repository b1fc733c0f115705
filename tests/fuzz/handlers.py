"""Task types for a server that is fuzzed: ``streaming serve tests.fuzz.handlers``.

Owns:   one handler of each kind, none of which takes long or much.
Never:  reaches anything outside of the server.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, Field

from streaming import TaskContext, ThreadContext, task


class Colour(StrEnum):
    """One of a few."""

    RED = "red"
    BLUE = "blue"


class Box(BaseModel):
    """Something with something in it."""

    name: Annotated[str, Field(max_length=20)]
    inside: list[Box] = Field(default_factory=list, max_length=3)


@task
async def echo(
    ctx: TaskContext,
    number: int = 0,
    share: Annotated[float, Field(ge=0, le=1)] = 0.5,
    colour: Colour = Colour.RED,
    box: Box | None = None,
    words: dict[str, str | None] | None = None,
) -> dict[str, Any]:
    """Say what it was told."""
    await ctx.emit("echo", {"number": number, "share": share, "colour": colour, "words": words})
    await ctx.progress(100 * share, colour)
    return {"number": number, "box": None if box is None else box.model_dump()}


@task
async def sleeper() -> None:
    """Sleep until it is stopped."""
    await asyncio.get_running_loop().create_future()


@task
async def listener(ctx: TaskContext, most: Annotated[int, Field(ge=1, le=5)] = 3) -> list[Any]:
    """Take some inputs."""
    taken: list[Any] = []
    async for data in ctx.inputs():
        taken.append(data)
        if len(taken) == most:
            break
    return taken


@task(retries=2, backoff_s=0.01)
async def failing() -> None:
    """Fail, again and again."""
    raise ValueError("as it always does")


@task(retries=3, backoff_s=3600.0)
async def pausing() -> None:
    """Fail once, and wait for a long time."""
    raise ValueError("not yet")


@task(run_in="thread")
def threaded(ctx: ThreadContext, ticks: Annotated[int, Field(ge=0, le=10)] = 3) -> int:
    """Count in a thread."""
    for number in range(ticks):
        ctx.emit("tick", {"n": number})
    return ticks


@task(run_in="outside")
def outside(**params: Any) -> None:
    """Work that is done elsewhere."""
