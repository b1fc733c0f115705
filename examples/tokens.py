"""A handler that streams tokens as a language model does. No model and no network: the text is made up here."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Annotated

from pydantic import Field

from streaming import TaskContext, task

WORDS = (
    "a log",
    "a cursor",
    "the reader",
    "one event",
    "the task",
    "an end",
    "waits for",
    "follows",
    "remembers",
    "is",
)


async def generate(prompt: str, tokens_max: int, delay_s: float) -> AsyncIterator[str]:
    """Stands for the stream of a model."""
    chance = random.Random(prompt)  # noqa: S311  # the same prompt gives the same answer
    for _ in range(tokens_max):
        await asyncio.sleep(delay_s)
        yield chance.choice(WORDS) + " "


@task(timeout_s=300)
async def tokens(
    ctx: TaskContext,
    prompt: Annotated[str, Field(min_length=1, max_length=4000)],
    tokens_max: Annotated[int, Field(ge=1, le=4096)] = 40,
    delay_s: Annotated[float, Field(ge=0, le=10)] = 0.05,
) -> dict[str, object]:
    """Answer a prompt, token by token."""
    answer: list[str] = []
    try:
        async for token in generate(prompt, tokens_max, delay_s):
            answer.append(token)
            await ctx.emit("token", {"text": token})
            await ctx.progress(100 * len(answer) / tokens_max)
    except asyncio.CancelledError:
        # The task ends `cancelled`; what was said until then is kept as its result.
        return {"text": "".join(answer), "tokens": len(answer), "complete": False}
    return {"text": "".join(answer), "tokens": len(answer), "complete": True}
