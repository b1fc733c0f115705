"""How long tasks have taken: the durations of past runs, and statistics.

Owns:   the queries; which columns and how many rows they need.
Uses:   rules.statistics (the arithmetic), conditions (whose tasks count).
Never:  reads more tasks than it was told to.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, Select, case, select

from streaming.records import TaskStatus
from streaming.rules.fields import Operator
from streaming.rules.filters import Term
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.plan import Lead, Piece, owner
from streaming.rules.sorting import parse_sort
from streaming.rules.statistics import Ended, Statistics, StatisticsQuery, ended, statistics
from streaming.store.conditions import in_piece, in_piece_order, matches
from streaming.store.planner import by_index
from streaming.store.pruning import BY_TYPE_END, END_OF_TIME, ended_between
from streaming.store.schema import changes, tasks

#: So many ended tasks are looked at for each duration that is asked for: most of them may have failed.
LOOKS_PER_DURATION = 10

#: When the status before the present one began, if that was a pause between attempts. No record tells it.
_PAUSED_AT = (
    select(case((changes.c.status == TaskStatus.RETRYING.value, changes.c.time)))
    .where(changes.c.task_id == tasks.c.id)
    .order_by(changes.c.seq.desc())
    .limit(1)
    .offset(1)
    .scalar_subquery()
)

_COLUMNS = (
    tasks.c.type,
    tasks.c.status,
    tasks.c.created_at,
    tasks.c.started_at,
    tasks.c.finished_at,
    tasks.c.attempt,
    tasks.c.retry_of,
    case((tasks.c.attempt > 1, _PAUSED_AT)).label("paused_at"),  # most tasks have one attempt: no look at their history
)


def durations(connection: Connection, type: str, limit: int) -> list[float]:
    """See `Journal.durations`."""
    by_index(connection)
    found: list[Ended] = []
    for held in (False, True):
        found += _readable(connection, newest_of(type, "", END_OF_TIME, held=held).limit(LOOKS_PER_DURATION * limit))
    found.sort(key=lambda task: task.finished_at, reverse=True)
    runs = (task.ran_s for task in found if task.status == TaskStatus.COMPLETED and task.ran_s is not None)
    return list(islice(runs, limit))


def figures(connection: Connection, query: StatisticsQuery) -> Statistics:
    """See `Journal.statistics`."""
    by_index(connection)
    within = matches(query.within, tasks, connection.dialect.name)
    most = query.tasks_max + 1
    whose = owner(query.within)
    if whose is not None:
        some = newest_of_owner(whose, query, connection.dialect.name).where(*within)
        return statistics(list(_readable(connection, some.limit(most))), query)
    if not query.types:
        some = newest(query.since, query.until).where(*within)
        return statistics(list(_readable(connection, some.limit(most))), query)
    found: list[Ended] = []
    for type in query.types:
        for held in (False, True):
            some = newest_of(type, query.since, query.until, held=held).where(*within)
            found += _readable(connection, some.limit(most))
    found.sort(key=lambda task: task.finished_at, reverse=True)
    return statistics(found[:most], query)


def newest(since: str, until: str) -> Select[Any]:
    """The tasks that ended in a time, newest first."""
    window = (tasks.c.finished_at.is_not(None), tasks.c.finished_at >= since, tasks.c.finished_at < until)
    return select(*_COLUMNS).where(*window).order_by(tasks.c.finished_at.desc(), tasks.c.id.desc())


def newest_of_owner(whose: Lead, query: StatisticsQuery, dialect: str) -> Select[Any]:
    """Those of one owner that ended in a time: what others have done is not even looked at."""
    window = (
        Term("finished_at", Operator.GTE, (query.since,)),
        Term("finished_at", Operator.LT, (query.until,)),
    )
    piece = Piece(False, window, parse_sort("-finished_at"), None)
    types = [tasks.c.type.in_(query.types)] if query.types else []
    conditions = in_piece(whose, piece, tasks, dialect)
    return select(*_COLUMNS).where(*conditions, *types).order_by(*in_piece_order(whose, piece, tasks))


def newest_of(type: str, since: str, until: str, *, held: bool) -> Select[Any]:
    """Those of one type that are held, or those that are not: so there is an index in this order."""
    order = (column.desc() for column in BY_TYPE_END)
    return select(*_COLUMNS).where(*ended_between(type, since, until, held=held)).order_by(*order)


def _readable(connection: Connection, query: Select[Any]) -> Iterator[Ended]:
    """The tasks of a query, without those that somebody has damaged."""
    for row in connection.execute(query):
        found = _ended(row)
        if found is not None:
            yield found


def _ended(row: Row[Any]) -> Ended | None:
    if not isinstance(row.type, str) or row.status not in TERMINAL:
        return None
    try:
        repeated = row.attempt > 1 or row.retry_of is not None
        times = row.created_at, row.started_at, row.finished_at
        return ended(row.type, row.status, *times, repeated=repeated, paused_at=row.paused_at)
    except (TypeError, ValueError):
        return None
