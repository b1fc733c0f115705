"""Each query finds what it wants by an index."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from streaming.store import reads
from streaming.store.schema import metadata


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    """What SQLite does for a query function, in its own words."""
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        metadata.create_all(connection)
        traced: list[str] = []
        raw: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]  # typed Any | None

        def explain(query: Any, *arguments: Any) -> str:
            raw.set_trace_callback(traced.append)
            query(connection, *arguments)
            raw.set_trace_callback(None)
            steps = raw.execute(f"EXPLAIN QUERY PLAN {traced[-1]}").fetchall()
            return "\n".join(step[3] for step in steps)

        yield explain
    engine.dispose()


def test_unfinished_tasks_are_found_among_many_finished_ones(plan: Any) -> None:
    assert "SEARCH tasks USING INDEX tasks_by_status" in plan(reads.unfinished)


def test_the_last_seq_comes_from_the_end_of_an_index(plan: Any) -> None:
    assert "SEARCH events USING COVERING INDEX" in plan(reads.record, "x")


def test_a_log_and_the_feed_are_read_from_where_the_reader_stands(plan: Any) -> None:
    log = plan(reads.events_after, "x", 5, 9, 10)
    feed = plan(reads.feed_after, 5, 9, 10)
    assert "(task_id=? AND seq>? AND seq<?)" in log
    assert "SEARCH events USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in feed
    assert "TEMP B-TREE" not in log + feed


def test_a_key_is_found_by_its_name(plan: Any) -> None:
    assert "(principal=? AND key=?)" in plan(reads.key, "a", "b", "c")
