"""A runner is seen from outside as it is: before its handler begins, at work, stopped, and after it."""

from __future__ import annotations

import asyncio

import pytest

from streaming.engine.inside import Inside
from streaming.rules.lifecycle import Cause
from streaming.rules.waits import Wait
from tests.kit import build
from tests.stage import deaf, forever, running

pytestmark = pytest.mark.clock("virtual")


async def test_a_runner_at_work_shows_its_stack_its_wait_and_its_deadlines() -> None:
    coordinator, store = build([forever])
    async with coordinator:
        store.hold()
        starting = asyncio.create_task(coordinator.start("forever", {}))
        await asyncio.sleep(0)
        store.release()
        record, _ = await starting
        runner = coordinator._turns.running[record.id]
        assert runner.inside() == Inside(None, None, None, [], None)
        await asyncio.sleep(1)
        inside = runner.inside()
        assert inside.stack is not None
        assert (inside.stack.wait, inside.stop, inside.sections) == (Wait.FUTURE, None, [])
        assert inside.waiter is not None
        assert inside.deadlines is not None
        await coordinator.shutdown(0)


async def test_a_runner_that_was_stopped_shows_its_stop() -> None:
    coordinator, _ = build([deaf])
    async with coordinator:
        task_id = await running(coordinator, "deaf", for_s=50)
        await coordinator.cancel_task(task_id)
        inside = coordinator._turns.running[task_id].inside()
        assert inside.stop is not None
        assert (inside.stop.cause, inside.stop.deliveries) == (Cause.CANCEL, 1)
