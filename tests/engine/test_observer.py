"""An observer hears of all that is stored, once for each commit, and of nothing that is not; it disturbs nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog

from streaming.engine.batch import Batch
from streaming.engine.journal import Committed
from streaming.engine.observer import Observed, Written, written
from streaming.engine.transitions import begin, end
from streaming.events import Event
from streaming.records import Change, IdempotencyKey, Record, TaskStatus
from streaming.rules.lifecycle import Transition
from streaming.rules.outcome import Outcome
from tests.engine.hubs import Desk

pytestmark = pytest.mark.clock("virtual")

TIME = "2026-11-01T12:00:00.000000Z"


class Watching:
    """An observer that remembers, and fails when it is told to."""

    def __init__(self) -> None:
        self.told: list[Written] = []
        self.problem: Exception | None = None

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def committed(self, written: Written) -> None:
        if self.problem is not None:
            raise self.problem
        self.told.append(written)


def batch_of(*task_ids: str) -> Batch:
    """A commit with one new task and a change of the others."""
    batch = Batch()
    for number, task_id in enumerate(task_ids):
        status = TaskStatus.RUNNING if number else TaskStatus.PENDING
        record = Record(task_id, "work", status, {}, 60.0, TIME, TIME, last_seq=1)
        batch.events.append(Event(task_id, 1, status.value, TIME, "{}"))
        batch.changes.append(Change(task_id, 1, status, TIME, "anna"))
        if number:
            batch.updated[task_id] = record
        else:
            batch.created[task_id] = (record, IdempotencyKey("k", "anna", "f", task_id, TIME), lambda _: None)
    return batch


def test_rows_of_all_kinds_are_counted() -> None:
    found = written(batch_of("a", "b"), Committed(range(2)), 0.5)

    assert (found.events, found.rows, found.seconds) == (2, 2 + 2 + 2 + 1, 0.5)
    assert [(step.change.status, step.record.id) for step in found.steps] == [("pending", "a"), ("running", "b")]


def test_what_was_lost_is_not_counted() -> None:
    found = written(batch_of("a", "b"), Committed(range(1), frozenset({"b"})), 0.5)

    assert (found.events, found.rows, found.lost) == (1, 1 + 1 + 1 + 1, frozenset({"b"}))
    assert [step.record.id for step in found.steps] == ["a"]


def test_without_an_observer_nothing_is_told_and_no_clock_is_asked() -> None:
    observed = Observed()
    observed.stored(batch_of("a"), Committed(range(1)), 0.0)

    assert observed.now() == 0.0


async def test_each_commit_is_told_once_with_the_steps_of_tasks() -> None:
    async with Desk() as desk:
        desk.hub.observed.by = watching = Watching()
        log = desk.create()
        await desk.hub.committed()
        begin(desk.hub, log)
        await desk.emit(log, 3)
        end(desk.hub, log, Outcome(Transition.RETURN))
        await desk.hub.committed()

        statuses = [step.change.status.value for told in watching.told for step in told.steps]
        assert statuses == ["pending", "running", "completed"]
        assert sum(told.events for told in watching.told) == 6
        assert len(watching.told) < 6


async def test_it_is_told_of_what_is_stored_already(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk() as desk:
        watching = Watching()
        seen: list[int] = []

        def look(written: Written) -> None:
            seen.append(log.window.committed)

        monkeypatch.setattr(watching, "committed", look)
        log = await desk.log()
        desk.hub.observed.by = watching
        await desk.emit(log)

        assert seen == [3]


async def test_a_commit_that_fails_is_not_told_and_its_time_does_not_count() -> None:
    async with Desk() as desk:
        desk.hub.observed.by = watching = Watching()
        log = await desk.log()
        told = len(watching.told)
        desk.store.fail()
        await desk.emit(log)

        assert len(watching.told) == told + 1
        assert watching.told[-1].seconds == 0


async def test_an_observer_that_fails_is_told_nothing_more_and_everything_goes_on() -> None:
    async with Desk() as desk:
        desk.hub.observed.by = watching = Watching()
        watching.problem = ZeroDivisionError("a bug")
        with structlog.testing.capture_logs() as lines:
            log = await desk.log()
            watching.problem = None
            await desk.emit(log, 2)

        assert log.window.committed == 4
        assert watching.told == []
        found: list[Any] = [line["event"] for line in lines if line["log_level"] == "error"]
        assert found == ["what is counted of commits stands still: the observer has failed"]
