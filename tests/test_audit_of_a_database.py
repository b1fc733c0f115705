"""The audit of a server on SQLite, after somebody has been at the file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from streaming import TaskCoordinator
from streaming.config import Settings
from streaming.store import open_store
from tests.kit import build
from tests.stage import forever, instant, running, ticks

Seen = tuple[str, str | None]


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[TaskCoordinator]:
    """A coordinator on a database."""
    store = open_store(Settings(store_url=f"sqlite:///{path}"))
    await store.open()
    try:
        coordinator, _ = build([forever, instant, ticks], store, grace_s=1)
        async with coordinator:
            yield coordinator
    finally:
        await store.close()


async def ended(coordinator: TaskCoordinator) -> str:
    started, _ = await coordinator.start("ticks", {"n": 3, "pause_s": 0})
    await coordinator.wait(started.id, 10)
    return started.id


async def audited(coordinator: TaskCoordinator, **how: Any) -> set[Seen]:
    return {(each.invariant, each.task_id) for each in (await coordinator.audit(**how)).violations}


async def test_a_database_that_nobody_has_touched_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    async with served(path) as coordinator:
        await ended(coordinator)
        await running(coordinator, "forever")
        assert await audited(coordinator) == set()
    async with served(path) as coordinator:  # the running task has become interrupted
        assert await audited(coordinator) == set()


@pytest.mark.parametrize(
    ("statement", "invariants"),
    [
        ("DELETE FROM events WHERE task_id = ? AND seq = 3", {"seq_without_holes"}),
        ("DELETE FROM changes WHERE task_id = ? AND seq = 2", {"history_complete", "history_follows_life_cycle"}),
        ("UPDATE tasks SET status = 'failed' WHERE id = ?", {"one_terminal_event", "history_follows_life_cycle"}),
        ("UPDATE tasks SET retries_left = 7 WHERE id = ?", {"retries_within_policy"}),
        ("UPDATE tasks SET attempt = 9 WHERE id = ?", {"attempts_numbered"}),
        ("UPDATE tasks SET finished_at = NULL WHERE id = ?", {"record_fits_status"}),
    ],
)
async def test_what_somebody_has_changed_is_named(statement: str, invariants: set[str], tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    async with served(path) as coordinator:
        sound, broken = await ended(coordinator), await ended(coordinator)
        change(path, statement, broken)
        found = await audited(coordinator)

    assert {name for name, task_id in found if task_id == broken} >= invariants
    assert all(task_id != sound for _, task_id in found)


@pytest.mark.parametrize("statement", ["UPDATE tasks SET params = '{' WHERE id = ?"])
async def test_a_record_that_cannot_be_read_is_named_whether_it_is_live_or_not(statement: str, tmp_path: Path) -> None:
    """Lists leave it out, and so does a start of the server."""
    path = tmp_path / "tasks.db"
    async with served(path) as coordinator:
        over, left = await ended(coordinator), await running(coordinator, "forever")
        with closing(sqlite3.connect(path)) as database:
            copy = rows(database, left)
        await coordinator.cancel_task(left, wait_s=10)
        await coordinator.delete(left)
        live = await running(coordinator, "forever")
        with closing(sqlite3.connect(path)) as database, database:
            put(database, copy)
        for task_id in (over, left, live):
            change(path, statement, task_id)

        found = await audited(coordinator, repair=True)
        change(path, "DELETE FROM tasks WHERE id = ?", over)
        again = await audited(coordinator)

    assert found == {("records_readable", task_id) for task_id in (over, left, live)}
    assert again == {("records_readable", task_id) for task_id in (left, live)}


def change(path: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        assert database.execute(statement, values).rowcount == 1


async def test_a_task_that_somebody_has_put_there_is_taken_up(tmp_path: Path) -> None:
    """A row that was copied back from a backup, say."""
    path = tmp_path / "tasks.db"
    async with served(path) as coordinator:
        task_id = await running(coordinator, "forever")
        with closing(sqlite3.connect(path)) as database:
            copy = rows(database, task_id)
        await coordinator.cancel_task(task_id, wait_s=10)
        await coordinator.delete(task_id)
        with closing(sqlite3.connect(path)) as database, database:
            put(database, copy)

        assert await audited(coordinator, repair=True) == {("no_record_without_runner", task_id)}
        assert (await coordinator.wait(task_id, 10)).status == "interrupted"
        assert await audited(coordinator) == set()


Rows = dict[str, list[tuple[Any, ...]]]
_OF_A_TASK: dict[str, str] = {"tasks": "id", "events": "task_id", "changes": "task_id"}


def rows(database: sqlite3.Connection, task_id: str) -> Rows:
    select: Callable[..., Any] = database.execute
    return {
        table: select(f"SELECT * FROM {table} WHERE {column} = ?", (task_id,)).fetchall()  # noqa: S608  # names of ours
        for table, column in _OF_A_TASK.items()
    }


def put(database: sqlite3.Connection, copy: Rows) -> None:
    for table, found in copy.items():
        for row in found:
            marks = ", ".join("?" * len(row))
            database.execute(f"INSERT INTO {table} VALUES ({marks})", row)  # noqa: S608  # names of ours
