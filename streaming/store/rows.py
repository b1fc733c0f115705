"""Records, events and keys as rows, and back.

Owns:   how a value with structure is written as text; what a row must be like to be one of ours.
Never:  runs a statement, or believes a row: SQLite lets everybody store anything in any column.

JSON is written in ASCII here: so every text that Python can hold, a NUL or a lone surrogate included, comes back as
it was.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from types import UnionType
from typing import Any, NoReturn, TypeGuard, TypeVar, get_args, get_origin, get_type_hints

from sqlalchemy import RowMapping

from streaming.errors import RecordDamaged
from streaming.events import Event
from streaming.records import (
    PLAIN,
    CancelOutcome,
    CancelReceipt,
    Change,
    IdempotencyKey,
    Policy,
    Priority,
    Progress,
    Record,
    RetryPolicy,
    Steps,
    TaskError,
    TaskStatus,
)
from streaming.rules.words import words_of

T = TypeVar("T")

_PRIORITIES = dict(enumerate(Priority))

_to_json = json.JSONEncoder(separators=(",", ":")).encode

#: A record without these has no place in a list, and no cursor.
_ID = re.compile(r"[0-9a-f]{32}\Z")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z", re.ASCII)

#: Types and times of events: what needs no escape, neither in a line of a stream nor in JSON.
_PLAIN = re.compile(r"[\w.:+-]{1,64}\Z", re.ASCII)


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
        record.priority.rank,
        record.key,
        record.external_id,
        record.parent,
        record.retry_of,
        _policy(record.policy),
        record.retries_left,
        record.retry_at,
        _steps(record.steps),
        record.heartbeat_at,
        record.acked_at,
        record.client_seq,
        record.log_bytes,
        None if record.progress is None else record.progress.percent,
        None if record.error is None else record.error.code,
        record.awaits_ack,
        0,
        record.tenant,
        record.traceparent,
        record.tracestate,
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
        _policy(record.policy),
        record.retries_left,
        record.retry_at,
        _steps(record.steps),
        record.heartbeat_at,
        record.client_seq,
        record.log_bytes,
        None if record.progress is None else record.progress.percent,
        None if record.error is None else record.error.code,
        record.awaits_ack,
        record.id,
    )


def event_row(position: int, event: Event) -> tuple[Any, ...]:
    """An event as a row, in the order of ``schema.events``."""
    return position, event.task_id, event.seq, event.type, event.time, event.payload


def change_row(change: Change) -> tuple[Any, ...]:
    """A change of status as a row, in the order of ``schema.changes``."""
    return change.task_id, change.seq, change.status.value, change.time, change.by, change.reason


def change_from(row: Sequence[Any]) -> Change:
    """The change of a row of ``schema.changes``.

    Raises:
        RecordDamaged: no version of ours has written that; its cause says what is wrong.
    """
    task_id, seq, status, time, actor, reason = row
    try:
        change = _checked(Change(task_id, seq, TaskStatus(status), time, actor, reason))
        check_times(time)
    except (ValueError, TypeError) as error:
        raise RecordDamaged(str(task_id)) from error
    return change


def term_rows(record: Record) -> list[tuple[str, str, str]]:
    """What the task can be found by, as rows of ``schema.terms``."""
    tags = [("tag", tag, record.id) for tag in dict.fromkeys(record.tags)]
    return [*tags, *(("word", word, record.id) for word in sorted(words_of(record)))]


def key_row(key: IdempotencyKey) -> tuple[Any, ...]:
    """A key as a row, in the order of ``schema.idempotency_keys``."""
    return key.principal, key.key, key.fingerprint, key.task_id, key.created_at


def record_from(row: RowMapping) -> Record:
    """The record of a row that has all columns of ``schema.tasks``, and ``last_seq``.

    Raises:
        RecordDamaged: no version of ours has written that; its cause says what is wrong.
    """
    try:
        return _record_from(row)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RecordDamaged(str(row["id"])) from error


def _record_from(row: RowMapping) -> Record:
    record = Record(
        id=row["id"],
        type=row["type"],
        status=TaskStatus(row["status"]),
        params=_from_json(row["params"]),
        timeout_s=row["timeout_s"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        created_by=row["created_by"],
        priority=_PRIORITIES[row["priority"]],
        key=row["key"],
        external_id=row["external_id"],
        parent=row["parent"],
        retry_of=row["retry_of"],
        policy=PLAIN if row["policy"] is None else _policy_from(row["policy"]),
        retries_left=row["retries_left"],
        retry_at=row["retry_at"],
        steps=None if row["steps"] is None else _checked(Steps(**_from_json(row["steps"]))),
        heartbeat_at=row["heartbeat_at"],
        acked_at=row["acked_at"],
        client_seq=row["client_seq"],
        log_bytes=row["log_bytes"],
        tags=tags_from(row["tags"]),
        attempt=row["attempt"],
        progress=None if row["progress"] is None else _checked(Progress(**_from_json(row["progress"]))),
        result=None if row["result"] is None else _from_json(row["result"]),
        error=None if row["error"] is None else _checked(TaskError(**_from_json(row["error"]))),
        cancel=None if row["cancel"] is None else _cancel_from(row["cancel"]),
        last_seq=row["last_seq"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        tenant=row["tenant"],
        traceparent=row["traceparent"],
        tracestate=row["tracestate"],
    )
    if not _ID.match(_checked(record).id):
        raise ValueError("its id is none")
    some = (record.started_at, record.finished_at, record.heartbeat_at, record.retry_at, record.acked_at)
    check_times(record.created_at, record.updated_at, *(time for time in some if time is not None))
    return record


def check_times(*times: str) -> None:
    """See that texts are times as they are stored here, which can be compared.

    Raises:
        ValueError: one is none.
    """
    if not all(map(_TIME.match, times)):
        raise ValueError("one of its times is none")


def tags_from(text: str) -> tuple[str, ...]:
    """The tags of a row.

    Raises:
        ValueError: they cannot be read.
    """
    if text == "[]":
        return ()
    tags = _from_json(text)
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError("tags are no list of texts")
    return tuple(tags)


def event_from(task_id: str, seq: int, type: object, time: object, payload: object, json_valid: bool | None) -> Event:
    """The event of a row.

    Args:
        task_id: of a record.
        seq: as it was searched for.
        type: as it is, like all that follows.
        time: of the event.
        payload: of the event.
        json_valid: what the database says of the payload: it is quick, and holds up nobody meanwhile. None if it
            cannot tell, which has to be found out here then.

    Raises:
        ValueError: it would not fit into a stream.
    """
    if not isinstance(type, str) or not _is_type(type) or not is_plain(time):
        raise ValueError("its type or time is none")
    if not isinstance(payload, str) or "\n" in payload or "\r" in payload or "\0" in payload:
        raise ValueError("its payload is no line of text")
    if json_valid is None:
        _from_json(payload)
    elif not json_valid:
        raise ValueError("its payload is no JSON")
    return Event(task_id, seq, type, time, payload)


def is_plain(value: object) -> TypeGuard[str]:
    """Whether this may be the type or the time of an event."""
    return isinstance(value, str) and _PLAIN.match(value) is not None


@lru_cache(maxsize=256)
def _is_type(text: str) -> bool:
    """As `is_plain`, for what comes again and again."""
    return is_plain(text)


def _from_json(text: object) -> Any:
    if not isinstance(text, str):
        raise TypeError(f"JSON cannot be of {type(text)}")
    return json.loads(text, parse_constant=_refuse, parse_float=_finite)


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number


def _checked(value: T) -> T:
    """Give back a value whose fields are what its class says.

    Raises:
        TypeError: one is not.
    """
    for name, kind in _KINDS[type(value)].items():
        if not isinstance(getattr(value, name), kind):
            raise TypeError(f"{name} cannot be of {type(getattr(value, name))}")
    return value


def _kinds(cls: type) -> dict[str, Any]:
    """What the fields of a class may be, for `isinstance`; a number without a fraction is a float, too."""
    hints = {name: hint for name, hint in get_type_hints(cls).items() if hint is not Any}
    return {name: _kind(hint) for name, hint in hints.items()}


def _kind(hint: Any) -> Any:
    if hint is float:
        return (float, int)
    if isinstance(hint, UnionType):
        return (*get_args(hint), int) if float in get_args(hint) else hint
    return get_origin(hint) or hint


_CHECKED = (Record, Change, Progress, Steps, TaskError, CancelReceipt, Policy, RetryPolicy)
_KINDS: Mapping[type, Mapping[str, Any]] = {cls: _kinds(cls) for cls in _CHECKED}


def _optional(value: object) -> str | None:
    return None if value is None else _to_json(value)


def _progress(progress: Progress | None) -> str | None:
    return None if progress is None else _to_json({"percent": progress.percent, "message": progress.message})


def _steps(steps: Steps | None) -> str | None:
    return None if steps is None else _to_json(asdict(steps))


def _policy(policy: Policy) -> str | None:
    """What most tasks ask for is nothing, and takes no room."""
    return None if policy == PLAIN else _to_json(asdict(policy))


def _policy_from(text: str) -> Policy:
    fields = _from_json(text)
    names = fields["retry"]["on"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError("failures to retry on are no list of names")
    retry = _checked(RetryPolicy(**{**fields["retry"], "on": tuple(names)}))
    return _checked(Policy(**{**fields, "retry": retry}))


def _error(error: TaskError | None) -> str | None:
    return None if error is None else _to_json({"code": error.code, "message": error.message})


def _cancel(receipt: CancelReceipt | None) -> str | None:
    return None if receipt is None else _to_json(asdict(receipt))


def _cancel_from(text: str) -> CancelReceipt:
    fields = _from_json(text)
    return _checked(CancelReceipt(**{**fields, "outcome": CancelOutcome(fields["outcome"])}))
