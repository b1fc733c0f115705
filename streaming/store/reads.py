"""What is read: one query each.

Owns:   the queries, and their order; what becomes of a row that cannot be read. Lists are in ``listing``.
Uses:   rows (values), schema.
Never:  writes, or lets such a row stop the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import structlog
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, func, select, text

from streaming.engine.journal import PAGE_BYTES_MAX, FeedItem
from streaming.errors import RecordDamaged
from streaming.events import Event, rfc3339
from streaming.records import Change, IdempotencyKey, Record
from streaming.rules.access import Principal
from streaming.rules.lifecycle import LIVE
from streaming.rules.log import gap_event
from streaming.store.rows import change_from, event_from, is_plain, record_from, tags_from
from streaming.store.schema import LAST_POSITION, JsonValid, changes, events, idempotency_keys, tasks

T = TypeVar("T")

_log = structlog.get_logger(__name__)

#: PostgreSQL sends so many rows at a time, and not all that were asked for: they may be large, and a page ends early.
PIECEMEAL = {"stream_results": True, "max_row_buffer": 50}

#: Of a gap that stands for an event whose time cannot be read.
_NO_TIME = rfc3339(0)

_AGE = (tasks.c.created_at, tasks.c.id)
_EVENT = (
    events.c.task_id,
    events.c.seq,
    events.c.type,
    events.c.time,
    events.c.payload,
    JsonValid(events.c.payload),
)

#: What is asked for stands in this index; in the row it stands behind what may be long, and reading that takes time
#: by which somebody else could tell that there is such a task.
_SEEN_IN_SQLITE = text(
    "SELECT 1 FROM tasks INDEXED BY tasks_by_owner WHERE id = :id AND "
    "CASE WHEN :tenant IS NULL THEN tenant IS NULL AND created_by = :name ELSE tenant = :tenant END"
)

# Counted, not kept: so it is right whatever was written last before a crash.
_last_seq = select(func.coalesce(func.max(events.c.seq), 0)).where(events.c.task_id == tasks.c.id).scalar_subquery()
#: Whole records.
RECORDS = select(tasks, _last_seq.label("last_seq"))


def record(connection: Connection, task_id: str) -> Record | None:
    """The record of this id.

    Raises:
        RecordDamaged: it cannot be read.
    """
    try:
        return find(connection, task_id)
    except RecordDamaged as damage:
        _report({task_id: _reason(damage)})
        raise


def find(connection: Connection, task_id: str) -> Record | None:
    """As `record`, without a word to the log."""
    row = connection.execute(RECORDS.where(tasks.c.id == task_id)).mappings().one_or_none()
    return None if row is None else record_from(row)


def is_seen_by(connection: Connection, principal: Principal, task_id: str) -> bool:
    """Whether there is a record of this id that a principal may see."""
    if connection.dialect.name == "sqlite" and not principal.admin:
        asked = {"id": task_id, "tenant": principal.tenant, "name": principal.name}
        return connection.execute(_SEEN_IN_SQLITE, asked).first() is not None
    return connection.execute(select(tasks.c.id).where(tasks.c.id == task_id, *_seen_by(principal))).first() is not None


def _seen_by(principal: Principal | None) -> list[ColumnElement[bool]]:
    """Which tasks a principal sees; None sees all."""
    if principal is None or principal.admin:
        return []
    # Compared, and not looked for: the few rows that are meant are known by something else.
    tenant = func.coalesce(tasks.c.tenant, "")
    if principal.tenant is not None:
        return [tenant == principal.tenant]
    return [tenant == "", func.coalesce(tasks.c.created_by, "") == principal.name]


def unfinished(connection: Connection) -> list[Record]:
    """The records that are not terminal, oldest first."""
    query = RECORDS.where(tasks.c.status.in_(LIVE)).order_by(*_AGE)
    readable = Readable(connection.execute(query).mappings())
    found = [each for each, _ in readable]
    readable.report()
    return found


class Readable:
    """Records with their sizes in bytes; those that cannot be read are put aside.

    Attributes:
        asked: how many rows were asked for.
        damaged: ids of those that could not be read, and what was wrong.
    """

    def __init__(self, rows: Iterable[RowMapping]) -> None:
        self.asked = 0
        self.damaged: dict[str, str] = {}
        self._rows = rows

    def __iter__(self) -> Iterator[tuple[Record, int]]:
        for row in self._rows:
            self.asked += 1
            try:
                found = record_from(row)
            except RecordDamaged as damage:
                self.damaged[damage.task_id] = _reason(damage)  # not the error: its traceback holds the row
                continue
            yield found, sum(len(value) for value in row.values() if isinstance(value, str))

    def report(self) -> None:
        """Name in the log those that could not be read."""
        _report(self.damaged)


def _reason(damage: RecordDamaged) -> str:
    return str(damage.__cause__)


def _report(damaged: Mapping[str, str]) -> None:
    for task_id, why in damaged.items():
        _log.error("a record cannot be read", task_id=task_id, reason=why)


def events_after(connection: Connection, task_id: str, seq: int, last_seq: int, limit: int) -> list[Event]:
    """A piece of one log."""
    query: Select[Any] = (
        select(*_EVENT)
        .where(events.c.task_id == task_id, events.c.seq > seq, events.c.seq <= last_seq)
        .order_by(events.c.seq)
        .limit(limit)
    )
    with connection.execute(query, execution_options=PIECEMEAL) as rows:
        return list(_first((_event(*row) for row in rows), lambda event: event))


def feed_after(
    connection: Connection, position: int, last_position: int, limit: int, principal: Principal | None = None
) -> list[FeedItem]:
    """A piece of the feed."""
    query = (
        select(events.c.position, tasks.c.type, tasks.c.tags, tasks.c.created_by, tasks.c.tenant, *_EVENT)
        .join(tasks)
        .where(events.c.position > position, events.c.position <= last_position, *_seen_by(principal))
        .order_by(events.c.position)
        .limit(limit)
    )
    with connection.execute(query, execution_options=PIECEMEAL) as rows:
        items = (
            FeedItem(at, _event(*values), task_type, _tags(tags), *_owner(created_by, tenant))
            for at, task_type, tags, created_by, tenant, *values in rows
        )
        return list(_first(items, lambda item: item.event))


def _event(task_id: str, seq: int, type: object, time: object, payload: object, json_valid: bool | None) -> Event:
    """The event of a row, or the gap that stands for it."""
    try:
        return event_from(task_id, seq, type, time, payload, json_valid)
    except ValueError as error:
        _log.error("an event cannot be read", task_id=task_id, seq=seq, reason=str(error))
        return gap_event(task_id, seq, seq, "damaged", time if is_plain(time) else _NO_TIME)


def _tags(text: str) -> tuple[str, ...]:
    """Tags to filter events by; the record's own readers are told if they cannot be read."""
    try:
        return tags_from(text)
    except (ValueError, TypeError, RecursionError):
        return ()


def _owner(created_by: object, tenant: object) -> tuple[str, str | None]:
    """Whose a task is; one of which nobody can tell is nobody's."""
    if isinstance(created_by, str) and (tenant is None or isinstance(tenant, str)):
        return created_by, tenant
    return "", ""


def _first(found: Iterable[T], event_of: Callable[[T], Event]) -> Iterator[T]:
    """Those up to `PAGE_BYTES_MAX`, at least one: the driver fetches rows as they are asked for."""
    size = 0
    for item in found:
        yield item
        size += len(event_of(item).payload)
        if size >= PAGE_BYTES_MAX:
            return


def history(connection: Connection, task_id: str) -> list[Change]:
    """The changes of a task's status.

    Raises:
        RecordDamaged: one of them cannot be read.
    """
    query = select(changes).where(changes.c.task_id == task_id).order_by(changes.c.seq)
    try:
        return [change_from(row) for row in connection.execute(query)]
    except RecordDamaged as damage:
        _report({task_id: _reason(damage)})
        raise


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


def count_keys(connection: Connection, principal: str, limit: int) -> int:
    """How many keys a principal has, as far as they are counted; the primary key has them together."""
    own = select(idempotency_keys.c.key).where(idempotency_keys.c.principal == principal).limit(limit)
    return connection.execute(select(func.count()).select_from(own.subquery())).scalar_one()
