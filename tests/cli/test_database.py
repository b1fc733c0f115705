"""``streaming db``: what it says, what it changes, and how it ends."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from typer.testing import Result

from streaming.config import Settings
from streaming.store import open_database
from streaming.store.schema import REVISION
from tests.store.test_migrate import make_first

Streaming = Callable[..., Result]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


def test_an_empty_database_is_not_current_and_is_set_up(streaming: Streaming, url: str, path: Path) -> None:
    result = streaming("db", "check", "--store", url)
    assert (result.exit_code, result.stdout) == (
        1, f"The schema is empty; this version has {REVISION}.\nNobody uses it.\n",
    )  # fmt: skip
    assert not path.exists(), "a check changes nothing"

    result = streaming("db", "upgrade", "--store", url)
    assert (result.exit_code, result.stdout) == (0, f"The schema was empty and is {REVISION} now.\n")
    assert streaming("db", "check", "--store", url).exit_code == 0


def test_an_older_one_is_refused_by_the_server_and_upgraded_step_by_step(
    streaming: Streaming, url: str, path: Path
) -> None:
    make_first(path)
    result = streaming("serve", "--store", url, "--port", "0")
    assert result.exit_code == 5
    assert "its schema '0001' is older" in result.stderr
    assert "streaming db upgrade" in result.stderr
    assert streaming("db", "check", "--store", url).exit_code == 1

    result = streaming("db", "upgrade", "--store", url)
    assert result.exit_code == 0
    assert result.stdout == f"The schema was 0001 and is {REVISION} now.\n"
    assert "step 0002: Records that can be found and steered" in result.stderr
    assert streaming("db", "upgrade", "--store", url).stdout == f"The schema is {REVISION} already.\n"


def test_a_newer_one_is_left_alone(streaming: Streaming, url: str, path: Path) -> None:
    streaming("db", "upgrade", "--store", url)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE alembic_version SET version_num = '9999'")

    result = streaming("db", "upgrade", "--store", url)
    assert result.exit_code == 5
    assert "upgrade the program" in result.stderr


@pytest.mark.parametrize("damage", ["DROP TABLE terms", "ALTER TABLE tasks DROP COLUMN steps"])
def test_one_in_which_something_is_missing_is_refused_by_both_before_the_first_commit(
    damage: str, streaming: Streaming, url: str, path: Path
) -> None:
    streaming("db", "upgrade", "--store", url)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute(damage)

    for words in (["db", "check"], ["db", "upgrade"], ["serve", "--port", "0"]):
        result = streaming(*words, "--store", url)
        assert result.exit_code == 5
        assert f"The database {path} cannot be used: its tables are not those of this version." in result.stderr


def test_who_uses_it_is_named_and_keeps_it_from_being_upgraded(streaming: Streaming, url: str) -> None:
    with closing(open_database(Settings(store_url=url))) as made:
        made.open()
        result = streaming("db", "check", "--store", url, "-o", "json")
        assert result.exit_code == 0
        shown = json.loads(result.stdout)
        assert shown.pop("holder").startswith("process ")
        assert shown == {"revision": REVISION, "newest": REVISION, "current": True}
        result = streaming("db", "upgrade", "--store", url)
        assert result.exit_code == 5
        assert "in use by process" in result.stderr
    assert json.loads(streaming("db", "check", "--store", url, "-o", "json").stdout)["holder"] is None


def test_memory_has_no_schema(streaming: Streaming, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMING_STORE_URL", "memory://")

    result = streaming("db", "check")
    assert (result.exit_code, result.stderr) == (5, "streaming: STREAMING_STORE_URL=memory:// is no database.\n")


@pytest.mark.process
def test_on_postgres_it_is_the_same(streaming: Streaming, postgres_url: str) -> None:
    assert streaming("db", "check", "--store", postgres_url).exit_code == 1
    assert streaming("db", "upgrade", "--store", postgres_url).exit_code == 0
    with closing(open_database(Settings(store_url=postgres_url))) as made:
        made.open()
        result = streaming("db", "check", "--store", postgres_url)
        assert (result.exit_code, "It is in use by streaming, process" in result.stdout) == (0, True)
        assert streaming("db", "upgrade", "--store", postgres_url).exit_code == 5
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as other:
        other.execute("drop table streaming.terms")
    result = streaming("db", "check", "--store", postgres_url)
    assert (result.exit_code, "its tables are not those of this version" in result.stderr) == (5, True)
    result = streaming("db", "check", "--store", postgres_url.replace("127.0.0.1", "no-such-host.invalid"))
    assert result.exit_code == 5
    assert "no address is known for its host" in result.stderr
