"""Which store a URL means, and what it costs to ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streaming.config import Settings
from streaming.errors import StoreUnavailable
from streaming.store import open_database, open_store
from streaming.store.memory import MemoryStore
from streaming.store.postgres import PostgresDatabase
from streaming.store.sql import SqlStore
from streaming.store.sqlite import SqliteFile


def test_the_url_chooses_the_store() -> None:
    assert isinstance(open_store(Settings(store_url="memory://")), MemoryStore)
    for url, kind in (("sqlite:///streaming.db", SqliteFile), ("postgresql+psycopg://me@here/tasks", PostgresDatabase)):
        assert isinstance(open_store(Settings(store_url=url)), SqlStore)
        assert isinstance(open_database(Settings(store_url=url)), kind)


def test_memory_is_no_database() -> None:
    with pytest.raises(StoreUnavailable, match="memory:// is no database"):
        open_database(Settings(store_url="memory://"))


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://", "postgresql+psycopg://me@here", "postgresql+psycopg://a:b:c/x"]
)
def test_a_url_without_a_database_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"names no database; say postgresql\+psycopg://user@host/database"):
        open_store(Settings(store_url=url))


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreUnavailable, match=r"pip install 'streaming\[postgres\]'"):
        open_store(Settings(store_url="postgresql+psycopg://me@here/tasks"))


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite:///:memory:"])
def test_a_url_without_a_file_is_refused_with_a_hint(url: str) -> None:
    with pytest.raises(StoreUnavailable, match="names no file; say memory://"):
        open_store(Settings(store_url=url))


def test_no_database_library_is_imported_before_it_is_needed() -> None:
    program = """
import sys, streaming, streaming.store
from streaming.config import Settings
streaming.store.open_store(Settings(store_url="memory://"))
print([name for name in ("sqlalchemy", "alembic") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.process
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_start_with_current_tables_does_not_import_alembic(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}" if database == "sqlite" else request.getfixturevalue("our_database")
    made = open_database(Settings(store_url=url))
    made.open()
    made.close()
    program = """
import asyncio, sys
from streaming.config import Settings
from streaming.store import open_store
async def start(url):
    store = open_store(Settings(store_url=url))
    await store.open()
    await store.unfinished()
    await store.close()
asyncio.run(start(sys.argv[1]))
print([name for name in ("sqlalchemy", "alembic") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=True)
    assert done.stdout == "['sqlalchemy']\n"
