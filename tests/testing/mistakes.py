"""Handlers with one mistake each, and beside each of them its twin without it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.to_thread
import httpx
from pydantic import AfterValidator

from streaming import TaskContext, ThreadContext, task

SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]

kept: list[Any] = []


def line_of(where: str) -> str:
    """The line of this file that a finding names."""
    number = int(where.removeprefix("mistakes.py:").split()[0])
    return Path(__file__).read_text(encoding="utf-8").splitlines()[number - 1].strip()


# -- the cancel --------------------------------------------------------------------------------------------------------


async def swallows(ctx: TaskContext) -> None:
    for number in range(3):
        with contextlib.suppress(BaseException):
            await asyncio.sleep(1)
        await ctx.emit("tick", {"number": number})


async def swallows_nothing(ctx: TaskContext) -> None:
    for number in range(3):
        with contextlib.suppress(ValueError):
            await asyncio.sleep(1)
        await ctx.emit("tick", {"number": number})


async def begins_again_for_ever() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1)


async def sees_something_through() -> None:
    """The inner task is awaited to its end, and the cancel goes on: as `streaming.tasks.background.finish` does it."""
    inner = asyncio.ensure_future(asyncio.sleep(1))
    cancelled: BaseException | None = None
    while not inner.done():
        try:
            await asyncio.wait([inner])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def returns_what_it_has(ctx: TaskContext) -> int:
    done = 0
    try:
        while done < 3:
            await asyncio.sleep(1)
            done += 1
    except asyncio.CancelledError:
        await ctx.emit("partial", {"done": done})
    return done


async def waits_for() -> None:
    """On Python 3.11 a cancel in the step in which the inner task ends is lost."""
    await asyncio.wait_for(asyncio.sleep(1), 5)
    await asyncio.sleep(1)


async def has_a_timeout() -> None:
    async with asyncio.timeout(5):
        await asyncio.sleep(1)
    await asyncio.sleep(1)


async def suppresses_its_own_cancel() -> None:
    """Known as the trap of every shutdown: the wait for a cancelled child swallows the cancel of the one who waits."""
    child = asyncio.ensure_future(asyncio.sleep(60))
    try:
        await asyncio.sleep(1)
    finally:
        child.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await child
    await asyncio.sleep(1)


async def works_on(ctx: TaskContext) -> None:
    stopped = False
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:
        stopped = True
    await asyncio.sleep(2)
    if stopped:
        raise asyncio.CancelledError


async def cleans_up(ctx: TaskContext) -> None:
    try:
        await asyncio.sleep(1)
    finally:
        await asyncio.sleep(2)
        await ctx.emit("clean")


async def tells_on(ctx: TaskContext) -> None:
    """It awaits nothing after the cancel, but tells something that is no cleanup."""
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:
        kept.clear()
    await ctx.emit("normal")


async def takes_it_back() -> None:
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:
        here = asyncio.current_task()
        assert here is not None
        here.uncancel()
    await asyncio.sleep(1)


async def child_swallows() -> None:
    async def child() -> None:
        with contextlib.suppress(BaseException):
            await asyncio.sleep(1)
        await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        group.create_task(child())


async def child_fails() -> None:
    """A failing child and a cancel in the same step."""

    async def child() -> None:
        await asyncio.sleep(1)
        raise ValueError("no")

    with contextlib.suppress(Exception):
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
    await asyncio.sleep(1)


# -- what only one fault shows -----------------------------------------------------------------------------------------


def opened(path: str) -> str:
    """A validator that opens: it runs when the task is started, which is long before its first step."""
    kept.append(os.open(path, os.O_RDONLY))
    return path


def close_what_is_kept() -> None:
    while kept:
        os.close(kept.pop())


async def opens_in_its_parameters(path: Annotated[str, AfterValidator(opened)]) -> None:
    try:
        await asyncio.sleep(1)
    finally:
        close_what_is_kept()


async def opens_in_its_first_step(path: str) -> None:
    opened(path)
    try:
        await asyncio.sleep(1)
    finally:
        close_what_is_kept()


def _coming() -> asyncio.Future[socket.socket]:
    """A connection that is there in a second, unless nobody waits for it any more."""
    loop = asyncio.get_running_loop()
    coming: asyncio.Future[socket.socket] = loop.create_future()

    def come() -> None:
        if not coming.done():
            coming.set_result(socket.socket())

    loop.call_later(1, come)
    return coming


async def forgets_what_has_just_come() -> None:
    with await _coming():
        await asyncio.sleep(1)


async def closes_what_has_just_come() -> None:
    coming = _coming()
    try:
        await coming
        await asyncio.sleep(1)
    finally:
        if coming.done() and not coming.cancelled():
            coming.result().close()


async def says_goodbye_and_closes() -> None:
    near = socket.socket()
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:
        await asyncio.sleep(1)  # says goodbye
        near.close()
        raise
    near.close()


async def says_goodbye_and_closes_whatever_comes() -> None:
    with socket.socket():
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            raise


async def works_on_at_a_shutdown() -> None:
    """It takes the stop of the server for a hint that there is little time left."""
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError as stop:
        if "shutdown" not in str(stop):
            raise
    await asyncio.sleep(1)


async def saves_at_a_shutdown(ctx: TaskContext) -> None:
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError as stop:
        if "shutdown" in str(stop):
            await ctx.emit("saved")
        raise
    await asyncio.sleep(1)


# -- the cleanup -------------------------------------------------------------------------------------------------------


async def cleans_up_too_long() -> None:
    try:
        await asyncio.sleep(1)
    finally:
        await asyncio.sleep(100)


async def cleans_up_in_time() -> None:
    try:
        await asyncio.sleep(1)
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await asyncio.sleep(100)


async def cleanup_fails() -> None:
    try:
        await asyncio.sleep(1)
    finally:
        if (here := asyncio.current_task()) is not None and here.cancelling():
            raise OSError("the disk is gone")


async def spins() -> None:
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:
        while True:  # noqa: ASYNC110  # the mistake
            await asyncio.sleep(0)


async def waits_beside_what_never_rests() -> None:
    loop = asyncio.get_running_loop()

    def again() -> None:
        loop.call_soon(again)

    again()
    await asyncio.Event().wait()


async def child_never_rests() -> None:
    async def child() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        group.create_task(child())
        await asyncio.sleep(1)


# -- what is left behind -----------------------------------------------------------------------------------------------


async def _speak(ctx: TaskContext) -> None:
    while True:
        await asyncio.sleep(1)
        await ctx.emit("still here")


async def leaves_a_task(ctx: TaskContext) -> None:
    child = asyncio.ensure_future(_speak(ctx))
    await asyncio.sleep(3)
    child.cancel()


async def leaves_no_task(ctx: TaskContext) -> None:
    child = asyncio.ensure_future(_speak(ctx))
    try:
        await asyncio.sleep(3)
    finally:
        child.cancel()
        await asyncio.wait([child])


async def shields() -> None:
    await asyncio.shield(asyncio.sleep(5))


async def leaves_a_socket() -> None:
    near = socket.socket()
    await asyncio.sleep(1)
    near.close()


async def leaves_no_socket() -> None:
    with socket.socket():
        await asyncio.sleep(1)


async def keeps_a_socket() -> None:
    near = socket.socket()
    kept.append(near)
    await asyncio.sleep(1)
    near.close()


async def leaves_a_file() -> None:
    file = open(os.devnull, "rb")  # noqa: SIM115, ASYNC230  # the mistake
    await asyncio.sleep(1)
    file.close()


async def leaves_no_file() -> None:
    with tempfile.TemporaryFile():
        await asyncio.sleep(1)


async def leaves_a_descriptor(path: str = os.devnull) -> None:
    number = os.open(path, os.O_RDONLY)
    await asyncio.sleep(1)
    os.close(number)


async def leaves_a_pipe() -> None:
    await asyncio.sleep(1)
    ends = os.pipe()
    await asyncio.sleep(2)
    for each in ends:
        os.close(each)


async def leaves_a_pipe_at_its_end() -> None:
    await asyncio.sleep(1)
    os.pipe()


#: Until when `nap` sleeps.
AWAKE = threading.Event()


def nap() -> None:
    AWAKE.wait(60)


async def leaves_a_thread() -> None:
    await anyio.to_thread.run_sync(nap)


async def leaves_no_thread() -> None:
    stop = threading.Event()
    thread = asyncio.ensure_future(asyncio.to_thread(stop.wait, 0.05))
    try:
        await asyncio.wait([thread])
    finally:
        stop.set()
        await _to_the_end(thread)


async def _to_the_end(awaited: asyncio.Future[Any]) -> None:
    while not awaited.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([awaited])


async def leaves_a_process() -> None:
    process = subprocess.Popen(SLEEPER, stdin=subprocess.DEVNULL)  # noqa: ASYNC220  # the mistake
    await asyncio.sleep(1)
    process.kill()
    process.wait()


async def leaves_no_process() -> None:
    process = subprocess.Popen(SLEEPER, stdin=subprocess.DEVNULL)  # noqa: ASYNC220  # short enough
    try:
        await asyncio.sleep(1)
    finally:
        process.kill()
        process.wait()


# -- with the world ----------------------------------------------------------------------------------------------------


@task("fetch")
async def fetches(ctx: TaskContext, url: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url) as answer:
        size = 0
        async for chunk in answer.aiter_bytes():
            size += len(chunk)
            await ctx.emit("chunk", {"size": size})
        return size


async def fetches_and_forgets(url: str) -> int:
    client = httpx.AsyncClient(trust_env=False)
    answer = await client.get(url)
    await asyncio.sleep(1)  # the connection is kept for the next request
    await client.aclose()
    return answer.status_code


async def works_with_anyio(ctx: TaskContext) -> None:
    async def one(number: int) -> None:
        await anyio.sleep(number)
        with anyio.move_on_after(1):
            await anyio.sleep_forever()
        await ctx.emit("one", {"number": number})

    async with anyio.create_task_group() as group:
        group.start_soon(one, 1)
        group.start_soon(one, 2)
        await anyio.to_thread.run_sync(time.sleep, 0.001)


async def runs_a_program() -> str:
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", "echo hello"), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out.decode()


@task("thread", run_in="thread")
def works_in_a_thread(ctx: ThreadContext) -> int:
    for number in range(3):
        ctx.check()
        ctx.emit("block", {"number": number})
        time.sleep(0.001)
    return 3


#: That `never_asks` has begun, and until when it works.
BEGUN, ENOUGH = threading.Event(), threading.Event()


@task("deaf", run_in="thread")
def never_asks(ctx: ThreadContext) -> None:
    BEGUN.set()
    ENOUGH.wait(60)
