"""The line on which a handler stands is the handler's own, as deep as its own code goes."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import threading
import types
from collections.abc import AsyncIterator, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest

from streaming.engine.stack import (
    DEPTH_MAX,
    FRAMES_MAX,
    TASKS_MAX,
    _thread_of,
    stack_of,
    stack_of_thread,
    waiter_of,
    where,
    where_thread,
)
from streaming.rules.waits import Stack, Wait


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


async def test_an_async_generator_in_the_chain_is_followed() -> None:
    assert await place_of(iterate()) == line_of(numbers)


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
async def bare(): await asyncio.get_running_loop().create_future()
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

    assert found == "mine.py:7 in thread_handler"


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


# -- the whole stack ---------------------------------------------------------------------------------------------------


async def stack_behind(coroutine: Any) -> Stack:
    task = asyncio.create_task(coroutine)
    for _ in range(5):
        await asyncio.sleep(0)
    try:
        return stack_of(task)
    finally:
        task.cancel()
        await asyncio.wait({task})


def places(stack: Stack) -> list[str]:
    return [frame.where for frame in stack.frames if frame.own]


async def lock() -> None:
    held = asyncio.Lock()
    await held.acquire()
    async with held:
        pass


async def event() -> None:
    await asyncio.Event().wait()


async def queue() -> None:
    await asyncio.Queue[int]().get()


async def full_queue() -> None:
    full = asyncio.Queue[int](1)
    await full.put(1)
    await full.put(2)


async def semaphore() -> None:
    async with asyncio.Semaphore(0):
        pass


async def condition() -> None:
    told = asyncio.Condition()
    async with told:
        await told.wait()


async def limiter() -> None:
    taken = anyio.CapacityLimiter(1)
    await taken.acquire_on_behalf_of(1)
    await taken.acquire_on_behalf_of(2)


async def channel() -> None:
    sending, receiving = anyio.create_memory_object_stream[int]()
    with sending, receiving:
        await receiving.receive()


@pytest.mark.parametrize(
    ("handler", "wait"),
    [
        (sleep_inside, Wait.SLEEP),
        (lock, Wait.LOCK),
        (event, Wait.EVENT),
        (queue, Wait.QUEUE),
        (full_queue, Wait.FULL_QUEUE),
        (semaphore, Wait.SEMAPHORE),
        (condition, Wait.CONDITION),
        (limiter, Wait.SEMAPHORE),
        (channel, Wait.QUEUE),
        (await_future, Wait.FUTURE),
    ],
)
async def test_what_the_last_line_waits_for_is_told(handler: Any, wait: Wait) -> None:
    assert (await stack_behind(handler())).wait is wait


async def test_a_socket_is_told() -> None:
    """Nobody listens at the other end of the pair."""
    here, there = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=here)

    async def read() -> None:
        await reader.readexactly(1)

    found = await stack_behind(read())
    writer.close()
    there.close()
    assert (found.wait, places(found)) == (Wait.SOCKET, [line_of(read)])


async def test_a_sleep_says_until_when_and_its_lines_are_in_order() -> None:
    now = asyncio.get_running_loop().time()
    found = await stack_behind(call_inside())
    assert places(found) == [line_of(call_inside), line_of(sleep_inside)]
    assert found.frames[-1].where.startswith("tasks.py:")
    assert found.until == pytest.approx(now + 3600, abs=60)
    assert (found.name, found.branches, found.more) == ("call_inside", (), 0)


async def gathered() -> None:
    await asyncio.gather(sleep_inside(), asyncio.gather(event(), lock()))


async def grouped() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sleep_inside())
        group.create_task(event())
        group.create_task(asyncio.sleep(0))


async def anyio_grouped() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(sleep_inside)


async def waited() -> None:
    await asyncio.wait({asyncio.create_task(event())})


async def waited_for() -> None:
    await asyncio.wait_for(asyncio.create_task(event()), 3600)


async def shielded() -> None:
    await asyncio.shield(event())


@pytest.mark.parametrize(
    ("handler", "names"),
    [
        (await_task, ["sleep_inside"]),
        (gathered, ["event", "lock", "sleep_inside"]),
        (grouped, ["sleep_inside", "event"]),
        (anyio_grouped, ["sleep_inside"]),
        (waited, ["event"]),
        (waited_for, ["event"]),
        (shielded, ["event"]),
    ],
)
async def test_the_tasks_that_are_awaited_are_followed_if_they_go_on(handler: Any, names: list[str]) -> None:
    found = await stack_behind(handler())
    assert (found.wait, found.more) == (Wait.TASKS, 0)
    assert [branch.name for branch in found.branches] == names
    assert found.branches[0].where == line_of(sleep_inside if names[0] == "sleep_inside" else event)


async def test_a_coroutine_under_a_timeout_is_followed_in_the_way_of_each_python() -> None:
    async def hurried() -> None:
        await asyncio.wait_for(event(), 3600)

    found = await stack_behind(hurried())
    whole = [found, *found.branches]
    assert line_of(event) in {line for each in whole for line in places(each)}


async def test_tasks_that_wait_for_each_other_are_followed_once() -> None:
    both: list[asyncio.Task[None]] = []

    async def wait_for(number: int) -> None:
        await asyncio.wait({both[number]})

    both += [asyncio.create_task(wait_for(1)), asyncio.create_task(wait_for(0))]
    await asyncio.sleep(0)
    found = stack_of(both[0])
    assert [branch.name for branch in found.branches] == ["wait_for"]
    assert (found.branches[0].branches, found.branches[0].more) == ((), 0)
    for task in both:
        task.cancel()
    await asyncio.wait(both)


async def test_a_task_that_two_others_wait_for_is_followed_once() -> None:
    shared = asyncio.create_task(sleep_inside())

    async def one() -> None:
        await asyncio.wait({shared})

    async def two() -> None:
        await asyncio.wait({asyncio.create_task(one()), shared})

    found = await stack_behind(two())
    shared.cancel()
    assert [len(branch.branches) for branch in found.branches] in ([0, 0], [1])
    assert found.more == 2 - len(found.branches)


async def test_no_more_tasks_are_followed_than_anybody_reads() -> None:
    async def many() -> None:
        await asyncio.gather(*(event() for _ in range(TASKS_MAX + 10)))

    found = await stack_behind(many())
    assert len(found.branches) == TASKS_MAX - 1
    assert found.more == 11


async def test_no_task_is_followed_deeper_than_anybody_reads() -> None:
    async def nested(depth: int) -> None:
        if depth:
            await asyncio.create_task(nested(depth - 1))
        await event()

    task = asyncio.create_task(nested(DEPTH_MAX + 5))
    for _ in range(DEPTH_MAX + 10):
        await asyncio.sleep(0)
    found, depth = stack_of(task), 0
    task.cancel()
    await asyncio.wait({task})
    while found.branches:
        found, depth = found.branches[0], depth + 1
    assert (depth, found.more) == (DEPTH_MAX, 1)


async def test_of_a_deep_recursion_the_innermost_lines_are_told() -> None:
    async def down(depth: int) -> None:
        if depth:
            await down(depth - 1)
        await sleep_inside()

    found = await stack_behind(down(FRAMES_MAX + 5))
    assert len(found.frames) == FRAMES_MAX
    assert found.where == line_of(sleep_inside)
    assert found.wait is Wait.SLEEP


async def test_a_step_that_is_due_waits_for_nothing() -> None:
    async def spin() -> None:
        for _ in range(100):
            await asyncio.sleep(0)

    assert (await stack_behind(spin())).wait is Wait.NEXT_STEP


async def test_a_task_that_has_not_begun_says_so() -> None:
    task = asyncio.create_task(sleep_inside())
    found = stack_of(task)
    assert (found.wait, waiter_of(task)) == (Wait.NOT_BEGUN, None)
    task.cancel()
    await asyncio.wait({task})


async def test_no_local_value_and_no_path_is_told() -> None:
    async def secretive(password: str) -> None:
        await asyncio.gather(asyncio.create_task(sleep_inside(), name=f"with {password}"))

    text = json.dumps((await stack_behind(secretive("hunter2"))).as_json())
    assert "hunter2" not in text
    assert "/" not in text


def test_a_thread_is_told_with_its_lines() -> None:
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        leave.wait()

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait()
    try:
        found = stack_of_thread(thread.ident or 0)
    finally:
        leave.set()
        thread.join()

    assert found.wait is Wait.THREAD_CODE
    assert found.where in (line_of(work, 1), line_of(work, 2))
    assert stack_of_thread(0).frames == ()


async def test_of_an_installed_handler_every_line_may_say_what_it_waits_for() -> None:
    """None of its lines is the handler's own: its chain is followed to the end."""
    found = await stack_behind(installed()["handler"]())
    assert (found.wait, found.where, found.name) == (Wait.SLEEP, "mine.py:4 in handler", "handler")
    assert found.until is not None
    unknown = await stack_behind(installed()["bare"]())
    assert (unknown.wait, unknown.until, unknown.task_id) == (Wait.FUTURE, None, None)
