"""An agent that answers a question: tokens, calls of tools, a question of its own, and a payment that no cancel tears.

There is no model here: `model` makes up what one would say. See docs/tutorials/agent.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from streaming import TaskContext, task

Said = tuple[str, Any]


async def model(prompt: str) -> AsyncIterator[Said]:
    """Stands for the stream of a model: tokens, and now and then a tool that is to be called."""
    for word in f"You ask: {prompt} Let me look.".split():
        await asyncio.sleep(0.02)
        yield "token", {"text": f"{word} "}
    yield "tool_call", {"tool": "search", "arguments": {"words": prompt}}


async def search(words: str) -> list[str]:
    """Stands for a tool."""
    await asyncio.sleep(0.05)
    return [f"report about {words.split()[-1].strip('?')}, 12.50 EUR"]


@task(timeout_s=600)
async def agent(ctx: TaskContext, question: str) -> dict[str, Any]:
    """Answer a question, and ask before money is spent."""
    found: list[str] = []
    async for kind, data in model(question):
        await ctx.emit(kind, data)
        if kind == "tool_call":
            found = await search(**data["arguments"])
            await ctx.emit("tool_result", {"tool": data["tool"], "found": found})
    await ctx.emit("question", {"text": f"Shall I buy the {found[0]}?"})
    if not await consent(ctx):
        await ctx.emit("token", {"text": "Then I do not know. "})
        return {"bought": False}
    async with ctx.protected("payment", at_most_s=10):
        await pay(ctx, found[0])
    for word in ("The", "report", "says:", "forty-two."):
        await asyncio.sleep(0.02)
        await ctx.emit("token", {"text": f"{word} "})
    return {"bought": True}


async def consent(ctx: TaskContext) -> bool:
    """Wait for the next input; a person may take as long as the task has time."""
    async for given in ctx.inputs():
        return bool(given.data == "yes")
    return False


async def pay(ctx: TaskContext, what: str) -> None:
    """Stands for two steps that belong together: without the second one money is gone, and nobody knows what for."""
    await ctx.emit("payment", {"state": "charged", "for": what})
    await asyncio.sleep(2)
    await ctx.emit("payment", {"state": "booked", "for": what})
