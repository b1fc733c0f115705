"""API keys and secrets, as every store keeps them."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog

from streaming.config import Settings
from streaming.engine.journal import Journal
from streaming.rules.access import SCOPES_DEFAULT, ApiKey, Principal, Scope
from streaming.store import credentials, open_database, open_key_store
from streaming.store.memory import MemoryStore
from tests.store.conftest import MakeStore
from tests.store.samples import at

LogLines = list[dict[str, Any]]
URLS = ["sqlite", "postgres"]


@pytest.fixture
def log_lines() -> Any:
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def url_of(database_path: Path, request: pytest.FixtureRequest) -> Any:
    """The URL of the database that the stores of this name are made of."""

    def url(name: str) -> str:
        return f"sqlite:///{database_path}" if name == "sqlite" else request.getfixturevalue("our_database")

    return url


def key(number: int, name: str = "ann", tenant: str | None = None, **fields: Any) -> ApiKey:
    scopes: frozenset[Scope] = fields.pop("scopes", SCOPES_DEFAULT)
    return ApiKey(f"k{number}", f"{number:064x}", Principal(name, scopes, tenant), at(number), **fields)


KEYS = [
    key(1),
    key(2, "bob", "acme", scopes=frozenset({Scope.ADMIN}), expires_at=at(9)),
    key(3, "\N{SNOWMAN}", scopes=frozenset(), revoked_at=at(4)),
    key(4, "c" * 128, "d" * 128, scopes=frozenset(Scope), expires_at=at(9), revoked_at=at(5)),
]


@pytest.mark.parametrize("name", ["memory", *URLS])
async def test_keys_come_back_as_they_were_the_oldest_first_and_revoked_ones_too(
    name: str, url_of: Any, request: pytest.FixtureRequest
) -> None:
    store: Journal = request.getfixturevalue(f"make_{name}")()
    await store.open()
    assert await store.api_keys() == []
    if isinstance(store, MemoryStore):
        add = store.add_api_key
    else:
        kept = open_key_store(Settings(store_url=url_of(name)))
        request.addfinalizer(kept.close)
        add = kept.add
    for each in reversed(KEYS):
        add(each)

    assert await store.api_keys() == KEYS
    await store.close()


async def test_a_secret_is_made_once_and_each_name_has_its_own(store: Journal) -> None:
    assert await store.secret("a", "first") == "first"
    assert await store.secret("a", "second") == "first"
    assert await store.secret("b", "third") == "third"
    assert await store.secret("a", "fourth") == "first"


async def test_a_secret_is_the_same_after_a_restart(make_durable: MakeStore) -> None:
    for fresh in ("first", "second"):
        store = make_durable()
        await store.open()
        assert await store.secret("a", fresh) == "first"
        await store.close()


async def test_a_memory_store_begins_anew(make_memory: MakeStore) -> None:
    store = make_memory()
    assert isinstance(store, MemoryStore)
    await store.open()
    store.add_api_key(key(1))
    await store.secret("a", "first")
    await store.close()
    await store.open()

    assert await store.api_keys() == []
    assert await store.secret("a", "second") == "second"


@pytest.mark.parametrize("name", URLS)
def test_of_processes_that_make_a_secret_at_once_one_does(name: str, url_of: Any) -> None:
    found: list[str] = []
    everybody = threading.Barrier(4)
    settings = Settings(store_url=url_of(name))
    open_key_store(settings).close()

    def make(fresh: str) -> None:
        with closing(open_database(settings)) as database:
            everybody.wait(20)
            with database.beside() as connection:
                found.append(credentials.keep_secret(connection, "a", fresh))

    threads = [threading.Thread(target=make, args=(f"secret {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


# -- what others have written ------------------------------------------------------------------------------------------


def damage(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as other, other:
        other.execute(statement, values)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", b"\xff"),
        ("hash", "0" * 63),
        ("hash", "G" * 64),
        ("hash", f"{2:064x}\n"),
        ("hash", b"\x00"),
        ("name", ""),
        ("name", "two words"),
        ("name", b"\xff"),
        ("tenant", ""),
        ("tenant", b"acme"),
        ("scopes", ""),
        ("scopes", "admin"),
        ("scopes", '["admin"'),
        ("scopes", '"admin"'),
        ("scopes", '{"admin":1}'),
        ("scopes", '["everything"]'),
        ("scopes", '["tasks:read", 7]'),
        ("scopes", "[" * 100_000),
        ("scopes", b'["admin"]'),
        ("created_at", "yesterday"),
        ("expires_at", ""),
        ("expires_at", "never"),
        ("expires_at", "2026-11-01T12:00:00Z"),
        ("expires_at", b"2026-11-01T12:00:00.000000Z"),
        ("revoked_at", ""),
        ("revoked_at", 0),
    ],
)
async def test_a_damaged_key_opens_nothing_and_is_a_key_all_the_same(
    sqlite: Journal, database_path: Path, log_lines: LogLines, column: str, value: object
) -> None:
    with closing(open_key_store(Settings(store_url=f"sqlite:///{database_path}"))) as kept:
        for number in (1, 2, 3):
            kept.add(key(number, expires_at=at(9)))
        damage(database_path, f"UPDATE api_keys SET {column} = ? WHERE id = 'k2'", value)  # noqa: S608  # from above

        found = await sqlite.api_keys()
        assert kept.all() == found
        assert len(found) == 3, "a store with a key is not open to everybody, whatever has become of it"
        (damaged,) = [each for each in found if each not in (key(1, expires_at=at(9)), key(3, expires_at=at(9)))]
        assert not damaged.good_at(at(0))
        assert (damaged.hash, damaged.principal.scopes) == ("", frozenset())
    assert {line["event"] for line in log_lines} == {"an API key cannot be read, and opens nothing"}
    assert {line["key_id"] for line in log_lines} == {"b'\\xff'" if column == "id" else "k2"}
    assert f"{2:064x}" not in json.dumps(log_lines), "its hash is nobody's business"


async def test_a_damaged_key_can_be_revoked(sqlite: Journal, database_path: Path) -> None:
    with closing(open_key_store(Settings(store_url=f"sqlite:///{database_path}"))) as kept:
        kept.add(key(1))
        damage(database_path, "UPDATE api_keys SET scopes = '['")
        assert kept.revoke("k1", at(5))
        damage(database_path, "UPDATE api_keys SET scopes = '[]'")
        assert kept.all() == [dataclasses.replace(key(1, scopes=frozenset()), revoked_at=at(5))]


@pytest.mark.parametrize("value", ["", b"", b"\xff", None])
async def test_a_damaged_secret_is_replaced(
    sqlite: Journal, database_path: Path, log_lines: LogLines, value: object
) -> None:
    assert await sqlite.secret("a", "first") == "first"
    if value is None:
        damage(database_path, "DELETE FROM secrets")
    else:
        damage(database_path, "UPDATE secrets SET value = ?", value)

    assert await sqlite.secret("a", "second") == "second"
    assert await sqlite.secret("a", "third") == "second"
    told = [] if value is None else [("a secret cannot be read, and is replaced", "a")]
    assert [(line["event"], line["name"]) for line in log_lines] == told
