"""A wake-up is never lost, whoever is first."""

from __future__ import annotations

import asyncio

import pytest

from streaming.engine.alarm import Alarm, Latch

pytestmark = pytest.mark.clock("virtual")


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_ring_before_the_wait_is_not_lost() -> None:
    alarm = Alarm()
    alarm.ring()

    await alarm.wait()

    assert now() == 0


async def test_a_ring_during_the_wait_ends_it() -> None:
    alarm = Alarm()
    asyncio.get_running_loop().call_later(7, alarm.ring)

    await alarm.wait()

    assert now() == 7


async def test_rings_are_not_counted_and_none_is_left_over() -> None:
    alarm = Alarm()
    alarm.ring()
    alarm.ring()
    await alarm.wait()

    await alarm.wait(until=5)

    assert now() == 5


async def test_a_wait_ends_at_its_time_without_a_ring() -> None:
    alarm = Alarm()

    await alarm.wait(until=3)
    await alarm.wait(until=2)

    assert now() == 3


async def test_a_ring_after_the_time_is_kept_for_the_next_wait() -> None:
    alarm = Alarm()
    await alarm.wait(until=3)
    alarm.ring()

    await alarm.wait()

    assert now() == 3


async def test_ring_and_time_in_the_same_step_wake_once() -> None:
    alarm = Alarm()
    asyncio.get_running_loop().call_at(3, alarm.ring)
    await alarm.wait(until=3)
    await asyncio.sleep(0)

    await alarm.wait(until=4)

    assert now() in (3, 4)  # a second look is allowed, a lost one is not


async def test_a_waiter_that_is_cancelled_loses_nothing_for_the_next_one() -> None:
    alarm = Alarm()
    waiting = asyncio.create_task(alarm.wait(until=100))
    await asyncio.sleep(1)
    alarm.ring()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    await alarm.wait()

    assert now() == 1


async def test_a_cancelled_wait_leaves_no_timer_behind() -> None:
    alarm = Alarm()
    waiting = asyncio.create_task(alarm.wait(until=100))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})

    await alarm.wait(until=200)  # at 100 nothing may wake this one

    assert now() == 200


async def test_a_latch_lets_all_go_who_wait_or_come_later() -> None:
    latch = Latch()
    gone: list[tuple[str, float]] = []

    async def wait(name: str) -> None:
        await latch.wait()
        gone.append((name, now()))

    async with asyncio.TaskGroup() as group:
        group.create_task(wait("first"))
        group.create_task(wait("second"))
        await asyncio.sleep(3)
        assert not latch.is_set()
        assert gone == []
        latch.set()
        assert latch.is_set()
        await asyncio.sleep(1)
        latch.set()
        await wait("late")

    assert gone == [("first", 3), ("second", 3), ("late", 4)]


async def test_a_latch_that_was_set_before_holds_nobody_up() -> None:
    latch = Latch()
    latch.set()

    await latch.wait()

    assert latch.is_set()
    assert now() == 0
