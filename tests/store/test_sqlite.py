"""The SQLite store keeps its promises whatever becomes of its callers, and never holds up the loop."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

from streaming.engine.journal import PAGE_BYTES_MAX, Commit, Committed, Journal, RecordQuery
from streaming.errors import StoreUnavailable
from streaming.store import reads, writes
from streaming.store.sqlite import SqliteFile
from tests.store.conftest import MakeStore
from tests.store.samples import end, event, plain, record, start, task_id, ticks, whole_feed, whole_log


class Held:
    """Holds the next commit in its thread, in the middle of its transaction."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._begun = threading.Event()
        self._go_on = threading.Event()
        self._write = writes.write
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(writes, "write", self._held)

    def _held(self, connection: Any, commit: Commit) -> Committed:
        self._monkeypatch.setattr(writes, "write", self._write)
        committed = self._write(connection, commit)
        self._begun.set()
        assert self._go_on.wait(30)
        return committed

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._begun.wait, 30)

    def release(self) -> None:
        self._go_on.set()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# -- cancelled callers -------------------------------------------------------------------------------------------------


async def test_a_commit_that_has_begun_is_finished_though_its_caller_is_cancelled(sqlite: Journal, held: Held) -> None:
    caller = asyncio.create_task(sqlite.commit(start(1)))
    await held.begun()
    await cancelled(caller)
    assert await sqlite.record(task_id(1)) is None  # nobody sees half of it

    held.release()
    assert plain(await sqlite.outcome(start(1))) == ([1], set())
    assert plain(await sqlite.commit(Commit([event(1, 2)]))) == ([2], set())


async def test_a_commit_that_has_not_begun_is_left_out_when_its_caller_is_cancelled(
    sqlite: Journal, held: Held
) -> None:
    first = asyncio.create_task(sqlite.commit(start(1)))
    await held.begun()
    second = asyncio.create_task(sqlite.commit(start(2)))
    await asyncio.sleep(0)  # it is in the writer's queue now
    await cancelled(second)

    held.release()
    assert plain(await first) == ([1], set())
    assert await sqlite.outcome(start(2)) is None
    assert plain(await sqlite.commit(start(2))) == ([2], set())


async def test_the_outcome_waits_for_the_commit_that_is_under_way(sqlite: Journal, held: Held) -> None:
    caller = asyncio.create_task(sqlite.commit(start(1)))
    await held.begun()
    await cancelled(caller)
    asked = asyncio.create_task(sqlite.outcome(start(1)))
    await sqlite.last_position()  # time enough for an answer
    assert not asked.done()

    held.release()
    assert plain(await asked) == ([1], set())


async def test_a_cancelled_reader_poisons_nothing(sqlite: Journal) -> None:
    await sqlite.commit(start(1))
    for _ in range(50):
        reader = asyncio.create_task(whole_log(sqlite, 1))
        await asyncio.sleep(0)
        reader.cancel()
        await asyncio.wait({reader})  # its thread may have been quicker
    assert await asyncio.gather(*(whole_log(sqlite, 1) for _ in range(20))) == [[event(1, 1, "pending")]] * 20


# -- close and open ----------------------------------------------------------------------------------------------------


async def test_close_finishes_what_was_begun(make_sqlite: MakeStore, held: Held) -> None:
    store = make_sqlite()
    await store.open()
    caller = asyncio.create_task(store.commit(start(1)))
    await held.begun()
    closing_store = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.commit(start(2))

    held.release()
    assert plain(await caller) == ([1], set())
    await closing_store
    await store.open()
    assert await store.record(task_id(1)) == record(1, last_seq=1)
    await store.close()


async def test_close_waits_for_readers(make_sqlite: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_sqlite()
    await store.open()
    await store.commit(start(1))
    begun, go_on = threading.Event(), threading.Event()

    def slow(connection: Any) -> int:
        begun.set()
        assert go_on.wait(30)
        return reads_last_position(connection)

    reads_last_position = reads.last_position
    monkeypatch.setattr(reads, "last_position", slow)
    reader = asyncio.create_task(store.last_position())
    assert await asyncio.to_thread(begun.wait, 30)
    closing_store = asyncio.create_task(store.close())
    done, _ = await asyncio.wait({closing_store}, timeout=0.2)
    assert not done

    go_on.set()
    assert await reader == 1
    await closing_store


async def test_a_cancelled_close_goes_on(make_sqlite: MakeStore, held: Held) -> None:
    store, other = make_sqlite(), make_sqlite()
    await store.open()
    caller = asyncio.create_task(store.commit(start(1)))
    await held.begun()
    closing_store = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    await cancelled(closing_store)
    held.release()
    await caller
    await join_threads()

    await other.open()  # the lock was given back
    await other.close()


async def test_a_cancelled_open_gives_the_lock_back(make_sqlite: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow_upgrade(_connection: Any, _upgrade: object) -> None:
        begun.set()
        assert go_on.wait(30)

    monkeypatch.setattr("streaming.store.sqlite.make_current", slow_upgrade)
    opening = asyncio.create_task(make_sqlite().open())
    assert await asyncio.to_thread(begun.wait, 30)
    opening.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await opening

    monkeypatch.undo()
    store = make_sqlite()
    await store.open()
    await store.close()


async def test_an_open_that_fails_can_be_repeated(make_sqlite: MakeStore) -> None:
    first, second = make_sqlite(), make_sqlite()
    await first.open()
    with pytest.raises(StoreUnavailable, match="in use by process"):
        await second.open()
    await first.close()
    await second.open()
    await second.close()


async def join_threads() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("store-"):
            await asyncio.to_thread(thread.join, 30)


def threads_of_stores() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("store-")]


async def test_no_thread_is_left_after_a_close(make_sqlite: MakeStore) -> None:
    store = make_sqlite()
    for number in range(10):
        await store.open()
        await asyncio.gather(store.commit(start(number)), *(store.unfinished() for _ in range(20)))
        assert {name[:7] for name in threads_of_stores()} == {"store-w", "store-r"}
        await store.close()
        assert threads_of_stores() == []


async def test_no_thread_is_left_after_an_open_that_failed(make_sqlite: MakeStore) -> None:
    store = make_sqlite(store_url="sqlite:////proc/no/tasks.db")
    for _ in range(10):
        with pytest.raises(StoreUnavailable, match="There is no directory"):
            await store.open()
        assert threads_of_stores() == []


async def test_no_thread_is_left_after_a_close_that_failed(
    make_sqlite: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = SqliteFile.close

    def fail(database: SqliteFile) -> None:
        close(database)
        raise OSError("no")

    store = make_sqlite()
    await store.open()
    with monkeypatch.context() as patched:
        patched.setattr(SqliteFile, "close", fail)
        with pytest.raises(OSError, match="no"):
            await store.close()
    assert threads_of_stores() == []


# -- readers and the writer --------------------------------------------------------------------------------------------


async def test_a_long_reader_holds_up_no_commit_and_sees_none(sqlite: Journal, database_path: Path) -> None:
    await sqlite.commit(start(1))
    with closing(sqlite3.connect(database_path)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT max(position) FROM events").fetchone() == (1,)
        await sqlite.commit(Commit(ticks(1, 2, 300)))
        assert reader.execute("SELECT max(position) FROM events").fetchone() == (1,)
        reader.rollback()
        assert reader.execute("SELECT max(position) FROM events").fetchone() == (300,)


async def test_readers_see_whole_commits_in_order_while_they_are_written(sqlite: Journal) -> None:
    await sqlite.commit(start(1))
    done = asyncio.Event()

    async def write() -> None:
        for first in range(2, 1002, 10):
            await sqlite.commit(Commit(ticks(1, first, first + 9)))
        done.set()

    async def read() -> list[int]:
        heads = []
        while not done.is_set():
            found = [item.seq for _, item in await whole_feed(sqlite)]
            assert found == list(range(1, len(found) + 1))
            heads.append(len(found))
        return heads

    writing = asyncio.create_task(write())
    for heads in await asyncio.gather(*(read() for _ in range(6))):
        assert heads == sorted(heads)
        assert {head % 10 for head in heads} == {1}
        assert len(set(heads)) > 1  # it did read while others were written
    await writing


async def test_more_readers_than_threads_all_get_an_answer(sqlite: Journal) -> None:
    await sqlite.commit(start(*range(1, 21)))
    logs = await asyncio.gather(*(whole_log(sqlite, number) for number in range(1, 21) for _ in range(10)))
    assert logs == [[event(number, 1, "pending")] for number in range(1, 21) for _ in range(10)]


async def test_a_page_ends_once_it_is_large_and_leaves_no_reader_behind(sqlite: Journal, database_path: Path) -> None:
    await sqlite.commit(start(1))
    await sqlite.commit(Commit([event(1, seq, payload=f'"{"x" * (PAGE_BYTES_MAX // 3)}"') for seq in range(2, 12)]))
    await sqlite.commit(start(*range(2, 13), params={"text": "x" * (PAGE_BYTES_MAX // 3)}))
    for _ in range(10):
        assert [found.seq for found in await whole_log(sqlite, 1)] == [1, 2, 3, 4]
        assert [item.position for item in await sqlite.feed_after(0, last_position=11, limit=99)] == [1, 2, 3, 4]
        assert [int(found.id, 16) for found in await sqlite.records(RecordQuery(limit=20))] == [12, 11, 10]

    with closing(sqlite3.connect(database_path)) as other:  # (busy, frames in the log, frames that were moved)
        busy, logged, moved = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert (busy, logged) == (0, moved)


async def test_nothing_blocks_the_loop(make_sqlite: MakeStore) -> None:
    store = make_sqlite()
    with blockbuster_ctx():
        await store.open()
        await store.commit(start(1))
        await store.commit(end(1, 2))
        assert await store.outcome(start(1)) is not None
        assert await whole_feed(store)
        assert await store.records(RecordQuery())
        assert await store.delete(task_id(1))
        await store.close()


# -- behind our back ---------------------------------------------------------------------------------------------------


async def test_a_record_that_somebody_else_ended_or_deleted_is_lost(sqlite: Journal, database_path: Path) -> None:
    await sqlite.commit(start(1, 2, 3))
    with closing(sqlite3.connect(database_path)) as other, other:
        other.execute("PRAGMA foreign_keys = ON")
        other.execute("UPDATE tasks SET status = 'cancelled' WHERE id = ?", (task_id(1),))
        other.execute("DELETE FROM tasks WHERE id = ?", (task_id(2),))

    late = Commit([event(number, 2) for number in (1, 2, 3)])
    assert plain(await sqlite.commit(late)) == ([4], {task_id(1), task_id(2)})


@pytest.mark.parametrize(
    "tamper",
    [
        "INSERT INTO events (task_id, seq, type, time, payload) VALUES (?, 9, 'theirs', '', '{}')",
        "UPDATE events SET seq = 7 WHERE task_id = ?",
        "DELETE FROM events WHERE task_id = ?",
    ],
)
async def test_a_task_whose_log_somebody_else_has_changed_is_lost_and_no_other(
    sqlite: Journal, database_path: Path, tamper: str
) -> None:
    await sqlite.commit(start(1, 2))
    with closing(sqlite3.connect(database_path)) as other, other:
        other.execute(tamper, (task_id(1),))
    before = await whole_log(sqlite, 1)

    committed = await sqlite.commit(Commit([event(1, 2), event(2, 2)]))

    assert committed.lost == {task_id(1)}
    assert await whole_log(sqlite, 1) == before
    assert await whole_log(sqlite, 2) == [event(2, 1, "pending"), event(2, 2)]


async def test_a_database_that_is_locked_is_unavailable_until_it_is_not(
    make_sqlite: MakeStore, database_path: Path
) -> None:
    store = make_sqlite(store_wait_s=0.05)
    await store.open()
    with closing(sqlite3.connect(database_path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="another process has locked it"):
            await store.commit(start(1))
        assert await store.outcome(start(1)) is None
        assert await store.unfinished() == []
        other.rollback()
    assert plain(await store.commit(start(1))) == ([1], set())
    await store.close()


async def test_what_the_store_fails_is_counted_and_what_it_does_not_is_not(
    make_sqlite: MakeStore, database_path: Path
) -> None:
    store = make_sqlite(store_wait_s=0.05)
    await store.open()
    await store.commit(start(1))
    assert dict(store.troubles) == {"read": 0, "write": 0}
    with closing(sqlite3.connect(database_path)) as other:
        other.execute("BEGIN IMMEDIATE")
        for write in (store.commit(start(2)), store.delete("1"), store.acknowledge("1", "2026-01-01T00:00:00Z")):
            with pytest.raises(StoreUnavailable):
                await write
        other.rollback()
    assert dict(store.troubles) == {"read": 0, "write": 3}
    await store.close()
    for read in (store.unfinished(), store.outcome(start(1)), store.records(RecordQuery())):
        with pytest.raises(StoreUnavailable):
            await read
    assert dict(store.troubles) == {"read": 3, "write": 3}


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_lost_its_name_is_read_on_and_loses_nothing(
    make_sqlite: MakeStore, database_path: Path, replaced: bool
) -> None:
    """A new connection would make an empty file of that name, and SQLite deletes the log beside an empty one."""
    store = make_sqlite()
    await store.open()
    await store.commit(start(1, 2))
    elsewhere = database_path.with_name("elsewhere.db")
    await asyncio.to_thread(database_path.rename, elsewhere)
    if replaced:
        await asyncio.to_thread(database_path.touch)
    for found in await asyncio.gather(*(store.unfinished() for _ in range(50))):
        assert len(found) == 2
    assert await asyncio.to_thread(database_path.exists) is replaced

    await asyncio.to_thread(elsewhere.rename, database_path)
    await store.commit(start(3))
    with closing(sqlite3.connect(database_path)) as other:
        assert other.execute("SELECT count(*) FROM tasks").fetchone() == (3,)
    await store.close()
