"""What retention removes.

Owns:   which records and events go, found by indexes, and their removal with all that belongs to them.
Uses:   rules.retention (how many of the oldest are too many), totals (how many there are).
Never:  removes a live record, one that waits for its acknowledgement, or the newest event of a log; begins or ends a
        transaction (``sql``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Subquery,
    delete,
    func,
    literal,
    select,
    tuple_,
    union_all,
    update,
)

from streaming.engine.journal import Pruned, Walk
from streaming.errors import RecordDamaged
from streaming.rules.lifecycle import LIVE, TERMINAL
from streaming.rules.retention import Bounds, Retention
from streaming.store.planner import by_index
from streaming.store.reads import RECORDS
from streaming.store.rows import record_from, term_rows
from streaming.store.schema import events, tasks
from streaming.store.terms import Term, delete_terms
from streaming.store.totals import count_ended, total_of

#: Events that go in one transaction, for each record or event that its limit allows: a record takes its log with it.
EVENTS_PER_RECORD = 10

#: Ids in one statement: older builds of SQLite take no more than 999 values.
_IDS_MAX = 400

#: Behind every time. Of what cannot be read: no limit of age reaches it.
END_OF_TIME = "~"

#: The order of an index.
BY_TYPE_END = (tasks.c.type, tasks.c.held, tasks.c.finished_at, tasks.c.id)

_BYTES: ColumnElement[int] = tasks.c.log_bytes - tasks.c.trimmed_bytes
_FIRST_SEQ = select(func.min(events.c.seq)).where(events.c.task_id == tasks.c.id).scalar_subquery()
_LAST_SEQ = select(func.max(events.c.seq)).where(events.c.task_id == tasks.c.id).scalar_subquery()
_FIRST_TIME = (
    select(events.c.time).where(events.c.task_id == tasks.c.id).order_by(events.c.seq).limit(1).scalar_subquery()
)
_LOGS = select(
    tasks.c.id,
    tasks.c.type,
    tasks.c.created_at,
    _BYTES.label("bytes"),
    _FIRST_SEQ.label("first_seq"),
    _LAST_SEQ.label("last_seq"),
    _FIRST_TIME.label("first_time"),
)


# -- records -----------------------------------------------------------------------------------------------------------


def oldest(type: str, limit: int | None) -> Select[Any]:
    """The ended tasks of a type that may go, the one that ended first in front."""
    return (
        select(tasks.c.finished_at, _BYTES.label("bytes"), tasks.c.id, tasks.c.status)
        .where(*ended_between(type, "", END_OF_TIME, held=False))
        .order_by(*BY_TYPE_END)
        .limit(limit)
    )


def ended_between(type: str, since: str, until: str, *, held: bool) -> tuple[ColumnElement[bool], ...]:
    """The conditions for tasks of a type that ended in a time, to be sorted by `BY_TYPE_END`.

    As a range of the whole index, so that no other one is of use: most tasks may be of another type.
    """
    place = tuple_(*BY_TYPE_END)
    return (
        tasks.c.finished_at.is_not(None),
        place >= tuple_(literal(type), literal(held), literal(since), literal("")),
        place < tuple_(literal(type), literal(held), literal(until), literal("")),
    )


def surplus(connection: Connection, type: str, bounds: Bounds, now: str, limit: int) -> list[str]:
    """The ids of the records that go next, at most ``limit``."""
    by_index(connection)
    rows = connection.execute(oldest(type, limit)).all()
    may_go = [row for row in rows if row.status in TERMINAL]  # all of them, unless somebody else has written here
    count, size = total_of(connection, type)
    if len(rows) < limit:  # these are all, whatever was counted
        count, size = len(may_go), sum(row.bytes for row in may_go)
    gone = bounds.surplus(map(_sized, may_go), count=count, size=size, now=now)
    return [row.id for row in may_go[:gone]]


def rehearse(connection: Connection, type: str, policy: Retention, now: str) -> Pruned:
    """What would go of the tasks of a type: records, and events of those that stay."""
    kept = policy.for_type(type)
    going = _going(connection, type, kept.records, now)
    gone = 0
    walk: Walk | None = Walk(type) if kept.events.limited else None
    while walk is not None:
        ids, walk = outgrown(connection, policy, walk, now, _IDS_MAX)
        gone += count_outgrown(connection, [task_id for task_id in ids if task_id not in going], policy, now)
    return Pruned(records=len(going), events=gone)


def _going(connection: Connection, type: str, bounds: Bounds, now: str) -> set[str]:
    """The ids of all records that would go."""
    by_index(connection)
    count, size = total_of(connection, type)
    ids: list[str] = []

    def told(rows: Iterable[Row[Any]]) -> Iterator[tuple[str, int]]:
        for row in rows:
            if row.status in TERMINAL:
                ids.append(row.id)
                yield _sized(row)

    with connection.execute(oldest(type, None), execution_options={"stream_results": True}) as rows:
        return set(ids[: bounds.surplus(told(rows), count=count, size=size, now=now)])


def _sized(row: Row[Any]) -> tuple[str, int]:
    return _time(row.finished_at), row.bytes


def prune(connection: Connection, type: str, bounds: Bounds, now: str, limit: int) -> Pruned:
    """See `Journal.prune`."""
    ids = surplus(connection, type, bounds, now, limit)
    events_max = EVENTS_PER_RECORD * limit
    fitting = _fitting(connection, ids, events_max)
    if fitting or not ids:
        _remove(connection, fitting)
        return Pruned(records=len(fitting))
    return Pruned(events=_shorten(connection, ids[0], events_max))


def _fitting(connection: Connection, ids: Sequence[str], events_max: int) -> list[str]:
    """As many of the first as have ``events_max`` events together."""
    fitting: list[str] = []
    left = events_max
    for some in _parts(ids, _IDS_MAX):
        counted = select(tasks.c.id, _LAST_SEQ - _FIRST_SEQ + 1).where(tasks.c.id.in_(some))
        counts = {task_id: count or 0 for task_id, count in connection.execute(counted)}
        for task_id in some:
            left -= counts[task_id]
            if left < 0:
                return fitting
            fitting.append(task_id)
    return fitting


def _remove(connection: Connection, ids: Sequence[str]) -> None:
    """Delete tasks; their history and keys go with them by themselves."""
    for some in _parts(ids, _IDS_MAX):
        count_ended(connection, some, sign=-1)
        named = [
            row for found in connection.execute(RECORDS.where(tasks.c.id.in_(some))).mappings() for row in _terms(found)
        ]
        connection.execute(delete(events).where(events.c.task_id.in_(some)))
        connection.execute(delete(tasks).where(tasks.c.id.in_(some)))
        delete_terms(connection, named)


def _terms(row: Any) -> list[Term]:
    """What a task was found by; of one that cannot be read they stay, and find nothing."""
    try:
        return term_rows(record_from(row))
    except RecordDamaged:
        return []


def _shorten(connection: Connection, task_id: str, events_max: int) -> int:
    """Delete the oldest events of a task that is too large to go at once."""
    (log,) = connection.execute(_LOGS.where(tasks.c.id == task_id))
    upto = min(log.first_seq + events_max, log.last_seq) - 1
    return _cut(connection, task_id, upto)


# -- events ------------------------------------------------------------------------------------------------------------


def outgrown(
    connection: Connection, policy: Retention, walk: Walk, now: str, limit: int
) -> tuple[list[str], Walk | None]:
    """See `Journal.outgrown`."""
    by_index(connection)
    found = connection.execute(_LOGS.where(tasks.c.id.in_(_step(walk, limit))).order_by(tasks.c.created_at, tasks.c.id))
    logs = found.all()
    ids = [log.id for log in logs if _is_outgrown(log, policy, now)]
    return ids, None if len(logs) < limit else Walk(walk.type, (logs[-1].created_at, logs[-1].id))


def _step(walk: Walk, limit: int) -> Select[Any]:
    """The ids of the next tasks of a walk."""
    if walk.type is not None:
        return select(_behind(tasks.c.type, walk.type, walk, limit).c.id)
    live = union_all(
        *(select(_behind(tasks.c.status, status.value, walk, limit)) for status in sorted(LIVE))
    ).subquery()
    some = select(live.c.id).order_by(live.c.created_at, live.c.id).limit(limit).subquery()
    return select(some.c.id)


def _behind(column: ColumnElement[str], value: str, walk: Walk, limit: int) -> Subquery:
    """The next tasks with one value in a column, as a range of its index; see `ended_between`."""
    order = (column, tasks.c.created_at, tasks.c.id)
    behind = tuple_(*order) > tuple_(literal(value), *map(literal, walk.after))
    some = select(tasks.c.created_at, tasks.c.id).where(behind, column <= value).order_by(*order)
    return some.limit(limit).subquery()


def _is_outgrown(log: Row[Any], policy: Retention, now: str) -> bool:
    """Whether its first event is too many."""
    if log.first_seq is None or log.first_seq == log.last_seq:
        return False
    bounds = policy.for_type(log.type).events
    count = log.last_seq - log.first_seq + 1
    return bounds.surplus([(_time(log.first_time), 0)], count=count, size=log.bytes, now=now) > 0


def trim(connection: Connection, task_ids: Sequence[str], policy: Retention, now: str, limit: int) -> int:
    """See `Journal.trim`."""
    left = limit
    for task_id in task_ids:
        left -= _cut(connection, task_id, _upto(connection, task_id, policy, now, left)[0])
        if left <= 0:
            break
    return limit - left


def count_outgrown(connection: Connection, task_ids: Sequence[str], policy: Retention, now: str) -> int:
    """How many events would be trimmed."""
    return sum(_upto(connection, task_id, policy, now, None)[1] for task_id in task_ids)


def _upto(connection: Connection, task_id: str, policy: Retention, now: str, limit: int | None) -> tuple[int, int]:
    """Up to which seq the events of a log are not kept, and how many these are."""
    log = connection.execute(_LOGS.where(tasks.c.id == task_id)).one_or_none()
    if log is None or log.first_seq is None:
        return 0, 0
    query = (
        select(events.c.seq, events.c.time, func.length(events.c.payload))
        .where(events.c.task_id == task_id, events.c.seq < log.last_seq)
        .order_by(events.c.seq)
        .limit(limit)
    )
    seqs: list[int] = []

    def told(rows: Iterable[Any]) -> Iterator[tuple[str, int]]:
        for seq, time, size in rows:
            seqs.append(seq)
            yield _time(time), size

    bounds = policy.for_type(log.type).events
    count = log.last_seq - log.first_seq + 1
    with connection.execute(query, execution_options={"stream_results": True}) as rows:
        gone = bounds.surplus(told(rows), count=count, size=log.bytes, now=now)
    return (seqs[gone - 1], gone) if gone else (0, 0)


def _cut(connection: Connection, task_id: str, upto: int) -> int:
    """Delete the events of a log up to one of them, and say how many there were."""
    old = (events.c.task_id == task_id, events.c.seq <= upto)
    count, size = connection.execute(select(func.count(), func.sum(func.length(events.c.payload))).where(*old)).one()
    if count:
        count_ended(connection, [task_id], sign=-1)
        connection.execute(delete(events).where(*old))
        trimmed = tasks.c.trimmed_bytes + int(size)
        connection.execute(update(tasks).where(tasks.c.id == task_id).values(trimmed_bytes=trimmed))
        count_ended(connection, [task_id])
    return int(count)


def task_types(connection: Connection) -> list[str]:
    """See `Journal.task_types`: one look at the index for each type, however many tasks there are."""
    types: list[str] = []
    while True:
        behind = [] if not types else [tasks.c.type > types[-1]]
        found = connection.execute(select(func.min(tasks.c.type)).where(*behind)).scalar()
        if found is None:
            return types
        types.append(found)


def _time(value: object) -> str:
    return value if isinstance(value, str) else END_OF_TIME


def _parts(values: Sequence[Any], size: int) -> Iterator[list[Any]]:
    """All values, so many at once."""
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some
