"""A commit has what was submitted, in its order; new records can be taken out of it, and everybody is told."""

from __future__ import annotations

import asyncio

from streaming.engine.batch import Batch
from streaming.errors import StoreUnavailable
from streaming.events import Event
from streaming.records import Change, IdempotencyKey, Record, TaskStatus

TIME = "2026-11-01T12:00:00.000000Z"
AWAY = StoreUnavailable("away")


def record(task_id: str) -> Record:
    return Record(task_id, "work", TaskStatus.PENDING, {}, 60.0, TIME, TIME)


def filled() -> tuple[Batch, list[StoreUnavailable | None]]:
    """A new task, and another one that goes on."""
    said: list[StoreUnavailable | None] = []
    key = IdempotencyKey("k", "anna", "f", "new", TIME)
    batch = Batch(
        events=[Event("new", 1, "pending", TIME, "{}"), Event("old", 7, "tick", TIME, "{}")],
        created={"new": (record("new"), key, said.append)},
        updated={"old": record("old")},
        changes=[Change("new", 1, TaskStatus.PENDING, TIME, "anna")],
    )
    return batch, said


def test_it_becomes_one_transaction() -> None:
    batch, _ = filled()
    batch.keys.append(IdempotencyKey("again", "anna", "f", "old", TIME))
    commit = batch.as_commit()

    assert [event.task_id for event in commit.events] == ["new", "old"]
    assert [each.id for each in batch.records()] == ["new", "old"]
    assert ([each.id for each in commit.created], [each.id for each in commit.updated]) == (["new"], ["old"])
    assert [key.key for key in commit.keys] == ["k", "again"]


def test_withdrawn_records_take_their_events_and_changes_with_them() -> None:
    batch, said = filled()
    batch.withdraw_created(AWAY)

    assert [event.task_id for event in batch.events] == ["old"]
    assert (batch.changes, batch.created, said) == ([], {}, [AWAY])


async def test_everybody_who_waits_is_told() -> None:
    batch, said = filled()
    waiting, gone, late = (asyncio.get_running_loop().create_future() for _ in range(3))
    gone.cancel()
    batch.waiters.extend([waiting, gone])
    assert batch.awaited
    batch.settle(None)
    failed = Batch(waiters=[late])
    failed.settle(AWAY)

    assert said == [None]
    assert waiting.result() is None
    assert late.exception() is AWAY
    assert not Batch().awaited
