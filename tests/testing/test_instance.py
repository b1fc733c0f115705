"""A killed instance does nothing any more, and the next one goes on with what it has stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from streaming.errors import StoreUnavailable, TaskNotFound
from streaming.records import TaskStatus
from streaming.testing.exploration import attempt, explore
from streaming.testing.faults import Faults
from streaming.testing.instance import Killed
from streaming.testing.order import Fifo
from streaming.testing.world import World
from tests.testing.handlers import HANDLERS

Scenario = Callable[[World], Coroutine[Any, Any, None]]


def plays(scenario: Scenario, schedules: int = 30) -> None:
    """It holds in each of these schedules."""
    found = explore(scenario, schedules=schedules)
    assert found.failure is None, str(found.failure)


def once(scenario: Scenario) -> None:
    tried = attempt(scenario, 0, Fifo())
    if tried.error is not None:
        raise tried.error


def statuses(world: World) -> list[TaskStatus]:
    return [record.status for record in world.disk.records()]


def test_an_instance_runs_tasks_until_it_is_left() -> None:
    async def scenario(world: World) -> None:
        async with world.instance(HANDLERS) as instance:
            up = [instance.alive]
            started, _ = await instance.coordinator.start("work", {})
            await instance.coordinator.wait(started.id, 100)
        assert [*up, instance.alive] == [True, False]
        assert statuses(world) == [TaskStatus.COMPLETED]

    plays(scenario)


def test_the_settings_of_an_instance_are_given_by_name() -> None:
    async def scenario(world: World) -> None:
        async with world.instance(HANDLERS, max_running=1) as instance:
            for _ in range(2):
                await instance.coordinator.start("work", {})
            await asyncio.sleep(0.5)
            assert sorted(statuses(world)) == [TaskStatus.PENDING, TaskStatus.RUNNING]

    once(scenario)


def test_who_leaves_drains_and_is_waited_for() -> None:
    async def scenario(world: World) -> None:
        async with world.instance(HANDLERS, grace_s=5.0) as instance:
            await instance.coordinator.start("told", {})
            await asyncio.sleep(1)
        assert world.props["notes"][-2:] == ["cleanup", "cleaned"]
        assert statuses(world) == [TaskStatus.INTERRUPTED]
        await instance.stop()

    plays(scenario)


def test_nothing_of_a_killed_instance_runs_or_is_stored_any_more() -> None:
    async def scenario(world: World) -> None:
        chance = world.stream("killer")
        instance = world.instance(HANDLERS, mortal=True)
        with pytest.raises(Killed):  # noqa: PT012  # it is killed somewhere in there
            async with instance:
                for type in ("told", "work"):
                    await instance.ask(instance.coordinator.start(type, {}))
                asking = asyncio.ensure_future(instance.ask(instance.coordinator.wait(f"{1:032x}", 100)))
                await world.sometime(chance, (1.2, 0.0, 0.001, 0.5))
                instance.kill()
                before = (len(world.props.get("notes", [])), world.disk.commits)
                assert (instance.alive, instance.store.dead) == (False, True)
                await asking
        await asyncio.sleep(200)
        world.must((len(world.props.get("notes", [])), world.disk.commits) == before, "the dead do something")
        world.must("cleanup" not in world.props.get("notes", []), "the dead clean up")

    plays(scenario, 60)


def test_who_asks_a_killed_instance_is_told_so() -> None:
    async def scenario(world: World) -> None:
        async with world.instance(HANDLERS, mortal=True) as instance:
            instance.kill()
            instance.kill()
            with pytest.raises(Killed, match="was killed"):
                await instance.ask(instance.coordinator.start("work", {}))
        await instance.stop()

    once(scenario)


def test_what_is_asked_raises_what_it_raises() -> None:
    for mortal in (True, False):

        async def scenario(world: World, mortal: bool = mortal) -> None:
            async with world.instance(HANDLERS, mortal=mortal) as instance:
                with pytest.raises(TaskNotFound):
                    await instance.ask(instance.coordinator.watch("nobody"))

        once(scenario)


def test_who_stops_asking_cancels_what_was_asked() -> None:
    async def scenario(world: World) -> None:
        async with world.instance(HANDLERS, mortal=True) as instance:
            started, _ = await instance.ask(instance.coordinator.start("work", {"ticks": 50}))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):
                    await instance.ask(instance.coordinator.wait(started.id, 100))
            await asyncio.sleep(0.1)
            requests = [task for task in world.loop.tasks() if task.get_name() == "request"]
            assert requests == []

    once(scenario)


def test_an_instance_that_is_not_made_for_it_cannot_be_killed() -> None:
    async def scenario(world: World) -> None:
        async with world.instance(HANDLERS) as instance:
            with pytest.raises(ValueError, match="mortal=True"):
                instance.kill()

    once(scenario)


def test_an_instance_may_die_while_it_starts() -> None:
    async def scenario(world: World) -> None:
        world.faults = Faults(store_delay=1.0)
        instance = world.instance(HANDLERS, mortal=True)
        killing = asyncio.ensure_future(asyncio.sleep(0))
        killing.add_done_callback(lambda _: instance.kill())
        try:
            async with instance:
                pass
        except Killed:
            world.props["killed"] = True
        world.props.setdefault("killed", False)
        assert not instance.alive

    plays(scenario, 40)


def test_an_instance_that_cannot_start_says_why() -> None:
    async def scenario(world: World) -> None:
        instance = world.instance(HANDLERS, mortal=True)
        instance.store.cut_off()
        with pytest.raises(StoreUnavailable, match="dead"):
            await instance.__aenter__()

    once(scenario)


def test_the_next_instance_goes_on_with_what_is_stored() -> None:
    async def scenario(world: World) -> None:
        chance = world.stream("killer")
        first = world.instance(HANDLERS, mortal=True)
        async with first:
            for type in ("work", "again"):
                await first.ask(first.coordinator.start(type, {}))
            await world.sometime(chance, (1.5, 0.0, 0.3, 4.0))
            first.kill()
        left = statuses(world)
        async with world.instance(HANDLERS) as second:
            for record in world.disk.records():
                await second.coordinator.wait(record.id, 100)
        if left == [TaskStatus.RUNNING, TaskStatus.RUNNING]:
            assert statuses(world) == [TaskStatus.INTERRUPTED, TaskStatus.COMPLETED]
        assert TaskStatus.RUNNING not in statuses(world)

    plays(scenario, 60)


def test_a_reader_goes_on_in_the_next_instance_without_gap_or_duplicate() -> None:
    lives: list[int] = []

    async def scenario(world: World) -> None:
        world.faults = Faults(store_delay=0.2, crash=0.2, crashes_max=3)
        readers = [world.reader() for _ in range(2)]
        for _ in range(4):
            try:
                async with world.instance(HANDLERS) as instance:
                    if not world.disk.records():
                        await instance.ask(instance.coordinator.start("again", {}))
                    (record,) = world.disk.records()
                    follow = (each.follow(instance, record.id) for each in readers)
                    await asyncio.gather(*follow)
                    break
            except Killed:
                continue
        lives.append(len(world.instances))
        assert all(reader.ended for reader in readers)
        log = {event.seq for event in world.disk.log(readers[0].task_id)}
        assert [*readers[0].seen] == [*readers[1].seen] == sorted(log)

    plays(scenario, 80)
    assert max(lives) >= 3
