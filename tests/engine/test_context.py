"""What a handler holds passes everything on, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from streaming.engine.context import Deadline, Links, TaskContext, ThreadContext
from streaming.engine.family import Child, Host
from streaming.engine.mailbox import Input
from streaming.engine.options import StartOptions
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

    def tell_steps(self, completed: int, total: int, current: str | None) -> int:
        self.said.append(("steps", completed, total, current))
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


class Outside:
    """Two inputs, and children that are only asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def inputs(self) -> AsyncIterator[Input]:
        yield Input(3, "anna", "left")
        yield Input(4, "bert", "right")

    async def start(self, type: str, params: dict[str, Any], options: StartOptions, remaining_s: float) -> Child:
        self.asked.append((type, params, options, remaining_s))
        return Child(cast(Host, self), "7", "8")

    async def result(self, task_id: str) -> str:
        return f"the result of {task_id}"

    def trace(self) -> dict[str, str]:
        return {"traceparent": "00-1-2-01"}

    def lending(self, task_id: str) -> Any:
        return contextlib.nullcontext()


def context_of(teller: Teller, outside: Outside | None = None) -> TaskContext:
    outside = outside or Outside()
    return TaskContext(
        "7", 2, {"n": 5}, Deadline(lambda: 12.5), teller, Links(outside.inputs, outside.start, outside.trace)
    )


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


async def test_steps_wait_for_room_too() -> None:
    teller = Teller()

    assert await context_of(teller).steps(2, 5, "pack") == 2
    assert teller.said == ["room", ("steps", 2, 5, "pack")]


async def test_what_others_send_is_read_as_it_comes() -> None:
    ctx = context_of(Teller())

    assert [each async for each in ctx.inputs()] == [Input(3, "anna", "left"), Input(4, "bert", "right")]


async def test_a_task_under_this_one_is_told_how_much_time_is_left() -> None:
    outside = Outside()
    ctx = context_of(Teller(), outside)

    child = await ctx.start("work", {"n": 1}, key="k")
    await ctx.start("rest")

    assert (child.id, outside.asked) == ("8", [("work", {"n": 1}, {"key": "k"}, 12.5), ("rest", {}, {}, 12.5)])


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
    assert ctx.steps(1, 2, "pack") == 8

    assert [said for said in teller.said if said != "room"] == [
        ("tick", 1),
        ("progress", 50, "half"),
        ("log", "info", "warm", {"degrees": 40}),
        ("steps", 1, 2, "pack"),
    ]
    assert (ctx.task_id, ctx.attempt, ctx.params, ctx.deadline.remaining_s) == ("7", 2, {"n": 5}, 12.5)


def test_a_thread_reads_inputs_and_starts_tasks() -> None:
    outside = Outside()
    ctx = ThreadContext(context_of(Teller(), outside), call, lambda: False)

    inputs = ctx.inputs()
    assert [next(inputs).data, next(inputs).data] == ["left", "right"]
    child = ctx.start("work", {"n": 1}, key="k")
    assert (child.id, child.result()) == ("8", "the result of 8")
    assert outside.asked == [("work", {"n": 1}, {"key": "k"}, 12.5)]


def test_a_thread_asks_whether_it_is_to_stop() -> None:
    going, stopping = (thread_context_of(Teller(), stopping=stop) for stop in (False, True))

    going.check()
    assert not going.stopping
    assert stopping.stopping
    with pytest.raises(Stopped):
        stopping.check()
