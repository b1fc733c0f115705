"""The line on which a handler stands is the handler's own, as deep as its own code goes."""

from __future__ import annotations

import asyncio
import inspect
import threading
import types
from collections.abc import AsyncIterator, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from streaming.engine.stack import _thread_of, where, where_thread


async def sleep_inside() -> None:
    await asyncio.sleep(3600)


async def call_inside() -> None:
    await sleep_inside()


@types.coroutine
def old_style() -> Generator[Any, None, None]:
    yield from asyncio.sleep(3600).__await__()


class Awaitable:
    def __await__(self) -> Generator[Any, None, None]:
        return asyncio.sleep(3600).__await__()


async def await_object() -> None:
    await Awaitable()


async def numbers() -> AsyncIterator[int]:
    await asyncio.sleep(3600)
    yield 1


async def iterate() -> None:
    async for _ in numbers():
        pass


async def await_future() -> None:
    await asyncio.get_running_loop().create_future()


async def await_old_style() -> None:
    await old_style()


async def await_task() -> None:
    await asyncio.create_task(sleep_inside())


async def place_of(coroutine: Any) -> str:
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    try:
        return where(task)
    finally:
        task.cancel()
        await asyncio.wait({task})


def line_of(function: Any, offset: int = 1) -> str:
    return f"test_stack.py:{function.__code__.co_firstlineno + offset} in {function.__name__}"


async def test_the_innermost_of_the_handlers_own_lines_is_named() -> None:
    assert await place_of(call_inside()) == line_of(sleep_inside)


@pytest.mark.parametrize("function", [await_object, await_future, await_task])
async def test_what_it_waits_for_may_be_anything(function: Any) -> None:
    assert await place_of(function()) == line_of(function)


async def test_a_generator_in_the_chain_is_followed() -> None:
    assert await place_of(await_old_style()) == line_of(old_style, 2)


async def test_an_async_generator_names_at_least_the_line_that_iterates() -> None:
    assert (await place_of(iterate())).startswith("test_stack.py:")


async def test_a_task_that_has_not_begun_stands_before_its_first_line() -> None:
    task = asyncio.create_task(sleep_inside())
    try:
        assert where(task) == line_of(sleep_inside, 0)
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_a_task_that_is_only_library_stands_nowhere_of_its_own() -> None:
    assert await place_of(asyncio.sleep(3600)) == "before its first line"


async def test_a_task_that_is_done_has_no_line() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    await task

    assert where(task) == "before its first line"


INSTALLED = """
import asyncio, threading
async def wait(): await asyncio.sleep(3600)
async def handler(): await wait()
def block(event): event.wait()
def thread_handler(entered, event): entered.set(); block(event)
"""


def installed() -> dict[str, Any]:
    """What a package defines that pip has installed."""
    names: dict[str, Any] = {}
    exec(compile(INSTALLED, "/venv/lib/site-packages/mine.py", "exec"), names)  # noqa: S102  # there is no other way
    return names


async def test_a_handler_that_is_installed_is_named_by_its_outermost_line() -> None:
    assert await place_of(installed()["handler"]()) == "mine.py:4 in handler"


async def test_a_handler_is_named_and_not_the_installed_library_that_it_calls() -> None:
    async def call_library() -> None:
        await installed()["handler"]()

    assert await place_of(call_library()) == line_of(call_library)


def test_a_thread_of_an_installed_handler_is_named_by_its_outermost_line() -> None:
    entered, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=installed()["thread_handler"], args=(entered, leave))
    thread.start()
    entered.wait()
    try:
        found = where_thread(thread.ident or 0)
    finally:
        leave.set()
        thread.join()

    assert found == "mine.py:6 in thread_handler"


async def test_a_task_that_is_running_right_now_is_found_by_another_thread() -> None:
    task = asyncio.current_task()
    assert task is not None

    with ThreadPoolExecutor() as pool:
        found = pool.submit(where, task).result()

    assert found == line_of(test_a_task_that_is_running_right_now_is_found_by_another_thread, 5)


def test_a_thread_stands_where_the_handlers_code_called_the_library() -> None:
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        leave.wait()

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait()
    try:
        found = where_thread(thread.ident or 0)
    finally:
        leave.set()
        thread.join()

    assert found in (line_of(work, 1), line_of(work, 2))


def test_a_thread_that_is_only_library_is_named_by_its_innermost_line() -> None:
    timer = threading.Timer(3600, print)
    timer.start()
    try:
        found = where_thread(timer.ident or 0)
    finally:
        timer.cancel()
        timer.join()

    assert found.startswith("threading.py:")


def test_a_thread_that_has_ended_stands_nowhere() -> None:
    assert where_thread(0) == "nowhere: its thread is gone"


async def test_a_task_that_holds_up_its_loop_stands_where_its_own_thread_does() -> None:
    """Asked from another thread: nobody else is left to ask."""

    async def block() -> str:
        return another.submit(where, task).result()

    async def outside() -> str:
        return await block()

    with ThreadPoolExecutor() as another:
        task = asyncio.create_task(outside())
        assert await task == line_of(block)


def test_a_frame_that_no_thread_executes_any_more_is_nowhere() -> None:
    frame = inspect.currentframe()
    assert frame is not None

    assert where_thread(_thread_of(frame)) != "nowhere: its thread is gone", "this one is being executed"
    assert where_thread(_thread_of(left_frame())) == "nowhere: its thread is gone"


def left_frame() -> types.FrameType:
    frame = inspect.currentframe()
    assert frame is not None
    return frame
