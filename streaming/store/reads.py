"""What is read: one query each.

Owns:   the queries, and their order.
Uses:   rows (values), schema.
Never:  writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, func, select, tuple_

from streaming.engine.journal import PAGE_BYTES_MAX, FeedItem, RecordPage, RecordQuery
from streaming.events import Event
from streaming.records import IdempotencyKey, Record
from streaming.rules.lifecycle import LIVE
from streaming.store.rows import record_from, tags_from
from streaming.store.schema import LAST_POSITION, events, idempotency_keys, tasks

T = TypeVar("T")

_AGE = (tasks.c.created_at, tasks.c.id)
_EVENT = (events.c.task_id, events.c.seq, events.c.type, events.c.time, events.c.payload)

# Counted, not kept: so it is right whatever was written last before a crash.
_last_seq = select(func.coalesce(func.max(events.c.seq), 0)).where(events.c.task_id == tasks.c.id).scalar_subquery()
_RECORDS = select(tasks, _last_seq.label("last_seq"))


def record(connection: Connection, task_id: str) -> Record | None:
    """The record of this id."""
    row = connection.execute(_RECORDS.where(tasks.c.id == task_id)).mappings().one_or_none()
    return None if row is None else record_from(row)


def records(connection: Connection, query: RecordQuery) -> RecordPage:
    """One page, newest first."""
    with connection.execute(page(query)) as rows:
        return RecordPage.of(((record_from(row), _text_bytes(row)) for row in rows.mappings()), query.limit)


def _text_bytes(row: RowMapping) -> int:
    return sum(len(value) for value in row.values() if isinstance(value, str))


def unfinished(connection: Connection) -> list[Record]:
    """The records that are not terminal, oldest first."""
    query = _RECORDS.where(tasks.c.status.in_(LIVE)).order_by(*_AGE)
    return [record_from(row) for row in connection.execute(query).mappings()]


def events_after(connection: Connection, task_id: str, seq: int, last_seq: int, limit: int) -> list[Event]:
    """A piece of one log."""
    query: Select[Any] = (
        select(*_EVENT)
        .where(events.c.task_id == task_id, events.c.seq > seq, events.c.seq <= last_seq)
        .order_by(events.c.seq)
        .limit(limit)
    )
    with connection.execute(query) as rows:
        return list(_first((Event(*row) for row in rows), lambda event: event))


def feed_after(connection: Connection, position: int, last_position: int, limit: int) -> list[FeedItem]:
    """A piece of the feed."""
    query = (
        select(events.c.position, tasks.c.type, tasks.c.tags, *_EVENT)
        .join(tasks)
        .where(events.c.position > position, events.c.position <= last_position)
        .order_by(events.c.position)
        .limit(limit)
    )
    with connection.execute(query) as rows:
        items = (FeedItem(at, Event(*values), task_type, tags_from(tags)) for at, task_type, tags, *values in rows)
        return list(_first(items, lambda item: item.event))


def _first(found: Iterable[T], event_of: Callable[[T], Event]) -> Iterator[T]:
    """Those up to `PAGE_BYTES_MAX`, at least one: the driver fetches rows as they are asked for."""
    size = 0
    for item in found:
        yield item
        size += len(event_of(item).payload)
        if size >= PAGE_BYTES_MAX:
            return


def last_position(connection: Connection) -> int:
    """The last position that was given, to an event since deleted or not."""
    return connection.execute(LAST_POSITION).scalar() or 0


def key(connection: Connection, principal: str, name: str, created_after: str) -> IdempotencyKey | None:
    """A key that is not too old."""
    columns = idempotency_keys.c
    query = select(idempotency_keys).where(
        columns.principal == principal, columns.key == name, columns.created_at > created_after
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else IdempotencyKey(**row)


def page(query: RecordQuery) -> Select[Any]:
    """The statement for one page of records, and one behind it."""
    conditions: list[ColumnElement[bool]] = []
    if query.statuses:
        conditions.append(tasks.c.status.in_(query.statuses))
    if query.types:
        conditions.append(tasks.c.type.in_(query.types))
    if query.tag is not None:
        tag = func.json_each(tasks.c.tags).table_valued("value")
        conditions.append(select(tag.c.value).where(tag.c.value == query.tag).exists())
    if query.after is not None:
        conditions.append(tuple_(*_AGE) < query.after)
    newest_first = (column.desc() for column in _AGE)
    # Indexes are enough to choose and to sort. The rows are read one by one behind that, in the order of the choice:
    # that is how SQLite runs an outer join. An ORDER BY out here would sort whole rows, however large they are.
    chosen = select(tasks.c.id).where(*conditions).order_by(*newest_first).limit(query.limit + 1).subquery("chosen")
    return _RECORDS.select_from(chosen.outerjoin(tasks, tasks.c.id == chosen.c.id))
