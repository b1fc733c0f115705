"""What is live is counted as it was committed; readers are behind as long as they have something left to read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streaming.observe.live import look, readers_behind
from streaming.records import TaskStatus
from streaming.rules.log import Batch
from tests.engine.hubs import Desk
from tests.kit import build
from tests.stage import broken, deaf, forever, instant

pytestmark = pytest.mark.clock("virtual")


async def test_tasks_are_counted_by_status_and_type_and_the_oldest_one_is_known() -> None:
    coordinator, _ = build([forever, broken, instant], max_running=2)
    async with coordinator:
        retry: Any = {"retry": {"retries": 1, "backoff_s": 800, "backoff_max_s": 800}}
        await coordinator.start("instant", {})
        await coordinator.start("broken", {}, **retry)
        await asyncio.sleep(1)
        for _ in range(4):
            await coordinator.start("forever", {})
            await asyncio.sleep(1)

        live = look(coordinator.parts, lambda type: f"my {type}")
        assert dict(live.tasks) == {
            ("running", "my forever"): 2,
            ("pending", "my forever"): 2,
            ("retrying", "my broken"): 1,
        }
        assert [live.of_status(status) for status in (TaskStatus.RUNNING, TaskStatus.RETRYING)] == [2, 1]
        assert live.oldest_waiting_s == pytest.approx(2)
    assert look(coordinator.parts, str).oldest_waiting_s == 0


async def test_types_with_one_label_are_counted_together() -> None:
    coordinator, _ = build([forever, deaf])
    async with coordinator:
        await coordinator.start("forever", {})
        await coordinator.start("deaf", {"for_s": 1})
        await asyncio.sleep(0.5)

        assert dict(look(coordinator.parts, lambda _: "other").tasks) == {("running", "other"): 2}


async def test_a_cancel_is_open_until_the_task_has_ended() -> None:
    coordinator, _ = build([deaf], cancel_grace_s=3)
    async with coordinator:
        record, _ = await coordinator.start("deaf", {"for_s": 10})
        await asyncio.sleep(1)
        await coordinator.cancel_task(record.id)
        await asyncio.sleep(1)
        assert dict(look(coordinator.parts, str).cancels) == {"requested": 1}
        await asyncio.sleep(3)
        assert dict(look(coordinator.parts, str).cancels) == {"ignored": 1}
        await coordinator.wait(record.id, 100)
        await asyncio.sleep(1)
        assert dict(look(coordinator.parts, str).cancels) == {}


async def test_a_reader_is_behind_until_it_has_read_all() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        record, _ = await coordinator.start("forever", {})
        await asyncio.sleep(1)
        log, feed = await coordinator.watch(record.id), await coordinator.follow()
        filtered = await coordinator.follow(types=frozenset({"nothing"}))
        assert readers_behind(coordinator.parts) == 3
        assert isinstance(log.poll(), Batch)
        assert await feed.next() is not None
        filtered.poll()
        await asyncio.sleep(1)
        filtered.poll()
        assert readers_behind(coordinator.parts) == 0
        for reader in (log, feed, filtered):
            reader.close()


async def test_a_task_that_has_ended_is_not_live_even_before_it_is_forgotten() -> None:
    coordinator, _ = build([instant])
    async with coordinator, Desk() as desk:
        log = await desk.log()
        await desk.end(log)
        coordinator.parts.tasks["a"] = type("Ended", (), {"log": log})()
        assert log.visible.status is TaskStatus.COMPLETED
        assert dict(look(coordinator.parts, str).tasks) == {}
        del coordinator.parts.tasks["a"]
