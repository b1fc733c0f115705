"""Whoever blocks the loop is named while it does: on real loops, with handlers that go on only once they were named."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from streaming import TaskContext, TaskCoordinator, task
from streaming.observe.stall import Watchdog
from tests.kit import build, events_of

pytestmark = pytest.mark.clock("each")

#: Much longer than it takes; whoever waits for longer has failed.
PATIENCE_S = 20.0

BLOCKED, GOES_ON = "the event loop is blocked", "the event loop goes on"

Lines = list[MutableMapping[str, Any]]


@pytest.fixture(autouse=True)
def lines() -> Iterator[Lines]:
    with capture_logs() as found:
        yield found


def block_until(condition: Callable[[], object]) -> None:
    """Hold up the loop, as whoever does not know of await."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "nobody has said so"
        time.sleep(0.001)


def said(lines: Lines, event: str) -> Lines:
    return [line for line in lines if line["event"] == event]


def dogs() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "streaming-watchdog"]


async def left() -> None:
    """Wait for the end of the threads of watchdogs."""
    async with asyncio.timeout(PATIENCE_S):
        while dogs():  # noqa: ASYNC110  # a thread does not tell
            await asyncio.sleep(0.005)


async def run(coordinator: TaskCoordinator, type: str) -> str:
    record, _ = await coordinator.start(type, {})
    await coordinator.wait(record.id, PATIENCE_S)
    return record.id


async def test_a_handler_that_blocks_is_named_while_it_does_and_its_task_tells_of_it(lines: Lines) -> None:
    @task
    async def blocks(ctx: TaskContext) -> None:
        await ctx.emit("begun")
        block_until(lambda: len(said(lines, BLOCKED)) == 2)  # the line of code to be named

    coordinator, _ = build([blocks])
    async with coordinator:
        with Watchdog(0.05, coordinator.stalls):
            task_id = await run(coordinator, "blocks")
            events = await events_of(coordinator, task_id)
    await left()

    first, second = said(lines, BLOCKED)
    assert (first["task_id"], first["task_type"]) == (task_id, "blocks")
    assert first["where"].startswith("test_stall.py:")
    assert first["where"].endswith("in block_until")
    assert "line of code to be named" in first["stack"]
    assert "calls.py" not in first["stack"]
    assert 0.05 <= first["seconds"] < second["seconds"]
    (over,) = said(lines, GOES_ON)
    assert (over["task_id"], over["where"]) == (task_id, first["where"])
    assert [event.type for event in events] in (
        ["pending", "running", "begun", "completed"],  # its end was decided in the same step
        ["pending", "running", "begun", "stalled", "completed"],
    )
    assert coordinator.stalls.by_handlers == 1


async def test_a_handler_that_goes_on_afterwards_has_an_event_of_it(lines: Lines) -> None:
    @task
    async def blocks_on(ctx: TaskContext) -> None:
        block_until(lambda: said(lines, BLOCKED))
        async with asyncio.timeout(PATIENCE_S):
            while not said(lines, GOES_ON):  # noqa: ASYNC110  # the watchdog does not tell handlers
                await asyncio.sleep(0.001)

    coordinator, _ = build([blocks_on])
    async with coordinator:
        with Watchdog(0.05, coordinator.stalls):
            (stalled,) = [
                event
                for event in await events_of(coordinator, await run(coordinator, "blocks_on"))
                if event.type == "stalled"
            ]
    await left()
    assert stalled.data["where"].endswith("in block_until")
    assert stalled.data["seconds"] >= 0.05


async def test_a_callback_that_blocks_is_nobodys_task(lines: Lines) -> None:
    coordinator, _ = build([])
    async with coordinator:
        with Watchdog(0.05, coordinator.stalls):
            await asyncio.sleep(0.02)
            asyncio.get_running_loop().call_soon(block_until, lambda: said(lines, BLOCKED))
            async with asyncio.timeout(PATIENCE_S):
                while not coordinator.stalls.by_others:  # noqa: ASYNC110  # it only counts
                    await asyncio.sleep(0.005)
    await left()
    (line,) = said(lines, BLOCKED)
    assert (line["task_id"], line["task_type"]) == (None, None)
    assert line["where"].endswith("in block_until")


async def test_a_task_that_is_no_handlers_is_named_by_its_line(lines: Lines) -> None:
    coordinator, _ = build([])
    async with coordinator:
        with Watchdog(0.05, coordinator.stalls):
            await asyncio.sleep(0.02)
            block_until(lambda: said(lines, BLOCKED))
            await asyncio.sleep(0.02)
    await left()
    (line,) = said(lines, BLOCKED)
    assert line["task_id"] is None
    assert "test_a_task_that_is_no_handlers_is_named_by_its_line" in line["stack"]


async def test_nobody_looks_where_nobody_wants_it() -> None:
    coordinator, _ = build([])
    async with coordinator:
        with Watchdog(0.0, coordinator.stalls):
            assert dogs() == []


async def test_a_loop_that_waits_is_not_blocked(lines: Lines) -> None:
    coordinator, _ = build([])
    async with coordinator:
        with Watchdog(0.2, coordinator.stalls):
            await asyncio.sleep(0.6)
    await left()
    assert said(lines, BLOCKED) == []


def test_a_loop_that_is_closed_while_it_is_blocked_is_told_nothing(lines: Lines) -> None:
    loop = asyncio.new_event_loop()

    async def enter() -> Watchdog:
        coordinator, _ = build([])
        return Watchdog(0.05, coordinator.stalls).__enter__()

    watchdog = loop.run_until_complete(enter())
    loop.close()
    block_until(lambda: said(lines, "the event loop was closed while it was blocked"))
    watchdog.__exit__(None, None, None)
