"""Numbers without holes, nothing visible before it is stored, room for all, and no trace of what is over."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from streaming.engine.fanout import UNWATCHED_BYTES, UNWATCHED_EVENTS
from streaming.engine.log import Log
from streaming.errors import BadCursor, StoreUnavailable, TaskEnded
from streaming.records import IdempotencyKey, Progress, TaskStatus
from streaming.rules.feed import FeedFilter
from streaming.rules.log import Batch, Reading
from tests.engine.hubs import Desk, seqs, to_end

pytestmark = pytest.mark.clock("virtual")

ALL = FeedFilter()


def now() -> float:
    return asyncio.get_running_loop().time()


async def waits(desk: Desk, log: Log) -> bool:
    """Whether a handler would have to wait now."""
    waiting = asyncio.create_task(desk.hub.room(log))
    await asyncio.sleep(0)
    done = waiting.done()
    waiting.cancel()
    await asyncio.wait({waiting})
    return not done


async def to_end_of(desk: Desk, log: Log) -> list[int]:
    reader = desk.hub.read(log, 0)
    await desk.end(log)
    return await to_end(reader)


# -- numbers and visibility --------------------------------------------------------------------------------------------


async def test_events_are_numbered_from_one_without_holes_and_stamped_with_the_time() -> None:
    async with Desk() as desk:
        log = await desk.log()
        await asyncio.sleep(1.5)
        await desk.emit(log, 3)
        events = await desk.store.events_after("a", 0, last_seq=9, limit=9)

    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    assert events[0].time == "2001-09-09T01:46:40.000000Z"
    assert events[-1].time == "2001-09-09T01:46:41.500000Z"


async def test_the_record_shows_what_is_stored_and_not_what_is_wished() -> None:
    async with Desk() as desk:
        log = await desk.log()
        desk.store.hold()
        desk.hub.append_with(log, "progress", {}, desk.hub.now(), attempt=7)
        await desk.store.entered.wait()
        assert (log.snapshot().attempt, log.snapshot().last_seq) == (1, 2)
        assert log.record.attempt == 7

        desk.store.release()
        await desk.hub.committed()

        assert (log.snapshot().attempt, log.snapshot().last_seq) == (7, 3)


async def test_an_event_that_changes_nothing_still_counts_in_the_record() -> None:
    async with Desk() as desk:
        log = await desk.log()
        await desk.emit(log, 5)

        assert log.snapshot().last_seq == 7
        assert log.snapshot().log_bytes == 7 * len("{}")
        stored = await desk.store.record("a")
        assert stored is not None
        assert dataclasses.replace(stored, log_bytes=14) == log.snapshot(), "the bytes are stored with the next change"


async def test_a_change_without_an_event_is_shown_once_it_is_stored() -> None:
    async with Desk() as desk:
        log = await desk.log()
        desk.store.hold()
        desk.hub.amend(log, timeout_s=5.0)
        await desk.store.entered.wait()
        assert log.snapshot().timeout_s == 60.0

        desk.store.release()
        await desk.hub.committed()

        assert log.snapshot().timeout_s == 5.0
        assert log.snapshot().last_seq == 2


async def test_nothing_follows_the_terminal_event() -> None:
    async with Desk() as desk:
        log = await desk.log()
        desk.end_soon(log)

        with pytest.raises(TaskEnded):
            desk.hub.append(log, "tick", "{}")
        with pytest.raises(TaskEnded):
            desk.hub.append_with(log, "failed", {}, desk.hub.now(), status=TaskStatus.FAILED)

        await desk.hub.committed()
        stored = await desk.store.record("a")
        assert stored is not None
        assert (stored.status, stored.last_seq) == (TaskStatus.COMPLETED, 3)


async def test_data_without_a_json_form_leaves_no_trace() -> None:
    async with Desk() as desk:
        log = await desk.log()

        with pytest.raises(TypeError):
            desk.hub.append_with(log, "progress", object(), desk.hub.now(), attempt=9)

        await desk.emit(log)
        assert (log.snapshot().attempt, log.snapshot().last_seq) == (1, 3)


async def test_the_log_of_a_stored_task_goes_on_at_the_next_seq() -> None:
    async with Desk() as desk:
        await desk.emit(await desk.log(), 2)
        store, stored = desk.store, await desk.store.record("a")
    assert stored is not None

    async with Desk(store) as desk:
        log = desk.hub.resume(stored)
        assert log.snapshot().last_seq == 4
        await desk.emit(log)
        assert await to_end_of(desk, log) == [1, 2, 3, 4, 5, 6]


# -- creation ----------------------------------------------------------------------------------------------------------


async def test_a_new_task_is_live_once_it_is_stored() -> None:
    async with Desk() as desk:
        desk.store.hold()
        log = desk.create()
        await desk.store.entered.wait()
        assert desk.problems == {}
        assert log.window.after(0) is Reading.WAIT

        desk.store.release()
        await desk.hub.committed()

        assert desk.problems == {"a": None}
        assert log.snapshot().last_seq == 1


async def test_of_a_creation_that_failed_nothing_is_left() -> None:
    async with Desk() as desk:
        desk.store.fail()
        log = desk.create()
        await desk.hub.committed()

        assert isinstance(desk.problems["a"], StoreUnavailable)
        assert desk.hub._logs.keys() <= {"b"}
        assert desk.hub._backlog.bytes == 0
        assert log.backlog_bytes == 0


async def test_a_key_is_stored_with_its_task() -> None:
    async with Desk() as desk:
        log = desk.create()
        key = IdempotencyKey("k", "anna", "print", "b", desk.hub.now())
        desk.hub.create(dataclasses.replace(log.record, id="b", last_seq=0), {}, key, lambda _: None)
        await desk.hub.committed()

        assert await desk.store.key("anna", "k", created_after="") == key


# -- room --------------------------------------------------------------------------------------------------------------


async def test_a_handler_waits_at_the_limit_of_events_and_not_one_before() -> None:
    async with Desk(backlog_events_max=3) as desk:
        log = await desk.log()
        desk.store.hold()
        for _ in range(2):
            desk.hub.append(log, "tick", "{}")
        assert not desk.hub.full(log)
        assert not await waits(desk, log)

        desk.hub.append(log, "tick", "{}")
        assert await waits(desk, log)

        desk.store.release()
        await desk.hub.committed()
        assert not await waits(desk, log)


async def test_a_handler_waits_at_the_limit_of_bytes() -> None:
    async with Desk(backlog_bytes_max=10_000) as desk:
        log = await desk.log()
        desk.store.hold()
        desk.hub.append(log, "tick", '"' + "x" * 9_000 + '"')
        assert not await waits(desk, log)

        desk.hub.append(log, "tick", '"' + "x" * 1_000 + '"')

        assert await waits(desk, log)
        desk.store.release()


@pytest.mark.parametrize("limit", ["backlog_bytes_max", "backlog_total_bytes_max"])
async def test_many_tiny_events_are_bounded_by_bytes_too(limit: str) -> None:
    """An event takes more memory than its data has: a backlog of empty ones is not free."""
    bounds: dict[str, Any] = {"backlog_events_max": 100_000, limit: 10_000}
    async with Desk(**bounds) as desk:
        log = await desk.log()
        desk.store.hold()
        written = 0
        while not desk.hub.full(log) and written < 1_000:
            desk.hub.append(log, "tick", "{}")
            written += 1

        assert written == 39, "258 bytes each"
        desk.store.release()


async def test_one_handler_that_waits_lets_the_others_write() -> None:
    async with Desk(backlog_events_max=1) as desk:
        busy, idle = await desk.log("a"), await desk.log("b")
        desk.store.hold()
        desk.hub.append(busy, "tick", "{}")

        assert await waits(desk, busy)
        assert not await waits(desk, idle)
        desk.store.release()


async def test_all_handlers_wait_when_all_of_them_together_are_over_the_limit() -> None:
    async with Desk(backlog_total_bytes_max=2_000) as desk:
        logs = [await desk.log(name) for name in "abc"]
        desk.store.hold()
        for log in logs[:2]:
            desk.hub.append(log, "tick", '"' + "x" * 1_000 + '"')

        assert [await waits(desk, log) for log in logs] == [True, True, True]

        desk.store.release()
        await desk.hub.committed()
        assert [await waits(desk, log) for log in logs] == [False, False, False]
        assert desk.hub._backlog.bytes == 0


async def test_every_handler_waits_while_the_store_is_away_and_goes_on_when_it_is_back() -> None:
    async with Desk() as desk:
        log, other = await desk.log("a"), await desk.log("b")
        desk.store.away = True
        desk.hub.append(log, "tick", "{}")
        await asyncio.sleep(1)
        assert not desk.hub.available
        waiting = asyncio.create_task(desk.hub.room(other))
        await asyncio.sleep(100)
        assert not waiting.done()

        desk.store.away = False
        await waiting

        assert desk.hub.available


async def test_a_handler_that_was_woken_looks_again_whether_there_is_room() -> None:
    async with Desk(backlog_events_max=1, commit_events_max=1) as desk:
        log = await desk.log()
        desk.store.hold()
        desk.hub.append(log, "tick", "{}")
        desk.hub.append(log, "tick", "{}")
        waiting = asyncio.create_task(desk.hub.room(log))
        await desk.store.entered.wait()
        desk.hub._backlog.wake()  # as any commit of another task does
        await asyncio.sleep(1)
        assert not waiting.done()

        desk.store.release()
        await waiting

        assert log.backlog_events == 0


async def test_a_handler_that_waits_may_be_cancelled() -> None:
    async with Desk(backlog_events_max=1) as desk:
        log = await desk.log()
        desk.store.hold()
        desk.hub.append(log, "tick", "{}")
        waiting = asyncio.create_task(desk.hub.room(log))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait({waiting})
        desk.store.release()
        await desk.hub.committed()

        assert not await waits(desk, log)


async def test_who_listens_hears_when_the_store_goes_and_comes() -> None:
    async with Desk() as desk:
        heard: list[bool] = []
        desk.hub.on_availability(lambda: heard.append(desk.hub.available))
        log = await desk.log()
        desk.store.fail()
        await desk.emit(log)

        assert heard == [False, True]


async def test_a_callback_comes_once_all_before_it_is_visible() -> None:
    async with Desk() as desk:
        log = await desk.log()
        seen: list[int] = []
        desk.hub.append(log, "tick", "{}")
        desk.hub.when_committed(lambda: seen.append(log.window.committed))
        await desk.hub.committed()
        await asyncio.sleep(0)

        assert seen == [3]


async def test_a_hub_that_is_closed_makes_nobody_wait() -> None:
    async with Desk(backlog_events_max=1) as desk:
        log = await desk.log()
        desk.store.hold()
        desk.hub.append(log, "tick", "{}")
        waiting = asyncio.create_task(desk.hub.room(log))
        await asyncio.sleep(1)

        assert await desk.hub.close(now()) == 1

        await waiting
        assert not desk.hub.full(log)


# -- lost --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delete", [False, True])
async def test_a_task_that_somebody_else_ended_or_removed_is_lost(delete: bool) -> None:
    async with Desk() as desk:
        log, other = await desk.log("a"), await desk.log("b")
        heard: list[str] = []
        log.on_lost = lambda: heard.append("lost")
        await desk.end_elsewhere("a", delete=delete)

        desk.hub.append(log, "tick", "{}")
        desk.hub.append(other, "tick", "{}")
        await desk.hub.committed()

        assert log.lost
        assert heard == ["lost"]
        assert desk.hub._logs.keys() <= {"b"}
        assert other.snapshot().last_seq == 3
        assert not other.lost


async def test_events_of_a_lost_task_are_neither_shown_nor_counted_for_ever() -> None:
    async with Desk() as desk:
        log = await desk.log("a")
        desk.store.hold()
        desk.hub.append(log, "tick", "{}")
        await desk.store.entered.wait()
        desk.hub.append(log, "tick", "{}")  # a commit later
        await desk.end_elsewhere("a")
        desk.store.release()
        await desk.hub.committed()

        assert log.window.committed == 2
        assert desk.hub._backlog.bytes == 0


async def test_what_was_to_become_of_a_lost_task_is_not_shown() -> None:
    """Its record was left out of the commit: a look at it must not find what is stored nowhere."""
    async with Desk() as desk:
        log, other = await desk.log("a"), await desk.log("b")
        await desk.end_elsewhere("a")
        for each in (log, other):
            desk.hub.append_with(each, "progress", {}, desk.hub.now(), progress=Progress(40.0))
        await desk.hub.committed()

        assert (log.lost, log.snapshot().progress) == (True, None)
        assert (other.lost, other.snapshot().progress) == (False, Progress(40.0))


async def test_nothing_can_be_written_to_a_lost_task() -> None:
    """Its bytes would fill the backlog of all, and never leave it."""
    async with Desk() as desk:
        log = await desk.log("a")
        await desk.end_elsewhere("a")
        await desk.emit(log)

        with pytest.raises(TaskEnded):
            desk.hub.append(log, "tick", "{}")
        with pytest.raises(TaskEnded):
            desk.hub.append_with(log, "progress", {}, desk.hub.now())

        await desk.hub.committed()
        assert desk.hub._backlog.bytes == 0
        assert not desk.hub.full(log)


async def test_a_lost_task_wakes_its_readers_who_get_what_was_stored_and_then_the_end() -> None:
    async with Desk() as desk:
        log = await desk.log("a")
        reader = desk.hub.read(log, 0)
        reading = asyncio.create_task(to_end(reader))
        await asyncio.sleep(1)
        await desk.end_elsewhere("a")
        desk.hub.append(log, "tick", "{}")

        assert await reading == [1, 2]


async def test_a_lost_task_that_nobody_listens_to_is_lost_as_well() -> None:
    async with Desk() as desk:
        log = await desk.log("a")
        await desk.end_elsewhere("a")
        desk.hub.drop(log)
        lost = desk.hub.resume(log.record)
        desk.hub.append(lost, "tick", "{}")
        await desk.hub.committed()

        assert lost.lost


async def test_a_task_that_was_dropped_before_its_loss_was_known_disturbs_nobody() -> None:
    async with Desk() as desk:
        log, other = await desk.log("a"), await desk.log("b")
        await desk.end_elsewhere("a")
        desk.hub.append(log, "tick", "{}")
        desk.hub.drop(log)

        await desk.emit(other)

        assert other.snapshot().last_seq == 3
        assert desk.hub._backlog.bytes == 0


async def test_a_log_that_was_dropped_with_events_on_their_way_disturbs_nobody() -> None:
    async with Desk() as desk:
        log, other = await desk.log("a"), await desk.log("b")
        follower = desk.hub.follow(0, ALL)
        desk.hub.append(log, "tick", "{}")
        desk.hub.drop(log)

        await desk.emit(other)

        assert other.snapshot().last_seq == 3
        assert desk.hub._backlog.bytes == 0
        assert desk.hub._logs.keys() == {"b"}
        assert len(await seqs(follower, 6)) == 6
        with pytest.raises(TaskEnded):
            desk.hub.append(log, "tick", "{}")


async def test_a_change_that_is_stored_after_its_log_was_dropped_is_in_the_store() -> None:
    async with Desk() as desk:
        log = await desk.log("a")
        desk.hub.amend(log, timeout_s=5.0)
        desk.hub.drop(log)
        await desk.hub.committed()

        stored = await desk.store.record("a")
        assert stored is not None
        assert stored.timeout_s == 5.0


# -- readers and memory ------------------------------------------------------------------------------------------------


async def test_a_log_that_nobody_reads_keeps_next_to_nothing_in_memory() -> None:
    async with Desk() as desk:
        log = await desk.log()
        assert isinstance(log.window.after(0), Batch), "who starts a task and watches it then needs no store"
        await desk.emit(log, 10)

        assert log.window.after(0) is Reading.BELOW
        assert log.window.after(11 - UNWATCHED_EVENTS) is Reading.BELOW
        assert isinstance(log.window.after(12 - UNWATCHED_EVENTS), Batch)
        assert log.window.after(12) is Reading.WAIT


async def test_large_events_that_nobody_reads_are_not_kept() -> None:
    async with Desk() as desk:
        log = await desk.log()
        desk.hub.append(log, "tick", '"' + "x" * UNWATCHED_BYTES + '"')
        await desk.hub.committed()

        assert log.window.after(2) is Reading.BELOW


async def test_a_log_that_is_read_keeps_as_many_events_as_the_settings_say() -> None:
    async with Desk(window_events_max=5) as desk:
        log = await desk.log()
        desk.hub.read(log, 2)
        await desk.emit(log, 10)

        assert log.window.after(6) is Reading.BELOW
        assert not isinstance(log.window.after(7), Reading)


@pytest.mark.parametrize(("commits", "each", "kept"), [(100, 1, 32), (20, 20, 80), (3, 500, 1024)])
async def test_a_log_that_is_read_keeps_a_few_commits_for_readers_that_are_a_little_late(
    commits: int, each: int, kept: int
) -> None:
    async with Desk(window_bytes_max=10**9) as desk:
        log = await desk.log()
        desk.hub.read(log, 2)
        for _ in range(commits):
            await desk.emit(log, each)
        last = log.window.committed

        assert log.window.after(last - kept - 1) is Reading.BELOW
        assert not isinstance(log.window.after(last - kept), Reading)


async def test_a_log_that_is_read_keeps_as_many_bytes_as_the_settings_say() -> None:
    async with Desk(window_bytes_max=5_000) as desk:
        log = await desk.log()
        desk.hub.read(log, 2)
        await desk.emit(log, 10, '"' + "x" * 1_000 + '"')

        kept = [cursor for cursor in range(13) if log.window.after(cursor) is not Reading.BELOW]
        assert kept == [8, 9, 10, 11, 12]


async def test_a_hundred_readers_cost_no_copy_of_an_event() -> None:
    async with Desk() as desk:
        log = await desk.log()
        readers = [desk.hub.read(log, 2) for _ in range(100)]
        await desk.emit(log, 3)

        batches = {id(await reader.next()) for reader in readers}

        assert len(batches) == 1


async def test_a_cursor_that_is_no_position_is_refused_and_leaves_no_reader() -> None:
    async with Desk() as desk:
        log = await desk.log()

        with pytest.raises(BadCursor):
            desk.hub.read(log, 3)
        with pytest.raises(BadCursor):
            desk.hub.follow(3, ALL)

        assert not log.readers
        assert not desk.hub.feed_readers


async def test_the_feed_has_everything_in_commit_order_and_keeps_it_only_for_readers() -> None:
    async with Desk() as desk:
        first, second = await desk.log("a", "count"), await desk.log("b", "fetch", ("t",))
        assert desk.hub.feed.after(0, ALL) is Reading.BELOW
        follower = desk.hub.follow(4, ALL)
        desk.hub.append(first, "tick", "{}")
        desk.hub.append(second, "tock", "{}")
        desk.hub.append(first, "tick", "{}")
        await desk.hub.committed()

        batch = await follower.next()

        assert batch is not None
        assert [(event.task_id, event.seq) for event in batch.events] == [("a", 3), ("b", 3), ("a", 4)]
        assert batch.last == 7
        only = desk.hub.feed.after(4, FeedFilter(task_types=frozenset({"fetch"}), tag="t"))
        assert not isinstance(only, Reading)
        assert [event.task_id for event in only.events] == ["b"]

        follower.close()
        await desk.emit(first)
        assert desk.hub.feed.after(7, ALL) is Reading.BELOW
        assert desk.hub.feed.last == 8


async def test_the_feed_window_has_a_limit() -> None:
    async with Desk(window_events_max=3) as desk:
        log = await desk.log()
        desk.hub.follow(2, ALL)
        await desk.emit(log, 10)

        assert desk.hub.feed.after(8, ALL) is Reading.BELOW
        assert not isinstance(desk.hub.feed.after(9, ALL), Reading)


async def test_a_commit_without_events_moves_no_feed() -> None:
    async with Desk() as desk:
        log = await desk.log()
        desk.hub.amend(log, attempt=2)
        await desk.hub.committed()

        assert desk.hub.feed.last == 2


async def test_the_feed_goes_on_where_the_store_stands() -> None:
    async with Desk() as desk:
        await desk.log()

    async with Desk(desk.store) as again:
        assert again.hub.feed.last == 2


async def test_to_close_ends_every_reader() -> None:
    desk = Desk()
    await desk.hub.open(asyncio.get_running_loop())
    log = await desk.log()
    readings = [asyncio.create_task(to_end(reader)) for reader in (desk.hub.read(log, 0), desk.hub.read(log, 2))] + [
        asyncio.create_task(to_end(desk.hub.follow(0, ALL)))
    ]
    await asyncio.sleep(1)

    await desk.hub.close(now())

    assert [await reading for reading in readings] == [[1, 2], [], [1, 2]]
    assert not log.readers
    assert not desk.hub.feed_readers


async def test_after_all_is_over_the_hub_is_empty() -> None:
    async with Desk() as desk:
        logs = [await desk.log(name) for name in "abc"]
        for log in logs:
            reader = desk.hub.read(log, 0)
            await desk.emit(log, 5)
            await desk.end(log)
            assert await to_end(reader) == list(range(1, 9))
            desk.hub.drop(log)

        assert desk.hub._logs == {}
        assert desk.hub._backlog.bytes == 0
        assert not any(log.readers for log in logs)
