"""The steps lead to the schema that the code knows, on both databases, with and without data."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, text

from streaming.config import Settings
from streaming.engine.journal import Commit, Journal, RecordQuery
from streaming.errors import RecordDamaged, StoreUnavailable
from streaming.records import Change, TaskStatus
from streaming.rules.fields import Operator
from streaming.rules.filters import Filter, Term
from streaming.store import open_database, open_store, reads
from streaming.store.listing import Listing
from streaming.store.migrate import run_steps
from streaming.store.schema import APPLICATION_ID, REVISION, feed, metadata
from tests.store.samples import at, record, task_id, whole_feed
from tests.store.samples import event as event_of


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    yield made
    made.dispose()


def schema(engine: Engine) -> dict[str, str]:
    """Every table and index, without white space."""
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
    return {name: "".join(sql.split()) for name, sql in rows if name != "alembic_version"}


def steps() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", "streaming.store:migrations")
    return ScriptDirectory.from_config(config)


def test_the_steps_lead_to_the_schema_that_the_code_knows(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        run_steps(connection)
        assert connection.exec_driver_sql("PRAGMA application_id").scalar() == APPLICATION_ID
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    wanted = create_engine(f"sqlite:///{tmp_path / 'wanted.db'}")
    metadata.create_all(wanted)  # it derives the terminal types from the life cycle; the steps name them
    assert schema(engine) == schema(wanted)
    wanted.dispose()


def test_on_postgres_as_well(our_database: str) -> None:
    engine = create_engine(our_database, connect_args={"options": "-c search_path=streaming"})

    def ours(item: Any, name: str | None, kind: str, *_: object) -> bool:
        return (kind, name) not in (("table", feed.name), ("index", "tasks_by_owner"))  # the index is for SQLite

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": ours})
        assert compare_metadata(context, metadata) == []
        assert connection.execute(feed.select()).scalar_one() == 0
        collations = connection.execute(
            text("SELECT DISTINCT collation_name FROM information_schema.columns "
                 "WHERE table_schema = 'streaming' AND data_type = 'text'")
        ).scalars()  # fmt: skip
        assert list(collations) == ["C"]
    engine.dispose()


def test_the_steps_form_one_line_to_the_revision_of_the_code() -> None:
    assert steps().get_heads() == [REVISION]
    assert len(steps().get_bases()) == 1
    revisions = [step.revision for step in steps().walk_revisions()]
    assert revisions == sorted(revisions, reverse=True)
    assert {len(revision) for revision in revisions} == {4}


def test_two_files_are_upgraded_at_the_same_time(tmp_path: Path) -> None:
    """Alembic keeps its state in module globals: threads must not meet there."""

    def upgrade_one(number: int) -> None:
        engine = create_engine(f"sqlite:///{tmp_path / str(number)}")
        with engine.begin() as connection:
            run_steps(connection)
        engine.dispose()

    threads = [threading.Thread(target=upgrade_one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        with closing(sqlite3.connect(tmp_path / str(number))) as database:
            assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]


def test_a_database_of_the_version_before_is_upgraded_on_postgres_too(postgres_url: str) -> None:
    options = {"options": "-c search_path=streaming"}
    engine = create_engine(postgres_url, connect_args=options)
    config = Config(attributes={"connection": None, "on_version_apply": []})
    config.set_main_option("script_location", "streaming.store:migrations")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA streaming")
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.exec_driver_sql(
            "INSERT INTO tasks "
            "(id, created_at, updated_at, type, status, params, timeout_s, created_by, tags, attempt) "
            "VALUES (%s, %s, %s, 'count', 'pending', '{}', 60, 'ann', '[]', 1)",
            (task_id(1), at(1), at(1)),
        )
    engine.dispose()

    with closing(open_database(Settings(store_url=postgres_url))) as database:
        with pytest.raises(StoreUnavailable, match="older than"):
            database.open()
        told: list[str] = []
        database.open(told.append)
        assert [step[:4] for step in told] == ["0004", "0005"]
        with database.reading() as connection:
            assert reads.record(connection, task_id(1)) == record(1, type="count", created_by="ann")
        with database.reading() as connection:
            own = (Term("created_by", Operator.EQ, ("ann",)), Term("tenant", Operator.NULL, (True,)))
            assert len(Listing(10).records(connection, RecordQuery(Filter(own)))) == 1


# -- a file of the first version, with all that it may hold ------------------------------------------------------------


def make_first(path: Path) -> None:
    """A file of revision 0001 with live, ended and damaged tasks."""
    engine = create_engine(f"sqlite:///{path}")
    config = Config(attributes={"connection": None, "on_version_apply": []})
    config.set_main_option("script_location", "streaming.store:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        fill(connection)
    engine.dispose()


TASK = "INSERT INTO tasks VALUES (?, ?, ?, '{}', 60.0, ?, ?, '', ?, 1, ?, ?, ?, NULL, ?, ?)"
EVENT = "INSERT INTO events (task_id, seq, type, time, payload) VALUES (?, ?, ?, ?, ?)"
DAMAGED = '{"percent'


def fill(connection: Connection) -> None:
    insert = connection.exec_driver_sql
    for number, kind, status, tags, progress, result, error in (
        (1, "http_fetch", "running", '["nightly","a","a"]', '{"percent":40.5,"message":"m"}', None, None),
        (2, "checksum", "failed", "[]", None, None, '{"code":"disk_full","message":"no room"}'),
        (3, "countdown", "completed", "nonsense", DAMAGED, "1", None),
        (4, "countdown", "pending", "[]", None, None, DAMAGED),
    ):
        insert(TASK, (task_id(number), kind, status, at(number), at(9), tags, progress, result, error, at(5), None))
    for number, seq, kind, payload in (
        (1, 1, "pending", "{}"),
        (1, 2, "running", '{"attempt":1}'),
        (1, 3, "tick", '{"n":1}'),
        (2, 1, "pending", "{}"),
        (2, 2, "failed", '{"error":{}}'),
        (3, 1, "pending", "{}"),
        (3, 2, "completed", "not JSON"),
        (4, 1, "pending", "{}"),
    ):
        insert(EVENT, (task_id(number), seq, kind, at(seq), payload))


@pytest.fixture
def first(tmp_path: Path) -> Path:
    path = tmp_path / "first.db"
    make_first(path)
    database = open_database(Settings(store_url=f"sqlite:///{path}"))
    told: list[str] = []
    database.open(told.append)
    database.close()
    assert told == [
        "0002: Records that can be found and steered: priority, keys, policies, history, search terms.",
        "0003: Records and events that are not kept for ever: who waits for an acknowledgement, how much there is of "
        "each type.",
        "0004: Whose tasks are whose: tenants, API keys, and the secrets of the server.",
        "0005: Which trace a task belongs to.",
    ]
    return path


@pytest.fixture
async def upgraded(first: Path) -> Any:
    store = open_store(Settings(store_url=f"sqlite:///{first}"))
    await store.open()
    yield store
    await store.close()


async def test_records_of_the_first_version_are_what_they_were(upgraded: Journal) -> None:
    one = await upgraded.record(task_id(1))
    two = await upgraded.record(task_id(2))

    assert one is not None
    assert (one.status, one.tags, one.last_seq, one.log_bytes) == (TaskStatus.RUNNING, ("nightly", "a", "a"), 3, 22)
    assert one.progress is not None
    assert one.progress.percent == 40.5
    assert (one.priority.value, one.key, one.retries_left, one.tenant) == ("normal", None, 0, None)
    assert (one.traceparent, one.tracestate) == (None, None)
    assert two is not None
    assert two.error is not None
    assert two.error.code == "disk_full"
    assert [found.id for found in await upgraded.unfinished()] == [task_id(1)]
    for number in (3, 4):
        with pytest.raises(RecordDamaged):
            await upgraded.record(task_id(number))


async def test_their_history_comes_from_their_logs(upgraded: Journal) -> None:
    assert await upgraded.changes(task_id(1)) == [
        Change(task_id(1), 1, TaskStatus.PENDING, at(1), "server", ""),
        Change(task_id(1), 2, TaskStatus.RUNNING, at(2), "server", ""),
    ]


async def test_the_feed_is_the_same_and_goes_on(upgraded: Journal) -> None:
    before = await whole_feed(upgraded)
    assert [position for position, _ in before] == list(range(1, 9))

    done = await upgraded.commit(Commit([event_of(1, 4)], updated=[record(1, TaskStatus.RUNNING, type="http_fetch")]))
    assert list(done.positions) == [9]


def test_columns_and_terms_are_filled_from_what_can_be_read(first: Path) -> None:
    with closing(sqlite3.connect(first)) as database:
        assert database.execute("SELECT percent, error_code FROM tasks ORDER BY id").fetchall() == [
            (40.5, None), (None, "disk_full"), (None, None), (None, None),
        ]  # fmt: skip
        assert database.execute("SELECT term, task_id FROM terms WHERE kind = 'tag' ORDER BY term").fetchall() == [
            ("a", task_id(1)), ("nightly", task_id(1)),
        ]  # fmt: skip
