"""The traps of asyncio: the kit finds each of them where this Python has it, and what we use instead comes out clean.

Each program is what one writes at first. It holds in the order in which asyncio happens to run it, or nearly always.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import cast

import pytest

from streaming import TaskContext, task
from streaming.engine.alarm import Alarm, Latch
from streaming.engine.committer import Committer
from streaming.engine.journal import Commit, Journal
from streaming.engine.keys import KeyCounts
from streaming.engine.limits import LimitsHit
from streaming.engine.once import Once
from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.records import IdempotencyKey, Record, TaskStatus
from streaming.testing.faults import Faults
from streaming.testing.instance import Instance
from streaming.testing.store import SimulatedStore
from streaming.testing.world import World
from tests.testing.traps import Trap, cancelled_sometime, check_clean, check_found, name_of

TIME = "2001-09-09T01:46:40.000000Z"


# -- the traps --------------------------------------------------------------------------------------------------------


async def wait_for_swallows_a_cancel(world: World) -> None:
    """When the cancel comes in the step in which the future is done, its result is returned, and the cancel is gone."""

    async def worker() -> None:
        ready = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1, ready.set_result, None)
        await asyncio.wait_for(ready, 10)
        await asyncio.sleep(5)

    await cancelled_sometime(world, worker())


async def a_nested_group_swallows_a_cancel(world: World) -> None:
    """When a child fails in the same step, the group takes the cancel for its own."""

    async def fails() -> None:
        await asyncio.sleep(1)
        raise ValueError

    async def worker() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
        except* ValueError:
            pass
        await asyncio.sleep(5)

    await cancelled_sometime(world, worker())


async def a_notify_is_lost_to_a_cancelled_waiter(world: World) -> None:
    """The one who was woken is cancelled before it goes on, and nobody else is woken instead."""
    condition, items, got = asyncio.Condition(), list[int](), list[int]()

    async def takes() -> None:
        async with condition:
            while not items:
                await condition.wait()
            got.append(items.pop())

    first, second = asyncio.create_task(takes()), asyncio.create_task(takes())
    await asyncio.sleep(1)

    async def gives() -> None:
        async with condition:
            items.append(1)
            condition.notify()

    giving = asyncio.create_task(gives())
    for _ in range(world.stream("cancel").pick(6)):
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first, giving])
    if first.cancelled():
        await second
    second.cancel()
    await asyncio.wait([second])
    assert got == [1]


async def an_event_is_cleared_before_the_wait(world: World) -> None:
    """What was set between the look and the clear is not seen."""
    event, items = asyncio.Event(), list[int]()

    async def consumer() -> None:
        while len(items) < 2:
            await asyncio.sleep(0)
            event.clear()
            await event.wait()

    async def producer() -> None:
        for number in range(2):
            for _ in range(3):
                await asyncio.sleep(0)
            items.append(number)
            event.set()

    await asyncio.gather(consumer(), producer())


async def a_shield_does_not_hold_a_second_cancel(world: World) -> None:
    """What is shielded goes on, and who waits for it does not."""
    saved = False

    async def save() -> None:
        nonlocal saved
        await asyncio.sleep(0.01)
        saved = True

    async def worker() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.shield(save())

    task = asyncio.create_task(worker())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.sleep(0.02)  # in the ordinary order that is long enough
    task.cancel()
    await asyncio.wait([task])
    assert saved, "it has ended before it was saved"


async def a_cancel_before_the_first_step_skips_the_cleanup(world: World) -> None:
    """The coroutine is never entered, so that its ``finally`` is not there."""
    running = 0

    async def worker() -> None:
        nonlocal running
        try:
            await asyncio.sleep(5)
        finally:
            running -= 1

    running += 1
    task = asyncio.create_task(worker())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert running == 0


async def a_gather_in_a_loop_spins(world: World) -> None:
    """Those that have ended are taken out by a callback, which does not run as long as the loop does not."""

    async def ends_early() -> None:
        return

    tasks = {asyncio.create_task(ends_early()) for _ in range(3)}
    for each in tasks:
        each.add_done_callback(tasks.discard)
    await asyncio.sleep(0)
    rounds = 0
    while tasks:
        rounds += 1
        assert rounds < 100, "it spins"
        await asyncio.gather(*tasks)


TRAPS = [
    Trap(wait_for_swallows_a_cancel, before=(3, 12), ordinary=True),
    Trap(a_nested_group_swallows_a_cancel, before=(3, 13), ordinary=True),
    Trap(a_notify_is_lost_to_a_cancelled_waiter, before=(3, 13)),
    Trap(an_event_is_cleared_before_the_wait),
    Trap(a_shield_does_not_hold_a_second_cancel),
    Trap(a_cancel_before_the_first_step_skips_the_cleanup),
    Trap(a_gather_in_a_loop_spins, since=(3, 12), ordinary=True),
]


@pytest.mark.parametrize("trap", TRAPS, ids=name_of)
def test_a_trap_is_found_where_this_python_has_it(trap: Trap) -> None:
    check_found(trap)


# -- what we use instead ----------------------------------------------------------------------------------------------


def test_a_ring_of_an_alarm_is_never_lost() -> None:
    async def scenario(world: World) -> None:
        alarm, items = Alarm(), list[int]()

        async def consumer() -> None:
            while len(items) < 2:
                await asyncio.sleep(0)
                await alarm.wait()

        async def producer() -> None:
            for number in range(2):
                for _ in range(3):
                    await asyncio.sleep(0)
                items.append(number)
                alarm.ring()

        await asyncio.gather(consumer(), producer())

    check_clean(scenario)


def test_a_ring_that_a_cancelled_waiter_got_is_there_for_the_next_one() -> None:
    async def scenario(world: World) -> None:
        alarm = Alarm()
        first = asyncio.create_task(alarm.wait())
        await asyncio.sleep(1)
        ringing = asyncio.get_running_loop().call_later(0.01, alarm.ring)
        for _ in range(world.stream("cancel").pick(4)):
            await asyncio.sleep(0.005)
        first.cancel()
        await asyncio.wait([first])
        if first.cancelled():
            await alarm.wait()
        assert not ringing.cancelled()

    check_clean(scenario)


def test_an_alarm_with_an_end_returns_at_it_and_does_not_swallow_a_cancel() -> None:
    async def scenario(world: World) -> None:
        alarm = Alarm()

        async def worker() -> None:
            asyncio.get_running_loop().call_later(1, alarm.ring)
            await alarm.wait(asyncio.get_running_loop().time() + 1)
            await asyncio.sleep(5)

        await cancelled_sometime(world, worker())

    check_clean(scenario)


def test_a_latch_wakes_all_whenever_they_come() -> None:
    async def scenario(world: World) -> None:
        latch, awake = Latch(), list[int]()

        async def waits(number: int) -> None:
            for _ in range(number):
                await asyncio.sleep(0)
            await latch.wait()
            awake.append(number)

        async def sets() -> None:
            for _ in range(2):
                await asyncio.sleep(0)
            latch.set()
            latch.set()

        cancelled = asyncio.create_task(waits(0))
        async with asyncio.TaskGroup() as group:
            for number in range(1, 5):
                group.create_task(waits(number))
            group.create_task(sets())
            cancelled.cancel()
        await asyncio.wait([cancelled])
        assert sorted(each for each in awake if each) == [1, 2, 3, 4]

    check_clean(scenario)


@task
async def work(ctx: TaskContext) -> None:
    await asyncio.sleep(1)


def test_starts_with_one_key_come_one_after_the_other_though_who_asked_first_is_cancelled() -> None:
    async def scenario(world: World) -> None:
        world.faults = Faults(store_delay=0.5)
        flying, most = 0, 0
        async with world.instance([work]) as instance:
            once = Once(
                cast(Journal, instance.store), 100, KeyCounts(cast(Journal, instance.store), 100, None, LimitsHit())
            )

            async def create(key: IdempotencyKey) -> tuple[Record, bool]:
                nonlocal flying, most
                flying += 1
                most = max(most, flying)
                await world.sometime(world.stream("create"))
                record, created = await instance.coordinator.start("work", {})
                flying -= 1
                return record, created

            wanted = IdempotencyKey("k", "anybody", "f", "", TIME)
            asking = [asyncio.create_task(once.start(wanted, create)) for _ in range(3)]
            await world.sometime(world.stream("cancel"))
            asking[0].cancel()
            await asyncio.wait(asking)
            await asyncio.sleep(50)
            assert (most, flying, once._flights) == (1, 0, {}), "one at a time, and nobody is left in the air"

    check_clean(scenario)


def test_whoever_waits_for_a_commit_is_woken_once_it_took_place_or_told_that_it_never_will() -> None:
    seen: set[str] = set()

    async def scenario(world: World) -> None:
        store = SimulatedStore(world.disk, Faults(store_delay=0.5), world.stream("store"), lambda: None)
        record = Record("a", "work", TaskStatus.RUNNING, {}, 60.0, TIME, TIME)
        await store.commit(Commit([Event("a", 1, "running", TIME, "{}")], created=[record]))
        committer = Committer(cast(Journal, store), lambda *_: None, events_max=2)
        committer.open(asyncio.get_running_loop())
        seqs, told = itertools.count(2), list[str]()

        async def writes(number: int) -> None:
            await world.sometime(world.stream(f"writer-{number}"), (0.0, 0.01))
            seq = next(seqs)
            committer.submit(Event("a", seq, "tick", TIME, "{}"))
            try:
                await committer.committed()
            except StoreUnavailable:
                told.append("never")
            else:
                told.append("stored" if ("a", seq) in world.disk.events else "too early")

        async def closes() -> None:
            await world.sometime(world.stream("closer"), (5.0, 0.0, 0.01))
            await committer.close(asyncio.get_running_loop().time() + 10)

        leaver = asyncio.create_task(committer.committed())
        writers = [asyncio.create_task(writes(number)) for number in range(3)]
        leaver.cancel()
        await asyncio.gather(*writers, closes())
        await asyncio.wait([leaver])
        assert len(told) == 3
        seen.update(told)
        world._disk = None  # a log that was written by hand is not what it is about

    check_clean(scenario)
    assert seen == {"stored", "never"}


@task
async def swallower(ctx: TaskContext) -> None:
    """All traps in one handler."""
    ready = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(1, ready.set_result, None)
    await asyncio.wait_for(ready, 10)
    with contextlib.suppress(Exception):
        async with asyncio.TaskGroup() as group:
            group.create_task(fails_soon())
    await ctx.emit("late")


async def fails_soon() -> None:
    await asyncio.sleep(0.01)
    raise ValueError


def test_the_runner_tells_the_truth_about_a_handler_that_falls_into_all_of_them() -> None:
    """A cancel that was delivered decides, whatever the handler made of it; one that came too late is told as that."""
    ends: set[str] = set()

    async def scenario(world: World) -> None:
        async with world.instance([swallower]) as instance:
            await live(world, instance)
        (record,) = world.disk.records()
        assert record.cancel is not None or record.status is TaskStatus.COMPLETED
        ends.add(record.status.value)

    async def live(world: World, instance: Instance) -> None:
        started, _ = await instance.coordinator.start("swallower", {})
        await asyncio.sleep(1)
        for _ in range(world.stream("cancel").pick(6)):
            await asyncio.sleep(0)
        with contextlib.suppress(Exception):
            world.receipts.append((started.id, await instance.coordinator.cancel_task(started.id, wait_s=50)))
        await instance.coordinator.wait(started.id, 100)

    check_clean(scenario, 200)
    assert "cancelled" in ends
