from __future__ import annotations

import asyncio
import threading

import pytest

from streaming.tasks.background import finish, in_thread


async def test_a_blocking_call_runs_in_another_thread_and_gives_its_result() -> None:
    assert await in_thread(threading.get_ident) != threading.get_ident()


async def test_what_a_blocking_call_raises_arrives() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await in_thread(int, "x")


async def test_an_answer_that_nobody_waits_for_is_dropped() -> None:
    """A cancel leaves the thread alone; its late answer must not disturb the loop."""
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context))
    leave, left = threading.Event(), threading.Event()

    def work() -> None:
        leave.wait()
        left.set()

    future = in_thread(work)
    future.cancel()
    leave.set()
    await in_thread(left.wait)
    await asyncio.sleep(0)

    assert future.cancelled()
    assert errors == []


def test_an_answer_after_the_end_of_the_loop_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    leave = threading.Event()
    threads: list[threading.Thread] = []
    begin = threading.Thread.start
    failures: list[object] = []

    def start(thread: threading.Thread) -> None:
        threads.append(thread)
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr(threading, "excepthook", failures.append)

    async def leave_early() -> None:
        _ = in_thread(leave.wait)

    asyncio.run(leave_early())
    leave.set()
    threads[0].join()

    assert threads[0].daemon
    assert failures == []


async def test_finish_gives_the_result_and_the_error() -> None:
    async def fail() -> None:
        raise ValueError("no")

    assert await finish(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ValueError, match="no"):
        await finish(fail())


@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_finish_ends_however_often_it_is_cancelled_and_the_cancel_comes_through(cancels: int) -> None:
    end = asyncio.get_running_loop().create_future()
    ended = []

    async def work() -> None:
        await end
        ended.append(True)

    outer = asyncio.create_task(finish(work()))
    for _ in range(cancels):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        outer.cancel()
    await asyncio.sleep(0)
    assert not outer.done()
    end.set_result(None)

    with pytest.raises(asyncio.CancelledError):
        await outer
    assert ended == [True]
    assert outer.cancelling() == cancels


async def test_a_cancel_wins_over_an_error_and_names_it() -> None:
    end = asyncio.get_running_loop().create_future()
    outer = asyncio.create_task(finish(end))
    await asyncio.sleep(0)
    outer.cancel()
    await asyncio.sleep(0)
    error = ValueError("no")
    end.set_exception(error)

    with pytest.raises(asyncio.CancelledError) as raised:
        await outer
    assert raised.value.__cause__ is error


async def test_a_cancel_of_everything_ends_both() -> None:
    """When a loop is torn down, every task is cancelled, the inner one too."""
    inner = asyncio.create_task(asyncio.sleep(3600))
    outer = asyncio.create_task(finish(inner))
    await asyncio.sleep(0)
    inner.cancel()
    outer.cancel()

    with pytest.raises(asyncio.CancelledError):
        await outer
