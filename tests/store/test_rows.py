"""Rows have the order that the schema says."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column

from streaming.records import IdempotencyKey, Progress, TaskError, TaskStatus
from streaming.store.rows import event_row, key_row, tags_from, task_row, update_row
from streaming.store.schema import MUTABLE, events, idempotency_keys, tasks
from tests.store.samples import event, record

RECORD = record(1, TaskStatus.FAILED, tags=("a",), progress=Progress(1.0), error=TaskError("c", "m"), started_at="s")


@pytest.mark.parametrize(
    ("row", "columns", "some"),
    [
        (task_row(RECORD), tuple(tasks.c), {"id": RECORD.id, "status": "failed", "tags": '["a"]', "started_at": "s"}),
        (update_row(RECORD), (*MUTABLE, tasks.c.id), {"id": RECORD.id, "status": "failed", "started_at": "s"}),
        (event_row(9, event(1, 2)), tuple(events.c), {"position": 9, "seq": 2, "type": "tick", "payload": "{}"}),
        (
            key_row(IdempotencyKey("k", "p", "f", "t", "c")),
            tuple(idempotency_keys.c),
            {"key": "k", "principal": "p", "fingerprint": "f", "task_id": "t", "created_at": "c"},
        ),
    ],
    ids=["task", "update", "event", "key"],
)
def test_a_row_has_its_columns_in_order(
    row: tuple[Any, ...], columns: tuple[Column[Any]], some: dict[str, Any]
) -> None:
    named = dict(zip((column.name for column in columns), row, strict=True))
    assert named | some == named


def test_what_is_absent_is_null_and_not_json() -> None:
    named = dict(zip((column.name for column in tasks.c), task_row(record(1)), strict=True))
    absent = {name for name, value in named.items() if value is None}
    assert {"progress", "result", "error", "cancel", "policy", "started_at", "finished_at"} <= absent
    assert absent == {column.name for column in tasks.c if column.nullable}


def test_texts_that_utf_8_cannot_carry_are_still_json() -> None:
    """A lone surrogate in a parameter must not stop the commits of everybody else."""
    row = task_row(record(1, params={"text": "\ud800\x00"}, tags=("\ud800",)))
    row[3].encode()
    assert tags_from(row[8]) == ("\ud800",)
