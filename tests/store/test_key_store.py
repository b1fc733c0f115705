"""Keys are made and revoked beside a running server, and nothing of it is disturbed."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from streaming.config import Settings
from streaming.engine.journal import Commit, Journal
from streaming.errors import StoreUnavailable
from streaming.store import open_database, open_key_store, open_store
from streaming.store.key_store import KeyStore
from streaming.store.lock import FileLock
from streaming.store.schema import REVISION, SCHEMA
from tests.postgres import PostgresServer
from tests.store.samples import at, event, start, whole_log
from tests.store.test_credentials import KEYS, key

URLS = ["sqlite", "postgres"]


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest, database_path: Path) -> str:
    """Of a database with our tables."""
    if request.param == "postgres":
        found: str = request.getfixturevalue("our_database")
        return found
    with closing(open_database(Settings(store_url=f"sqlite:///{database_path}"))) as database:
        database.open()
    return f"sqlite:///{database_path}"


@pytest.fixture(params=URLS)
def empty_url(request: pytest.FixtureRequest, database_path: Path) -> str:
    """Of a database without any."""
    if request.param == "postgres":
        found: str = request.getfixturevalue("postgres_url")
        return found
    return f"sqlite:///{database_path}"


@pytest.fixture
def kept(url: str) -> Iterator[KeyStore]:
    with closing(opened(url)) as store:
        yield store


def opened(url: str, **settings: Any) -> KeyStore:
    return open_key_store(Settings(**{"store_url": url, "store_wait_s": 5.0, **settings}))


def refusal(url: str, **settings: Any) -> str:
    with pytest.raises(StoreUnavailable) as refused:
        opened(url, **settings)
    assert "\n" not in refused.value.detail
    return refused.value.detail


def change(url: str, statement: str) -> None:
    """Let somebody else write to a database."""
    engine = create_engine(url)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET search_path = {SCHEMA}")
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_a_key_is_added_and_revoked_once(kept: KeyStore) -> None:
    assert kept.all() == []
    for each in KEYS:
        kept.add(each)
    assert kept.all() == KEYS

    assert kept.revoke("k1", at(50))
    assert kept.revoke("k1", at(51)), "it is there, and its time is that of the first"
    assert kept.revoke("k3", at(52))
    assert not kept.revoke("k9", at(53))

    assert kept.all() == [dataclasses.replace(KEYS[0], revoked_at=at(50)), *KEYS[1:]]


def test_two_keys_have_not_the_same_id(kept: KeyStore) -> None:
    kept.add(key(1))
    with pytest.raises(StoreUnavailable, match="contradicts what it holds"):
        kept.add(key(1, "mallory"))
    assert kept.all() == [key(1)]


async def test_a_running_server_goes_on_and_hears_of_it(url: str) -> None:
    server: Journal = open_store(Settings(store_url=url))
    await server.open()
    await server.commit(start(1))
    made = asyncio.Event()

    async def work() -> int:
        seq = 1
        while not made.is_set() or seq < 50:
            seq += 1
            done = await server.commit(Commit([event(1, seq)]))
            assert not done.lost
        return seq

    def make() -> None:
        with closing(opened(url)) as kept:
            for number in range(1, 21):
                kept.add(key(number))
                kept.revoke(f"k{number}", at(60))

    working = asyncio.create_task(work())
    await asyncio.to_thread(make)
    made.set()
    last = await working

    assert await server.api_keys() == [key(number, revoked_at=at(60)) for number in range(1, 21)]
    assert [each.seq for each in await whole_log(server, 1)] == list(range(1, last + 1))
    await server.close()


async def test_the_lock_of_the_server_is_neither_needed_nor_taken(url: str) -> None:
    server = open_store(Settings(store_url=url))
    await server.open()
    with closing(opened(url)) as kept:
        with closing(open_database(Settings(store_url=url))) as database:
            holder = database.inspect().holder
        kept.add(key(1))
        await server.close()
        again = open_store(Settings(store_url=url))
        await again.open()  # while the key store is open
        assert await again.api_keys() == [key(1)]
        kept.revoke("k1", at(5))
        assert await again.api_keys() == [key(1, revoked_at=at(5))]
        await again.commit(start(1))
        await again.close()
    assert holder is not None


def test_an_empty_database_is_set_up(empty_url: str) -> None:
    with closing(opened(empty_url)) as kept:
        kept.add(key(1))
        with closing(open_database(Settings(store_url=empty_url))) as database:
            assert database.inspect().revision == REVISION
            assert database.inspect().holder is None, "the lock is free again"
    with closing(opened(empty_url)) as kept:
        assert kept.all() == [key(1)]


def test_an_empty_file_that_a_server_holds_is_left_to_it(database_path: Path) -> None:
    lock = FileLock(database_path.with_name(f"{database_path.name}.lock"))
    lock.take()
    assert re.search(r"in use by process \d+", refusal(f"sqlite:///{database_path}"))
    assert not database_path.exists()
    lock.release()


def test_a_memory_store_has_none() -> None:
    assert "memory:// keeps no API keys" in refusal("memory://")


@pytest.mark.parametrize(
    ("stored", "said"), [("0003", r"older than '\d+' .* run: streaming db upgrade"), ("9999", "newer version")]
)
def test_another_schema_is_refused_and_left_alone(url: str, stored: str, said: str) -> None:
    change(url, f"UPDATE alembic_version SET version_num = '{stored}'")  # noqa: S608  # from above
    assert re.search(said, refusal(url))
    with closing(open_database(Settings(store_url=url))) as database:
        assert database.inspect().revision == stored


def test_a_schema_that_was_changed_meanwhile_is_refused_too(url: str, kept: KeyStore) -> None:
    change(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnavailable, match="newer version"):
        kept.add(key(1))
    assert kept.all() == []


def test_a_database_of_another_program_is_refused_and_left_alone(database_path: Path) -> None:
    with closing(sqlite3.connect(database_path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    content = database_path.read_bytes()

    assert "belongs to another program" in refusal(f"sqlite:///{database_path}")
    assert database_path.read_bytes() == content


def test_a_schema_of_another_program_is_refused(postgres_url: str, postgres_server: PostgresServer) -> None:
    change(postgres_url, f"CREATE SCHEMA {SCHEMA}")
    change(postgres_url, "CREATE TABLE theirs (x int)")
    assert "belongs to another program" in refusal(postgres_url)


def test_a_file_that_is_gone_is_not_made_anew(database_path: Path) -> None:
    with closing(opened(f"sqlite:///{database_path}")) as kept:
        database_path.unlink()
        with pytest.raises(StoreUnavailable, match="cannot be used: it is empty"):
            kept.add(key(1))
    assert not database_path.exists()


def test_a_database_that_somebody_has_locked_is_not_waited_for_for_ever(database_path: Path) -> None:
    with closing(opened(f"sqlite:///{database_path}", store_wait_s=0.05)) as kept:
        with closing(sqlite3.connect(database_path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="another process has locked it"):
                kept.add(key(1))
            assert kept.all() == [], "to read waits for nobody"
        kept.add(key(1))
        assert kept.all() == [key(1)]


def test_a_new_file_is_for_nobody_else_to_read_and_an_old_one_stays_as_it_is(database_path: Path) -> None:
    def mode() -> int:
        return stat.S_IMODE(database_path.stat().st_mode)

    url = f"sqlite:///{database_path}"
    with closing(open_database(Settings(store_url=url))) as database:
        database.open()
        assert mode() == 0o600
        log = database_path.with_name(f"{database_path.name}-wal")
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
    database_path.chmod(0o640)
    opened(url).close()
    with closing(open_database(Settings(store_url=url))) as database:
        database.open()
        assert mode() == 0o640
