"""Work that is nice to look at, for the pictures and figures of the page.

Owns:   a few handlers.
Never:  does anything.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

from streaming import TaskContext, task

WORDS = ["The", "log", "is", "the", "truth,", "and", "whoever", "reads", "it", "late", "reads", "the", "same."]


@task
async def answer_question(ctx: TaskContext, question: str, model: str = "large", words: int = 120) -> dict[str, Any]:
    """Ask a language model, and stream its words."""
    said = itertools.cycle(WORDS)
    for number, word in zip(range(words), said, strict=False):
        await asyncio.sleep(0.04)
        await ctx.emit("token", {"text": word})
        if number % 5 == 0:
            await ctx.progress(100 * number / words, f"{number} of {words} words")
        if number % 30 == 10:
            await ctx.log("tool call", tool="search", query=question[:40], ms=120 + number)
    return {"answer": "The log is the truth.", "tokens": words, "model": model}


@task
async def render_video(ctx: TaskContext, title: str, frames: int = 240, codec: str = "av1") -> dict[str, Any]:
    """Render a film, frame by frame."""
    for frame in range(0, frames, 6):
        await asyncio.sleep(0.09)
        await ctx.progress(100 * frame / frames, f"frame {frame} of {frames}")
    return {"url": f"https://cdn.example.com/{title}.mp4", "codec": codec, "frames": frames}


@task(attempts_max=3)
async def crawl(ctx: TaskContext, site: str, pages: int = 60) -> int:
    """Crawl a site, page by page."""
    for page in range(pages):
        await asyncio.sleep(0.05)
        await ctx.emit("page", {"url": f"{site}/{page}", "status": 200, "bytes": 1200 + 731 * page % 9000})
        await ctx.progress(100 * page / pages, f"{page} pages")
        if page == 34:
            raise ConnectionError(f"{site} answers 503 for the third time")
    return pages


@task
async def report_often(ctx: TaskContext, every_s: float = 5.0) -> None:
    """Report progress again and again, until it is cancelled."""
    await asyncio.sleep(random.random() * every_s)
    for number in itertools.count():
        await ctx.progress(number % 101, f"step {number}")
        await asyncio.sleep(every_s)
