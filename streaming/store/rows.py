"""Records, events and keys as rows, and back.

Owns:   how a value with structure is written as text.
Never:  runs a statement.

JSON is written in ASCII here: so every text that Python can hold, a NUL or a lone surrogate included, comes back as
it was.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import RowMapping

from streaming.events import Event
from streaming.records import CancelOutcome, CancelReceipt, IdempotencyKey, Progress, Record, TaskError, TaskStatus

_to_json = json.JSONEncoder(separators=(",", ":")).encode


def task_row(record: Record) -> tuple[Any, ...]:
    """A new record as a row, in the order of ``schema.tasks``."""
    return (
        record.id,
        record.type,
        record.status.value,
        _to_json(record.params),
        record.timeout_s,
        record.created_at,
        record.updated_at,
        record.created_by,
        _to_json(record.tags),
        record.attempt,
        _progress(record.progress),
        _optional(record.result),
        _error(record.error),
        _cancel(record.cancel),
        record.started_at,
        record.finished_at,
    )


def update_row(record: Record) -> tuple[Any, ...]:
    """A record's mutable columns in the order of ``schema.MUTABLE``, then its id."""
    return (
        record.status.value,
        record.timeout_s,
        record.updated_at,
        record.attempt,
        _progress(record.progress),
        _optional(record.result),
        _error(record.error),
        _cancel(record.cancel),
        record.started_at,
        record.finished_at,
        record.id,
    )


def event_row(position: int, event: Event) -> tuple[Any, ...]:
    """An event as a row, in the order of ``schema.events``."""
    return position, event.task_id, event.seq, event.type, event.time, event.payload


def key_row(key: IdempotencyKey) -> tuple[Any, ...]:
    """A key as a row, in the order of ``schema.idempotency_keys``."""
    return key.principal, key.key, key.fingerprint, key.task_id, key.created_at


def record_from(row: RowMapping) -> Record:
    """The record of a row that has all columns of ``schema.tasks``, and ``last_seq``."""
    return Record(
        id=row["id"],
        type=row["type"],
        status=TaskStatus(row["status"]),
        params=json.loads(row["params"]),
        timeout_s=row["timeout_s"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        created_by=row["created_by"],
        tags=tags_from(row["tags"]),
        attempt=row["attempt"],
        progress=None if row["progress"] is None else Progress(**json.loads(row["progress"])),
        result=None if row["result"] is None else json.loads(row["result"]),
        error=None if row["error"] is None else TaskError(**json.loads(row["error"])),
        cancel=None if row["cancel"] is None else _cancel_from(row["cancel"]),
        last_seq=row["last_seq"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )


def tags_from(text: str) -> tuple[str, ...]:
    """The tags of a row."""
    return () if text == "[]" else tuple(json.loads(text))


def _optional(value: object) -> str | None:
    return None if value is None else _to_json(value)


def _progress(progress: Progress | None) -> str | None:
    return None if progress is None else _to_json({"percent": progress.percent, "message": progress.message})


def _error(error: TaskError | None) -> str | None:
    return None if error is None else _to_json({"code": error.code, "message": error.message})


def _cancel(receipt: CancelReceipt | None) -> str | None:
    return None if receipt is None else _to_json(asdict(receipt))


def _cancel_from(text: str) -> CancelReceipt:
    fields = json.loads(text)
    return CancelReceipt(**{**fields, "outcome": CancelOutcome(fields["outcome"])})
