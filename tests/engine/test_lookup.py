"""Looking changes nothing, and finds what is live, what is stored, and what is on its way between the two."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from streaming import TaskContext, TaskCoordinator, task
from streaming.engine.journal import RecordQuery
from streaming.engine.subscription import Subscription
from streaming.errors import (
    BadCursor,
    TaskCancelled,
    TaskFailed,
    TaskInterrupted,
    TaskNotFound,
    TaskTimedOut,
    TaskUnsuccessful,
)
from streaming.events import Event
from streaming.records import Change, TaskStatus
from streaming.rules.access import SCOPES_DEFAULT, Principal
from streaming.rules.deadlines import Limit
from streaming.rules.fields import Operator
from streaming.rules.filters import Filter, Term
from streaming.rules.log import Reading
from streaming.rules.statistics import StatisticsQuery
from tests.engine.hubs import seqs, to_end
from tests.kit import build, collect, events_of, types
from tests.stage import Gate, broken, forever, instant, now, rounds, running, ticks

pytestmark = pytest.mark.clock("virtual")

HANDLERS: list[Callable[..., Any]] = [ticks, forever, instant, broken]


@task(on_interrupt="restart")
async def restarts(ctx: TaskContext) -> None:
    await forever()


async def test_a_live_task_shows_what_is_committed() -> None:
    coordinator, store = build([Gate().handler])
    async with coordinator:
        task_id = await running(coordinator, "gate")

        assert await coordinator.get(task_id) == await store.record(task_id)
        assert (await coordinator.get(task_id)).status == "running"


async def test_an_ended_task_comes_from_the_store() -> None:
    coordinator, store = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("instant", {})
        await events_of(coordinator, record.id)
        await asyncio.sleep(1)
        assert coordinator._tasks == {}

        assert (await coordinator.get(record.id)).result == "at once"
        assert await coordinator.get(record.id) == await store.record(record.id)


@pytest.mark.parametrize("task_id", ["", "nowhere", "0" * 32, "x" * 10_000, "\0", "../etc", "\ud800"])
async def test_what_is_not_there_is_not_found(task_id: str) -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        for looking in (
            coordinator.get(task_id),
            coordinator.watch(task_id),
            coordinator.wait(task_id, 1),
            coordinator.result(task_id),
            coordinator.history(task_id, after=0, limit=1),
            coordinator.changes(task_id),
            coordinator.cancel_task(task_id),
            coordinator.delete(task_id),
            coordinator.extend(task_id, {Limit.RUN: 1}),
        ):
            with pytest.raises(TaskNotFound):
                await looking


async def test_a_list_is_a_page_of_the_store() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        ids = []
        for _ in range(3):
            ids.append((await coordinator.start("forever", {}))[0].id)
            await asyncio.sleep(1)

        running_ones = Filter((Term("status", Operator.EQ, (TaskStatus.RUNNING,)),))
        found = await coordinator.list(RecordQuery(running_ones, limit=2))

        assert [record.id for record in found] == [ids[2], ids[1]]
        assert found.more is not None
        assert await coordinator.count(running_ones) == [((), 3)]
        assert await coordinator.count(Filter(), ["type", "status"]) == [(("forever", "running"), 3)]


async def test_changes_are_those_that_are_stored() -> None:
    coordinator, store = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("instant", {})
        await events_of(coordinator, record.id)

        found = await coordinator.changes(record.id)
        assert [change.status.value for change in found] == ["pending", "running", "completed"]
        assert found == await store.changes(record.id)
        assert coordinator.now() > found[0].time[:19]


async def test_a_task_from_before_there_was_a_history_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator, store = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("instant", {})
        await events_of(coordinator, record.id)

        async def none(task_id: str) -> list[Change]:
            return []

        monkeypatch.setattr(store, "changes", none)
        assert await coordinator.changes(record.id) == []
        with pytest.raises(TaskNotFound):
            await coordinator.changes("f" * 32)


# -- waiting -----------------------------------------------------------------------------------------------------------


async def test_to_wait_ends_with_the_task() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("ticks", {"n": 3, "pause_s": 5.0})

        record = await coordinator.wait(record.id, 100)

        assert (record.status, now()) == ("completed", 15)


async def test_to_wait_ends_with_its_time() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        task_id = await running(coordinator, "forever")

        record = await coordinator.wait(task_id, 7)

        assert (record.status, now()) == ("running", 7)
        assert not coordinator._tasks[task_id].log.readers


@pytest.mark.parametrize("wait_s", [0, -1])
async def test_not_to_wait_takes_no_time(wait_s: float) -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        task_id = await running(coordinator, "forever")

        assert (await coordinator.wait(task_id, wait_s)).status == "running"
        assert now() == 0


async def test_a_waiter_that_leaves_leaves_nothing_behind() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        task_id = await running(coordinator, "forever")
        waiting = asyncio.create_task(coordinator.wait(task_id, 100))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait({waiting})

        assert not coordinator._tasks[task_id].log.readers


async def test_to_wait_ends_with_the_server() -> None:
    coordinator, _ = build([forever])
    async with coordinator:
        task_id = await running(coordinator, "forever")
        waiting = asyncio.create_task(coordinator.wait(task_id, 1000))
        await asyncio.sleep(1)
        await coordinator.shutdown(1)

        assert (await waiting).status == "interrupted"


async def test_the_result_is_what_the_handler_returned_however_long_it_takes() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("ticks", {"n": 2, "pause_s": 1000.0})

        assert await coordinator.result(record.id) == {"ticks": 2}
        assert await coordinator.result(record.id) == {"ticks": 2}


@pytest.mark.parametrize(
    ("how", "error", "code"),
    [
        ("raise", TaskFailed, "broken"),
        ("cancel", TaskCancelled, "cancelled"),
        ("timeout", TaskTimedOut, "timed_out"),
        ("shutdown", TaskInterrupted, "shutdown"),
    ],
)
async def test_a_task_without_a_result_says_why(how: str, error: type[TaskUnsuccessful], code: str) -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("broken" if how == "raise" else "forever", {}, timeout_s=50)
        waiting = asyncio.create_task(coordinator.result(record.id))
        await asyncio.sleep(1)
        if how == "cancel":
            await coordinator.cancel_task(record.id)
        elif how == "shutdown":
            await coordinator.shutdown(1)

        with pytest.raises(error) as caught:
            await waiting

        assert type(caught.value) is error
        assert (caught.value.task_id, caught.value.task_code) == (record.id, code)


async def test_a_task_that_waits_for_the_next_server_has_no_result_here() -> None:
    coordinator, _ = build([restarts])
    async with coordinator:
        task_id = await running(coordinator, "restarts")
        waiting = asyncio.create_task(coordinator.result(task_id))
        await asyncio.sleep(1)
        await coordinator.shutdown(1)

        with pytest.raises(TaskInterrupted, match="The server has stopped"):
            await waiting


# -- watching ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("live", [True, False])
async def test_a_log_is_read_alike_whether_its_task_lives_or_not(live: bool) -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("ticks", {"n": 3})
        reading = collect(await coordinator.watch(record.id))
        if not live:
            await coordinator.wait(record.id, 100)
            await asyncio.sleep(1)

        assert types(await reading) == ["pending", "running", "tick", "tick", "tick", "completed"]


@pytest.mark.parametrize(("tail", "first"), [(0, None), (2, 5), (6, 1), (100, 1)])
async def test_a_tail_begins_so_many_events_before_the_head(tail: int, first: int | None) -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("ticks", {"n": 3})
        await coordinator.wait(record.id, 100)

        found = await to_end(await coordinator.watch(record.id, tail=tail))

        assert found == ([] if first is None else list(range(first, 7)))


async def test_a_cursor_goes_on_where_it_stood_and_beyond_the_end_is_refused() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("ticks", {"n": 3})
        await coordinator.wait(record.id, 100)
        await asyncio.sleep(1)

        assert await to_end(await coordinator.watch(record.id, after=4)) == [5, 6]
        assert (await coordinator.watch(record.id, after=6)).finished
        for cursor in (7, -1, 10**18):
            with pytest.raises(BadCursor):
                await coordinator.watch(record.id, after=cursor)


async def test_a_task_that_ends_while_the_store_is_being_asked_is_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coordinator, store = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("ticks", {"n": 1})
        await coordinator.wait(record.id, 100)
        await asyncio.sleep(1)
        original = store.record

        async def slow(task_id: str) -> Any:
            found = await original(task_id)
            await asyncio.sleep(1)
            return found

        monkeypatch.setattr(store, "record", slow)

        assert await to_end(await coordinator.watch(record.id)) == [1, 2, 3, 4]


async def test_a_task_in_the_store_that_nobody_runs_is_read_as_far_as_it_is() -> None:
    """It may belong to a process that is just starting, or was left by one that is gone."""
    coordinator, store = build([restarts])
    async with coordinator:
        task_id = await running(coordinator, "restarts")
        await coordinator.shutdown(1)
    other, _ = build([restarts], store)
    await other._hub.open(asyncio.get_running_loop())
    try:
        assert await to_end(await other.watch(task_id)) == [1, 2, 3]
    finally:
        await other.shutdown(1)


async def test_a_task_that_is_stored_but_not_acknowledged_yet_is_read_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coordinator, store = build(HANDLERS)
    async with coordinator:
        original = store.outcome

        async def slow(commit: Any) -> Any:
            await asyncio.sleep(1)
            return await original(commit)

        monkeypatch.setattr(store, "outcome", slow)
        store.fail("after")
        starting = asyncio.create_task(coordinator.start("ticks", {"n": 1}))
        await rounds()
        (found,) = await coordinator.list(RecordQuery())

        assert await to_end(await coordinator.watch(found.id)) == [1, 2, 3, 4]
        assert (await starting)[0].id == found.id


async def test_a_task_that_begins_and_ends_while_the_store_is_asked_is_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coordinator, store = build(HANDLERS)
    async with coordinator:
        outcome, record = store.outcome, store.record

        async def slow_outcome(commit: Any) -> Any:
            await asyncio.sleep(1)
            return await outcome(commit)

        async def slow_record(task_id: str) -> Any:
            found = await record(task_id)
            await asyncio.sleep(2)
            return found

        monkeypatch.setattr(store, "outcome", slow_outcome)
        monkeypatch.setattr(store, "record", slow_record)
        store.fail("after")
        starting = asyncio.create_task(coordinator.start("instant", {}))
        await rounds()
        (found,) = await coordinator.list(RecordQuery())

        assert await to_end(await coordinator.watch(found.id)) == [1, 2, 3]
        await starting


# -- the feed ----------------------------------------------------------------------------------------------------------


async def task_ids(reader: Subscription, count: int) -> list[str]:
    """Whose the next events are."""
    found: list[str] = []
    while len(found) < count:
        batch = await reader.next()
        assert batch is not None
        found += [event.task_id for event in batch.events]
    return found


async def test_the_feed_is_followed_from_a_cursor_a_tail_or_the_beginning() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("ticks", {"n": 2}, tags=["t"])
        await coordinator.wait(record.id, 100)

        assert await seqs(await coordinator.follow(), 5) == [1, 2, 3, 4, 5]
        assert await seqs(await coordinator.follow(after=3), 2) == [4, 5]
        assert await seqs(await coordinator.follow(tail=1), 1) == [5]
        assert await seqs(await coordinator.follow(tail=1000), 5) == [1, 2, 3, 4, 5]
        assert await seqs(await coordinator.follow(types=frozenset({"tick"})), 2) == [3, 4]
        assert await seqs(await coordinator.follow(task_types=frozenset({"ticks"}), tag="t"), 5) == [1, 2, 3, 4, 5]
        with pytest.raises(BadCursor):
            await coordinator.follow(after=6)


async def test_the_feed_of_a_principal_is_of_its_own_tasks_stored_or_live() -> None:
    coordinator, _ = build(HANDLERS)
    anna, acme, bert = (
        Principal(name, SCOPES_DEFAULT, tenant) for name, tenant in (("anna", None), ("anna", "acme"), ("bert", None))
    )
    async with coordinator:
        live = {each: await coordinator.follow(principal=each) for each in (anna, acme, bert)}
        begun = {
            each: (await coordinator.start("ticks", {"n": 1}, created_by=each.name, tenant=each.tenant))[0].id
            for each in (anna, acme)
        }
        for task_id in begun.values():
            await coordinator.wait(task_id, 100)
        for each in (anna, acme):
            for reader in (live[each], await coordinator.follow(principal=each)):
                assert await task_ids(reader, 4) == [begun[each]] * 4
        assert live[bert].poll() is Reading.WAIT


# -- history -----------------------------------------------------------------------------------------------------------


async def test_history_is_read_page_by_page_to_the_head() -> None:
    coordinator, _ = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("ticks", {"n": 5})
        await coordinator.wait(record.id, 100)
        pages = [
            [event.seq for event in await coordinator.history(record.id, after=after, limit=3)]
            for after in (0, 3, 6, 8)
        ]

        assert pages == [[1, 2, 3], [4, 5, 6], [7, 8], []]
        with pytest.raises(BadCursor):
            await coordinator.history(record.id, after=9, limit=3)


async def test_history_of_a_live_task_shows_only_what_is_committed() -> None:
    coordinator, store = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("ticks", {"n": 5})
        await asyncio.sleep(1.5)
        store.hold()
        await store.entered.wait()

        assert [event.seq for event in await coordinator.history(record.id, after=0, limit=100)] == [1, 2, 3, 4]
        store.release()


async def pages(coordinator: TaskCoordinator, task_id: str, limit: int) -> list[list[Event]]:
    """The whole history, page by page; a client goes on behind the last event of a page."""
    found: list[list[Event]] = []
    after = 0
    while page := list(await coordinator.history(task_id, after=after, limit=limit)):
        found.append(page)
        after = page[-1].seq
    return found


def told(events: Iterable[Event]) -> list[tuple[int, str, Any]]:
    """Everything about events but their time: a gap is as old as the question."""
    return [(event.seq, event.type, event.data) for event in events]


@pytest.mark.parametrize("limit", [1, 2, 3, 9, 10, 11, 12, 43, 44, 53, 200])
@pytest.mark.parametrize("fits", [1, 4, 1000])
async def test_the_pages_of_a_cut_log_put_together_are_what_its_stream_says(
    limit: int, fits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator, store = build(HANDLERS, memory_events_max=10)
    async with coordinator:
        record, _ = await coordinator.start("ticks", {"n": 50, "pause_s": 0.0})
        await coordinator.wait(record.id, 100)
        await asyncio.sleep(1)
        streamed = await events_of(coordinator, record.id)
        original = store.events_after

        async def full_early(*args: Any, **kwargs: Any) -> list[Event]:
            return list(await original(*args, **kwargs))[:fits]  # the page has as many bytes as it may have

        monkeypatch.setattr(store, "events_after", full_early)

        found = await pages(coordinator, record.id, limit)

    assert told(streamed)[0] == (43, "gap", {"from": 1, "to": 43, "reason": "retention"})
    assert told(event for page in found for event in page) == told(streamed)
    assert all(len(page) <= limit for page in found)


@pytest.mark.parametrize("limit", [1, 3, 200])
async def test_the_pages_of_a_log_of_which_nothing_is_left_are_one_gap(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator, store = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("ticks", {"n": 10})
        await coordinator.wait(record.id, 100)

        async def nothing(*_: Any, **__: Any) -> list[Event]:
            return []

        monkeypatch.setattr(store, "events_after", nothing)
        found = await pages(coordinator, record.id, limit)

    assert [told(page) for page in found] == [[(13, "gap", {"from": 1, "to": 13, "reason": "deleted"})]]


async def test_a_page_that_begins_inside_what_retention_has_removed_begins_with_the_rest_of_the_gap() -> None:
    coordinator, _ = build(HANDLERS, memory_events_max=3)
    async with coordinator:
        record, _ = await coordinator.start("ticks", {"n": 10})
        await coordinator.wait(record.id, 100)
        found = await coordinator.history(record.id, after=2, limit=3)

    assert [event.seq for event in found] == [10, 11, 12]
    assert found[0].data == {"from": 3, "to": 10, "reason": "retention"}


async def test_figures_and_durations_are_those_of_the_store() -> None:
    coordinator, store = build(HANDLERS)
    async with coordinator:
        record, _ = await coordinator.start("ticks", {"n": 2})
        await coordinator.wait(record.id, 100)
        query = StatisticsQuery("2001-09-09T00:00:00.000000Z", "2001-09-10T00:00:00.000000Z")

        assert await coordinator.durations("ticks", 5) == await store.durations("ticks", limit=5) == [2.0]
        assert await coordinator.statistics(query) == await store.statistics(query)
