"""Deadlines of a record on the clock of the loop, the warnings of them, and the wait of a task."""

from __future__ import annotations

import asyncio

import pytest

from streaming.engine.timing import Wait, deadlines_now, loop_time, since, warn
from streaming.events import rfc3339
from streaming.records import Policy
from streaming.rules.deadlines import Deadlines, Due, Limit
from tests.engine.hubs import Desk
from tests.kit import EPOCH_S, types
from tests.stage import now

pytestmark = pytest.mark.clock("virtual")


async def test_a_time_of_a_record_is_a_time_of_the_loop() -> None:
    async with Desk() as desk:
        await asyncio.sleep(50)
        assert loop_time(desk.hub, rfc3339(EPOCH_S + 20)) == 20
        assert loop_time(desk.hub, rfc3339(EPOCH_S + 70)) == 70
        assert loop_time(desk.hub, rfc3339(EPOCH_S - 30)) == -30


async def test_what_has_happened_is_never_in_the_future() -> None:
    """The wall clock may have gone back since."""
    async with Desk() as desk:
        await asyncio.sleep(50)
        assert since(desk.hub, rfc3339(EPOCH_S + 20)) == 20
        assert since(desk.hub, rfc3339(EPOCH_S + 3600)) == 50


async def test_the_deadlines_of_a_task_are_those_of_its_status() -> None:
    async with Desk(deadline_warning_s=5) as desk:
        log = await desk.log()
        policy = Policy(queue_timeout_s=10, heartbeat_timeout_s=20, total_timeout_s=100)
        desk.hub.amend(log, policy=policy, timeout_s=30)
        await asyncio.sleep(50)
        deadlines = deadlines_now(desk.hub, log, desk.settings, 50)
        assert [deadlines.at(limit) for limit in (Limit.RUN, Limit.HEARTBEAT, Limit.TOTAL)] == [80, 70, 100]
        assert deadlines.at(Limit.QUEUE) == float("inf")
        assert deadlines.next_warning().warn_at == 66


async def test_a_warning_says_which_time_is_over_and_when() -> None:
    async with Desk() as desk:
        log = await desk.log()
        await asyncio.sleep(7)
        due = Due(Limit.RUN, 2, 10, 60)
        warn(desk.hub, log, due)
        assert due.warned
        await desk.hub.committed()
        [event] = await desk.store.events_after("a", 2, last_seq=9, limit=9)
        assert (event.type, event.data) == (
            "deadline_warning",
            {"deadline": "timeout_s", "at": rfc3339(EPOCH_S + 12), "remaining_s": 5},
        )


class Waiting:
    """A task that waits under two limits; what is over is written down."""

    def __init__(self, desk: Desk, queue_s: float, total_s: float = float("inf")) -> None:
        self.over: list[tuple[Limit, float]] = []
        self.log = desk.create()
        dues = [Due(Limit.QUEUE, now(), queue_s, 60), Due(Limit.TOTAL, now(), total_s, 60)]
        self.wait = Wait(desk.hub, self.log, Deadlines(dues), self.expired)
        self.desk = desk

    def expired(self, due: Due) -> None:
        self.over.append((due.limit, now()))

    async def told(self) -> list[str]:
        await self.desk.hub.committed()
        return types(await self.desk.store.events_after("a", 1, last_seq=9, limit=9))


async def test_a_wait_warns_and_ends_at_its_times() -> None:
    async with Desk() as desk:
        waiting = Waiting(desk, 100, 50)
        await asyncio.sleep(39)
        assert await waiting.told() == []
        await asyncio.sleep(2)
        assert await waiting.told() == ["deadline_warning"]
        await asyncio.sleep(1000)
        assert waiting.over == [(Limit.TOTAL, 50)]
        assert await waiting.told() == ["deadline_warning"]


async def test_a_wait_without_limits_looks_at_no_clock() -> None:
    async with Desk() as desk:
        waiting = Waiting(desk, float("inf"))
        assert waiting.wait._timer is None
        waiting.wait.deadlines.move(Limit.QUEUE, 10)
        waiting.wait.arm()
        await asyncio.sleep(1000)
        assert waiting.over == [(Limit.QUEUE, 10)]


async def test_a_limit_that_was_moved_is_warned_of_again() -> None:
    async with Desk() as desk:
        waiting = Waiting(desk, 100)
        await asyncio.sleep(90)
        waiting.wait.deadlines.move(Limit.QUEUE, 200)
        waiting.wait.arm()
        await asyncio.sleep(1000)
        assert await waiting.told() == ["deadline_warning"] * 2
        assert waiting.over == [(Limit.QUEUE, 200)]


async def test_a_wait_that_is_over_says_nothing_more() -> None:
    async with Desk() as desk:
        waiting = Waiting(desk, 100)
        waiting.wait.stop()
        waiting.wait.stop()
        await asyncio.sleep(1000)
        assert (waiting.over, await waiting.told()) == ([], [])


async def test_a_limit_that_has_passed_is_over_at_once() -> None:
    async with Desk() as desk:
        waiting = Waiting(desk, 100)
        await asyncio.sleep(50)
        waiting.wait.deadlines.move(Limit.QUEUE, 20)
        waiting.wait.arm()
        await asyncio.sleep(0.1)
        assert waiting.over == [(Limit.QUEUE, 50)]


async def test_a_timer_that_comes_too_early_is_set_again() -> None:
    """A loop may call one as much earlier as its clock is coarse."""
    async with Desk() as desk:
        waiting = Waiting(desk, 100)
        waiting.wait._look()
        assert (waiting.over, await waiting.told()) == ([], [])
        await asyncio.sleep(1000)
        assert waiting.over == [(Limit.QUEUE, 100)]
