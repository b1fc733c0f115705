"""A stall is counted, and its task tells of it, as long as it can."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streaming import task
from streaming.engine.calls import HANDLER, handler_of
from tests.kit import build, events_of
from tests.stage import Gate, forever, rounds, running

pytestmark = pytest.mark.clock("virtual")


async def test_a_handler_that_has_blocked_the_loop_is_counted_and_told_of() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        assert coordinator.stalls.type_of(task_id) == "forever"
        coordinator.stalls.note(task_id, "report.py:40 in save", 2.34567)
        await coordinator.cancel_task(task_id)
        (stalled,) = [event for event in await events_of(coordinator, task_id) if event.type == "stalled"]
    assert stalled.data == {"where": "report.py:40 in save", "seconds": 2.346}
    assert (coordinator.stalls.by_handlers, coordinator.stalls.by_others) == (1, 0)


async def test_a_stall_is_no_word_of_the_handler() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        heard_at = (await coordinator.get(task_id)).heartbeat_at
        await asyncio.sleep(5)
        coordinator.stalls.note(task_id, "x", 2.0)
        await asyncio.sleep(1)
        assert (await coordinator.get(task_id)).heartbeat_at == heard_at
        await coordinator.shutdown(0)


@pytest.mark.parametrize("task_id", [None, "f" * 32])
async def test_what_is_no_live_task_is_only_counted(task_id: str | None) -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        coordinator.stalls.note(task_id, "x", 2.0)
        assert coordinator.stalls.type_of(task_id) is None
        assert coordinator.stalls.by_handlers + coordinator.stalls.by_others == 1


async def test_a_task_whose_end_is_written_tells_nothing_more() -> None:
    """Its last step has blocked the loop, and its end was decided before anybody could say so."""
    gate = Gate()
    coordinator, store = build([gate.handler])
    async with coordinator:
        task_id = await running(coordinator, "gate")
        store.hold()
        gate.opened.set()
        await rounds()
        coordinator.stalls.note(task_id, "x", 2.0)
        store.release()
        events = await events_of(coordinator, task_id)
    assert [event.type for event in events] == ["pending", "running", "completed"]
    assert coordinator.stalls.by_handlers == 1


async def test_a_task_that_waits_for_its_next_attempt_tells_nothing_of_the_last_one() -> None:
    @task(retries=1, backoff_s=100)
    async def fails() -> None:
        raise ValueError

    coordinator, _ = build([fails])
    async with coordinator:
        record, _ = await coordinator.start("fails", {})
        await asyncio.sleep(1)
        coordinator.stalls.note(record.id, "x", 2.0)
        events = await events_of(coordinator, record.id)
    assert "stalled" not in [event.type for event in events]


async def test_whose_handler_it_is_says_the_name_of_its_task_or_else_its_context() -> None:
    class Known(asyncio.Task[None]):
        """As on Pythons that tell the context."""

        def get_context(self) -> Any:
            return {HANDLER: "b"}

    class Unknown(Known):
        def get_context(self) -> Any:
            return {}

    loop = asyncio.get_running_loop()
    tasks = [
        asyncio.create_task(asyncio.sleep(0), name="streaming-handler-a"),
        Known(asyncio.sleep(0), loop=loop),
        Unknown(asyncio.sleep(0), loop=loop),
    ]
    assert [handler_of(task) for task in tasks] == ["a", "b", None]
    await asyncio.wait(tasks)


async def test_the_tasks_that_a_handler_makes_are_known_to_be_its_own_where_python_tells() -> None:
    found: list[str | None] = []

    @task
    async def makes() -> None:
        async def inner() -> None:
            found.append(HANDLER.get())

        await asyncio.create_task(inner())

    coordinator, _ = build([makes])
    async with coordinator:
        record, _ = await coordinator.start("makes", {})
        await coordinator.wait(record.id, 10)
    assert found == [record.id]
