"""A database is brought to this version's schema, or left alone."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine

from streaming.errors import StoreUnavailable
from streaming.store.migrate import check_owner, upgrade
from streaming.store.schema import APPLICATION_ID, metadata


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return create_engine(f"sqlite:///{tmp_path / 'x.db'}")


def schema(engine: Engine) -> dict[str, str]:
    """Every table and index, without white space."""
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
    return {name: "".join(sql.split()) for name, sql in rows if name != "alembic_version"}


def test_the_steps_lead_to_the_schema_that_the_code_knows(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        upgrade(connection)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    wanted = create_engine(f"sqlite:///{tmp_path / 'wanted.db'}")
    metadata.create_all(wanted)  # it derives the terminal types from the life cycle; the steps name them
    assert schema(engine) == schema(wanted)
    engine.dispose()
    wanted.dispose()


def test_the_steps_form_one_line() -> None:
    config = Config()
    config.set_main_option("script_location", "streaming.store:migrations")
    steps = ScriptDirectory.from_config(config)
    assert len(steps.get_heads()) == 1
    assert len(steps.get_bases()) == 1


def test_an_upgrade_marks_the_file_as_ours(engine: Engine) -> None:
    with engine.begin() as connection:
        check_owner(connection)  # an empty file is nobody's
        upgrade(connection)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA application_id").scalar() == APPLICATION_ID
        check_owner(connection)
    engine.dispose()


def test_a_second_upgrade_does_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        upgrade(connection)
    with engine.connect() as connection:
        before = connection.exec_driver_sql("PRAGMA schema_version").scalar()
        upgrade(connection)
        assert connection.exec_driver_sql("PRAGMA schema_version").scalar() == before
    engine.dispose()


def test_a_newer_schema_is_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        upgrade(connection)
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with engine.connect() as connection, pytest.raises(StoreUnavailable, match=r"schema '9999' .* newer version"):
        upgrade(connection)
    engine.dispose()


def test_a_file_of_another_program_is_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE tasks (id TEXT)")
    with engine.connect() as connection, pytest.raises(StoreUnavailable, match="belongs to another program"):
        check_owner(connection)
    engine.dispose()


def test_two_files_are_upgraded_at_the_same_time(tmp_path: Path) -> None:
    """Alembic keeps its state in module globals: threads must not meet there."""

    def upgrade_one(number: int) -> None:
        engine = create_engine(f"sqlite:///{tmp_path / str(number)}")
        with engine.begin() as connection:
            upgrade(connection)
        engine.dispose()

    threads = [threading.Thread(target=upgrade_one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        database = sqlite3.connect(tmp_path / str(number))
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        database.close()
