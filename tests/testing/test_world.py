"""What a scenario is given, and what is looked at in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from streaming.errors import StoreUnavailable
from streaming.records import TaskStatus
from streaming.testing.choices import Trace
from streaming.testing.clock import EPOCH_S
from streaming.testing.exploration import attempt, explore, replay
from streaming.testing.faults import CALM, STORMY, Faults
from streaming.testing.instance import Killed
from streaming.testing.network import SimulatedNetwork
from streaming.testing.order import Uniform
from streaming.testing.weather import FOUL
from streaming.testing.world import Violations, World, current_world
from tests.testing.handlers import HANDLERS

Scenario = Callable[[World], Coroutine[Any, Any, None]]


def plays(scenario: Scenario, seed: int = 0) -> None:
    error = attempt(scenario, seed, Uniform(seed)).error
    if error is not None:
        raise error


def test_ids_are_counted() -> None:
    async def scenario(world: World) -> None:
        assert [world.new_id() for _ in range(2)] == [f"{1:032x}", f"{2:032x}"]

    plays(scenario)


def test_a_problem_is_noted_and_fails_in_the_end_once() -> None:
    reached: list[str] = []

    async def scenario(world: World) -> None:
        world.must(True, "fine")
        world.must([], "it rains")
        world.must(None, "it rains")
        world.must(0, "it snows")
        reached.append("end")

    with pytest.raises(Violations) as raised:
        plays(scenario)

    assert raised.value.found == ("it rains", "it snows")
    assert str(raised.value) == "it rains\nit snows"
    assert reached == ["end"]


def test_what_is_stored_is_checked_with_the_list_of_the_server() -> None:
    async def scenario(world: World) -> None:
        async with world.instance(HANDLERS) as instance:
            started, _ = await instance.coordinator.start("work", {})
            await instance.coordinator.wait(started.id, 100)
        (record,) = world.disk.records()
        world.disk._store._tasks[record.id].events.pop()

    with pytest.raises(Violations, match="last"):
        plays(scenario)


def test_a_receipt_that_fits_no_wish_is_a_problem() -> None:
    async def scenario(world: World) -> None:
        async with world.instance(HANDLERS) as instance:
            started, _ = await instance.coordinator.start("work", {"ticks": 50})
            await asyncio.sleep(1)
            receipt = await instance.coordinator.cancel_task(started.id, wait_s=10)
            if world.stream("lie").pick(2):
                receipt = replace(receipt, by="somebody else")
            world.receipts.append((started.id, receipt))

    assert replay(scenario, Trace()).error is None
    assert isinstance(replay(scenario, Trace.parse("lie:0=1")).error, Violations)


def test_a_world_without_a_server_has_nothing_stored() -> None:
    async def scenario(world: World) -> None:
        await asyncio.sleep(1)

    plays(scenario)


def test_time_passes_by_choice_and_not_at_all_in_a_plain_run() -> None:
    async def scenario(world: World) -> None:
        chance = world.stream("pause")
        times = set()
        for _ in range(40):
            begin = world.loop.time()
            await world.sometime(chance, (0.0, 0.5, 7.0))
            times.add(round(world.loop.time() - begin, 6))
        world.props["times"] = times
        assert times == ({0.0} if world.choices.told else {0.0, 0.5, 7.0})

    plays(scenario)
    assert replay(scenario, Trace()).error is None


def test_handlers_find_their_world_and_nobody_else_does() -> None:
    async def scenario(world: World) -> None:
        assert current_world() is world
        async with world.instance(HANDLERS) as instance:
            started, _ = await instance.coordinator.start("told", {})
            await instance.coordinator.cancel_task(started.id, wait_s=10)

    plays(scenario)
    with pytest.raises(RuntimeError, match="no simulated world"):
        asyncio.run(asks_for_the_world())


async def asks_for_the_world() -> World:
    return current_world()


def test_the_clock_of_an_instance_may_be_wrong() -> None:
    begins: set[float] = set()

    async def scenario(world: World) -> None:
        world.faults = Faults(skew_s=5.0)
        async with world.instance(HANDLERS) as instance:
            begins.add(instance._wall() - EPOCH_S)

    for seed in range(40):
        plays(scenario, seed)

    assert 0.0 in begins
    assert min(begins) < -1
    assert max(begins) > 1
    assert all(abs(begin) <= 5 for begin in begins)


def test_an_instance_can_die_if_the_faults_of_the_world_kill_it() -> None:
    async def scenario(world: World) -> None:
        assert not world.instance(HANDLERS)._mortal
        world.faults = STORMY
        assert world.instance(HANDLERS)._mortal
        assert not world.instance(HANDLERS, mortal=False)._mortal

    plays(scenario)


def test_an_instance_that_is_not_mortal_outlives_a_world_that_kills() -> None:
    """And the crashes are left for those that are."""

    async def scenario(world: World) -> None:
        world.faults = Faults(crash=1.0)
        async with world.instance(HANDLERS, mortal=False) as instance:
            started, _ = await instance.coordinator.start("work", {})
            await instance.coordinator.wait(started.id, 100)
            assert instance.store.failures == 0
        assert (world.disk.crashes, world.stream("store-1").taken) == (0, 0)
        with pytest.raises(Killed):
            async with world.instance(HANDLERS) as mortal:
                await mortal.ask(mortal.coordinator.start("work", {}))
        assert world.disk.crashes == 1

    plays(scenario)


def test_what_are_no_faults_is_refused_where_it_is_set() -> None:
    async def scenario(world: World) -> None:
        for wrong in (FOUL, None, "rain"):
            with pytest.raises(TypeError, match=r"Faults\(\.\.\.\), CALM or STORMY, and not"):
                world.faults = wrong  # type: ignore[assignment]  # that is the mistake
        assert world.faults is CALM

    plays(scenario)


def test_readers_and_instances_are_kept_and_named_in_their_order() -> None:
    async def scenario(world: World) -> None:
        assert [world.reader().name, world.reader("browser").name] == ["reader-1", "browser-2"]
        assert [world.instance(HANDLERS).number for _ in range(2)] == [1, 2]
        assert (len(world.readers), len(world.instances)) == (2, 2)

    plays(scenario)


def test_a_stormy_world_is_survived() -> None:
    async def scenario(world: World) -> None:
        world.faults = STORMY
        for _ in range(STORMY.crashes_max + 1):
            try:
                async with world.instance(HANDLERS) as instance:
                    started, _ = await instance.ask(instance.coordinator.start("work", {}))
                    await world.reader().follow(instance, started.id)
            except (Killed, StoreUnavailable):
                continue
        async with world.instance(HANDLERS, mortal=False) as instance:
            instance.store.steady = True
            await asyncio.sleep(100)
        assert all(record.status is not TaskStatus.RUNNING for record in world.disk.records())

    for seed in range(30):
        plays(scenario, seed)


def test_in_a_calm_world_nothing_is_decided_but_the_order() -> None:
    async def scenario(world: World) -> None:
        assert world.faults is CALM
        async with world.instance(HANDLERS) as instance:
            started, _ = await instance.coordinator.start("work", {})
            await instance.coordinator.wait(started.id, 100)
        assert {choice.stream for choice in world.choices.trace} <= {"schedule", "clock"}

    plays(scenario)


def test_a_stream_of_a_world_is_one_of_its_choices() -> None:
    async def scenario(world: World) -> None:
        assert world.stream("a") is world.choices.stream("a")

    plays(scenario)


def test_a_network_that_the_loop_has_already_is_that_of_the_world() -> None:
    async def scenario(world: World) -> None:
        made = SimulatedNetwork(world.loop, FOUL)
        assert world.network is made

    plays(scenario)


def test_a_setting_of_an_instance_that_does_not_exist_is_refused() -> None:
    async def scenario(world: World) -> None:
        with pytest.raises(TypeError, match="no setting 'cancel_grace': do you mean 'cancel_grace_s'"):
            world.instance(HANDLERS, cancel_grace=3)
        with pytest.raises(TypeError, match=r"memory_events_max is no setting of a simulated instance: world\.disk"):
            world.instance(HANDLERS, memory_events_max=7)
        with pytest.raises(ValueError, match="grace_s"):
            world.instance(HANDLERS, grace_s=-1)
        assert world.instances == []

    plays(scenario)


def test_a_world_has_a_network_of_its_own() -> None:
    async def scenario(world: World) -> None:
        network = world.network
        assert world.network is network is world.loop.network
        with pytest.raises(RuntimeError, match=r"world\.network"):
            SimulatedNetwork(world.loop)

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(4))
            writer.close()

        async with await asyncio.start_server(echo, "127.0.0.1", 8000):
            reader, writer = await asyncio.open_connection("127.0.0.1", 8000)
            writer.write(b"ping")
            assert await reader.read() == b"ping"
            writer.close()

    assert explore(scenario, schedules=20).failure is None
