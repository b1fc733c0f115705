"""Each store, opened; the durable ones with a way to restart them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streaming.config import Settings
from streaming.engine.journal import Journal
from streaming.store import open_database, open_store
from tests.postgres import PostgresServer

MakeStore = Callable[..., Journal]


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    return tmp_path / "streaming.db"


@pytest.fixture
def make_sqlite(database_path: Path) -> MakeStore:
    """Makes stores of the same file; they find what the one before has left."""

    def make(**settings: Any) -> Journal:
        return open_store(Settings(**{"store_url": f"sqlite:///{database_path}", "store_wait_s": 5.0, **settings}))

    return make


@pytest.fixture
def make_memory() -> MakeStore:
    def make(**settings: Any) -> Journal:
        return open_store(Settings(store_url="memory://", **settings))

    return make


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    """A database with our tables: to copy it takes a tenth of the time that making them takes."""
    name = postgres_server.create_database("with_tables")
    database = open_database(Settings(store_url=postgres_server.url(name)))
    database.open()
    database.close()
    return name


@pytest.fixture
def our_database(postgres_server: PostgresServer, postgres_template: str) -> Iterator[str]:
    """The URL of a database of PostgreSQL with our tables and nothing in them."""
    name = postgres_server.create_database(template=postgres_template)
    yield postgres_server.url(name)
    if not postgres_server.runs:
        postgres_server.start()
    postgres_server.drop_database(name)


@pytest.fixture
def make_postgres(our_database: str) -> MakeStore:
    """Makes stores of the same database; they find what the one before has left."""

    def make(**settings: Any) -> Journal:
        return open_store(Settings(**{"store_url": our_database, "store_wait_s": 5.0, **settings}))

    return make


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Journal]:
    """Every store in turn, new and open."""
    made: Journal = request.getfixturevalue(f"make_{request.param}")()
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def sqlite(make_sqlite: MakeStore) -> AsyncIterator[Journal]:
    """A SQLite store, new and open."""
    made = make_sqlite()
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def postgres(make_postgres: MakeStore) -> AsyncIterator[Journal]:
    """A PostgreSQL store, new and open."""
    made = make_postgres()
    await made.open()
    yield made
    await made.close()


@pytest.fixture(params=["sqlite", "postgres"])
def make_durable(request: pytest.FixtureRequest) -> MakeStore:
    """Every durable store in turn: what it makes finds what was left before."""
    made: MakeStore = request.getfixturevalue(f"make_{request.param}")
    return made
