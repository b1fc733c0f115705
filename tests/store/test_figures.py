"""How long tasks have taken: every store gives the same numbers."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from streaming.engine.journal import Commit, Journal
from streaming.records import Change, Policy, TaskStatus
from streaming.rules.fields import Operator
from streaming.rules.filters import Filter, Term
from streaming.rules.statistics import Bucket, StatisticsQuery
from tests.store.conftest import MakeStore
from tests.store.samples import at, event, record, start, task_id, wanted

DONE, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED
PENDING, RUNNING, RETRYING = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING


async def ran(
    store: Journal,
    number: int,
    *seconds: int,
    status: TaskStatus = DONE,
    history: Sequence[tuple[int, TaskStatus]] = (),
    **fields: Any,
) -> None:
    """A task that was created, began and ended at these seconds; without a beginning it never ran."""
    created, *began, finished = seconds
    made = record(number, created_at=at(created), **fields)
    await store.commit(Commit([event(number, 1, "pending")], created=[made]))
    times = {"created_at": at(created), "started_at": at(began[0]) if began else None, "finished_at": at(finished)}
    over = record(number, status, **times, **fields)
    changes = [Change(task_id(number), seq, to, at(second), "server") for seq, (second, to) in enumerate(history, 1)]
    await store.commit(Commit([event(number, 2, status.value)], updated=[over], changes=changes))


def question(since: int = 0, until: int = 1000, **fields: Any) -> StatisticsQuery:
    return StatisticsQuery(at(since), at(until), **fields)


async def test_durations_are_those_of_the_newest_completed_runs_of_a_type(store: Journal) -> None:
    await ran(store, 1, 0, 10, 20)
    await ran(store, 2, 0, 10, 25, policy=Policy(keep_until_ack=True))
    await ran(store, 3, 0, 10, 13, status=FAILED)
    await ran(store, 4, 0, 15)
    await ran(store, 5, 0, 10, 16, type="other")
    await ran(store, 6, 0, 10, 40)
    await store.commit(start(7))

    assert await store.durations("countdown", limit=100) == [30.0, 15.0, 10.0]
    assert await store.durations("countdown", limit=2) == [30.0, 15.0]
    assert await store.durations("unknown", limit=2) == []


async def test_statistics_are_of_those_that_ended_in_the_window(store: Journal) -> None:
    await ran(store, 1, 0, 10, 99)
    await ran(store, 2, 80, 90, 100)
    await ran(store, 3, 80, 90, 110, type="other", status=FAILED, attempt=2)
    await ran(store, 4, 80, 120, retry_of=task_id(3), policy=Policy(keep_until_ack=True))
    await ran(store, 5, 80, 90, 200)
    await store.commit(start(6))

    answer = await store.statistics(question(100, 200, by=Bucket.HOUR))

    assert answer.total.by_status == {"completed": 2, "failed": 1}
    assert (answer.total.tasks, answer.total.success_share, answer.total.retry_share) == (3, 0.666667, 0.666667)
    assert (answer.total.waiting.mean_s, answer.total.running.mean_s) == (20.0, 15.0)
    assert {name: each.tasks for name, each in answer.by_type.items()} == {"countdown": 2, "other": 1}
    assert {start: each.tasks for start, each in answer.by_time.items()} == {"2026-11-01T12:00:00.000000Z": 3}
    assert not answer.sampled


@pytest.mark.parametrize(
    ("types", "tasks"), [((), 4), (("countdown",), 3), (("other",), 1), (("other", "countdown"), 4), (("unknown",), 0)]
)
async def test_statistics_of_some_types(store: Journal, types: tuple[str, ...], tasks: int) -> None:
    await ran(store, 1, 0, 10, 20)
    await ran(store, 2, 0, 10, 30, type="other")
    await ran(store, 3, 0, 10, 40, policy=Policy(keep_until_ack=True))
    await ran(store, 4, 0, 10, 50)

    assert (await store.statistics(question(types=types))).total.tasks == tasks


OWN = (Term("created_by", Operator.EQ, ("ann",)), Term("tenant", Operator.NULL, (True,)))


@pytest.mark.parametrize(
    ("terms", "types", "tasks"),
    [
        (OWN, (), 2),
        (OWN, ("other",), 1),
        (OWN, ("other", "countdown"), 2),
        (wanted(tenant="acme").terms, (), 2),
        (wanted(tenant="acme").terms, ("countdown",), 1),
        (wanted(tenant="acme", created_by="ann").terms, (), 1),
        ((*OWN, *wanted(tenant="acme").terms), (), 0),
        (wanted(created_by="ann").terms, (), 3),
        (wanted(created_by="ann").terms, ("other",), 2),
        (wanted(tag="red").terms, (), 1),
    ],
)
async def test_statistics_of_the_tasks_of_some_principals(
    store: Journal, terms: tuple[Term, ...], types: tuple[str, ...], tasks: int
) -> None:
    await ran(store, 1, 0, 10, 99, created_by="ann")
    await ran(store, 2, 0, 10, 100, created_by="ann", tags=("red",))
    await ran(store, 3, 0, 10, 150, created_by="ann", type="other", policy=Policy(keep_until_ack=True))
    await ran(store, 4, 0, 10, 160, created_by="ann", type="other", tenant="acme")
    await ran(store, 5, 0, 10, 170, created_by="bob", tenant="acme")
    await ran(store, 6, 0, 10, 180, created_by="bob", type="other")
    await ran(store, 7, 0, 10, 200, created_by="ann", tenant="acme")
    await store.commit(start(8, created_by="ann"))

    assert (await store.statistics(question(100, 200, types=types, within=Filter(terms)))).total.tasks == tasks


async def test_of_too_many_tasks_of_an_owner_the_newest_count(store: Journal) -> None:
    for number in range(1, 9):
        await ran(store, number, 0, 1, 10 * number, created_by="bob" if number in (2, 8) else "ann")

    answer = await store.statistics(question(tasks_max=3, within=Filter(OWN)))

    assert (answer.total.tasks, answer.sampled, answer.since) == (3, True, at(50))


@pytest.mark.parametrize("types", [(), ("countdown",)])
async def test_where_there_are_too_many_the_newest_count(store: Journal, types: tuple[str, ...]) -> None:
    for number in range(1, 7):
        policy = Policy(keep_until_ack=number % 2 == 0)
        await ran(store, number, 0, 1, 10 * number, policy=policy)

    for most, sampled in ((6, False), (5, True), (2, True)):
        answer = await store.statistics(question(types=types, tasks_max=most))
        assert (answer.total.tasks, answer.sampled) == (most, sampled)
        assert answer.since == (at(10 * (7 - most)) if sampled else at(0))


@pytest.mark.parametrize("types", [(), ("countdown",)])
async def test_the_pause_in_which_a_task_ended_is_waiting(store: Journal, types: tuple[str, ...]) -> None:
    paused = [(0, PENDING), (10, RUNNING), (15, RETRYING)]
    await ran(store, 1, 0, 10, 100, status=CANCELLED, attempt=2, history=[*paused, (100, CANCELLED)])
    await ran(store, 2, 0, 40, 101, status=CANCELLED, attempt=2, history=[*paused, (40, RUNNING), (101, CANCELLED)])

    total = (await store.statistics(question(types=types))).total

    assert (total.waiting.p50_s, total.waiting.p99_s) == (40.0, 10.0 + 85.0)
    assert (total.running.p50_s, total.running.p99_s) == (5.0, 61.0)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("created_at", "yesterday"),
        ("started_at", b"then"),
        ("finished_at", "2026-11-01T12:00:20+00:00"),
        ("finished_at", b"then"),
        ("type", b"countdown"),
        ("status", b"completed"),
        ("status", "running"),
        ("attempt", "first"),
    ],
)
async def test_a_damaged_task_does_not_count(
    make_sqlite: MakeStore, database_path: Path, column: str, value: object
) -> None:
    store = make_sqlite()
    await store.open()
    await ran(store, 1, 0, 10, 20)
    await ran(store, 2, 0, 10, 30)
    with closing(sqlite3.connect(database_path)) as other, other:
        other.execute(f"UPDATE tasks SET {column} = ? WHERE id = ?", (value, task_id(1)))  # noqa: S608  # from above

    answer = await store.statistics(question(by=Bucket.HOUR))

    assert (answer.total.tasks, *answer.total.by_status, *answer.by_type) == (1, "completed", "countdown")
    assert [each.tasks for each in answer.by_time.values()] == [1]
    assert await store.durations("countdown", limit=9) == [20.0]
    await store.close()


async def test_a_task_with_a_damaged_history_does_not_count(make_sqlite: MakeStore, database_path: Path) -> None:
    store = make_sqlite()
    await store.open()
    paused = [(0, PENDING), (10, RUNNING), (15, RETRYING), (100, CANCELLED)]
    await ran(store, 1, 0, 10, 100, status=CANCELLED, attempt=2, history=paused)
    await ran(store, 2, 0, 10, 30)
    with closing(sqlite3.connect(database_path)) as other, other:
        other.execute("UPDATE changes SET time = 'yesterday' WHERE status = 'retrying'")

    assert (await store.statistics(question())).total.by_status == {"completed": 1}
    await store.close()
