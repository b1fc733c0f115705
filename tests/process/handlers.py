"""Task types of known character for server processes: ``streaming serve tests.process.handlers``.

Owns:   handlers that work, clean up, do not listen, or hold up the loop.
Never:  is imported by a test; what a test must know of them goes over HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
import time
from pathlib import Path

import structlog

from streaming import TaskContext, ThreadContext, task

FOR_EVER_S = 3600.0


@task
async def sleeper() -> None:
    """Sleep until it is stopped."""
    await asyncio.get_running_loop().create_future()


@task
async def tidy(ctx: TaskContext, takes_s: float = 0.1) -> None:
    """Sleep until it is stopped, then clean up, and tell about it."""
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await ctx.emit("cleanup", {"step": "begun"})
        await asyncio.sleep(takes_s)
        await ctx.emit("cleanup", {"step": "done"})


@task
async def burst(ctx: TaskContext, n: int = 1_000_000_000, pad_bytes: int = 0, pause_s: float = 0.0) -> int:
    """Emit numbered events as fast as the log takes them."""
    pad = "x" * pad_bytes
    for number in range(1, n + 1):
        await ctx.emit("n", {"n": number, "pad": pad} if pad else {"n": number})
        if pause_s:
            await asyncio.sleep(pause_s)
    return n


@task(on_interrupt="restart", attempts_max=1000)
async def again(ctx: TaskContext, n: int = 1_000_000_000, pause_s: float = 0.001) -> int:
    """Emit numbered events; run again after an interruption."""
    for number in range(1, n + 1):
        await ctx.emit("n", {"attempt": ctx.attempt, "n": number})
        await asyncio.sleep(pause_s)
    return ctx.attempt


@task
async def deaf() -> None:
    """Swallow every cancellation."""
    while True:
        try:
            await asyncio.sleep(FOR_EVER_S)
        except asyncio.CancelledError:
            continue


@task
async def blocks_loop(ctx: TaskContext) -> None:
    """Hold up the event loop, once it is told to; the file "blocked" says that it does."""
    async for _ in ctx.inputs():
        Path("blocked").touch()  # noqa: ASYNC240  # the loop is held up anyway
        time.sleep(FOR_EVER_S)  # noqa: ASYNC251  # this is what it is for


@task(run_in="thread")
def stuck_thread(ctx: ThreadContext) -> None:
    """Sit in a thread, and never look whether it is to stop."""
    ctx.emit("stuck")
    threading.Event().wait(FOR_EVER_S)


@task
async def stuck_to_thread(ctx: TaskContext) -> None:
    """Wait for a thread that does not end, as many an innocent handler does."""
    await ctx.emit("stuck")
    await asyncio.to_thread(time.sleep, FOR_EVER_S)


@task
async def quits(ctx: TaskContext) -> None:
    """Leave a task of its own behind that wants to end the process."""

    async def child() -> None:
        raise SystemExit(0)

    await ctx.emit("quitting")
    child_task = asyncio.create_task(child())
    await asyncio.wait({child_task})


@task
async def hogs(ctx: TaskContext, seconds: float = 1.0) -> None:
    """Hold up the loop for a while, and go on."""
    await ctx.emit("begun")
    time.sleep(seconds)  # noqa: ASYNC251  # this is what it is for
    await asyncio.sleep(0.2)


@task
async def listens() -> None:
    """Wait for a word from a server that says none."""
    quiet = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    async with quiet:
        reader, writer = await asyncio.open_connection(*quiet.sockets[0].getsockname()[:2])
        try:
            await reader.read(1)
        finally:
            writer.close()


@task(run_in="process")
def computes(seconds: float = FOR_EVER_S) -> str:
    """Keep a processor busy in a process, which catches SIGUSR1: so a test can see that the handler has begun."""
    signal.signal(signal.SIGUSR1, signal.default_int_handler)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return "computed"


@task
async def marks(path: str) -> None:
    """Sleep until it is stopped, and leave an empty file, for which there is room on the fullest disk."""
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        Path(path).touch()  # noqa: ASYNC240  # one file, in a test


@task(run_in="process")
def logs_in_process() -> None:
    """Say something in each of the ways in which log lines are written."""
    logging.getLogger("theirs").info("by logging %d", 1)
    structlog.get_logger("ours").info("by structlog", n=2)
    logging.getLogger("theirs").debug("too much")
    try:
        raise KeyError("count")
    except KeyError:
        structlog.get_logger("ours").exception("with a traceback")


@task
async def switches() -> float:
    """Tell how long a thread goes on while others wait."""
    return sys.getswitchinterval()
