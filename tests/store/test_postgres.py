"""What is PostgreSQL's own: positions in commit order, one server, a schema of our own, and no wait without a limit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, LiteralString, NoReturn

import psycopg
import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.event import listen, remove

from streaming.config import Settings
from streaming.engine.journal import PAGE_BYTES_MAX, Commit, Committed, Journal
from streaming.errors import QueryTooSlow, StoreUnavailable, StoreUnreachable
from streaming.records import Change, IdempotencyKey, TaskError, TaskStatus
from streaming.store import open_database, reads, statements, writes
from streaming.store.postgres import PostgresDatabase
from streaming.store.schema import REVISION, JsonValid, events
from streaming.store.sql import SqlStore
from tests.postgres import PostgresServer
from tests.store.samples import at, end, event, plain, record, start, task_id, ticks, whole_feed, whole_log

#: How many sessions wait for another one.
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"

IS_JSON = select(JsonValid(events.c.payload))

pytestmark = pytest.mark.process


def make(url: str, **settings: Any) -> PostgresDatabase:
    made = open_database(Settings(**{"store_url": url, "store_wait_s": 0.3, "store_timeout_s": 1.0, **settings}))
    assert isinstance(made, PostgresDatabase)
    return made


@contextmanager
def opened(url: str, **settings: Any) -> Iterator[PostgresDatabase]:
    with closing(make(url, **settings)) as made:
        made.open()
        yield made


def driver(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def refusal(url: str, **settings: Any) -> str:
    """The one line with which a database is refused."""
    with closing(make(url, **settings)) as refused, pytest.raises(StoreUnavailable) as caught:
        refused.open()
    assert "\n" not in caught.value.detail
    return caught.value.detail


# -- plans -------------------------------------------------------------------------------------------------------------


def generic_plans(database: PostgresDatabase, *commits: Commit) -> dict[str, str]:
    """What each statement of some commits is planned as, whatever its values are, in a database as it is now."""
    said: dict[str, None] = {}

    def hear(_: Any, __: Any, statement: str, *___: Any) -> None:
        said[statement] = None

    listen(database._writer, "before_cursor_execute", hear)
    for commit in commits:
        with database.writing() as connection:
            writes.write(connection, commit)
    remove(database._writer, "before_cursor_execute", hear)
    plans = {}
    with database.writing() as connection:
        for statement in (*said, statements._EXPECT.text(connection)):
            first, *rest = statement.split("%s")
            numbered = first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))
            rows = connection.exec_driver_sql(f"EXPLAIN (GENERIC_PLAN) {numbered}")
            plans[statement] = "\n".join(row[0] for row in rows)
    return plans


def test_a_commit_finds_its_rows_by_their_ids_also_with_what_was_planned_while_the_tables_were_empty(
    our_database: str,
) -> None:
    """Such a plan is kept while they fill: a commit would soon read all that there is."""
    with opened(our_database) as database:
        plans = generic_plans(database, start(1, 2), end(1, 2, finished_at=at(9)))

    reading = {statement: plan for statement, plan in plans.items() if "FROM tasks" in statement}
    assert len(reading) == 3
    for plan in reading.values():
        assert "using tasks_pkey on tasks" in plan
    lines = [line for plan in plans.values() for line in plan.replace("Seq Scan on feed", "").splitlines()]
    assert [line for line in lines if "Seq Scan" in line or "hashed" in line] == []
    looked_up = [behind for line, behind in pairwise(lines) if " using " in line]
    assert looked_up
    assert [line for line in looked_up if "Index Cond" not in line] == []


# -- one trip ----------------------------------------------------------------------------------------------------------


def sent(database: PostgresDatabase, file: Path, commit: Commit, last_position: int) -> list[str]:
    """What a commit in one trip sends, in the words of libpq (PQtrace): what asks the server for its answers."""
    with file.open("w") as out, database.one_trip() as connection:
        traced: Any = connection.connection.driver_connection
        traced.pgconn.trace(out.fileno())
        traced.pgconn.set_trace_flags(psycopg.pq.Trace.SUPPRESS_TIMESTAMPS)
        writes.write_expected(connection, commit, last_position)
    traced.pgconn.untrace()
    messages = [line.split("\t") for line in file.read_text().splitlines()]
    return [message[2] for message in messages if message[0] == "F" and message[2] in ("Query", "Sync", "Flush")]


def test_a_commit_is_one_trip_whatever_is_in_it(our_database: str, tmp_path: Path) -> None:
    """Each one that is saved is worth the time to the database and back, for whoever waits for an event."""
    key = IdempotencyKey("key", "me", "digest", task_id(1), at(1))
    mixed = Commit([event(1, 2), *ticks(2, 2, 400)], updated=[record(1), record(3)], keys=[key])
    with opened(our_database) as database:
        with database.writing() as connection:
            writes.write(connection, start(1, 2, 3))
        for last_position, commit in ((3, start(4)), (4, mixed), (404, end(1, 3, finished_at=at(9)))):
            begun, *rest = sent(database, tmp_path / "trace", commit, last_position)
            assert (begun, rest) in (("Sync", []), ("Sync", ["Flush"])), "nothing is waited for before all is sent"


async def test_the_first_commit_asks_and_those_behind_it_do_not(
    postgres: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(_: PostgresDatabase) -> NoReturn:
        raise AssertionError("it asks")

    with monkeypatch.context() as patched:
        patched.setattr(PostgresDatabase, "one_trip", ask)
        await postgres.commit(start(1))
    monkeypatch.setattr(PostgresDatabase, "writing", ask)
    assert plain(await postgres.commit(Commit([event(1, 2)], updated=[record(1)]))) == ([2], set())
    assert plain(await postgres.commit(Commit([], updated=[record(1)]))) == ([], set())
    assert plain(await postgres.commit(end(1, 3))) == ([3], set())


@pytest.mark.parametrize(
    ("behind_our_back", "number", "positions", "lost"),
    [
        ("update feed set position = 7 where %s <> ''", 1, [8, 9], []),
        ("delete from tasks where id = %s", 1, [3], [1]),
        ("update tasks set status = 'failed' where id = %s", 1, [3], [1]),
        ("insert into events values (9, %s, 2, 'tick', '', '{}')", 1, [3], [1]),
        ("insert into events values (9, %s, 2, 'failed', '', '{}')", 1, [3], [1]),
        ("delete from tasks where id = %s", 2, [3], [2]),
        ("delete from tasks where id = %s", 3, [3, 4], [3]),
    ],
)
async def test_what_others_have_changed_is_found_out_before_anything_is_written(
    behind_our_back: LiteralString,
    number: int,
    positions: list[int],
    lost: list[int],
    postgres: SqlStore,
    our_database: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What this connection has left is a guess of what there is, and no more."""
    key = IdempotencyKey("key", "me", "digest", task_id(3), at(1))
    late = Commit([event(1, 2), event(2, 2)], updated=[record(1), record(2)], keys=[key])
    await postgres.commit(Commit([event(1, 1), event(2, 1)], created=[record(1), record(2), record(3)]))
    with driver(our_database) as other:
        other.execute("set search_path = streaming")
        other.execute(behind_our_back, (task_id(number),))

    assert plain(await postgres.commit(late)) == (positions, {task_id(each) for each in lost} - {task_id(3)})
    kept = await postgres.key("me", "key", created_after=at(0))
    assert (kept is None) == (3 in lost)
    assert caplog.records == []
    assert plain(await postgres.commit(start(4))) == ([positions[-1] + 1], set())


async def test_a_commit_that_has_waited_for_another_writer_goes_behind_it(
    postgres: SqlStore, our_database: str
) -> None:
    await postgres.commit(start(1, 2))
    with psycopg.connect(our_database.replace("+psycopg", ""), options="-c search_path=streaming") as other:
        other.execute("update feed set position = 3")
        other.execute("insert into events values (3, %s, 2, 'tick', '', '{}')", (task_id(2),))
        commit = asyncio.create_task(postgres.commit(Commit([event(1, 2), event(2, 2)])))
        with driver(our_database) as watcher:
            while await asyncio.to_thread(lambda: watcher.execute(WAITING).fetchone()) != (1,):
                pass
        assert not commit.done()
    assert plain(await commit) == ([4], {task_id(2)})


async def test_a_wrong_guess_leaves_a_connection_that_commits_nothing_by_itself(
    postgres: SqlStore, our_database: str
) -> None:
    """Also where its statements are prepared just then: a driver prepares what comes often."""
    position = 0
    for number in range(24):
        if number % 3:
            with driver(our_database) as other:
                other.execute("update streaming.feed set position = position + 1")
            position += 1
        position += 1
        assert plain(await postgres.commit(start(number))) == ([position], set())
        check_plain_connection(postgres)


def check_plain_connection(store: SqlStore) -> None:
    """The one that writes has no transaction, and makes one where it is used."""
    database = store._database
    assert isinstance(database, PostgresDatabase)
    with database._writer.connect() as connection:
        made: Any = connection.connection.driver_connection
        assert made.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert made.pgconn.pipeline_status == psycopg.pq.PipelineStatus.OFF
        assert not made.autocommit


DEFERRED = """
create function refuse() returns trigger language plpgsql as $$ begin raise unique_violation; end $$;
create constraint trigger refuse after insert on streaming.events deferrable initially deferred
    for each row when (new.type = 'refused') execute function refuse();
"""


async def test_one_that_fails_at_its_very_end_has_stored_nothing(postgres: SqlStore, our_database: str) -> None:
    await postgres.commit(start(1))
    with driver(our_database) as other:
        other.execute(DEFERRED)
    late = Commit([event(1, 2, "refused")])
    with pytest.raises(StoreUnavailable, match="contradicts what it holds"):
        await postgres.commit(late)
    check_plain_connection(postgres)
    assert await postgres.outcome(late) is None
    assert plain(await postgres.commit(Commit(ticks(1, 2, 3)))) == ([2, 3], set())


async def test_a_mistake_of_ours_in_the_middle_stores_nothing(
    postgres: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistake(*_: object) -> NoReturn:
        raise ValueError("a mistake")

    await postgres.commit(start(1))
    with monkeypatch.context() as patched:
        patched.setattr(writes, "count_ended", mistake)  # rows were sent before
        with pytest.raises(ValueError, match="a mistake"):
            await postgres.commit(end(1, 2))
    check_plain_connection(postgres)
    assert await whole_log(postgres, 1) == [event(1, 1, "pending")]
    assert plain(await postgres.commit(end(1, 2))) == ([2], set())


# -- positions ---------------------------------------------------------------------------------------------------------


async def test_positions_become_visible_in_their_order_also_with_two_writers(
    postgres: Journal, our_database: str
) -> None:
    """A sequence would give the second writer a higher number, and let it commit before the first one."""
    await postgres.commit(start(1, 2))
    engine = create_engine(our_database, connect_args={"options": "-c search_path=streaming"}, pool_size=2)
    done: dict[int, Committed] = {}

    def write(number: int) -> None:
        with engine.begin() as connection:
            done[number] = writes.write(connection, Commit(ticks(number, 2, 4)))

    with engine.begin() as first:
        done[1] = writes.write(first, Commit(ticks(1, 2, 4)))
        second = threading.Thread(target=write, args=(2,))
        second.start()
        with driver(our_database) as watcher:
            while watcher.execute(WAITING).fetchone() != (1,):  # it waits for the first one
                pass
        assert [position for position, _ in await whole_feed(postgres)] == [1, 2]
        assert 2 not in done
    second.join()
    engine.dispose()

    assert list(done[1].positions) == [3, 4, 5]
    assert list(done[2].positions) == [6, 7, 8]
    assert [item.task_id for _, item in (await whole_feed(postgres))[2:]] == [task_id(1)] * 3 + [task_id(2)] * 3


async def test_the_position_of_a_deleted_event_is_never_given_again(postgres: Journal, our_database: str) -> None:
    await postgres.commit(start(1, 2))
    with driver(our_database) as other:
        other.execute("delete from streaming.tasks where id = %s", (task_id(2),))
    assert await postgres.last_position() == 2
    assert plain(await postgres.commit(start(3))) == ([3], set())


async def test_a_large_commit_that_is_refused_in_the_middle_tells_no_log_where_the_database_is(
    postgres: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """Its error comes while the rest is still being sent."""
    await postgres.commit(start(1))
    with pytest.raises(StoreUnavailable, match="contradicts what it holds"):
        await postgres.commit(start(*range(1, 3000)))
    assert caplog.records == []
    assert plain(await postgres.commit(start(3000))) == ([2], set())


async def test_a_nul_in_a_plain_text_stops_no_commit(postgres: Journal) -> None:
    cause = Change(task_id(1), 1, TaskStatus.PENDING, at(1), "a\0b", "because\0")
    started = start(1, created_by="a\0b", tags=("x\0y",))
    await postgres.commit(Commit(started.events, created=started.created, changes=[cause]))
    failed = record(1, TaskStatus.RUNNING, error=TaskError("odd\0", "m\0"))
    await postgres.commit(Commit([event(1, 2)], updated=[failed]))

    found = await postgres.record(task_id(1))
    assert found is not None
    assert (found.created_by, found.tags, found.error) == ("a\ufffdb", ("x\0y",), TaskError("odd\0", "m\0"))
    assert [(each.by, each.reason) for each in await postgres.changes(task_id(1))] == [("a\ufffdb", "because\ufffd")]


async def test_a_page_of_large_events_is_not_fetched_beyond_its_end(
    postgres: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await postgres.commit(start(1))
    large = '"' + "x" * (PAGE_BYTES_MAX // 3) + '"'
    await postgres.commit(Commit([event(1, seq, payload=large) for seq in range(2, 200)]))
    fetched = 0
    fetch = psycopg.ServerCursor.fetchmany

    def counted(cursor: Any, size: int = 0) -> Any:
        nonlocal fetched
        rows = fetch(cursor, size)
        fetched += len(rows)
        return rows

    monkeypatch.setattr(psycopg.ServerCursor, "fetchmany", counted)
    assert [item.seq for item in await whole_log(postgres, 1)] == [1, 2, 3, 4]
    assert [item.position for item in await postgres.feed_after(0, last_position=199, limit=199)] == [1, 2, 3, 4]
    assert 0 < fetched < 40


# -- one server --------------------------------------------------------------------------------------------------------


def test_a_second_server_is_refused_and_told_who_is_there(our_database: str) -> None:
    with opened(our_database) as first:
        line = refusal(our_database)
        assert line.startswith("The database '")
        assert "cannot be used: it is in use by streaming, process " in line
        assert line.endswith(": stop that one, or choose another STREAMING_STORE_URL.")
        assert (first.inspect().holder or "nobody") in line
    with opened(our_database):  # it is free again
        pass


def test_what_is_inspected_is_not_taken(our_database: str) -> None:
    with closing(make(our_database)) as looking:
        assert (looking.inspect().revision, looking.inspect().holder) == (REVISION, None)
        with opened(our_database):
            assert "process" in (looking.inspect().holder or "")


def end_sessions(url: str) -> None:
    with driver(url) as other:
        other.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )


def test_without_its_lock_nothing_is_written(our_database: str) -> None:
    with opened(our_database) as first:
        end_sessions(our_database)
        with opened(our_database):  # somebody else was quicker
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="another server has taken its database"), first.writing():
                    raise AssertionError("not reached")
                with pytest.raises(StoreUnavailable, match="another server"), first.settled():
                    raise AssertionError("not reached")
        with first.writing() as connection:  # it is gone
            assert connection.exec_driver_sql("select 1").scalar() == 1


def test_a_session_of_ours_that_hangs_is_ended_before_anything_is_written(our_database: str) -> None:
    """The network has swallowed the end of the connection: the database waits, in the middle of a transaction."""
    with opened(our_database, store_timeout_s=60) as made:
        connection = made._writer.connect()
        connection.exec_driver_sql("update feed set position = 7")
        hanging = connection.connection.driver_connection
        connection.detach()
        assert hanging is not None
        begin = time.monotonic()
        with made.writing() as again:
            assert again.exec_driver_sql("select position from feed").scalar() == 0
        assert time.monotonic() - begin < 5
        with pytest.raises(psycopg.OperationalError, match="terminating connection"):
            hanging.execute("commit")
        connection.invalidate()
        connection.close()


def test_a_session_that_ended_while_nobody_used_it_is_replaced_unseen(our_database: str) -> None:
    with opened(our_database) as made:
        with made.reading() as connection:
            connection.exec_driver_sql("select 1")
        end_sessions(our_database)
        with made.writing() as connection:
            connection.exec_driver_sql("delete from tasks")
        with made.reading() as connection:
            assert connection.exec_driver_sql("select count(*) from tasks").scalar() == 0


# -- a schema of our own -----------------------------------------------------------------------------------------------


def test_what_others_have_in_the_database_is_left_alone(postgres_url: str, postgres_server: PostgresServer) -> None:
    with driver(postgres_url) as other:
        for statement in (
            "create table public.tasks (theirs int)",
            "create table public.alembic_version (version_num text)",
            "insert into public.alembic_version values ('theirs')",
        ):
            other.execute(statement)
        with opened(postgres_url):
            pass
        with opened(postgres_url):  # once more, with tables
            pass
        assert other.execute("select * from public.alembic_version").fetchall() == [("theirs",)]
        assert other.execute("select count(*) from public.tasks").fetchone() == (0,)
        found = other.execute("select count(*) from pg_tables where schemaname = 'streaming'").fetchone()
        assert found == (10,)


def test_a_schema_of_that_name_that_somebody_else_made_is_refused(postgres_url: str) -> None:
    with driver(postgres_url) as other:
        other.execute("create schema streaming")
        other.execute("create table streaming.theirs (x int)")
        assert "it belongs to another program; choose another STREAMING_STORE_URL" in refusal(postgres_url)
        other.execute("drop table streaming.theirs")
    with opened(postgres_url):  # an empty one was made for us
        pass


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (
            "0001",
            f"its schema '0001' is older than '{REVISION}' of this program; make a backup, then run: "
            "streaming db upgrade",
        ),
        ("9999", "its schema '9999' was made by a newer version of this program; upgrade the program"),
    ],
)
def test_another_schema_is_refused_with_what_to_do(stored: str, said: str, our_database: str) -> None:
    with driver(our_database) as other:
        other.execute("update streaming.alembic_version set version_num = %s", (stored,))

    assert said in refusal(our_database)


def test_two_servers_that_start_at_once_set_up_one_schema(postgres_url: str) -> None:
    results: list[str] = []

    def start_one() -> None:
        with closing(make(postgres_url, store_wait_s=0.1)) as made:
            try:
                made.open()
                results.append("opened")
                third.wait(20)
            except StoreUnavailable as error:
                results.append("in use" if "in use by" in error.detail else error.detail)
                third.wait(20)

    third = threading.Barrier(2)
    threads = [threading.Thread(target=start_one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["in use", "opened"]


# -- what cannot be used -----------------------------------------------------------------------------------------------


@contextmanager
def role(server: PostgresServer, url: str, **rights: str) -> Iterator[str]:
    """The URL of somebody with few rights."""
    with driver(url) as admin:
        admin.execute("create role few login password 'secret'")
    try:
        yield url.replace("postgres@", "few:secret@")
    finally:
        with driver(url) as admin:
            admin.execute("drop owned by few")
            admin.execute("drop role few")


def test_who_may_not_make_a_schema_is_told_what_helps(postgres_server: PostgresServer, postgres_url: str) -> None:
    with role(postgres_server, postgres_url) as url:
        line = refusal(url)
        assert line == (
            "The database 'test' cannot be used: its user may not create a schema; "
            "let its owner run: CREATE SCHEMA streaming AUTHORIZATION few."
        )
        with driver(postgres_url) as owner:
            owner.execute("create schema streaming authorization few")
        with opened(url):
            pass


def test_who_may_only_read_is_refused_before_anything_is_begun(
    postgres_server: PostgresServer, our_database: str
) -> None:
    """It would try its first commit for ever."""
    with role(postgres_server, our_database) as url, driver(our_database) as owner:
        assert "its user has too few rights; let it own the schema 'streaming' and all that is in it" in refusal(url)
        with closing(make(url)) as looking, pytest.raises(StoreUnavailable, match="too few rights"):
            looking.inspect()
        owner.execute("grant usage on schema streaming to few")
        owner.execute("grant select, insert, update on all tables in schema streaming to few")
        assert "its user has too few rights" in refusal(url)
        owner.execute("grant delete on all tables in schema streaming to few")
        with opened(url):
            pass
        owner.execute("alter role few set default_transaction_read_only = on")
        assert "it is read-only" in refusal(url)
        with closing(make(url)) as looking, pytest.raises(StoreUnavailable, match="it is read-only"):
            looking.inspect()


def test_a_schema_in_which_tables_are_missing_is_refused(our_database: str) -> None:
    with driver(our_database) as other:
        other.execute("drop table streaming.changes")
    assert "its tables are not those of this version" in refusal(our_database)


@pytest.mark.parametrize(
    ("addition", "why"),
    [
        ("?nonsense=1", "STREAMING_STORE_URL has an option that is unknown, or whose value cannot be"),
        ("?sslmode=bogus", "STREAMING_STORE_URL has an option that is unknown, or whose value cannot be"),
        ("?sslmode=require", "it does not offer the encryption or the proof of who it is that is demanded"),
    ],
)
def test_an_option_that_cannot_be_met_is_not_waited_for(addition: str, why: str, postgres_url: str) -> None:
    assert why in refusal(postgres_url + addition)


def test_a_url_that_cannot_be_read_is_refused_without_its_password() -> None:
    with pytest.raises(StoreUnavailable, match="cannot be read, or names no database") as caught:
        make("postgresql+psycopg://me:secret@here:notaport/test")
    assert "secret" not in caught.value.detail


def test_what_a_server_cannot_say_of_json_is_found_out_here(our_database: str) -> None:
    """Before version 16 there is no ``IS JSON``."""
    with opened(our_database) as made:
        with made.writing() as connection:
            writes.write(connection, start(1))
            connection.exec_driver_sql("update events set payload = '{no'")
        with made.reading():
            pass  # now it knows its version
        made._questions.dialect.server_version_info = (15, 4)
        with made.reading() as connection:
            assert "IS JSON" not in str(IS_JSON.compile(connection))
            (found,) = reads.events_after(connection, task_id(1), 0, 1, 10)
        assert found.type == "gap"
        with made.writing() as connection:
            connection.exec_driver_sql("update events set payload = '{}'")
        with made.reading() as connection:
            (found,) = reads.events_after(connection, task_id(1), 0, 1, 10)
        assert found.type == "pending"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("postgres@", "nobody_here:secret@"), "it refuses this user or password"),
        (("/test", "/missing"), "there is no such database"),
    ],
)
def test_what_an_operator_must_change_is_named(change: tuple[str, str], why: str, postgres_url: str) -> None:
    with closing(make(postgres_url.replace(*change))) as refused, pytest.raises(StoreUnavailable, match=why) as caught:
        refused.open()

    assert not isinstance(caught.value, StoreUnreachable), "to wait for it would be in vain"
    assert "secret" not in caught.value.detail


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("no-such-host.invalid:5432", "no address is known for its host"),
        ("127.0.0.1:1", "nobody answers there, or the connection was lost"),
    ],
)
def test_where_nobody_answers_it_is_unreachable_and_no_address_is_told(place: str, why: str) -> None:
    with (
        closing(make(f"postgresql+psycopg://postgres@{place}/test")) as away,
        pytest.raises(StoreUnreachable) as caught,
    ):
        away.open()

    assert caught.value.detail == f"The database 'test' cannot be used: {why}."


def test_only_utf8_will_do(postgres_server: PostgresServer) -> None:
    postgres_server.query("create database latin template template0 encoding 'LATIN1' locale 'C'")
    try:
        assert "its encoding is LATIN1" in refusal(postgres_server.url("latin"))
    finally:
        postgres_server.drop_database("latin")


# -- limits ------------------------------------------------------------------------------------------------------------


def test_every_session_has_its_limits(our_database: str) -> None:
    with opened(our_database, store_timeout_s=7.0) as made:
        for context in (made.writing, made.reading):
            with context() as connection:
                for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                    assert connection.exec_driver_sql(f"show {name}").scalar() == "7s"
                assert connection.exec_driver_sql("show tcp_keepalives_idle").scalar() == "10"
                assert connection.exec_driver_sql("show search_path").scalar() == "streaming"


def test_a_reader_cannot_write(our_database: str) -> None:
    with (
        opened(our_database) as made,
        pytest.raises(StoreUnavailable, match="it is read-only"),
        made.reading() as connection,
    ):
        connection.exec_driver_sql("delete from tasks")


def test_a_question_that_takes_too_long_is_stopped_and_leaves_the_pool_whole(our_database: str) -> None:
    with opened(our_database) as made:
        for _ in range(20):
            with pytest.raises(QueryTooSlow, match=r"longer than 0\.01 s"), made.reading(0.01) as connection:
                connection.exec_driver_sql("select pg_sleep(10)")
        with pytest.raises(StoreUnavailable, match="it takes too long"), made.reading() as connection:
            connection.exec_driver_sql("select pg_sleep(10)")
        assert made.checked_out() == 0
        with made.reading() as connection:
            assert connection.exec_driver_sql("show statement_timeout").scalar() == "1s"
