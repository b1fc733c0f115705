"""The traps of what waits: a queue, a timeout, ``asyncio.wait``, a server that is closed; and ours comes out clean.

As in ``test_standard_traps``: each program is what one writes at first.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import pytest

from streaming import TaskContext, TaskCoordinator, task
from streaming.errors import TaskTerminal, TaskUnsuccessful
from streaming.exit import STOP_S, STREAMS_END_S
from streaming.records import CancelOutcome, TaskStatus
from streaming.rules.lifecycle import TERMINAL
from streaming.testing.instance import Instance
from streaming.testing.loop import SimulatedLoop
from streaming.testing.world import World, settings_of
from tests.leftovers import leftovers
from tests.stage import rounds
from tests.testing.simulated_site import SimulatedSite, Visit
from tests.testing.traps import Trap, cancel_at_1, check_clean, check_found, name_of

# -- the traps --------------------------------------------------------------------------------------------------------


async def a_get_that_lost_its_race_has_an_item(world: World) -> None:
    """The get is over, and who waits for it is told of the deadline: nobody has the item, nor is it in the queue."""
    queue, taken = asyncio.Queue[int](), list[int]()

    async def consumer() -> None:
        getting = asyncio.create_task(queue.get())
        try:
            async with asyncio.timeout(1):
                await asyncio.wait({getting})
                taken.append(getting.result())
        except TimeoutError:
            getting.cancel()

    consuming = asyncio.create_task(consumer())
    await asyncio.sleep(0.999)
    for _ in range(world.stream("put").pick(4)):
        await asyncio.sleep(0)
    queue.put_nowait(1)
    await asyncio.wait([consuming])
    assert len(taken) + queue.qsize() == 1, "an item is gone"


async def a_shutdown_throws_away_what_is_in_the_queue(world: World) -> None:
    """With ``immediate`` it is as if all of it were done; without such a thing one puts an end into the queue."""
    queue, done = asyncio.Queue[int | None](), list[int]()

    async def consumer() -> None:
        while (item := await queue.get()) is not None:
            done.append(item)
            queue.task_done()
            await asyncio.sleep(0)

    consuming = asyncio.create_task(consumer())
    for number in range(3):
        queue.put_nowait(number)
    await asyncio.sleep(0)
    if sys.version_info >= (3, 13):
        queue.shutdown(immediate=True)
    else:
        queue.put_nowait(None)
    await asyncio.wait([consuming])
    assert done == [0, 1, 2]


async def a_deadline_is_not_told_to_who_is_cancelled_as_well(world: World) -> None:
    """The cancel wins, and there is no TimeoutError: what is to be done at the deadline is left out."""
    told = False
    scope = asyncio.timeout(1)

    async def worker() -> None:
        nonlocal told
        try:
            async with scope:
                await asyncio.sleep(5)
        except TimeoutError:
            told = True
        await asyncio.sleep(5)

    working = asyncio.create_task(worker())
    await cancel_at_1(world, working)
    assert working.cancelled(), "that much holds"
    assert told or not scope.expired(), "the time was over, and nobody was told"


async def who_takes_back_a_deadline_takes_back_a_cancel_as_well(world: World) -> None:
    """Of two cancels in one step one arrives: who takes it for the deadline, and takes it back, goes on for ever."""

    async def worker() -> None:
        async with asyncio.timeout(1) as scope:
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                if not scope.expired():
                    raise
                current = asyncio.current_task()
                assert current is not None
                current.uncancel()
        await asyncio.sleep(5)

    working = asyncio.create_task(worker())
    await cancel_at_1(world, working)
    assert working.cancelled(), "the cancel got lost"


async def of_nested_deadlines_the_inner_one_is_not_told(world: World) -> None:
    """Both are over in one step: the outer one has all of it."""
    told: list[str] = []
    try:
        async with asyncio.timeout(1):
            try:
                async with asyncio.timeout(1):
                    await asyncio.sleep(5)
            except TimeoutError:
                told.append("inner")
                raise
    except TimeoutError:
        told.append("outer")
    assert told == ["inner", "outer"]


async def a_cleanup_that_fails_hides_the_deadline(world: World) -> None:
    """Its error comes out, and says nothing of a time that was over."""

    async def worker() -> None:
        async with asyncio.timeout(1):
            try:
                await asyncio.sleep(5)
            finally:
                raise ValueError("no luck")

    with pytest.raises(ValueError, match="no luck") as raised:
        await worker()
    assert isinstance(raised.value.__context__, TimeoutError)


async def a_cancel_that_was_swallowed_comes_back_out_of_a_group(world: World) -> None:
    """It was never taken back, so a group in which something fails sends it once more."""

    async def fails() -> None:
        raise ValueError

    async def worker() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(5)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
        except* ValueError:
            pass
        await asyncio.sleep(5)

    working = asyncio.create_task(worker())
    await cancel_at_1(world, working)
    assert not working.cancelled(), "it was cancelled once, and has got over it"


async def a_wait_that_is_cancelled_leaves_its_tasks(world: World) -> None:
    """They go on, with nobody to hear of them."""
    running = 0

    async def child() -> None:
        nonlocal running
        running += 1
        await asyncio.sleep(5)
        running -= 1

    async def worker() -> None:
        await asyncio.wait([asyncio.create_task(child()) for _ in range(2)])

    await cancel_at_1(world, asyncio.create_task(worker()))
    await asyncio.sleep(1)
    assert not running, "somebody is still at work"


TRAPS = [
    Trap(a_get_that_lost_its_race_has_an_item),
    Trap(a_shutdown_throws_away_what_is_in_the_queue, since=(3, 13), ordinary=True),
    Trap(a_deadline_is_not_told_to_who_is_cancelled_as_well, ordinary=True),
    Trap(who_takes_back_a_deadline_takes_back_a_cancel_as_well, ordinary=True),
    Trap(of_nested_deadlines_the_inner_one_is_not_told, ordinary=True),
    Trap(a_cleanup_that_fails_hides_the_deadline, before=(3, 13), ordinary=True),
    Trap(a_cancel_that_was_swallowed_comes_back_out_of_a_group, since=(3, 13), ordinary=True),
    Trap(a_wait_that_is_cancelled_leaves_its_tasks, ordinary=True),
]


@pytest.mark.parametrize("trap", TRAPS, ids=name_of)
def test_a_trap_is_found_where_this_python_has_it(trap: Trap) -> None:
    check_found(trap)


async def test_a_server_that_is_closed_waits_for_its_clients_since_python_3_12() -> None:
    """A client that stays then keeps whoever waits for the end; before, nobody is waited for."""
    arrived = asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await arrived.wait()
    server.close()
    closing = asyncio.create_task(server.wait_closed())
    await rounds()

    assert closing.done() is (sys.version_info < (3, 12)), "with a client that does nothing"
    writer.close()
    async with asyncio.timeout(10):
        await closing
        await reader.read()


# -- what does not get caught in one -----------------------------------------------------------------------------------


def test_a_get_that_is_cancelled_itself_leaves_its_item_to_the_next_one() -> None:
    """Nobody is to put a task in between: that much asyncio promises, in each version."""

    async def scenario(world: World) -> None:
        queue, taken = asyncio.Queue[int](), list[int]()

        async def takes() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    taken.append(await queue.get())

        async def waits() -> None:
            taken.append(await queue.get())

        taking, waiting = asyncio.create_task(takes()), asyncio.create_task(waits())
        await asyncio.sleep(0.999)
        for _ in range(world.stream("put").pick(4)):
            await asyncio.sleep(0)
        queue.put_nowait(1)
        await asyncio.wait([taking])
        if not taken:
            await waiting
        waiting.cancel()
        await asyncio.wait([waiting])
        assert taken == [1]

    check_clean(scenario)


def test_a_deadline_after_a_cancel_that_was_swallowed_is_told_all_the_same() -> None:
    """It counts what was there before, and leaves it as it was."""

    async def scenario(world: World) -> None:
        told: list[tuple[int, bool]] = []

        async def worker() -> None:
            current = asyncio.current_task()
            assert current is not None
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(5)
            for _ in range(2):
                scope = asyncio.timeout(0.5)
                try:
                    async with scope:
                        await asyncio.sleep(5)
                except TimeoutError:
                    told.append((current.cancelling(), scope.expired()))

        await cancel_at_1(world, asyncio.create_task(worker()))
        assert told == [(1, True)] * 2

    check_clean(scenario)


@task
async def sleeps(ctx: TaskContext) -> None:
    """Sleep, and tell why that is over."""
    try:
        await asyncio.sleep(100)
    except asyncio.CancelledError as cancelled:
        await ctx.emit("stopped", {"why": str(cancelled)})
        raise


def test_a_cancel_and_a_deadline_in_one_step_are_one_end_and_its_cause_is_the_one_that_arrived() -> None:
    """Whoever comes first has it, in the log, in the record and in what the handler hears; both orders come up."""
    ends: set[str] = set()

    async def scenario(world: World) -> None:
        async with world.instance([sleeps], cancel_grace_s=2.0) as instance:
            record, _ = await instance.coordinator.start("sleeps", {}, timeout_s=1.0)
            await cancelled_about_its_deadline(world, instance.coordinator, record.id)
            ended = await instance.coordinator.wait(record.id, 100)
            await asyncio.sleep(1)
            assert leftovers(instance.coordinator) == {}
        log = world.disk.log(record.id)
        (end,) = [event.type for event in log if event.type in TERMINAL]
        (heard,) = [event.data["why"] for event in log if event.type == "stopped"]
        assert end == ended.status == {"cancel": "cancelled", "timeout": "timed_out"}[heard.removeprefix("streaming: ")]
        assert ended.error is not None
        assert ended.error.code == end
        ends.add(end)

    check_clean(scenario, 300)
    assert ends == {"cancelled", "timed_out"}


async def cancelled_about_its_deadline(world: World, coordinator: TaskCoordinator, task_id: str) -> None:
    """Cancel a task in a step near its deadline; what is said of that is true in the end."""
    chance = world.stream("cancel")
    await asyncio.sleep(chance.draw((0.999, 1.0, 1.001)))
    for _ in range(chance.pick(6)):
        await asyncio.sleep(0)
    with contextlib.suppress(TaskTerminal):
        receipt = await coordinator.cancel_task(task_id, wait_s=50)
        world.receipts.append((task_id, receipt))
        status = (await coordinator.get(task_id)).status
        assert (receipt.outcome is CancelOutcome.STOPPED) is (status is TaskStatus.CANCELLED)


@task
async def ticks(ctx: TaskContext) -> None:
    """Tell something at each moment at which readers give up."""
    for number in range(6):
        await asyncio.sleep(0.5)
        await ctx.emit("tick", {"n": number})


def test_a_reader_that_gives_up_in_the_step_in_which_an_event_comes_misses_nothing() -> None:
    """What a queue loses: the cursor moves when the events are handed over, and not before."""

    async def scenario(world: World) -> None:
        async with world.instance([ticks], window_events_max=world.stream("window").draw((1024, 1))) as instance:
            record, _ = await instance.coordinator.start("ticks", {})
            reader = await instance.coordinator.watch(record.id)
            seen: list[int] = []
            while not reader.finished:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        batch = await reader.next()
                        seen += [event.seq for event in batch.events] if batch is not None else []
            reader.close()
        assert seen == [event.seq for event in world.disk.log(record.id)]

    check_clean(scenario)


@task
async def waits_for_two(ctx: TaskContext) -> None:
    """Fall into the trap: nobody cancels what it waits for."""
    children = [await ctx.start("sleeps", {}) for _ in range(2)]
    await asyncio.wait([asyncio.create_task(child.result(), name="waits for a child") for child in children])


def test_what_a_handler_has_waited_for_ends_with_it() -> None:
    """Its tasks are the server's to end; those of asyncio that waited for them are told, and end as well."""

    async def scenario(world: World) -> None:
        world.expected = (TaskUnsuccessful,)  # nobody is left to see it
        async with world.instance([sleeps, waits_for_two], cancel_grace_s=2.0) as instance:
            record, _ = await instance.coordinator.start("waits_for_two", {})
            await asyncio.sleep(1)
            await world.sometime(world.stream("cancel"))
            await instance.coordinator.cancel_task(record.id, wait_s=50)
            await asyncio.sleep(5)
            assert {each.status for each in world.disk.records()} == {TaskStatus.CANCELLED}
            assert leftovers(instance.coordinator) == {}
            assert "waits for a child" not in {each.get_name() for each in asyncio.all_tasks()}

    check_clean(scenario)


def test_a_drain_is_not_held_up_by_clients_who_stay() -> None:
    """The simulated server waits for them on each version, as that of asyncio does now."""

    async def scenario(world: World) -> None:
        assert isinstance(world.loop, SimulatedLoop)
        instance = world.instance([sleeps], mortal=True, grace_s=4.0)
        async with instance:
            site = SimulatedSite(world.network, instance, settings_of(grace_s=4.0))
            await site.open()
            staying = await clients_who_stay(instance)
            begun = world.loop.time()
            await site.drain()
            assert world.loop.time() - begun <= 4.0 + STREAMS_END_S + STOP_S
            assert site.leftovers() == {}
        for visit in staying:
            visit.leave()

    check_clean(scenario, 40)


async def clients_who_stay(instance: Instance) -> list[Visit]:
    """One who says nothing, one whose answer came, and one who reads a log that goes on."""
    record, _ = await instance.ask(instance.coordinator.start("sleeps", {}))
    silent, answered, reading = [await Visit.begin() for _ in range(3)]
    await answered.body(await answered.ask("GET", f"/tasks/{record.id}"))
    await reading.ask("GET", f"/tasks/{record.id}/events", Accept="text/event-stream")
    return [silent, answered, reading]
