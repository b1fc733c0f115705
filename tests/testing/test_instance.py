"""A killed instance does nothing any more, and the next one goes on with what it has stored."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from streaming import TaskContext, task
from streaming.engine.turns import Turns
from streaming.errors import StoreUnavailable, TaskNotFound
from streaming.records import TaskStatus
from streaming.testing.exploration import attempt, explore
from streaming.testing.faults import Faults
from streaming.testing.instance import Killed
from streaming.testing.order import Fifo
from streaming.testing.world import Violations, World, current_world
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


def lossy(world: World) -> None:
    """What was committed and not synced is gone with a crash; and everything is not synced."""
    world.faults = Faults(loss=1.0)


@pytest.mark.parametrize("ended", ["killed", "stopped", "never started"])
def test_who_is_killed_when_it_is_over_takes_nothing_with_it(ended: str) -> None:
    """Not what the next one has written meanwhile, either."""

    async def scenario(world: World) -> None:
        lossy(world)
        first = world.instance(HANDLERS, mortal=True)
        if ended != "never started":
            await first.__aenter__()
        if ended == "killed":
            first.kill()
        await first.stop()
        async with world.instance(HANDLERS) as second:
            await second.coordinator.start("work", {})
            first.kill()
            first.kill()
            assert len(world.disk.records()) == 1
            assert second.alive
        assert statuses(world) == [TaskStatus.INTERRUPTED] or statuses(world) == [TaskStatus.COMPLETED]

    once(scenario)


def test_who_is_killed_once_takes_what_was_not_synced() -> None:
    async def scenario(world: World) -> None:
        lossy(world)
        async with world.instance(HANDLERS, mortal=True) as instance:
            await instance.ask(instance.coordinator.start("work", {}))
            instance.kill()
            assert world.disk.records() == []

    once(scenario)


def test_one_that_was_killed_before_it_started_does_not_start() -> None:
    async def scenario(world: World) -> None:
        instance = world.instance(HANDLERS, mortal=True)
        instance.kill()
        with pytest.raises(Killed):
            await instance.__aenter__()
        assert instance.store.dead

    once(scenario)


@pytest.mark.parametrize("silent", [False, True])
def test_whoever_is_connected_hears_of_a_kill_unless_the_machine_is_gone_too(silent: bool) -> None:
    async def scenario(world: World) -> None:
        async with world.instance(HANDLERS, mortal=True) as instance:
            await instance.ask(_serve(world))
            reader, writer = await asyncio.open_connection("127.0.0.1", 8000)
            instance.kill(silent=silent)
            heard = asyncio.ensure_future(reader.read())
            await asyncio.wait({heard}, timeout=3600)
            assert heard.done() is not silent
            heard.cancel()
            writer.transport.abort()
            with pytest.raises(TimeoutError if silent else ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", 8000)

    once(scenario)


async def _serve(world: World) -> None:
    assert not world.network.servers
    world.props["server"] = await asyncio.start_server(_listens, "127.0.0.1", 8000)


async def _listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


# -- nothing is left --------------------------------------------------------------------------------------------------


def test_what_is_left_after_a_drain_is_a_problem_of_the_world() -> None:
    async def scenario(world: World) -> None:
        async with world.instance(HANDLERS) as instance:
            started, _ = await instance.coordinator.start("work", {})
            await instance.coordinator.wait(started.id, 100)
            instance.coordinator._family._children["nobody"] = {started.id: None}
        await instance.stop()

    with pytest.raises(Violations) as found:
        once(scenario)
    assert found.value.found == ("tables_empty_at_rest: 'children' has 1",)


def test_a_mistake_that_leaves_something_is_found_in_any_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turns, "ended", lambda self, task_id: None)

    async def scenario(world: World) -> None:
        async with world.instance(HANDLERS) as instance:
            started, _ = await instance.coordinator.start("work", {}, key="k")
            await instance.coordinator.wait(started.id, 100)

    found = explore(scenario, schedules=2).failure
    assert found is not None
    assert "tables_empty_at_rest" in str(found.error)


@task
async def deaf(ctx: TaskContext) -> None:
    """Swallow each cancel."""
    end: asyncio.Event = current_world().props["end"]
    while not end.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await end.wait()


def test_a_handler_that_does_not_listen_leaves_nothing_either() -> None:
    async def scenario(world: World) -> None:
        world.props["end"] = asyncio.Event()
        async with world.instance([deaf], grace_s=1.0, cancel_grace_s=0.5) as instance:
            await instance.coordinator.start("deaf", {})
            await world.sometime(world.stream("stop"), (1.0, 0.0, 0.1))
        if world.choices.told:
            assert [runner.stuck for runner in instance.coordinator.stuck] == [True]
        world.props["end"].set()

    plays(scenario)


def test_what_comes_and_goes_without_a_task_may_be_there_after_a_drain() -> None:
    async def scenario(world: World) -> None:
        async with world.instance(HANDLERS) as instance:
            instance.coordinator._starts._once._flights["key", "a"] = asyncio.ensure_future(_a_start())

    once(scenario)


async def _a_start() -> tuple[str, bool]:
    await asyncio.sleep(1000)
    return "", False


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
