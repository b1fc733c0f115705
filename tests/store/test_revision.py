"""Which schemas are older than ours, and what becomes of a database by its schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from streaming.errors import StoreUnavailable
from streaming.store.revision import is_older, make_current, stored_revision
from streaming.store.schema import REVISION


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    yield made
    made.dispose()


@pytest.mark.parametrize(
    ("stored", "older"),
    [("0001", True), (REVISION, False), ("9999", False), ("abcd", False), ("1", False), ("", False), ("00001", False)],
)
def test_revisions_count_up_and_what_is_none_of_ours_is_not_older(stored: str, older: bool) -> None:
    assert is_older(stored) is older


def test_an_empty_database_is_set_up_once(engine: Engine) -> None:
    with engine.begin() as connection:
        assert stored_revision(connection) is None
        make_current(connection)
    with engine.connect() as connection:
        before = connection.exec_driver_sql("PRAGMA schema_version").scalar()
        make_current(connection)
        assert stored_revision(connection) == REVISION
        assert connection.exec_driver_sql("PRAGMA schema_version").scalar() == before


@pytest.mark.parametrize("may_upgrade", [False, True])
def test_a_newer_schema_is_refused_also_by_an_upgrade(engine: Engine, may_upgrade: bool) -> None:
    with engine.begin() as connection:
        make_current(connection)
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with engine.connect() as connection, pytest.raises(StoreUnavailable, match=r"schema '9999' .* newer version"):
        make_current(connection, print if may_upgrade else None)


def test_an_older_one_only_by_a_start(engine: Engine) -> None:
    with engine.begin() as connection:
        make_current(connection)
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    with engine.connect() as connection, pytest.raises(StoreUnavailable, match="run: streaming db upgrade"):
        make_current(connection)


def test_a_database_of_another_program_is_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE tasks (id TEXT)")
    with engine.connect() as connection, pytest.raises(StoreUnavailable, match="belongs to another program"):
        stored_revision(connection)
