"""How long tasks have taken: the durations of past runs, and statistics.

Owns:   the queries; which columns and how many rows they need.
Uses:   rules.statistics (the arithmetic).
Never:  reads more tasks than it was told to.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Row, Select, case, select

from streaming.records import TaskStatus
from streaming.rules.lifecycle import TERMINAL
from streaming.rules.statistics import Ended, Statistics, StatisticsQuery, ended, statistics
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
    most = query.tasks_max + 1
    if not query.types:
        return statistics(list(_readable(connection, newest(query.since, query.until).limit(most))), query)
    found: list[Ended] = []
    for type in query.types:
        for held in (False, True):
            found += _readable(connection, newest_of(type, query.since, query.until, held=held).limit(most))
    found.sort(key=lambda task: task.finished_at, reverse=True)
    return statistics(found[:most], query)


def newest(since: str, until: str) -> Select[Any]:
    """The tasks that ended in a time, newest first."""
    window = (tasks.c.finished_at.is_not(None), tasks.c.finished_at >= since, tasks.c.finished_at < until)
    return select(*_COLUMNS).where(*window).order_by(tasks.c.finished_at.desc(), tasks.c.id.desc())


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
