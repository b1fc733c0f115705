"""What a handler holds passes everything on, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from streaming.engine.context import Deadline, TaskContext, ThreadContext
from streaming.errors import Stopped

pytestmark = pytest.mark.clock("virtual")


class Teller:
    """Writes down who called it, and lets `room` wait on demand."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.full: asyncio.Future[None] | None = None

    def tell(self, type: str, data: object) -> int:
        self.said.append((type, data))
        return len(self.said)

    def tell_progress(self, percent: float, message: str | None) -> int:
        self.said.append(("progress", percent, message))
        return len(self.said)

    def tell_log(self, level: str, message: str, fields: dict[str, Any]) -> int:
        self.said.append(("log", level, message, fields))
        return len(self.said)

    async def room(self) -> None:
        self.said.append("room")
        if self.full is not None:
            await self.full

    def enter(self, reason: str, at_most_s: float) -> object:
        self.said.append(("enter", reason, at_most_s))
        return reason

    async def leave(self, section: object) -> None:
        self.said.append(("leave", section))


def context_of(teller: Teller) -> TaskContext:
    return TaskContext("7", 2, {"n": 5}, Deadline(lambda: 12.5), teller)


async def test_a_handler_finds_its_task_its_attempt_its_params_and_its_time() -> None:
    ctx = context_of(Teller())

    assert (ctx.task_id, ctx.attempt, ctx.params, ctx.deadline.remaining_s) == ("7", 2, {"n": 5}, 12.5)


async def test_emit_waits_for_room_before_it_takes_its_place() -> None:
    teller = Teller()
    teller.full = asyncio.get_running_loop().create_future()
    emitting = asyncio.create_task(context_of(teller).emit("tick", {"n": 1}))
    await asyncio.sleep(1)
    assert teller.said == ["room"]

    teller.full.set_result(None)

    assert await emitting == 2
    assert teller.said == ["room", ("tick", {"n": 1})]


@pytest.mark.parametrize(("data", "told"), [(None, {}), (0, 0), ("", ""), ([], []), (False, False)])
async def test_no_data_is_an_empty_object_and_every_other_value_is_itself(data: object, told: object) -> None:
    teller = Teller()

    await context_of(teller).emit("tick", data)

    assert teller.said[1:] == [("tick", told)]


async def test_progress_waits_for_room_too() -> None:
    teller = Teller()

    assert await context_of(teller).progress(40, "2 of 5") == 2
    assert teller.said == ["room", ("progress", 40, "2 of 5")]


async def test_a_log_line_is_written_at_once_and_awaiting_it_waits_for_room() -> None:
    teller = Teller()

    told = context_of(teller).log("warm", level="warning", degrees=40)
    assert teller.said == [("log", "warning", "warm", {"degrees": 40})]

    assert await told == told.seq == 1
    assert teller.said[1:] == ["room"]


async def test_a_protected_section_is_left_however_it_ends() -> None:
    teller = Teller()
    ctx = context_of(teller)

    async with ctx.protected("pay"):
        pass
    with pytest.raises(KeyError):
        async with ctx.protected("refund", at_most_s=2):
            raise KeyError

    assert teller.said == [("enter", "pay", 5.0), ("leave", "pay"), ("enter", "refund", 2), ("leave", "refund")]


def call(function: Callable[..., Any], *args: Any) -> Any:
    """Stands for a thread that calls into the loop."""
    coroutine = function(*args)
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    return stop.value.value


def thread_context_of(teller: Teller, *, stopping: bool) -> ThreadContext:
    return ThreadContext(context_of(teller), call, lambda: stopping)


def test_a_thread_has_the_same_verbs() -> None:
    teller = Teller()
    ctx = thread_context_of(teller, stopping=False)

    assert ctx.emit("tick", 1) == 2
    assert ctx.progress(50, "half") == 4
    assert ctx.log("warm", degrees=40) == 5

    assert [said for said in teller.said if said != "room"] == [
        ("tick", 1),
        ("progress", 50, "half"),
        ("log", "info", "warm", {"degrees": 40}),
    ]
    assert (ctx.task_id, ctx.attempt, ctx.params, ctx.deadline.remaining_s) == ("7", 2, {"n": 5}, 12.5)


def test_a_thread_asks_whether_it_is_to_stop() -> None:
    going, stopping = (thread_context_of(Teller(), stopping=stop) for stop in (False, True))

    going.check()
    assert not going.stopping
    assert stopping.stopping
    with pytest.raises(Stopped):
        stopping.check()
