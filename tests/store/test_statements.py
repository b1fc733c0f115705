"""Many rows by few statements."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, create_engine, select, text
from sqlalchemy.exc import IntegrityError

from streaming.store.schema import metadata
from streaming.store.statements import _SQLITE_HEADS, RowInsert, Statement, driver_of

TABLE = Table("things", MetaData(), Column("id", Integer, primary_key=True), *(Column(name, Text) for name in "abcde"))


@pytest.mark.parametrize(
    ("rows", "statements"), [(0, []), (1, [1]), (3, [2, 1]), (128, [128]), (500, [128, 128, 128, 64, 32, 16, 4])]
)
def test_sizes_are_powers_of_two_within_the_limit(tmp_path: Path, rows: int, statements: list[int]) -> None:
    said: list[str] = []
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    values = [(number, *(f"{name}{number}" for name in "abcde")) for number in range(rows)]
    with engine.connect() as connection:
        TABLE.create(connection)
        driver_of(connection).set_trace_callback(said.append)
        RowInsert(TABLE).run(connection, values)
        driver_of(connection).set_trace_callback(None)
        assert [each.count("(") - 1 for each in said if each.startswith("INSERT")] == statements
        assert [tuple(row) for row in connection.execute(select(TABLE).order_by(TABLE.c.id))] == values
    engine.dispose()


def stored(connection: Connection) -> list[tuple[int, str]]:
    return [(row.id, row.a) for row in connection.execute(select(TABLE.c.id, TABLE.c.a))]


def test_a_row_replaces_another_only_if_it_may(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.connect() as connection:
        TABLE.create(connection)
        RowInsert(TABLE).run(connection, [(1, "old", "", "", "", "")])
        RowInsert(TABLE, same="replace").run(connection, [(1, "new", "", "", "", "")])
        assert stored(connection) == [(1, "new")]
        with pytest.raises(Exception, match="UNIQUE"):
            RowInsert(TABLE).run(connection, [(1, "newer", "", "", "", "")])
    engine.dispose()


def test_constants_are_written_out_and_marks_are_those_of_the_driver(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.connect() as connection:
        told = Statement(select(TABLE.c.id).where(TABLE.c.a == "it's", TABLE.c.b == text("?"))).text(connection)
    assert told.split() == [
        "SELECT", "things.id", "FROM", "things", "WHERE", "things.a", "=", "'it''s'", "AND", "things.b", "=", "?",
    ]  # fmt: skip
    assert sqlite3.complete_statement(told + ";")
    engine.dispose()


def test_postgres_takes_the_same_rows(our_database: str) -> None:
    engine = create_engine(our_database)
    with engine.connect() as connection:
        TABLE.create(connection)
        one = text_of(connection)
        assert one.endswith("things.b = %s")
        RowInsert(TABLE).run(connection, [])
        RowInsert(TABLE).run(connection, [(1, "old", "", "", "", ""), (2, "same", "%s", "?", "", None)])
        RowInsert(TABLE, same="replace").run(connection, [(1, "new", "", "", "", ""), (3, "third", "", "", "", "")])
        RowInsert(TABLE, same="ignore").run(connection, [(2, "other", "", "", "", "")])
        assert sorted(stored(connection)) == [(1, "new"), (2, "same"), (3, "third")]
        with pytest.raises(IntegrityError):
            RowInsert(TABLE).run(connection, [(1, "newer", "", "", "", "")])
    engine.dispose()


def text_of(connection: Connection) -> str:
    return Statement(select(TABLE.c.id).where(TABLE.c.a == "it's", TABLE.c.b == text("?"))).text(connection)


def test_what_a_commit_asks_about_its_tasks_does_not_look_at_all_that_are_live(tmp_path: Path) -> None:
    """SQLite likes the index of the status, which leads to each of them."""
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.connect() as connection:
        metadata.create_all(connection)
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {_SQLITE_HEADS.text(connection)}", ("[]",))
        steps = [row[3] for row in plan]
    engine.dispose()
    assert any(step.startswith("SEARCH tasks USING") and "(id=?)" in step for step in steps), steps
    assert not any("tasks_by_status" in step for step in steps), steps
