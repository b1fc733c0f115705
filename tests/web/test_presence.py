"""A wait ends with its result or with its client, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import asgineer
import pytest

from streaming.web.presence import while_present
from streaming.web.request import Request
from tests.web.live import watchers
from tests.web.test_matrix import bearer, guarded


def request(left: asyncio.Event) -> Request:
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError

    return Request({"method": "GET", "path": "/", "headers": []}, receive, send)


async def test_the_result_comes_through_and_the_watcher_goes() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await while_present(request(asyncio.Event()), work()) == 7
    await asyncio.sleep(0)
    assert watchers() == []


async def test_an_error_comes_through() -> None:
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await while_present(request(asyncio.Event()), work())


async def test_a_time_out_of_the_work_is_not_taken_for_a_client_that_left() -> None:
    async def work() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await while_present(request(asyncio.Event()), work())


async def test_a_client_that_leaves_ends_the_work() -> None:
    left, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        left.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    with pytest.raises(asgineer.DisconnectedError):
        await while_present(request(left), work())
    assert ended.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("first", ["result", "leaving"])
async def test_result_and_leaving_in_the_same_step_end_in_one_of_them(first: str) -> None:
    left = asyncio.Event()
    began = asyncio.Event()
    result: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> int:
        began.set()
        return await result

    waiting = asyncio.create_task(while_present(request(left), work()))
    await began.wait()
    await asyncio.sleep(0)  # the watcher's first step
    if first == "result":
        result.set_result(7)
        left.set()
    else:
        left.set()
        result.set_result(7)
    with contextlib.suppress(asgineer.DisconnectedError):
        assert await waiting == 7
    await asyncio.sleep(0)
    assert watchers() == []


async def test_a_cancel_from_outside_is_a_cancel() -> None:
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    waiting = asyncio.create_task(while_present(request(asyncio.Event()), work()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_refusal_that_is_held_back_ends_with_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it any more: whoever comes next finds the place free."""
    monkeypatch.setattr("streaming.web.door.WRONG_HELD_S", 3600.0)
    monkeypatch.setattr("streaming.web.door.HELD_MAX", 1)
    wrong = b"GET /tasks HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong\r\n\r\n"
    async with guarded(rate_limit_failures="1/hour") as (here, _, _):
        assert (await here.http.get("/tasks", headers=bearer("wrong"))).status_code == 401

        async def come_and_leave(held_back: int) -> None:
            async with here.raw() as (_, writer):
                writer.write(wrong)
                await here.until(lambda: here.coordinator.limits_hit["held_back"] == held_back)
                assert len(here.server.server_state.tasks) == 1
            await here.until(lambda: not here.server.server_state.tasks)

        for number in range(1, 4):
            await come_and_leave(number)
