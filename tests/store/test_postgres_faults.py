"""What goes wrong between a store and its PostgreSQL loses nothing, writes nothing twice, and leaves no connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from streaming.config import Settings
from streaming.engine.journal import Commit, Committed
from streaming.errors import StoreUnavailable, StoreUnreachable
from streaming.store import guard, open_store, reads, sql, writes
from streaming.store.postgres import PostgresDatabase
from streaming.store.sql import SqlStore
from tests.postgres import PostgresServer
from tests.proxy import Proxy
from tests.store.samples import event, plain, record, start, task_id, ticks, whole_feed, whole_log

pytestmark = pytest.mark.process

AGAIN = "a transaction was taken back, and is tried again"


def checked_out(store: SqlStore) -> int:
    database = store._database
    assert isinstance(database, PostgresDatabase)
    return database.checked_out()


def circuit(store: SqlStore) -> str:
    assert store.circuit is not None
    return store.circuit.value


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[SqlStore]:
    given = {"store_url": url, "store_wait_s": 2.0, "store_timeout_s": 5.0, "store_connections": 3, **settings}
    store = open_store(Settings(**given))
    assert isinstance(store, SqlStore)
    await store.open()
    try:
        yield store
        assert checked_out(store) == 0
    finally:
        await store.close()


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with Proxy(postgres_server.port) as made:
        yield made


@pytest.fixture
def through(proxy: Proxy, our_database: str, postgres_server: PostgresServer) -> str:
    """The URL that leads through the proxy."""
    return our_database.replace(str(postgres_server.port), str(proxy.port))


@pytest.fixture
def other(our_database: str) -> Iterator[psycopg.Connection[Any]]:
    """Somebody else in the same database, in a transaction."""
    url = our_database.replace("+psycopg", "")
    with psycopg.connect(url, options="-c search_path=streaming -c deadlock_timeout=60s") as made:
        yield made
        made.rollback()


@pytest.fixture(params=["write_expected", "write"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How a commit goes to the database: in one trip, or with questions first."""
    if request.param == "write":
        monkeypatch.setattr(PostgresDatabase, "one_trip", lambda _: None)
    return str(request.param)


both_ways = pytest.mark.usefixtures("way")
InTheMiddle = Callable[[Callable[[Any], object]], None]


@pytest.fixture
def in_the_middle(way: str, monkeypatch: pytest.MonkeyPatch) -> InTheMiddle:
    """Lets something happen once: when all of a commit is written, and nothing is committed."""
    write = getattr(writes, way)

    def let(happen: Callable[[Any], object]) -> None:
        def written(connection: Any, *given: Any) -> Committed:
            monkeypatch.setattr(writes, way, write)
            done: Committed = write(connection, *given)
            happen(connection)
            return done

        monkeypatch.setattr(writes, way, written)

    return let


async def waits_for_a_lock(other: psycopg.Connection[Any], done: asyncio.Task[Any]) -> None:
    """Until another session does."""
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    while not done.done():
        (count,) = await asyncio.to_thread(lambda: other.execute(waiting).fetchone() or (0,))
        if count:
            return
        other.execute("select pg_stat_clear_snapshot()")
    raise AssertionError("it did not wait")


# -- a connection that is cut ------------------------------------------------------------------------------------------


async def test_cut_before_the_commit_nothing_is_stored_and_it_is_said_so(
    through: str, proxy: Proxy, in_the_middle: InTheMiddle
) -> None:
    async with opened(through) as store:
        await store.commit(start(1))
        late = Commit(ticks(1, 2, 20))
        in_the_middle(lambda _: proxy.cut())
        with pytest.raises(StoreUnreachable, match="the connection was lost"):
            await store.commit(late)

        assert await store.outcome(late) is None
        assert plain(await store.commit(late)) == (list(range(2, 21)), set())
        assert [position for position, _ in await whole_feed(store)] == list(range(1, 21))


async def test_a_session_that_an_operator_ends_in_mid_transaction_stores_nothing(
    our_database: str, postgres_server: PostgresServer, in_the_middle: InTheMiddle
) -> None:
    def end_it(connection: Any) -> None:
        pid = int(connection.connection.driver_connection.info.backend_pid)
        postgres_server.query(psycopg.sql.SQL("select pg_terminate_backend({}, 5000)").format(pid))

    async with opened(our_database) as store:
        await store.commit(start(1))
        late = Commit(ticks(1, 2, 3))
        in_the_middle(end_it)
        with pytest.raises(StoreUnreachable):
            await store.commit(late)

        assert await store.outcome(late) is None
        assert plain(await store.commit(late)) == ([2, 3], set())


async def test_cut_after_the_commit_it_is_found_to_have_taken_place(
    through: str, proxy: Proxy, our_database: str, in_the_middle: InTheMiddle
) -> None:
    """The answer was lost on its way: to repeat it would store everything twice."""
    async with opened(through) as store, opened_reader(our_database) as committed:
        await store.commit(start(1))
        late = Commit(ticks(1, 2, 3))
        in_the_middle(lambda _: proxy.stall("answers"))
        commit = asyncio.create_task(store.commit(late))
        while await committed(1) < 3:
            pass
        assert not commit.done()
        proxy.cut()
        proxy.resume()
        with pytest.raises(StoreUnreachable):
            await commit

        assert plain(await store.outcome(late)) == ([2, 3], set())
        assert await whole_log(store, 1) == [event(1, 1, "pending"), *ticks(1, 2, 3)]


@asynccontextmanager
async def opened_reader(url: str) -> AsyncIterator[Callable[[int], Any]]:
    """Reads past the proxy how many events of a task are committed."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:

        async def count(number: int) -> int:
            query = "select count(*) from streaming.events where task_id = %s"
            return int(
                (await asyncio.to_thread(lambda: connection.execute(query, (task_id(number),)).fetchone()) or [0])[0]
            )

        yield count


async def test_a_session_that_hangs_in_the_network_is_ended_before_anything_is_written_again(
    through: str, proxy: Proxy, our_database: str, other: psycopg.Connection[Any], in_the_middle: InTheMiddle
) -> None:
    """Its server has not noticed that nobody is there any more, and it may have committed, or be about to."""
    async with opened(through, store_timeout_s=0.5, store_wait_s=0.5) as store:
        await store.commit(start(1))
        late = Commit(ticks(1, 2, 3))
        in_the_middle(lambda _: proxy.stall())
        with pytest.raises(StoreUnreachable):
            await store.commit(late)  # nothing comes back
        proxy.resume()

        assert plain(await store.outcome(late)) in (None, ([2, 3], set()))
        await store.commit(late)
        assert await whole_log(store, 1) == [event(1, 1, "pending"), *ticks(1, 2, 3)]


async def test_a_reader_whose_network_hangs_is_told_in_time(through: str, proxy: Proxy) -> None:
    async with opened(through, store_timeout_s=0.3, store_wait_s=0.2) as store:
        await store.commit(start(1))
        await store.unfinished()
        proxy.stall()
        answers = await asyncio.gather(*(store.unfinished() for _ in range(8)), return_exceptions=True)
        assert {type(answer) for answer in answers} <= {StoreUnreachable, StoreUnavailable}
        assert checked_out(store) == 0
        proxy.resume()
        proxy.cut()
        await until_it_answers(store)


async def test_one_cut_while_rows_come_piecemeal_is_told_in_words_and_nowhere_with_a_traceback(
    through: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def first_only(found: Iterable[Any], _: object) -> Iterator[Any]:
        yield next(iter(found))
        proxy.cut()

    async with opened(through) as store:
        await store.commit(start(1))
        await store.commit(Commit(ticks(1, 2, 200)))
        monkeypatch.setattr(reads, "_first", first_only)
        with pytest.raises(StoreUnreachable, match="the connection was lost"):
            await store.events_after(task_id(1), 0, last_seq=200, limit=200)
    assert caplog.records == []


# -- the server itself -------------------------------------------------------------------------------------------------


async def until_it_answers(store: SqlStore) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await store.unfinished()
            except StoreUnavailable:
                await asyncio.sleep(0.02)
            else:
                return


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
async def test_what_was_acknowledged_outlives_the_server_and_nothing_comes_twice(
    how: str, our_database: str, postgres_server: PostgresServer
) -> None:
    """As the committer does it: ask what became of a commit that failed, and repeat it if nothing did."""
    acknowledged: list[int] = []

    async def write(store: SqlStore, last: int) -> None:
        for seq in range(2, last + 1):
            commit = Commit([event(1, seq)])
            done: Committed | None = None
            while done is None:
                try:
                    done = await store.commit(commit)
                except StoreUnavailable:
                    done = await outcome(store, commit)
            assert not done.lost
            acknowledged.append(seq)

    async def outcome(store: SqlStore, commit: Commit) -> Committed | None:
        while True:
            try:
                return await store.outcome(commit)
            except StoreUnavailable:
                await asyncio.sleep(0.05)

    async with opened(our_database) as store:
        await store.commit(start(1))
        writing = asyncio.create_task(write(store, 600))
        while len(acknowledged) < 100:
            await store.last_position()
        await asyncio.to_thread(postgres_server.restart, how)
        await writing

        assert acknowledged == list(range(2, 601))
        await until_it_answers(store)
        assert [item.seq for item in await whole_log(store, 1)] == list(range(1, 601))
        assert [position for position, _ in await whole_feed(store)] == list(range(1, 601))


# -- transactions that meet --------------------------------------------------------------------------------------------


@both_ways
async def test_a_deadlock_is_tried_again_and_each_attempt_says_why(
    our_database: str, other: psycopg.Connection[Any]
) -> None:
    impatient = "?options=-c%20deadlock_timeout%3D20ms"
    async with opened(our_database + impatient) as store:
        await store.commit(start(1, 2))
        other.execute("update tasks set created_by = 'them' where id = %s", (task_id(1),))
        with capture_logs() as logs:
            commit = asyncio.create_task(store.commit(Commit([event(1, 2)], updated=[record(1)])))
            await waits_for_a_lock(other, commit)
            await asyncio.to_thread(other.execute, "select position from feed for update")  # and now each other's
            await asyncio.to_thread(other.commit)
            assert plain(await commit) == ([3], set())

    again = [entry for entry in logs if entry["event"] == AGAIN]
    assert again
    assert [entry["attempt"] for entry in again] == list(range(1, len(again) + 1))
    assert all("40P01" in entry["reason"] for entry in again)
    assert all("UPDATE" not in str(entry) and "tasks" not in str(entry) for entry in again)


@both_ways
async def test_so_is_what_cannot_be_put_in_an_order(our_database: str, other: psycopg.Connection[Any]) -> None:
    strict = "?options=-c%20default_transaction_isolation%3Drepeatable%5C%20read"
    async with opened(our_database + strict) as store:
        await store.commit(start(1))
        other.execute("update feed set position = position")
        with capture_logs() as logs:
            commit = asyncio.create_task(store.commit(Commit([event(1, 2)])))
            await waits_for_a_lock(other, commit)
            await asyncio.to_thread(other.commit)
            assert plain(await commit) == ([2], set())

    assert ["40001" in entry["reason"] for entry in logs if entry["event"] == AGAIN] == [True]


async def test_one_that_meets_others_again_and_again_is_given_up(
    our_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meet(_connection: Any, _commit: Commit) -> Committed:
        raise OperationalError("secret", None, psycopg.errors.DeadlockDetected("secret"))

    async with opened(our_database) as store:
        with capture_logs() as logs, monkeypatch.context() as patched:
            patched.setattr(writes, "write", meet)
            with pytest.raises(StoreUnavailable, match="40P01 deadlock"):
                await store.commit(start(1))
        assert [entry["attempt"] for entry in logs] == list(range(1, sql.ATTEMPTS_MAX))
        pauses = [entry["pause_s"] for entry in logs]
        assert all(pause_s <= sql.PAUSE_S * 2**number for number, pause_s in enumerate(pauses))
        assert plain(await store.commit(start(1))) == ([1], set())


@both_ways
async def test_a_lock_that_does_not_get_free_stops_the_transaction_and_leaves_no_connection(
    our_database: str, other: psycopg.Connection[Any]
) -> None:
    async with opened(our_database, store_timeout_s=0.2) as store:
        await store.commit(start(1))
        other.execute("select position from feed for update")
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match=r"a lock was not free in time|it takes too long"):
                await store.commit(Commit([event(1, 2)]))
            assert checked_out(store) == 0
        other.rollback()
        assert plain(await store.commit(Commit([event(1, 2)]))) == ([2], set())
        assert circuit(store) == "closed", "it has answered each time"


# -- no connection is free ---------------------------------------------------------------------------------------------


async def test_a_question_waits_for_a_connection_and_not_for_ever(
    our_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, begun = threading.Event(), threading.Semaphore(0)

    def slow(_connection: Any) -> int:
        begun.release()
        assert release.wait(30)
        return 7

    async with opened(our_database, store_wait_s=0.3) as store:
        with monkeypatch.context() as patched:
            patched.setattr(reads, "last_position", slow)
            busy = [asyncio.create_task(store.last_position()) for _ in range(2)]
            for _ in busy:
                assert await asyncio.to_thread(begun.acquire, timeout=30)
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match="no connection got free in time"):
                    await store.unfinished()
            assert plain(await store.commit(start(1))) == ([1], set()), "writing does not wait for readers"
            waiting = asyncio.create_task(store.unfinished())
            await asyncio.sleep(0)
            release.set()
            assert [found.id for found in await waiting] == [task_id(1)]
            assert await asyncio.gather(*busy) == [7, 7]


# -- a database that is left alone -------------------------------------------------------------------------------------


async def test_a_dead_database_is_not_asked_again_and_again_and_comes_back_by_itself(
    through: str, proxy: Proxy
) -> None:
    async with opened(through) as store:
        await store.commit(start(1))
        proxy.refuse()
        proxy.cut()
        with capture_logs() as logs:
            for _ in range(guard.FAILURES_MAX):
                with pytest.raises(StoreUnreachable):
                    await store.unfinished()
        assert circuit(store) == "open"
        assert [(entry["was"], entry["now"]) for entry in logs] == [("closed", "open")]

        proxy.accept()
        before = proxy.accepted
        with pytest.raises(StoreUnreachable, match="it is not asked") as caught:
            await store.unfinished()
        with pytest.raises(StoreUnreachable, match="it is not asked"):
            await store.delete(task_id(1))
        assert proxy.accepted == before
        assert caught.value.retry_after_s is not None
        await until_it_answers(store)
        assert circuit(store) == "closed"
        assert plain(await store.commit(Commit([event(1, 2)]))) == ([2], set())


async def test_a_question_that_is_its_own_trouble_opens_nothing(our_database: str) -> None:
    async with opened(our_database) as store:
        for _ in range(5):
            with pytest.raises(StoreUnavailable, match="contradicts"):
                await store.commit(Commit([], created=[record(4), record(4)]))
        assert circuit(store) == "closed"
