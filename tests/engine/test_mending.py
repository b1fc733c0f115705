"""Only what is safe is mended: what somebody holds, or what waits for its commit, is left alone."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from streaming.engine.log import Log
from streaming.errors import RecordDamaged
from streaming.events import Event
from streaming.rules.evidence import Repair, Violation
from streaming.rules.log import LogWindow
from tests.kit import build
from tests.stage import forever, instant, rounds, running

pytestmark = pytest.mark.clock("virtual")

STRANGER = "f" * 32


def mender(coordinator: Any) -> Any:
    return coordinator._auditor._mender


async def test_nothing_is_mended_where_nothing_is_wrong() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        await running(coordinator, "forever")
        assert await mender(coordinator).mend([], []) == []


@pytest.mark.parametrize("invariant", ["no_place_without_task", "no_record_without_runner"])
async def test_a_task_that_goes_on_is_left_alone_whatever_is_said_of_it(invariant: str) -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        said = [
            Violation(invariant, task_id, "said"),
            Violation(invariant, None, "said"),
            Violation(invariant, "x", ""),
        ]
        assert await mender(coordinator).mend(said, [task_id, "x"]) == []
        assert [record.id for record in coordinator.running()] == [task_id]


async def test_a_task_that_has_ended_since_is_not_taken_up() -> None:
    coordinator, _ = build([instant])
    async with coordinator:
        started, _ = await coordinator.start("instant", {})
        await coordinator.wait(started.id, 10)
        assert await mender(coordinator).mend([], [started.id]) == []


async def test_the_place_of_a_handler_that_runs_is_not_taken_from_it() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        task = coordinator._tasks.pop(task_id)
        said = [Violation("no_place_without_task", task_id, "said")]
        assert await mender(coordinator).mend(said, []) == []
        assert list(coordinator._turns.running) == [task_id]
        assert task_id in coordinator._hub.logs
        coordinator._tasks[task_id] = task


async def test_a_log_in_which_something_waits_is_not_forgotten() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        record = dataclasses.replace(coordinator._hub.logs[task_id].record, id=STRANGER)
        log = coordinator._hub._logs[STRANGER] = Log(record, LogWindow(STRANGER, last_seq=3))
        log.window.append(Event(STRANGER, 4, "tick", record.created_at, "{}"))
        log.recount()
        assert not coordinator._hub.forget(STRANGER)
        coordinator._hub._logs.pop(STRANGER)


async def test_starts_that_are_under_way_are_not_counted_anew() -> None:
    """Nobody knows which of them waits: what is too much shows when they are stored."""
    coordinator, store = build([instant])
    async with coordinator:
        store.hold()
        start = asyncio.create_task(coordinator.start("instant", {}))
        await store.entered.wait()
        coordinator._starts._queueing += 1
        mend = asyncio.create_task(mender(coordinator).mend([], []))
        await rounds()
        store.release()
        assert await mend == []
        await start
        (repair,) = await mender(coordinator).mend([], [])
        assert str(repair) == "tallies_right: starting was 1, and is 0"


async def test_a_number_of_a_task_that_is_gone_is_not_counted_anew_and_does_not_keep_the_others_from_it() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        await running(coordinator, "forever")
        coordinator._turns._busy["forever"] += 1
        (repair,) = await mender(coordinator).mend([Violation("tallies_right", STRANGER, "said")], [])
        assert str(repair) == "tallies_right: busy forever was 2, and is 1"


async def test_an_orphan_whose_record_cannot_be_read_is_left_as_it_is() -> None:
    coordinator, store = build([forever])

    async def damaged(task_id: str) -> None:
        raise RecordDamaged(task_id)

    async with coordinator:
        store.record = damaged
        assert await mender(coordinator).mend([], [STRANGER]) == []


async def test_a_repair_of_a_task_names_it() -> None:
    repair = Repair("no_place_without_task", STRANGER, "its place is free")

    assert str(repair) == f"no_place_without_task of task {STRANGER}: its place is free"
    assert repair.as_json() == {"invariant": repair.invariant, "task_id": STRANGER, "done": repair.done}
