"""A reader forgives nothing: what comes too early, twice, with other bytes or not at all is a problem."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from streaming.engine.hub import Hub
from streaming.engine.log import Log
from streaming.testing.exploration import Exploration, attempt, explore
from streaming.testing.faults import Faults
from streaming.testing.instance import Killed
from streaming.testing.order import Fifo
from streaming.testing.reader import Reader
from streaming.testing.store import SimulatedDisk
from streaming.testing.world import Violations, World
from tests.testing.handlers import HANDLERS


async def two_readers(world: World) -> None:
    world.faults = Faults(store_delay=0.5)
    async with world.instance(HANDLERS, window_events_max=world.stream("window").draw((1024, 1, 2))) as instance:
        started, _ = await instance.coordinator.start("bursts", {})
        await asyncio.gather(*(world.reader().follow(instance, started.id) for _ in range(2)))


def found(exploration: Exploration) -> str:
    assert exploration.failure is not None
    return str(exploration.failure.error)


def test_readers_that_leave_and_come_back_see_all_of_it_once() -> None:
    visits: list[int] = []

    async def scenario(world: World) -> None:
        await two_readers(world)
        visits.append(world.stream("reader-1").taken)
        for reader in world.readers:
            assert reader.ended
            assert [*reader.seen] == [event.seq for event in world.disk.log(reader.task_id)]

    assert explore(scenario, schedules=60).failure is None
    assert max(visits) > min(visits) + 5, "some have left"


def test_what_is_seen_before_its_commit_is_a_problem() -> None:
    def show_at_once(hub: Hub, log: Log, seq: int) -> None:
        log.window.commit(log.window.last)
        for reader in log.readers:
            reader.wake()

    with patch.object(Hub, "_show", show_at_once):
        assert "commit" in found(explore(two_readers, schedules=100))


def test_an_event_that_comes_twice_is_a_problem() -> None:
    see = Reader._see

    def twice(reader: Reader, event: Any) -> None:
        see(reader, event)
        if event.type == "tick" and event.seq == 4:
            see(reader, event)

    with patch.object(Reader, "_see", twice):
        assert "reader-1 got event 4 twice" in found(explore(two_readers, schedules=1))


def test_an_event_that_is_left_out_is_a_problem() -> None:
    see = Reader._see

    def forgetful(reader: Reader, event: Any) -> None:
        if event.seq != 4:
            see(reader, event)

    with patch.object(Reader, "_see", forgetful):
        assert "reader-1" in found(explore(two_readers, schedules=1))


def test_an_event_that_is_not_the_one_that_is_stored_is_a_problem() -> None:
    see = Reader._see

    def other(reader: Reader, event: Any) -> None:
        see(reader, replace(event, payload='{"n":99}') if event.seq == 4 else event)

    with patch.object(Reader, "_see", other):
        assert "reader-1" in found(explore(two_readers, schedules=1))


def test_bytes_that_are_not_those_of_the_events_are_a_problem() -> None:
    with patch("streaming.testing.reader.frame", lambda event: b"other"):
        assert "the bytes of a batch" in found(explore(two_readers, schedules=1))


def test_a_reader_that_never_read_has_no_problems() -> None:
    async def scenario(world: World) -> None:
        world.reader()

    assert explore(scenario, schedules=2).failure is None


def test_a_disk_that_lost_what_was_seen_is_a_problem() -> None:
    """It breaks the promise of the store; so what a reader has seen un-happens, and it says so."""

    async def scenario(world: World) -> None:
        world.faults = Faults(loss=0.5, crash=0.1, crashes_max=1)
        reader = world.reader()
        for _ in range(2):
            try:
                async with world.instance(HANDLERS) as instance:
                    if not world.disk.records():
                        await instance.ask(instance.coordinator.start("again", {}))
                    await reader.follow(instance, world.disk.records()[0].id)
            except Killed:
                continue

    async def honest(world: World) -> None:
        with patch.object(SimulatedDisk, "lose", lambda disk: 0):
            await scenario(world)

    assert explore(honest, schedules=150).failure is None
    assert "reader-1" in found(explore(scenario, schedules=150))


def test_a_reader_whose_history_cannot_be_read_comes_again() -> None:
    async def scenario(world: World) -> None:
        world.faults = Faults(store_refuses=0.5, failures_max=20)
        async with world.instance(HANDLERS, window_events_max=1) as instance:
            while not world.disk.records():
                try:
                    await instance.coordinator.start("work", {})
                except Exception:
                    await asyncio.sleep(1)
            (record,) = world.disk.records()
            await asyncio.sleep(10)
            reader = world.reader()
            await reader.follow(instance, record.id)
            assert reader.ended

    exploration = explore(scenario, schedules=60)
    assert exploration.failure is None, str(exploration.failure)


@pytest.mark.parametrize("follows", [True, False])
def test_a_reader_of_an_instance_that_drains_stops_and_goes_on_later(follows: bool) -> None:
    async def scenario(world: World) -> None:
        reader = world.reader()
        async with world.instance(HANDLERS, grace_s=2.0) as first:
            started, _ = await first.coordinator.start("again", {"ticks": 9})
            following = asyncio.create_task(reader.follow(first, started.id))
            await asyncio.sleep(1.5)
        await following
        assert not reader.ended
        if follows:
            async with world.instance(HANDLERS) as second:
                await reader.follow(second, started.id)
            assert reader.ended

    tried = attempt(scenario, 0, Fifo())
    assert tried.error is None or isinstance(tried.error, Violations), tried.error
    assert tried.error is None
