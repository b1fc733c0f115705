"""The memory store never grows without bound, and says by holes what it has forgotten."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from streaming.engine.journal import Commit, Journal, RecordQuery
from streaming.events import Event
from streaming.records import IdempotencyKey, TaskStatus
from tests.store.conftest import MakeStore
from tests.store.samples import at, end, event, plain, record, start, task_id, ticks, wanted, whole_feed, whole_log


@pytest.fixture
async def small(make_memory: MakeStore) -> Journal:
    """Keeps three events of a task, and two terminal tasks."""
    store = make_memory(memory_events_max=3, memory_tasks_max=2)
    await store.open()
    return store


async def test_only_the_newest_events_of_a_task_are_kept(small: Journal) -> None:
    await small.commit(start(1, 2))
    committed = await small.commit(Commit(ticks(1, 2, 9)))
    await small.commit(Commit([event(1, 10)]))

    assert plain(committed) == (list(range(3, 11)), set())
    assert await whole_log(small, 1) == ticks(1, 8, 10)
    assert await whole_log(small, 2) == [event(2, 1, "pending")]
    assert [position for position, _ in await whole_feed(small)] == [2, 9, 10, 11]
    assert await small.record(task_id(1)) == record(1, last_seq=10)


async def test_a_commit_larger_than_the_bound_has_all_its_positions(small: Journal) -> None:
    await small.commit(start(1))
    assert plain(await small.commit(Commit(ticks(1, 2, 100)))) == (list(range(2, 101)), set())
    assert await whole_log(small, 1) == ticks(1, 98, 100)


async def test_the_terminal_tasks_that_ended_first_are_forgotten_first(small: Journal) -> None:
    await small.commit(start(1, 2, 3, 4))
    for number in (3, 1, 2):
        await small.commit(end(number, 2))

    assert await small.record(task_id(3)) is None
    assert await whole_log(small, 3) == []
    assert [item.task_id for _, item in await whole_feed(small)] == [task_id(n) for n in (1, 2, 4, 1, 2)]
    assert [int(found.id, 16) for found in await small.records(RecordQuery())] == [4, 2, 1]


async def test_a_task_that_is_not_terminal_is_never_forgotten(small: Journal) -> None:
    await small.commit(start(*range(1, 10)))
    for number in range(1, 9):
        await small.commit(end(number, 2))

    assert await small.record(task_id(9)) == record(9, last_seq=1)
    assert [int(found.id, 16) for found in await small.records(RecordQuery())] == [9, 8, 7]


async def test_a_forgotten_task_is_lost_and_its_key_is_free(small: Journal) -> None:
    key = IdempotencyKey("k", "ann", "f", task_id(1), at(1))
    await small.commit(Commit(start(1).events, created=[record(1)], keys=[key]))
    await small.commit(start(2, 3))
    for number in (1, 2, 3):
        await small.commit(end(number, 2))

    assert await small.key("ann", "k", created_after=at(0)) is None
    assert plain(await small.commit(Commit([event(1, 3)]))) == ([], {task_id(1)})


async def test_a_deleted_task_leaves_room_for_another(small: Journal) -> None:
    await small.commit(start(1, 2, 3))
    await small.commit(end(1, 2))
    await small.commit(end(2, 2))
    await small.delete(task_id(2))
    await small.commit(end(3, 2))

    assert [int(found.id, 16) for found in await small.records(RecordQuery())] == [3, 1]


async def test_a_commit_of_which_nothing_is_left_has_no_outcome_and_any_other_one_has_its_whole(small: Journal) -> None:
    await small.commit(start(1))
    commit = Commit(ticks(1, 2, 9))
    await small.commit(commit)

    assert plain(await small.outcome(Commit([event(1, 2)]))) is None
    assert plain(await small.outcome(commit)) == ([2, 3, 4, 5, 6, 7, 8, 9], set())


async def test_readers_get_the_very_events_that_were_stored(make_memory: MakeStore) -> None:
    """No copies: a server with many readers holds each event once."""
    store = make_memory()
    await store.open()
    commit = start(1)
    await store.commit(commit)

    (logged,) = await whole_log(store, 1)
    ((_, fed),) = await whole_feed(store)
    assert logged is fed is commit.events[0]


async def test_what_is_forgotten_is_freed(small: Journal) -> None:
    """Neither the log, nor the feed, nor an idle task beside it keeps removed events alive."""
    await small.commit(start(1, 2))
    for seq in range(2, 2000):
        await small.commit(Commit([Event(task_id(2), seq, "tick", at(0), "freed")]))
    assert sum(1 for _ in events_alive("freed")) == 3

    await small.commit(end(2, 2000))
    for number in (3, 4):
        await small.commit(start(number))
        await small.commit(end(number, 2))
    assert sum(1 for _ in events_alive("freed")) == 0


def events_alive(payload: str) -> Iterator[Event]:
    gc.collect()
    return (found for found in gc.get_objects() if type(found) is Event and found.payload == payload)


async def test_it_begins_empty_each_time(small: Journal) -> None:
    await small.commit(start(1))
    await small.close()
    await small.open()

    assert len(await small.records(RecordQuery())) == 0
    assert await small.last_position() == 0
    assert plain(await small.commit(start(1))) == ([1], set())


async def test_an_ended_task_can_be_asked_for_by_its_status(small: Journal) -> None:
    await small.commit(start(1, 2))
    await small.commit(end(1, 2, TaskStatus.TIMED_OUT))

    query = RecordQuery(wanted(status=TaskStatus.TIMED_OUT))
    assert list(await small.records(query)) == [record(1, TaskStatus.TIMED_OUT, last_seq=2)]
