"""Fetch many URLs: a child task for each, some at a time, tried again where that may help, and a report of the rest.

Where `http_fetch` may go is for the operator to say: STREAMING_FETCH_ALLOW. See docs/tutorials/crawl.md.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import Field

from streaming import TaskContext, task
from streaming.errors import TaskFailed, TaskTimedOut

AT_ONCE = Annotated[int, Field(ge=1, le=32)]
WORTH_A_TRY = ["connect_failed", "connection_lost", "fetch_timeout"]


@task(timeout_s=600)
async def fetch_all(
    ctx: TaskContext, urls: Annotated[list[str], Field(min_length=1, max_length=500)], at_once: AT_ONCE = 4
) -> dict[str, Any]:
    """Fetch URLs, and say of each what became of it."""
    places = asyncio.Semaphore(at_once)
    failed: dict[str, str] = {}
    done = 0

    async def fetch(url: str) -> None:
        nonlocal done
        async with places:
            child = await ctx.start(
                "http_fetch",
                {"url": url},
                retry={"retries": 2, "backoff_s": 0.2, "on": WORTH_A_TRY},
                timeout_s=60,
            )
            try:
                page = await child.result()
                await ctx.emit("page", {"url": url, "task": child.id, "bytes": page["bytes"]})
            except (TaskFailed, TaskTimedOut) as error:
                failed[url] = error.task_code
                await ctx.emit("page_failed", {"url": url, "task": child.id, "error": error.task_code})
        done += 1
        await ctx.steps(done, len(urls), url)

    await asyncio.gather(*map(fetch, urls))
    return {"fetched": len(urls) - len(failed), "failed": failed}
