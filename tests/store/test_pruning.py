"""What is not to be kept goes, in every store, in small steps: records whole, events from the oldest on."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from streaming.engine.journal import Commit, Journal, Pruned, RecordQuery, Walk
from streaming.events import Event
from streaming.records import Change, IdempotencyKey, Policy, TaskStatus
from streaming.rules.retention import Bounds, Retention, parse_retention
from streaming.store import figures, pruning, terms
from streaming.store.planner import by_index
from streaming.store.sql import SqlStore
from tests.store.conftest import MakeStore
from tests.store.samples import at, end, event, plain, record, start, task_id, ticks, wanted, whole_feed, whole_log

NOW = at(1000)
DONE, LIVE = TaskStatus.COMPLETED, TaskStatus.RUNNING
KEPT = Policy(keep_until_ack=True)


async def ended(store: Journal, *numbers: int, events: int = 2, size: int = 2, **fields: Any) -> None:
    """Tasks that have ended, each at the second of its number; ``size`` is that of each event."""
    for number in numbers:
        payload = '"' + "x" * (size - 2) + '"'
        log = [Event(task_id(number), seq, "tick", at(number), payload) for seq in range(1, events)]
        last = Event(task_id(number), events, "completed", at(number), payload)
        await store.commit(Commit(log, created=[record(number, LIVE, **fields)]))
        over = record(number, DONE, finished_at=at(number), log_bytes=events * size, **fields)
        await store.commit(Commit([last], updated=[over]))


async def numbers(store: Journal) -> list[int]:
    """Of all records that are left."""
    page = await store.records(RecordQuery(limit=1000))
    return sorted(int(each.id, 16) for each in page)


async def prune_all(store: Journal, bounds: Bounds, *, type: str = "countdown", limit: int = 3) -> list[Pruned]:
    """What each step has removed."""
    steps = []
    while step := await store.prune(type, bounds, now=NOW, limit=limit):
        steps.append(step)
    return steps


def of_events(**bounds: Any) -> Retention:
    return parse_retention({"*": {"events": bounds}})


async def trim_all(store: Journal, policy: Retention, type: str | None = "countdown", limit: int = 3) -> int:
    """Walk through all logs, a few tasks and a few events at once; how many events have gone."""
    gone = 0
    walk: Walk | None = Walk(type)
    while walk is not None:
        ids, walk = await store.outgrown(policy, walk, now=NOW, limit=limit)
        while ids and (step := await store.trim(ids, policy, now=NOW, limit=limit)):
            gone += step
        assert await store.trim(ids, policy, now=NOW, limit=limit) == 0
    return gone


# -- records -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "left"),
    [
        (Bounds(), [1, 2, 3, 4, 5, 6, 7, 8]),
        (Bounds(age_s=997), [3, 4, 5, 6, 7, 8]),
        (Bounds(count=3), [6, 7, 8]),
        (Bounds(count=8), [1, 2, 3, 4, 5, 6, 7, 8]),
        (Bounds(bytes=16), [5, 6, 7, 8]),
        (Bounds(bytes=15), [6, 7, 8]),
        (Bounds(age_s=997, count=7, bytes=1000), [3, 4, 5, 6, 7, 8]),
        (Bounds(age_s=0.001), []),
    ],
)
async def test_the_oldest_records_of_a_type_go_first(store: Journal, bounds: Bounds, left: list[int]) -> None:
    await ended(store, *range(1, 9))
    await ended(store, 9, type="other")

    steps = await prune_all(store, bounds)

    assert await numbers(store) == [*left, 9]
    assert sum(step.records for step in steps) == 8 - len(left)
    assert all(step.records <= 3 for step in steps)


async def test_a_live_task_stays_however_old_it_is(store: Journal) -> None:
    await store.commit(start(1))
    await store.commit(Commit([event(1, 2, "running")], updated=[record(1, LIVE)]))
    await ended(store, 2)

    assert await prune_all(store, Bounds(age_s=1, count=1, bytes=1)) == [Pruned(records=1)]
    assert await numbers(store) == [1]


async def test_a_result_that_nobody_has_acknowledged_stays_and_does_not_count(store: Journal) -> None:
    await ended(store, 1, 2, 5, policy=KEPT)
    await ended(store, 3, 4, 6)

    await prune_all(store, Bounds(count=2))
    assert await numbers(store) == [1, 2, 4, 5, 6]

    assert await store.acknowledge(task_id(2), at(500)) is not None
    assert await store.acknowledge(task_id(6), at(500)) is not None  # it was not waited for, and counts once
    await prune_all(store, Bounds(count=2))
    assert await numbers(store) == [1, 4, 5, 6]

    await prune_all(store, Bounds(age_s=1))
    assert await numbers(store) == [1, 5]


async def test_what_was_deleted_by_hand_does_not_count(store: Journal) -> None:
    await ended(store, *range(1, 7))
    for number in (2, 6):
        assert await store.delete(task_id(number))

    await prune_all(store, Bounds(count=4, bytes=16), limit=1)
    assert await numbers(store) == [1, 3, 4, 5]
    await prune_all(store, Bounds(count=3), limit=1)
    assert await numbers(store) == [3, 4, 5]


async def test_a_record_goes_with_all_that_belongs_to_it(store: Journal) -> None:
    key = IdempotencyKey("k", "ann", "f", task_id(1), at(0))
    changes = [Change(task_id(1), 1, TaskStatus.PENDING, at(1), "ann")]
    await store.commit(
        Commit([event(1, 1, "pending")], created=[record(1, tags=("red",))], keys=[key], changes=changes)
    )
    await store.commit(end(1, 2, finished_at=at(1), tags=("red",)))

    assert await prune_all(store, Bounds(age_s=1)) == [Pruned(records=1)]

    assert await store.record(task_id(1)) is None
    assert await whole_log(store, 1) == []
    assert await whole_feed(store) == []
    assert await store.changes(task_id(1)) == []
    assert await store.key("ann", "k", created_after="") is None
    assert await store.last_position() == 2
    assert (await store.records(RecordQuery(wanted(tag="red")))).records == []
    await store.commit(start(1))  # nothing of it is in the way of another one


async def test_nothing_of_a_pruned_task_is_left_in_any_table(make_durable: MakeStore) -> None:
    async with opened(make_durable) as store:
        key = IdempotencyKey("k", "ann", "f", task_id(1), at(0))
        await store.commit(Commit([event(1, 1)], created=[record(1, LIVE, tags=("red",))], keys=[key]))
        await store.commit(end(1, 2, finished_at=at(1), tags=("red",)))
        assert await prune_all(store, Bounds(age_s=1)) == [Pruned(records=1)]

        assert await store._read(_rows) == {"tasks": 0, "events": 0, "changes": 0, "terms": 0, "idempotency_keys": 0}


def _rows(connection: Any) -> dict[str, int]:
    names = ("tasks", "events", "changes", "terms", "idempotency_keys")
    return {name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in names}  # noqa: S608  # from above


async def test_a_record_with_a_long_log_goes_in_several_steps(make_durable: MakeStore) -> None:
    async with opened(make_durable) as store:
        await ended(store, 1, events=95)
        await ended(store, 2, 3)

        steps = await prune_all(store, Bounds(age_s=1))

        assert steps == [Pruned(events=30), Pruned(events=30), Pruned(events=30), Pruned(records=3)]
        assert await numbers(store) == []


async def test_the_totals_are_what_is_there(make_durable: MakeStore) -> None:
    """Whatever happens to tasks: they are counted along."""
    async with opened(make_durable) as store:
        await ended(store, *range(1, 7), events=5, size=10)
        await ended(store, 7, 8, policy=KEPT)
        await ended(store, 9, type="other")
        await store.commit(start(10))
        await store.acknowledge(task_id(7), at(500))
        await store.acknowledge(task_id(7), at(501))
        await store.delete(task_id(1))
        await trim_all(store, of_events(count=2))
        await prune_all(store, Bounds(count=5), limit=1)

        told = "SELECT type, records, bytes FROM totals ORDER BY type"
        counted = (
            "SELECT type, count(*), sum(log_bytes - trimmed_bytes) FROM tasks "
            "WHERE finished_at IS NOT NULL AND NOT held GROUP BY type ORDER BY type"
        )
        stored = (
            "SELECT sum(length(payload)) FROM events JOIN tasks ON tasks.id = task_id WHERE tasks.type = 'countdown'"
        )
        rows = await store._read(_found, told)
        assert rows == await store._read(_found, counted)
        assert {type: count for type, count, _ in rows} == {"countdown": 5, "other": 1}
        of_held_and_live = 2 * 2 + 2
        assert await store._read(_found, stored) == [(rows[0][2] + of_held_and_live,)]


def _found(connection: Any, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(text(query))]


@asynccontextmanager
async def opened(make: MakeStore) -> AsyncIterator[SqlStore]:
    store = make()
    assert isinstance(store, SqlStore)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def test_a_live_record_with_the_time_of_an_end_stays(make_sqlite: MakeStore, database_path: Path) -> None:
    """Somebody else has written to the database; it may be running here."""
    async with opened(make_sqlite) as store:
        await ended(store, 1, 2, 3)
        with closing(sqlite3.connect(database_path)) as other, other:
            other.execute("UPDATE tasks SET status = 'running' WHERE id = ?", (task_id(1),))

        policy = parse_retention({"*": {"records": {"age_s": 1}}})
        assert await store.rehearse("countdown", policy, now=NOW) == Pruned(records=2)
        await prune_all(store, Bounds(age_s=1), limit=2)
        assert await numbers(store) == [1]


async def test_a_damaged_record_is_pruned_as_well(make_sqlite: MakeStore, database_path: Path) -> None:
    async with opened(make_sqlite) as store:
        await ended(store, 1, 2)
        with closing(sqlite3.connect(database_path)) as other, other:
            other.execute("UPDATE tasks SET params = 'no json' WHERE id = ?", (task_id(1),))

        assert await prune_all(store, Bounds(age_s=1)) == [Pruned(records=2)]
        assert await numbers(store) == []


async def test_what_has_no_time_that_can_be_read_is_not_old(make_sqlite: MakeStore, database_path: Path) -> None:
    async with opened(make_sqlite) as store:
        await ended(store, 1, 2)
        with closing(sqlite3.connect(database_path)) as other, other:
            other.execute("UPDATE tasks SET finished_at = x'01' WHERE id = ?", (task_id(1),))
            other.execute("UPDATE events SET time = CAST(x'ff' AS TEXT) WHERE task_id = ?", (task_id(2),))

        assert await trim_all(store, of_events(age_s=1)) == 1  # of the first
        assert await prune_all(store, Bounds(age_s=1)) == [Pruned(records=1)]
        assert await store._read(_found, "SELECT id FROM tasks") == [(task_id(1),)]


# -- events ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "left"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"count": 3}, [6, 7, 8]),
        ({"count": 1}, [8]),
        ({"age_s": 995}, [5, 6, 7, 8]),
        ({"age_s": 0.1}, [8]),
        ({"bytes": 20}, [5, 6, 7, 8]),
        ({"bytes": 19}, [6, 7, 8]),
        ({"bytes": 1}, [8]),
    ],
)
@pytest.mark.parametrize("status", [DONE, LIVE])
async def test_the_oldest_events_of_each_task_go_and_never_the_newest(
    store: Journal, bounds: dict[str, Any], left: list[int], status: TaskStatus
) -> None:
    for number in (1, 2):
        log = [event(number, seq, payload='"xxx"') for seq in range(1, 8)]
        last = event(number, 8, "completed" if status is DONE else "tick", '"xxx"')
        await store.commit(Commit(log, created=[record(number, LIVE)]))
        over = record(number, status, log_bytes=40, finished_at=at(8) if status is DONE else None)
        await store.commit(Commit([last], updated=[over]))

    gone = await trim_all(store, of_events(**bounds))

    assert gone == 2 * (8 - len(left))
    for number in (1, 2):
        assert [each.seq for each in await whole_log(store, number)] == left
        found = await store.record(task_id(number))
        assert found is not None
        assert (found.last_seq, found.status) == (8, status)
    assert await trim_all(store, of_events(**bounds)) == 0


async def test_a_log_that_was_trimmed_goes_on(store: Journal) -> None:
    await store.commit(start(1))
    await store.commit(Commit(ticks(1, 2, 9)))
    assert await trim_all(store, of_events(count=2), type=None) == 7

    await store.commit(Commit(ticks(1, 10, 12)))
    await store.commit(end(1, 13, finished_at=at(13)))

    assert [each.seq for each in await whole_log(store, 1)] == [8, 9, 10, 11, 12, 13]
    assert await trim_all(store, of_events(count=2)) == 4
    assert [each.seq for each in await whole_log(store, 1)] == [12, 13]


async def test_a_commit_whose_oldest_events_are_gone_has_taken_place_whole(store: Journal) -> None:
    """Its answer was lost, and retention came before the question."""
    await store.commit(start(1, 2))
    mixed = Commit([event(1, 2), event(2, 2), event(3, 2), event(1, 3), event(2, 3), event(1, 4)])
    done = await store.commit(mixed)
    assert await trim_all(store, of_events(count=1), type=None) == 5

    assert plain(await store.outcome(mixed)) == plain(done) == ([3, 4, 5, 6, 7], {task_id(3)})


async def test_a_walk_over_live_tasks_passes_those_that_have_ended(store: Journal) -> None:
    await store.commit(start(*range(1, 12)))
    await store.commit(Commit([event for number in range(1, 12) for event in ticks(number, 2, 4)]))
    await store.commit(Commit([event(3, 5, "running")], updated=[record(3, LIVE)]))
    await store.commit(Commit([event(4, 5, "retrying")], updated=[record(4, TaskStatus.RETRYING)]))
    await store.commit(end(2, 5, finished_at=at(5)))

    await trim_all(store, of_events(count=1), type=None)

    left = {number: len(await whole_log(store, number)) for number in range(1, 12)}
    assert left == {number: 1 if number != 2 else 5 for number in range(1, 12)}


async def test_of_each_type_as_much_is_kept_as_is_said(store: Journal) -> None:
    await ended(store, 1, 2, events=6)
    await ended(store, 3, events=6, type="other")
    policy = parse_retention({"*": {"events": {"count": 3}}, "other": {"events": {"count": None}}})

    assert [await trim_all(store, policy, type) for type in ("countdown", "other", "unknown")] == [6, 0, 0]
    assert [len(await whole_log(store, number)) for number in (1, 2, 3)] == [3, 3, 6]


async def test_a_task_that_is_gone_meanwhile_has_nothing_to_trim(store: Journal) -> None:
    await ended(store, 1, events=6)
    ids, _ = await store.outgrown(of_events(count=1), Walk("countdown"), now=NOW, limit=10)
    assert ids == [task_id(1)]
    await store.delete(task_id(1))

    assert await store.trim(ids, of_events(count=1), now=NOW, limit=10) == 0


async def test_the_types_of_all_tasks(store: Journal) -> None:
    assert await store.task_types() == []
    await store.commit(start(1, 2, type="b"))
    await store.commit(start(3, type="a"))
    await ended(store, 4, type="c")

    assert await store.task_types() == ["a", "b", "c"]


async def test_a_rehearsal_says_what_would_go_and_leaves_it(make_durable: MakeStore) -> None:
    async with opened(make_durable) as store:
        await ended(store, *range(1, 8), events=5)
        policy = parse_retention({"*": {"records": {"count": 3}, "events": {"count": 2}}})

        assert await store.rehearse("countdown", policy, now=NOW) == Pruned(records=4, events=9)
        assert (
            await store.rehearse("countdown", parse_retention({"*": {"records": {"age_s": None}}}), now=NOW) == Pruned()
        )
        assert await numbers(store) == list(range(1, 8))
        await prune_all(store, Bounds(count=3))
        assert await trim_all(store, policy) == 9


# -- whatever the policy -----------------------------------------------------------------------------------------------

_bounds = st.builds(
    Bounds,
    age_s=st.none() | st.integers(900, 1000).map(float),
    count=st.none() | st.integers(1, 8),
    bytes=st.none() | st.integers(1, 60),
)
_tasks = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.integers(1, 6), st.integers(2, 9)), min_size=1, max_size=10
)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(bounds=_bounds, tasks=_tasks, limit=st.integers(1, 5))
def test_what_the_policy_keeps_is_never_removed_and_pruning_ends(
    request: pytest.FixtureRequest, kind: str, bounds: Bounds, tasks: list[tuple[bool, bool, int, int]], limit: int
) -> None:
    async def scenario() -> None:
        store = request.getfixturevalue(f"make_{kind}")()
        await store.open()
        try:
            await _check_policy(store, bounds, tasks, limit)
        finally:
            await store.close()

    asyncio.run(scenario())


async def _check_policy(store: Journal, bounds: Bounds, tasks: list[tuple[bool, bool, int, int]], limit: int) -> None:
    for found in (await store.records(RecordQuery(limit=1000))).records:  # of the example before
        await store.acknowledge(found.id, NOW)
        assert await store.delete(found.id) or await _end_and_delete(store, found.id)
    sizes = {}
    for number, (live, held, events, size) in enumerate(tasks, start=1):
        if live:
            await store.commit(start(number, status=LIVE))
        else:
            await ended(store, number, events=events, size=size, policy=KEPT if held else Policy())
            sizes[number] = 0 if held else events * size
    may_go = [number for number in sizes if not tasks[number - 1][1]]
    gone = bounds.surplus(
        [(at(number), sizes[number]) for number in may_go], count=len(may_go), size=sum(sizes.values()), now=NOW
    )

    steps = await prune_all(store, bounds, limit=limit)

    assert set(range(1, len(tasks) + 1)) - set(await numbers(store)) == set(may_go[:gone])
    assert len(steps) <= len(tasks)


async def _end_and_delete(store: Journal, id: str) -> bool:
    number = int(id, 16)
    await store.commit(end(number, 2, finished_at=at(2)))
    return await store.delete(id)


# -- large stores ------------------------------------------------------------------------------------------------------

#: Two types of tasks, one of a hundred alive, one of fifty held.
_MANY = """
INSERT INTO tasks
(id, type, status, params, timeout_s, created_at, updated_at, created_by, tags, attempt, finished_at, held)
SELECT 'id' || (10000 + n), CASE WHEN n % 2 = 0 THEN 'countdown' ELSE 'other' END,
CASE WHEN n % 100 = 0 THEN 'running' ELSE 'completed' END, '{}', 1.0, 't' || (10000 + n), '', '', '[]', 1,
CASE WHEN n % 100 = 0 THEN NULL ELSE 't' || (10000 + n) END, n % 50 = 1 FROM numbers
"""
_NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000) ",
    "postgresql": "WITH numbers AS (SELECT generate_series(1, 20000) AS n) ",
}


def _fill(connection: Any) -> None:
    with_numbers = _NUMBERS[connection.dialect.name] + _MANY
    if connection.dialect.name == "sqlite":
        with_numbers = _MANY.replace("SELECT", _NUMBERS["sqlite"] + "SELECT", 1)
    connection.exec_driver_sql(with_numbers.replace("%", "%%") if connection.dialect.name != "sqlite" else with_numbers)
    connection.exec_driver_sql("INSERT INTO terms SELECT 'word', type, id FROM tasks")


def _plan(connection: Any, query: Any) -> str:
    by_index(connection)
    compiled = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {compiled}"))


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (pruning.oldest("countdown", 500), "tasks_by_type_end"),
        (pruning._step(Walk("countdown", ("t15000", "")), 500), "tasks_by_type"),
        (pruning._step(Walk(None, ("t15000", "")), 500), "tasks_by_status"),
        (figures.newest_of("countdown", "t15000", "t20000", held=False).limit(1000), "tasks_by_type_end"),
        (figures.newest("t15000", "t20000").limit(1000), "tasks_by_end"),
    ],
    ids=["records", "logs", "live", "durations", "statistics"],
)
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
async def test_no_step_looks_at_more_than_its_limit(
    make_durable: MakeStore, query: Any, index: str, known: bool
) -> None:
    """The plan has an index in the order that is asked for; nothing is sorted, no table is read from end to end."""
    async with opened(make_durable) as store:
        await store._write(_fill)
        if known:  # to the database: what is in its tables
            await store._write(lambda connection: connection.exec_driver_sql("ANALYZE"))
        plan = await store._read(_plan, query)

    assert re.search(rf"{index}\b", plan), plan
    assert "Seq Scan" not in plan
    assert not re.search(r"SCAN tasks(?! USING INDEX)", plan)
    if index != "tasks_by_status":  # which merges three statuses
        assert not re.search("Sort|TEMP B-TREE", plan), plan


async def test_terms_are_deleted_by_their_key(make_durable: MakeStore) -> None:
    async with opened(make_durable) as store:
        await store._write(_fill)
        plan = await store._read(_terms_plan)

    assert ("terms_pkey" in plan and "Nested Loop" in plan) or "SEARCH terms USING PRIMARY KEY" in plan


def _terms_plan(connection: Any) -> str:
    dialect = connection.dialect.name
    explain = "EXPLAIN QUERY PLAN" if dialect == "sqlite" else "EXPLAIN"
    by_index(connection)
    given = terms.parameters(dialect, [("tag", "red", task_id(number)) for number in range(500)])
    rows = connection.exec_driver_sql(f"{explain} {terms.DELETES[dialect]}", given)
    return "\n".join(str(row[-1]) for row in rows)


# -- the memory store's own limits -------------------------------------------------------------------------------------


async def test_the_memory_store_forgets_what_nobody_waits_for_first(make_memory: MakeStore) -> None:
    store = make_memory(memory_tasks_max=3)
    await store.open()
    await ended(store, 1, policy=KEPT)
    await ended(store, 2, 3)
    await ended(store, 4, 5, policy=KEPT)
    assert await numbers(store) == [1, 4, 5]

    await ended(store, 6)
    assert await numbers(store) == [1, 4, 5]  # it has ended, and is forgotten
    await ended(store, 7, policy=KEPT)
    assert await numbers(store) == [4, 5, 7]  # all wait, and the bound is a bound

    await store.acknowledge(task_id(5), at(500))
    await ended(store, 8, policy=KEPT)
    assert await numbers(store) == [4, 7, 8]
    await store.close()
