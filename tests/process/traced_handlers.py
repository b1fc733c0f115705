"""Task types that are part of a trace: ``STREAMING_TASKS=tests.process.traced_handlers``.

Owns:   a handler with tasks of its own, with spans of its own, one in a process, one that survives a crash.
Never:  is imported by a test.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from opentelemetry import trace

from streaming import TaskContext, ThreadContext, task


@task
async def family(ctx: TaskContext, url: str) -> dict[str, Any]:
    """Fetch something, and compute something in a thread and in a process, each as a task of its own."""
    with trace.get_tracer("mine").start_as_current_span("mine"):
        structlog.get_logger("mine").warning("in a span of mine")
        children = [await ctx.start("http_fetch", {"url": url}), await ctx.start("threaded"), await ctx.start("apart")]
    return {"results": [await child.result() for child in children]}


@task(run_in="thread")
def threaded(ctx: ThreadContext) -> dict[str, str]:
    """Make a span in a thread, and start a task in it."""
    with trace.get_tracer("mine").start_as_current_span("in a thread"):
        ctx.start("countdown", {"count": 0}).result()
        return ctx.trace_headers()


@task(run_in="process")
def apart() -> str:
    """Make a span in a process."""
    with trace.get_tracer("mine").start_as_current_span("in a process") as span:
        structlog.get_logger("mine").warning("in a process")
        return f"{span.get_span_context().span_id:016x}"


@task(on_interrupt="restart")
async def survivor(ctx: TaskContext) -> int:
    """Wait for the end of the first process that runs it."""
    with trace.get_tracer("mine").start_as_current_span(f"survivor {ctx.attempt}"):
        await ctx.emit("here")
    if ctx.attempt == 1:
        await asyncio.get_running_loop().create_future()
    return ctx.attempt
